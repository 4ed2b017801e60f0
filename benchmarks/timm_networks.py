"""Which networks of timm go through all doors with blocks in their stride-2 layers: two steps of training, val, export.

    python -m benchmarks.timm_networks                       # 30 networks with MGIL, at 64 px; writes a csv
    python -m benchmarks.timm_networks --names resnet18 densenet121 --blocks spd

Weights are random and pictures noise: what is asked is whether every door opens, and how a network that has nothing to
replace is refused. An error that is no line for people is a fault of this project, and ends the command with status 1.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mgil.engine.cli import run_cli
from mgil.engine.evaluation.config import val_config
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.training.config import train_config
from mgil.engine.training.run import run_train
from mgil.networks.carry_over import blocks_of
from mgil.tasks.classify.network import build_class_network

NAMES = (
    *("resnet18", "resnet18d", "resnet34", "resnet50", "resnetv2_50", "resnext50_32x4d", "res2net50_26w_4s"),
    *("cspresnet50", "darknet53", "dla34", "dpn48b", "densenet121", "hrnet_w18_small", "repvgg_a0", "vgg11_bn"),
    *("regnety_002", "rexnet_100", "convnext_atto", "edgenext_xx_small", "fastvit_t8", "levit_128s"),
    *("mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv4_conv_small", "mobileone_s0", "ghostnet_100"),
    *("efficientnet_b0", "mixnet_s", "inception_v3", "vit_tiny_patch16_224"),
)
COLUMNS = ("network", "blocks", "parameters before", "parameters", "train", "val", "onnx", "says")
CLASSES = 3
Row = dict[str, object]


def make_pictures(folder: Path, size: int) -> Path:
    """Nine pictures of noise to train on and three to validate on, in folders of their classes."""
    random = np.random.default_rng(0)
    for split, count in (("train", 9), ("val", 3)):
        for number in range(count):
            place = folder / split / f"kind{number % CLASSES}"
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place / f"{number}.png"), random.integers(0, 256, (size, size, 3), np.uint8))
    return folder


def tried(door: Callable[[], object], row: Row, column: str) -> bool:
    """Go through a door, and note how that ended; whether the next one can be tried."""
    try:
        door()
    except (ValueError, OSError) as error:  # a line for people
        row |= {column: "refused", "says": str(error)}
        return False
    except Exception as error:  # everything else is a fault
        row |= {column: "fault", "says": f"{type(error).__name__}: {error}".splitlines()[0]}
        return False
    row[column] = "yes"
    return True


def measure(name: str, blocks: str, size: int, data: Path, folder: Path) -> Row:
    """Take one network through the doors."""
    cfg = f"timm:{name}:{blocks}" if blocks != "none" else f"timm:{name}"
    names = [f"kind{number}" for number in range(CLASSES)]
    row: Row = dict.fromkeys(COLUMNS, "") | {"network": name}
    try:
        plain = build_class_network(f"timm:{name}", names, size)
        row["parameters before"] = sum(parameter.numel() for parameter in plain.parameters())
        model = build_class_network(cfg, names, size)
        row |= {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "blocks": len(blocks_of(model)),
        }
    except ValueError as error:
        return row | {"train": "refused", "says": str(error)}
    common = {"data": str(data), "workers": 0, "device": "cpu", "project": str(folder)}
    config = train_config("classify")(cfg=cfg, name=name, imgsz=size, epochs=1, batch_size=4, noplots=True, **common)
    weights = str(folder / name / "weights" / "best.pt")
    val = val_config()(weights=(weights,), name=f"{name}-val", imgsz=(size,), **common)
    doors = {
        "train": lambda: run_train(config, report=lambda _line: None),
        "val": lambda: run_val(val, report=lambda _line: None),
        "onnx": lambda: run_export(ExportConfig(weights=weights, include=("onnx",)), report=lambda _line: None),
    }
    for column, door in doors.items():
        if not tried(door, row, column):
            break
    return row


def main() -> None:
    """Try all, print a line each, and write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(NAMES), help="networks, as timm calls them")
    parser.add_argument("--blocks", default="mgil", choices=("none", "spd", "flie", "mgil", "mgil-res"))
    parser.add_argument("--img", type=int, default=64, help="input size in pixels")
    parser.add_argument("--csv", type=Path, default=Path("runs/benchmarks/timm_networks.csv"))
    options = parser.parse_args()
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.names:
        with tempfile.TemporaryDirectory() as place:  # weights of 30 networks are gigabytes
            data = make_pictures(Path(place) / "noise", options.img)
            rows.append(measure(name, options.blocks, options.img, data, Path(place) / "runs"))
        print("  ".join(str(rows[-1][column]) for column in COLUMNS), flush=True)
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if any("fault" in row.values() for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    run_cli(main)
