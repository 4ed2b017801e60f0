"""The models of a study of pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.study_host_models import HostModel
from mgil.networks.network import Network
from mgil.tasks.pose.config import load_architecture, split_at
from mgil.tasks.pose.network import build_pose


@dataclass(frozen=True)
class PoseModel(HostModel):
    """A model of a study of pose; its peer ultralytics finds people in whole pictures."""

    PEERS: ClassVar[tuple[str, ...]] = ("ultralytics",)
    NO_DEFINITION: ClassVar[tuple[str, ...]] = ("source", "crop", "skeleton")

    @staticmethod
    def load(cfg: str | Mapping[str, Any]) -> dict[str, Any]:
        """See `HostModel`."""
        return load_architecture(cfg)

    @staticmethod
    def build(architecture: Mapping[str, Any], names: Sequence[str], imgsz: int) -> Network:
        """See `HostModel`."""
        return build_pose(architecture, names, imgsz)

    @staticmethod
    def at_size(content: dict[str, Any], imgsz: int) -> dict[str, Any]:
        """The bins of a pixel are those of the size."""
        return {**content, "split": split_at(content["split"], imgsz)}
