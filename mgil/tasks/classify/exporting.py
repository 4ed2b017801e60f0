"""Classification's side of export: what a file says of its crops, and what its output must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mgil.files.literals import shown
from mgil.tasks.classify.crops import CROPS
from mgil.tasks.classify.export_check import compare
from mgil.tasks.classify.options import ExportOptions
from mgil.tasks.exported import ExportFacts, Exporting

if TYPE_CHECKING:
    from mgil.tasks.classify.network import ClassNetwork

ROUNDING = 1e-3  # by which a runtime's probabilities may leave 0..1
SUM_ROUNDING = 0.1  # of all of a picture's: in float16, of thousands of classes


def export_facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The attribute `crop` of an exported file, as `ClassNetwork` has it.

    Args:
        metadata: Of the file, from anyone.

    Raises:
        ValueError: It is missing, or cannot be.
    """
    if "crop" not in metadata:
        raise ValueError("no crop, which files for classes say; export it again")
    crop = metadata["crop"]
    if not isinstance(crop, str) or crop not in CROPS:
        raise ValueError(f"crop {shown(crop)} is none of {', '.join(CROPS)}")
    return {"crop": crop}


def output_problem(shape: Sequence[int | None], facts: ExportFacts) -> str:
    """What is wrong with an output's shape, which is (B, C)."""
    wanted = len(facts.names)
    if len(shape) == 2 and shape[1] in (wanted, None):
        return ""
    given = ", ".join("?" if side is None else str(side) for side in shape)
    return f"gives ({given}); a network of {wanted} classes gives (batch, {wanted})"


def cleaned(found: Tensor) -> Tensor:
    """Probabilities (B, C); a picture's that are none are NaN, which nobody takes for a result."""
    within = ((found >= -ROUNDING) & (found <= 1 + ROUNDING)).all(dim=1, keepdim=True)
    whole = (found.sum(dim=1, keepdim=True) - 1).abs() <= SUM_ROUNDING
    return found.where(within & whole, math.nan)


class ClassExport:
    """The part of `ClassTask` that is about exported files; see `mgil.tasks.base.Task`."""

    def inside(self, options: ExportOptions) -> None:
        """A file gives probabilities, and does nothing after; its input is a square."""
        sides = getattr(options, "imgsz", None) or ()
        if len(set(sides)) > 1:
            raise ValueError(f"--imgsz {' '.join(map(str, sides))}: a network for classes sees squares; give one side")

    def deploy_head(self, model: ClassNetwork, twin: ClassNetwork, size_hw: tuple[int, int] | None) -> None:
        """Softmax behind the logits."""
        twin.probabilities = True

    def export_notes(self, model: ClassNetwork) -> dict[str, str]:
        """Which part of a picture it looks at."""
        return {"crop": model.crop}

    def export_facts(self, metadata: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        """The same, read back."""
        return export_facts(metadata)

    def compare(self, found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> object:
        """Probabilities, and the likeliest class."""
        return compare(found, expected, job)

    def output_problem(self, shape: Sequence[int | None], facts: ExportFacts) -> str:
        """(B, C)."""
        return output_problem(shape, facts)

    def cleaned(self, found: Tensor, facts: ExportFacts) -> Tensor:
        """What is no probability is no result."""
        return cleaned(found)
