"""The models of a study of classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.study_host_models import HostModel
from mgil.networks.network import Network
from mgil.tasks.classify.config import load_architecture, stem_at
from mgil.tasks.classify.network import build_class_network


@dataclass(frozen=True)
class ClassModel(HostModel):
    """A model of a study of classification, see `HostModel`."""

    NO_DEFINITION: ClassVar[tuple[str, ...]] = ("source", "crop")
    PUBLISHED: ClassVar[str] = "published top-1"

    @staticmethod
    def load(cfg: str | Mapping[str, Any]) -> dict[str, Any]:
        """See `HostModel`."""
        return load_architecture(cfg)

    @staticmethod
    def build(architecture: Mapping[str, Any], names: Sequence[str], imgsz: int) -> Network:
        """See `HostModel`."""
        return build_class_network(architecture, names, imgsz)

    @staticmethod
    def at_size(content: dict[str, Any], imgsz: int) -> dict[str, Any]:
        """The stem is that of the size."""
        return {**content, "stem": stem_at(content["stem"], imgsz)} if content.get("stem") else content
