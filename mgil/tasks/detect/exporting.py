"""Detection's side of export: what comes into a file beside the network, and what its outputs must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from mgil.files.literals import fraction, truth
from mgil.networks.detector import DetectionModel
from mgil.networks.head import Detect
from mgil.tasks.detect.export_check import compare
from mgil.tasks.detect.export_head import DeployedHead
from mgil.tasks.detect.options import ExportOptions
from mgil.tasks.detect.suppression import Suppression
from mgil.tasks.exported import ExportFacts, Exporting


class DetectFacts(ExportFacts, Protocol):
    """What an exported detector says about itself, see `suppression_facts`."""

    has_nms: bool


def suppression_facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of an exported file.

    Returns:
        `has_nms`: it suppresses boxes itself and gives (B, n, 6) x1 y1 x2 y2 score class; `own_conf_thres`,
        `own_iou_thres` (None: it does not say) and `own_agnostic` of that.

    Raises:
        ValueError: A value is not what its key says.
    """
    return {
        "has_nms": truth(metadata.get("nms", False)),
        "own_conf_thres": fraction(metadata["conf_thres"]) if "conf_thres" in metadata else None,
        "own_iou_thres": fraction(metadata["iou_thres"]) if "iou_thres" in metadata else None,
        "own_agnostic": truth(metadata.get("agnostic", False)),
    }


def suppression_inside(options: ExportOptions) -> Suppression | None:
    """Non-maximum suppression, with YOLOv5's defaults where a flag is not given; None where none is asked for."""
    if not options.suppresses:
        return None
    given = {
        "conf_thres": options.conf_thres,
        "iou_thres": options.iou_thres,
        "per_class": options.topk_per_class,
        "total": options.topk_all,
    }
    values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return Suppression(agnostic=options.agnostic_nms, **values)


def deploy_head(model: DetectionModel, twin: DetectionModel, size_hw: tuple[int, int] | None) -> None:
    """Give `twin` a head with little to decode; see `mgil.tasks.base.Task`.

    Raises:
        ValueError: The model's head decodes in a way of its own.
    """
    kind = type(model.head)
    if (kind.forward, kind.decode) != (Detect.forward, Detect.decode):
        raise ValueError(f"the head {kind.__name__} has a forward or decode of its own; only Detect's can be exported")
    twin.model[-1] = DeployedHead(model.head, twin.head.m, size_hw)


def output_problem(shape: Sequence[int | None], facts: DetectFacts) -> str:
    """What is wrong with an output's shape: (B, N, 5 + classes), or (B, n, 6) where the file suppresses boxes."""
    values = 6 if facts.has_nms else 5 + len(facts.names)
    if len(shape) == 3 and shape[2] in (values, None):
        return ""
    given = ", ".join("?" if side is None else str(side) for side in shape)
    return f"gives ({given}); a detector of {len(facts.names)} classes gives (batch, n, {values})"


def without_nameless(found: Tensor, facts: DetectFacts) -> Tensor:
    """A file's boxes without those of a class that has no name, which are no detections."""
    if not facts.has_nms:
        return found
    return found.where(((found[..., 5] >= 0) & (found[..., 5] < len(facts.names)))[..., None], 0.0)


class DetectExport:
    """The part of `DetectTask` that is about exported files; see `mgil.tasks.base.Task`."""

    def inside(self, options: ExportOptions) -> Suppression | None:
        """Non-maximum suppression, with YOLOv5's defaults where a flag is not given."""
        return suppression_inside(options)

    def deploy_head(self, model: DetectionModel, twin: DetectionModel, size_hw: tuple[int, int] | None) -> None:
        """A head with little to decode."""
        deploy_head(model, twin, size_hw)

    def export_notes(self, model: DetectionModel) -> dict[str, str]:
        """YOLOv5's key; `Suppression.notes` says otherwise."""
        return {"nms": "false"}

    def export_facts(self, metadata: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        """Whether the file suppresses boxes itself, and how."""
        return suppression_facts(metadata)

    def compare(self, found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> object:
        """Boxes in pixels, and scores."""
        return compare(found, expected, job)

    def output_problem(self, shape: Sequence[int | None], facts: Any) -> str:
        """(B, N, 5 + classes), or (B, n, 6) of a file that suppresses boxes itself."""
        return output_problem(shape, facts)

    def cleaned(self, found: Tensor, facts: Any) -> Tensor:
        """A class that has no name is no detection."""
        return without_nameless(found, facts)
