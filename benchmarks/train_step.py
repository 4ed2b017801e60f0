"""What training costs beside the bare step: whole epochs against forward + backward + step on a fixed batch.

    python -m benchmarks.peers                                       # once: the peers' environment
    python -m benchmarks.train_step                                  # digits at 64 px, generated 640x480 JPEGs at 160
    python -m benchmarks.train_step --data helmet320.yaml --sizes 64 160

Every project trains yolov5n (ultralytics: yolov5nu) in its own training loop, with its images cached in memory and its
own data workers, and stops its clock between epochs, where it may validate. They take turns: each round is the bare
step of each, then an epoch of each. "ours, lowres" trains with the recipe for low resolution, which steps after every
batch; the others with scratch-low, which gathers 64 images for a step. The bare step always includes an optimizer step,
so overheads of the latter look smaller than they are: judge the overhead by "ours, lowres".
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers import FOLDER
from benchmarks.side_by_side import (
    OURS,
    OUTPUT,
    SCRIPTS,
    ULTRALYTICS,
    Row,
    Worker,
    alternate,
    available,
    camera_set,
    median,
    plot_bars,
    show,
    yolo_copy,
)
from mgil.engine.cli import run_cli

PLAIN, LOWRES = "ours", "ours, lowres"
CFGS = {"yolov5": "yolov5n.yaml", ULTRALYTICS: "yolov5n.yaml"}  # ultralytics gives this name to yolov5nu


def open_training(stack: ExitStack, name: str, options: argparse.Namespace, data: Path, size: int) -> Worker:
    """A worker whose training waits for its first epoch."""
    project = OURS if name.startswith(OURS) else name
    worker = stack.enter_context(Worker(project, options.peers, options.threads))
    request: dict[str, Any] = {"data": str(data.absolute()), "size": size, "batch": options.batch}
    request |= {"epochs": 100, "threads": options.threads}
    if project == OURS:
        hyp = "hyp.lowres.yaml" if name == LOWRES else "hyp.scratch-low.yaml"
        worker.ask("open_training", cfg=options.cfg, hyp=hyp, compiled=options.compile, **request)
    else:
        folder = str((OUTPUT / "scratch").absolute())
        worker.ask("open_training", cfg=CFGS[project], folder=folder, workers=options.workers, **request)
    return worker


def measure(names: list[str], options: argparse.Namespace, data: Path, size: int) -> tuple[list[Row], dict[str, float]]:
    """Rows of the table for one size, and images per second of each project."""
    # The peers train on a smaller last batch, ours leaves it out and says how many batches it took.
    every_image = sum(1 for _ in (data.parent / "images" / "train").iterdir()) / options.batch
    with ExitStack() as stack:
        workers = {name: open_training(stack, name, options, data, size) for name in names}
        bare: dict[str, list[float]] = {name: [] for name in names}
        epochs: dict[str, list[float]] = {name: [] for name in names}
        for number in range(options.rounds + 1):
            steps = alternate(workers, "bare", 1, steps=options.steps)
            whole = alternate(workers, "epoch", 1)
            if number:  # in the first round kernels are chosen and memory is taken
                for name in names:
                    bare[name].append(steps[name][0]["seconds"])
                    epochs[name].append(whole[name][0]["seconds"] / whole[name][0].get("batches", every_image))
    rates = {name: options.batch / median(epochs[name]) for name in names}
    rows = []
    for name in names:
        overheads = [epoch / step for epoch, step in zip(epochs[name], bare[name], strict=True)]
        row: Row = {"data": data.stem, "size": size, "batch": options.batch, "project": name}
        row |= {"bare ms": 1000 * median(bare[name]), "epoch ms/batch": 1000 * median(epochs[name])}
        row |= {"epoch / bare": median(overheads), "images/s": rates[name], "ours / this": rates[PLAIN] / rates[name]}
        rows.append(row)
    return rows, rates


def main() -> None:
    """Measure all sizes, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="data set YAML for all sizes; default: digits at 64 px, generated JPEGs above")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 160], help="training sizes in pixels")
    parser.add_argument("--cfg", default="yolov5n.yaml", help="our model")
    parser.add_argument("--projects", nargs="+", default=list(SCRIPTS), choices=list(SCRIPTS))
    parser.add_argument("--batch", type=int, default=16, help="images per batch")
    parser.add_argument("--images", type=int, default=512, help="generated JPEGs")
    parser.add_argument("--rounds", type=int, default=3, help="epochs that count")
    parser.add_argument("--steps", type=int, default=40, help="bare steps a round")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network")
    parser.add_argument("--workers", type=int, default=8, help="data workers of the peers: their default")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv and the plot go")
    options = parser.parse_args()
    names = [PLAIN, LOWRES, *(name for name in available(options.projects, options.peers) if name != OURS)]
    rows: list[Row] = []
    groups = {}
    for size in options.sizes:
        if options.data or size <= 64:
            data = yolo_copy(options.data or "digits.yaml", OUTPUT / "data")
        else:
            data = camera_set(OUTPUT / "data", options.images)
        found, groups[f"{size} px"] = measure(names, options, data, size)
        rows += found
        print(*found, sep="\n", flush=True)
    suffix = f"_{Path(options.data).stem}" if options.data else ""
    show("training, yolov5n", rows, options.output / f"train_step{suffix}.csv")
    plot_bars(options.output / f"train_step{suffix}.png", "training images per second", "images/s", groups)


if __name__ == "__main__":
    run_cli(main)
