"""Which loss gains learn fastest: the same short training for every pair of objectness and class gain.

    python -m benchmarks.loss_gains --data digits.yaml --imgsz 64 --epochs 6 --obj 1 4 16 64 --cls 0.5 4
    python -m benchmarks.loss_gains --data path/to/helmet320.yaml --imgsz 160 --epochs 8 --obj 1 4 16 --cls 1 4

All other values are those of the recipe. Every row is one training from scratch; the validation figures of its last
epoch go to a csv, and finished rows are not run again.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import yaml

from engine.hyp import default_hyp, load_hyp
from engine.train import run_train
from engine.train_config import TrainConfig
from engine.train_log import read_results

COLUMNS = ("data", "imgsz", "cfg", "epochs", "seed", "obj", "cls", "mAP50", "mAP50-95")


def run_cell(cell: dict[str, Any], hyp: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train one row of the table and read its last epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**hyp, "obj": cell["obj"], "cls": cell["cls"]}))
    keys = ("data", "imgsz", "cfg", "epochs", "seed")
    run = run_train(
        TrainConfig(**{key: cell[key] for key in keys}, hyp=str(recipe), project=str(folder), name="run", noplots=True)
    )
    last = read_results(run / "results.csv")[-1]
    return {**cell, "mAP50": last["metrics/mAP_0.5"], "mAP50-95": last["metrics/mAP_0.5:0.95"]}


def main() -> None:
    """Run the grid."""
    parser = argparse.ArgumentParser(description="Short trainings over a grid of loss gains.")
    parser.add_argument("--data", default="digits.yaml")
    parser.add_argument("--imgsz", type=int, default=64)
    parser.add_argument("--cfg", default="yolov5n.yaml")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hyp", default="", help="recipe; default: the one for the size")
    parser.add_argument("--obj", type=float, nargs="+", required=True, help="objectness gains (at 640 px)")
    parser.add_argument("--cls", type=float, nargs="+", required=True, help="class gains (at 80 classes)")
    parser.add_argument("--csv", type=Path, default=Path("runs/benchmarks/loss_gains.csv"))
    arguments = parser.parse_args()
    hyp = load_hyp(arguments.hyp or default_hyp(arguments.imgsz)).as_dict()
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    if arguments.csv.exists():
        with arguments.csv.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    for obj in arguments.obj:
        for cls in arguments.cls:
            keys = ("data", "imgsz", "cfg", "epochs", "seed")
            cell = {**{key: getattr(arguments, key) for key in keys}, "obj": obj, "cls": cls}
            if any(all(row[key] == str(value) for key, value in cell.items()) for row in rows):
                continue
            folder = arguments.csv.parent / f"gains_{Path(arguments.data).stem}_{arguments.imgsz}_{obj:g}_{cls:g}"
            rows.append(run_cell(cell, hyp, folder))
            with arguments.csv.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{key} {row[key]}" for key in COLUMNS))


if __name__ == "__main__":
    main()
