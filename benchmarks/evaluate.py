"""A whole run of val.py beside the peers': what is spent outside of the network's forward pass.

    python -m benchmarks.peers                                                        # once: the peers' environment
    python -m benchmarks.evaluate --weights yolov5n-v7.0.pt --data path/to/coco128.yaml --copies 39

Needs official YOLOv5 weights and a data set with the classes that they know; `--copies 39` makes 4,992 images of
coco128's. Each project runs its own validation with its defaults (plots included), ours with YOLOv5's padding (`--pad
0.5`): labels, images, network, NMS, metrics, pictures. What is outside of the forward pass is the time of the whole
run, imports aside, less what the same forward passes take when nothing runs beside them. Each project's own measure of
its inference is told too, but images that are decoded at the same time make that longer, and ours decodes none then.
ultralytics does not take part: it cannot load these weights.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers import FOLDER
from benchmarks.side_by_side import (
    OURS,
    OUTPUT,
    UPSTREAM,
    Row,
    Worker,
    alternate,
    available,
    median,
    plot_bars,
    show,
    yolo_copy,
)
from mgil.engine.cli import run_cli

SCRATCH = OUTPUT / "scratch"


def measure(names: list[str], options: argparse.Namespace, data: Path, size: int) -> list[Row]:
    """Rows of the table for one size."""
    request = {"data": str(data.absolute()), "size": size, "batch": options.batch, "folder": str(SCRATCH.absolute())}
    request["weights"] = str(Path(options.weights).absolute())
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, options.peers, options.threads)) for name in names}
        for worker in workers.values():
            worker.ask("info")  # imports are done when this is answered
        answers = alternate(workers, "evaluate", options.rounds, **request)
    images = sum(1 for _ in (data.parent / "images" / "train").iterdir())
    rows: list[Row] = []
    for name in names:
        whole = median(answer["seconds"] for answer in answers[name])
        said = median(answer["forward_ms"] / 1000 * images for answer in answers[name])
        alone = median(answer["forward_alone"] for answer in answers[name])
        row: Row = {"data": data.stem, "images": images, "size": size, "project": name, "whole s": whole}
        row |= {"forward s, as said": said, "forward s, alone": alone, "outside s": whole - alone}
        rows.append(row | {"outside ms/image": 1000 * (whole - alone) / images, "AP": answers[name][0]["map50_95"]})
    for row in rows:
        row["outside, this / ours"] = row["outside s"] / rows[0]["outside s"]
        row["whole, this / ours"] = row["whole s"] / rows[0]["whole s"]
    return rows


def main() -> None:
    """Measure all sizes, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="official YOLOv5 weights")
    parser.add_argument("--data", required=True, help="data set YAML; its train split is validated on")
    parser.add_argument("--copies", type=int, default=1, help="how often each image is there")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 640], help="input sizes in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images per batch")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each project; medians are taken")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv and the plot go")
    options = parser.parse_args()
    data = yolo_copy(options.data, OUTPUT / "data", options.copies)
    names = available([OURS, UPSTREAM], options.peers)
    rows: list[Row] = []
    for size in options.sizes:
        rows += measure(names, options, data, size)
        print(*rows[-len(names) :], sep="\n", flush=True)
    show("validation", rows, options.output / f"evaluate_{data.stem}.csv")
    groups: dict[str, dict[str, float]] = {f"{size} px": {} for size in options.sizes}
    for row in rows:
        groups[f"{row['size']} px"][row["project"]] = row["outside s"]
    title = f"val.py on {rows[0]['images']} images: seconds outside of the forward pass"
    plot_bars(options.output / f"evaluate_{data.stem}.png", title, "seconds", groups)


if __name__ == "__main__":
    run_cli(main)
