"""Training images per second on one core, ours beside the peers: decoded, mosaicked, augmented, in batches.

    python -m benchmarks.peers          # once: the peers' environment
    python -m benchmarks.data_path      # --data YAML for images of your own

Every project makes its batches in a process of its own on one core, without worker processes, with its scratch-low
recipe: mosaic, affine, flip, colour. Uncached, images come from files; cached, from memory ("resident" here,
`--cache ram` there). Opening and the first batch are not timed. The projects take turns, round by round. The work is
not the same: uncached, upstream decodes four files in full for each picture, ours (the streamed store) decodes each
file once, at reduced scale where the target is small, and takes mosaic partners from those decoded before.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers import FOLDER
from benchmarks.side_by_side import (
    OURS,
    OUTPUT,
    SCRIPTS,
    Row,
    Worker,
    available,
    camera_set,
    median,
    plot_bars,
    show,
    yolo_copy,
)
from mgil.engine.cli import run_cli


def measure(
    names: list[str], peers: Path, data: Path, size: int, batch: int, cached: bool, rounds: int, seconds: float
) -> dict[str, float]:
    """Median images per second of each project."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, peers)) for name in names}
        batches = {}
        for name, worker in workers.items():
            worker.ask("open_data", data=str(data.absolute()), size=size, batch=batch, cached=cached)
            probe = worker.ask("run_data", batches=2)
            batches[name] = max(2, round(seconds * 2 / probe["seconds"]))
        rates: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, worker in workers.items():
                answer = worker.ask("run_data", batches=batches[name])
                rates[name].append(answer["images"] / answer["seconds"])
    return {name: median(values) for name, values in rates.items()}


def main() -> None:
    """Measure all sizes, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 160, 320, 640], help="training sizes in pixels")
    parser.add_argument("--modes", nargs="+", default=["uncached", "cached"], choices=["uncached", "cached"])
    parser.add_argument("--projects", nargs="+", default=list(SCRIPTS), choices=list(SCRIPTS))
    parser.add_argument("--batch", type=int, default=16, help="images per batch")
    parser.add_argument("--images", type=int, default=512, help="generated 640x480 JPEGs")
    parser.add_argument("--data", help="a data set's YAML instead of generated images")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each project")
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long a turn takes")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv and the plot go")
    options = parser.parse_args()
    names = available(options.projects, options.peers)
    folder = OUTPUT / "data"
    data = yolo_copy(options.data, folder) if options.data else camera_set(folder, options.images)
    rows: list[Row] = []
    groups = {}
    for mode in options.modes:
        for size in options.sizes:
            rates = measure(
                names, options.peers, data, size, options.batch, mode == "cached", options.rounds, options.seconds
            )
            groups[f"{size} px\n{mode}"] = rates
            row: Row = {"data": data.stem, "mode": mode, "size": size, "batch": options.batch}
            row |= {f"{name} images/s": rate for name, rate in rates.items()}
            row |= {f"ours / {name}": rates[OURS] / rate for name, rate in rates.items() if name != OURS}
            rows.append(row)
            print(row, flush=True)
    show("training images per second on one core", rows, options.output / f"data_path_{data.stem}.csv")
    title = f"training images per second on one core ({data.stem})"
    plot_bars(options.output / f"data_path_{data.stem}.png", title, "images/s", groups, log=True)


if __name__ == "__main__":
    run_cli(main)
