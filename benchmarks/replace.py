"""Parameters of networks before and after `replace_stride2`, with each of its options for 1x1 shortcuts.

    python -m benchmarks.replace --models resnet18 hrnet_w18

Names are timm's. The networks are built without memory for their weights, so large ones need none.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch

from benchmarks.side_by_side import OUTPUT, Row, show
from mgil.block.replace import SHORTCUTS, replace_stride2
from mgil.engine.cli import run_cli

MODELS = ("resnet18", "resnet50", "hrnet_w18", "repvgg_a0", "mobilenetv3_small_100", "mobilenetv3_large_100")


def parameters(model: str) -> Row:
    """Count one network, with its strided convolutions and its 1x1 shortcuts among them.

    Args:
        model: a name of timm's.

    Raises:
        ValueError: timm has no such model, or nothing in it can be replaced.
    """
    import timm

    if not timm.is_model(model):
        raise ValueError(f"timm has no model {model!r}; timm.list_models() has the names")
    row: Row = {"model": model}
    for shortcuts in SHORTCUTS:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what blocks as shortcuts cost: it is in the table
            result = replace_stride2(timm.create_model(model), shortcuts=shortcuts)
        if shortcuts == "keep":
            kept_1x1 = sum(reason.startswith("1x1") for reason in result.kept.values())
            row |= {"before": result.parameters_before, "blocks": len(result.replaced), "1x1 shortcuts": kept_1x1}
            row["others kept"] = len(result.kept) - kept_1x1
        row[shortcuts] = result.parameters_after
    return row


def main() -> None:
    """Count, print one table and write it as csv."""
    parser = argparse.ArgumentParser(description="Parameters before and after replace_stride2.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of timm's models")
    parser.add_argument("--csv", type=Path, default=OUTPUT / "replace.csv", help="where the table goes")
    arguments = parser.parse_args()
    rows = [parameters(model) for model in arguments.models]
    show("Parameters before and after replace_stride2", rows, arguments.csv)


if __name__ == "__main__":
    run_cli(main)
