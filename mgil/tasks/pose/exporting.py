"""Pose's side of export: what a file says of its key points, and what its output must be."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mgil.files.literals import literal, shown, whole
from mgil.tasks.exported import ExportFacts, Exporting
from mgil.tasks.pose.config import MOST_SPLIT
from mgil.tasks.pose.export_check import compare
from mgil.tasks.pose.network import PoseNetwork
from mgil.tasks.pose.options import CROPS, ExportOptions
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


class PoseExport:
    """The part of `PoseTask` that is about exported files; see `mgil.tasks.base.Task`."""

    def inside(self, options: ExportOptions) -> None:
        """A file decodes joints, and does nothing after."""

    def deploy_head(self, model: PoseNetwork, twin: PoseNetwork, size_hw: tuple[int, int] | None) -> None:
        """Joints in place of logits."""
        twin.decoded = True

    def export_notes(self, model: PoseNetwork) -> dict[str, str]:
        """Skeleton, crop, bins of a pixel."""
        return export_notes(model)

    def export_facts(self, metadata: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        """The same, read back."""
        return export_facts(metadata, names)

    def compare(self, found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> object:
        """Places and scores; what lies elsewhere must be as likely."""
        return compare(found, expected, job)

    def output_problem(self, shape: Sequence[int | None], facts: ExportFacts) -> str:
        """(B, K, 3)."""
        return output_problem(shape, facts)

    def cleaned(self, found: Tensor, facts: ExportFacts) -> Tensor:
        """A score that is no probability is of no joint."""
        return cleaned(found)
