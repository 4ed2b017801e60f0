"""Pose's side of export: what a file says of its key points, what its output must be, and how far it is from PyTorch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mgil.files.literals import literal, shown, whole
from mgil.tasks.base import ExportFacts
from mgil.tasks.pose.config import MOST_SPLIT
from mgil.tasks.pose.crops import CROPS
from mgil.tasks.pose.network import PoseNetwork
from mgil.tasks.pose.skeleton import Skeleton, checked

KEYS = ("skeleton", "crop", "split")
PARTS = ("flip", "sigmas", "limbs")  # of the skeleton; its names are the file's
MOST_LIMBS = 10_000
SCORES = (-1e-3, 1 + 1e-3)  # probabilities, with the rounding of any runtime


def export_notes(model: PoseNetwork) -> dict[str, str]:
    """What val.py, detect.py and others need to know of a file: its skeleton, how to crop, bins of a pixel."""
    skeleton = model.skeleton.plain()
    parts = {key: skeleton[key] for key in PARTS}
    return {"skeleton": json.dumps(parts), "crop": model.crop, "split": str(model.split)}


def export_facts(metadata: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The attributes `skeleton`, `crop` and `split` of an exported file, as `PoseNetwork` has them.

    Args:
        metadata: Of the file, from anyone.
        names: Key points.

    Raises:
        ValueError: One is missing, or cannot be.
    """
    for key in KEYS:
        if key not in metadata:
            raise ValueError(f"no {key}, which files for key points say; export it again")
    crop = metadata["crop"]
    if not isinstance(crop, str) or crop not in CROPS:
        raise ValueError(f"crop {shown(crop)} is none of {', '.join(CROPS)}")
    return {
        "skeleton": _skeleton(literal(metadata["skeleton"]), names),
        "crop": crop,
        "split": whole(metadata["split"], MOST_SPLIT),
    }


def _skeleton(parts: Any, names: tuple[str, ...]) -> Skeleton:
    if not isinstance(parts, dict) or set(parts) != set(PARTS):
        raise ValueError(f"skeleton {shown(parts)} has not the keys {', '.join(PARTS)}")
    flip, sigmas, limbs = (parts[key] for key in PARTS)
    count = len(names)
    if not _is_list(flip, count, (int,)):
        raise ValueError(f"flip {shown(flip)} is no list of {count} whole numbers")
    if not _is_list(sigmas, count, (int, float)):
        raise ValueError(f"sigmas {shown(sigmas)} is no list of {count} numbers")
    if not isinstance(limbs, list | tuple) or len(limbs) > MOST_LIMBS:
        raise ValueError(f"limbs {shown(limbs)} is no list of up to {MOST_LIMBS} pairs")
    for pair in limbs:
        if not _is_list(pair, 2, (int,)):
            raise ValueError(f"limb {shown(pair)} is no pair of whole numbers")
    try:
        return checked(names, flip, sigmas, [(first, second) for first, second in limbs])
    except ValueError as error:
        text = str(error)  # lists as long as there are key points
        raise ValueError(text if len(text) <= 200 else f"{text[:199]}…") from error


def _is_list(value: Any, count: int, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, list | tuple) and len(value) == count and all(type(part) in kinds for part in value)


def output_problem(shape: Sequence[int | None], facts: ExportFacts) -> str:
    """What is wrong with an output's shape, which is (B, K, 3)."""
    wanted = (len(facts.names), 3)
    if len(shape) == 3 and all(side in (own, None) for side, own in zip(shape[1:], wanted, strict=True)):
        return ""
    given = ", ".join("?" if side is None else str(side) for side in shape)
    return f"gives ({given}); a network of {wanted[0]} key points gives (batch, {wanted[0]}, 3)"


def cleaned(found: Tensor) -> Tensor:
    """Joints (B, K, 3); those whose score is no probability are NaN, which nobody takes for a result."""
    lowest, highest = SCORES
    score = found[..., 2:]
    return found.where((score >= lowest) & (score <= highest), math.nan)


def bins_at(points: Tensor, count: int, split: int, bins: str) -> Tensor:
    """The bins, int64, whose middles are edge coordinates in pixels; -1 for what is no bin's middle.

    Args:
        points: Of any shape.
        count: Bins of an axis, n.
        split, bins: As in `mgil.tasks.pose.simcc`.
    """
    exact = points * split - 0.5 if bins == "half" else (points - 0.5) * split
    nearest = exact.round()
    there = exact.isfinite() & ((exact - nearest).abs() < 0.05) & (nearest >= 0) & (nearest < count)
    return torch.where(there, nearest, -1).long()
