"""What the fast paths of training cost in accuracy: the same trainings with and without them, over seeds.

    python -m benchmarks.accuracy_cost --data digits.yaml --img 64 --seeds 0 1 2
    python -m benchmarks.accuracy_cost --data path/to/helmet320.yaml --img 160 --epochs 12 --seeds 0 1 2

Variants: `fast` is train.py as it is, in float32; `bf16` is the same with `--amp bf16`, on
CPUs without instructions for it by `benchmarks/rounded_convolutions.py`, which rounds as these do; `slow` has every
fast path replaced by what it stands in for, at once; `streamed` decodes in every epoch and takes mosaic partners from
its ring.
Each path can be replaced alone too:

    no-window   affine maps as they were drawn, by warpAffine, in place of windows of whole pixels
    no-reduced  JPEGs decoded in full
    no-matrix   colours changed in HSV, as YOLOv5 does, in place of a matrix per picture
    no-layout   contiguous tensors in place of channels-last
    no-fused    the optimizer in several passes over the weights

One csv row per training, written when it ends; rows that are there are not trained again.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch

from benchmarks.rounded_convolutions import rounded_convolutions
from benchmarks.side_by_side import OUTPUT, Row, show
from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.decode import decode_scanned
from mgil.datasets.batches.kernel_opencv import Painter
from mgil.engine.cli import run_cli
from mgil.engine.devices import has_bfloat16
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.log import read_results
from mgil.engine.training.run import run_train
from mgil.engine.training.schedule import build_optimizer
from mgil.engine.training.trainer import Trainer

AP = "metrics/mAP_0.5:0.95"


def as_drawn(scale: np.ndarray, offset: np.ndarray, _output_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Affine maps without rounding to whole pixels."""
    return scale[:, None, None] * np.eye(2), offset


def draw_hsv_gains(rng: np.random.Generator, config: AugmentConfig, count: int) -> np.ndarray | None:
    """(count, 3) gains on hue, saturation and value, in place of matrices."""
    if not config.changes_colour:
        return None
    return 1 + rng.uniform(-1, 1, (count, 3)) * [config.hsv_h, config.hsv_s, config.hsv_v]


class HsvPainter(Painter):
    """Changes colours in HSV."""

    def recolour(self, picture: np.ndarray, colours: np.ndarray) -> None:
        """Multiply hue (in a circle of 180), saturation and value, in place."""
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float32) * colours.astype(np.float32)
        hsv[..., 0] %= 180
        cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB, dst=picture)


def unfused(*arguments: Any) -> torch.optim.Optimizer:
    """The optimizer, an operation at a time."""
    optimizer = build_optimizer(*arguments)
    for group in optimizer.param_groups:
        group["fused"] = False
    return optimizer


SLOW_PATHS: dict[str, Callable[[], list[AbstractContextManager[Any]]]] = {
    "no-window": lambda: [patch("mgil.datasets.batches.geometry._to_window", as_drawn)],
    "no-reduced": lambda: [
        patch("mgil.datasets.batches.stores.decode_scanned", partial(decode_scanned, reduced=False))
    ],
    "no-matrix": lambda: [
        patch("mgil.datasets.batches.geometry.draw_colours", draw_hsv_gains),
        patch("mgil.datasets.batches.loader.Painter", HsvPainter),
    ],
    "no-layout": lambda: [patch.object(Trainer, "memory_format", torch.contiguous_format)],
    "no-fused": lambda: [patch("mgil.engine.training.parts.build_optimizer", unfused)],
}
VARIANTS = ("fast", "slow", "streamed", "bf16", *SLOW_PATHS)


def train(options: argparse.Namespace, variant: str, seed: int) -> Row:
    """One training; its last epoch and its time."""
    replaced = list(SLOW_PATHS) if variant == "slow" else [variant] if variant in SLOW_PATHS else []
    config = TrainConfig(
        cfg=options.cfg,
        data=options.data,
        imgsz=options.img,
        epochs=options.epochs,
        seed=seed,
        cache="none" if variant == "streamed" else "ram",
        workers=0,
        amp="bf16" if variant == "bf16" else "off",
        noplots=True,
        nosave=True,
        project=str(OUTPUT / "scratch" / "accuracy"),
        name=f"{Path(options.data).stem}_{variant}_{seed}",
        exist_ok=True,
    )
    with ExitStack() as stack:
        if variant == "bf16" and not has_bfloat16():
            stack.enter_context(rounded_convolutions())
        for name in replaced:
            for change in SLOW_PATHS[name]():
                stack.enter_context(change)
        run = run_train(config)
    last = read_results(run / "results.csv")[-1]
    key = {"data": Path(options.data).stem, "cfg": options.cfg, "img": options.img, "variant": variant, "seed": seed}
    return {**key, "epochs": int(last["epoch"]) + 1, "mAP50": last["metrics/mAP_0.5"], "mAP50-95": last[AP]}


def is_of(row: Row, options: argparse.Namespace) -> bool:
    """Whether a row is of the experiment that is asked for."""
    same = row["cfg"] == options.cfg and int(row["img"]) == options.img
    return same and options.epochs in (0, int(row["epochs"]))


def summary(rows: list[Row]) -> list[Row]:
    """Mean and standard deviation over seeds of each variant, and the distance of its mean from `fast`."""
    values = {name: [float(row["mAP50-95"]) for row in rows if row["variant"] == name] for name in VARIANTS}
    lines: list[Row] = []
    for name, found in values.items():
        if not found:
            continue
        line: Row = {"variant": name, "seeds": len(found), "mean mAP50-95": statistics.mean(found)}
        line["standard deviation"] = statistics.stdev(found) if len(found) > 1 else float("nan")
        if values["fast"]:
            line["minus fast"] = statistics.mean(found) - statistics.mean(values["fast"])
        lines.append(line)
    return lines


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits.yaml", help="data set YAML")
    parser.add_argument("--cfg", default="yolov5n.yaml", help="model")
    parser.add_argument("--img", type=int, default=0, help="training size; default: the data set's")
    parser.add_argument("--epochs", type=int, default=0, help="default: the data set's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=["fast", "slow", "streamed"], choices=VARIANTS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / f"accuracy_{Path(options.data).stem}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    others = [row for row in rows if not is_of(row, options)]
    rows = [row for row in rows if is_of(row, options)]
    done = {(row["variant"], int(row["seed"])) for row in rows}
    for seed in options.seeds:
        for variant in options.variants:
            if (variant, seed) not in done:
                rows.append(train(options, variant, seed))
                with path.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                    writer.writeheader()
                    writer.writerows([*others, *rows])
    title = f"{Path(options.data).stem}, {options.cfg}: the fast paths' cost in accuracy"
    show(title, summary(rows), options.output / f"accuracy_{Path(options.data).stem}_summary.csv")


if __name__ == "__main__":
    run_cli(main)
