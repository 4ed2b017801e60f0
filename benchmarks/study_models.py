"""The models of a study: architectures with changes made by the study's YAML instead of by copies of model files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from models import build_model
from models.config import load_architecture
from models.head import Detect
from models.profile import profile

# Channels are rounded up to multiples of 8, and the widest rows of the shipped models have 1024 at width 1: a step of
# 1/128 reaches every model there is.
WIDTH_STEPS = 128
WIDEST = 4 * WIDTH_STEPS
MOST_OFF = 0.1  # of the operations that are asked for
BLOCK = "MGIL"


def resolve_architecture(
    cfg: str,
    *,
    rows: Mapping[int, list[Any]] | None = None,
    mgil: Mapping[str, Any] | None = None,
    width: float | Mapping[str, Any] | None = None,
    depth: float | None = None,
    folder: Path = Path("."),
) -> dict[str, Any]:
    """The architecture of a model entry, complete and independent of the file that it started from.

    Args:
        cfg: name or path as for train.py --cfg, with or without .yaml; a path may start from `folder`.
        rows: other rows in place of the file's, by their number; the others stay where they are.
        mgil: options for every MGIL row, in place of the row's own of the same name.
        width: width multiple; or `{gflops: 18.4}` or `{like: yolov5n-mgil}`, the width that comes nearest to these
            operations at 640 px and 80 classes.
        depth: depth multiple.
        folder: the study's.

    Raises:
        ValueError: options for MGIL rows where there are none, a row number or a width that no model has.
        FileNotFoundError: no such model.
    """
    architecture = load_architecture(find_cfg(cfg, folder))
    architecture = {key: value for key, value in architecture.items() if key not in ("source", "nc", "ch")}
    if rows:
        architecture |= with_rows(architecture, rows, cfg)
    if mgil:
        found = [row for part in ("backbone", "head") for row in architecture[part] if row[2] == BLOCK]
        if not found:
            raise ValueError(f"{cfg} has no {BLOCK} row to give {dict(mgil)} to")
        for part in ("backbone", "head"):
            architecture[part] = [with_options(row, mgil) for row in architecture[part]]
    if depth is not None:
        architecture["depth_multiple"] = depth
    if isinstance(width, Mapping):
        architecture["width_multiple"] = solve_width(architecture, target_gflops(width, folder))
    elif width is not None:
        architecture["width_multiple"] = width
    return architecture


def find_cfg(cfg: str, folder: Path) -> str:
    """A model's name or path as `load_architecture` takes it."""
    named = cfg if cfg.endswith((".yaml", ".yml")) else f"{cfg}.yaml"
    return str(folder / named) if (folder / named).is_file() else named


def with_rows(architecture: Mapping[str, Any], rows: Mapping[int, list[Any]], cfg: str) -> dict[str, Any]:
    """Backbone and head with other rows in some places."""
    if not isinstance(rows, Mapping):
        raise ValueError(f"{cfg}: rows: {rows!r} is no mapping of row numbers to rows")
    split = len(architecture["backbone"])
    every = [*architecture["backbone"], *architecture["head"]]
    for number, row in rows.items():
        if type(number) is not int or not 0 <= number < len(every):
            raise ValueError(f"{cfg} has no row {number!r}; rows are numbered 0 to {len(every) - 1}, the head's too")
        if not isinstance(row, list) or len(row) != 4:
            raise ValueError(f"{cfg}: rows: {number}: {row!r} is no row [from, number, module, args]")
        every[number] = row
    return {"backbone": every[:split], "head": every[split:]}


def with_options(row: list[Any], options: Mapping[str, Any]) -> list[Any]:
    """A row of a model YAML; an MGIL row with `options` in its args."""
    if row[2] != BLOCK:
        return row
    *start, arguments = row
    own = arguments[-1] if isinstance(arguments[-1], dict) else {}
    return [*start, [*(value for value in arguments if value is not own), {**own, **options}]]


def target_gflops(width: Mapping[str, Any], folder: Path) -> float:
    """What `width: {...}` asks for.

    Raises:
        ValueError: neither `gflops` nor `like`.
    """
    if set(width) == {"gflops"} and isinstance(width["gflops"], int | float):
        return float(width["gflops"])
    if set(width) == {"like"} and isinstance(width["like"], str):
        return gflops_of(load_architecture(find_cfg(width["like"], folder)))
    raise ValueError(f"width: {dict(width)} is neither a number, {{gflops: number}} nor {{like: model}}")


def solve_width(architecture: Mapping[str, Any], gflops: float) -> float:
    """The width multiple whose operations come nearest to `gflops`, in steps of 1/128.

    Raises:
        ValueError: beyond what widths from 1/128 to 4 reach, or between two that are both far off.
    """

    @cache
    def cost(steps: int) -> float:
        return gflops_of({**architecture, "width_multiple": steps / WIDTH_STEPS})

    # Operations grow about with the square of the width: a first guess, then ever longer strides until it is passed.
    start = max(round(architecture["width_multiple"] * WIDTH_STEPS), 1)
    low = high = min(max(round(start * math.sqrt(gflops / cost(start))), 1), WIDEST)
    stride = 1
    while low > 1 and cost(low) > gflops:
        low, stride = max(low - stride, 1), 2 * stride
    while high < WIDEST and cost(high) <= gflops:
        high, stride = min(high + stride, WIDEST), 2 * stride
    if not cost(low) <= gflops <= cost(high):
        raise ValueError(f"no width up to {WIDEST / WIDTH_STEPS:g} gives {gflops:g} GFLOPs")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= gflops else (low, middle)
    nearest = min((low, high), key=lambda steps: abs(cost(steps) - gflops))
    if abs(cost(nearest) - gflops) > MOST_OFF * gflops:  # channels come in steps of 8
        reached = f"the nearest, {nearest / WIDTH_STEPS:g}, gives {cost(nearest):.3g}"
        raise ValueError(f"no width gives {gflops:g} GFLOPs; {reached}")
    return nearest / WIDTH_STEPS


def gflops_of(architecture: Mapping[str, Any]) -> float:
    """Billions of operations at 640 px and 80 classes, a multiply-add counted as two."""
    with torch.device("meta"), patch.object(Detect, "start_biases"):  # shapes alone: no weights are drawn
        return profile(build_model(architecture, num_classes=80)).gflops
