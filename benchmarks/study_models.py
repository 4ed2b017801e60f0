"""The models of a study: architectures with changes made by the study instead of by copies of model files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.study_widths import nearest_width
from mgil.networks.config import load_architecture
from mgil.networks.detector import build_model
from mgil.networks.head import Detect
from mgil.networks.profile import profile

PEERS = ("yolov5", "ultralytics")
# Channels are rounded up to multiples of 8, and the widest rows of the shipped models have 1024 at width 1: a step of
# 1/128 reaches every model there is.
WIDTH_STEPS = 128
WIDEST = 4 * WIDTH_STEPS
BLOCK = "MGIL"


@dataclass(frozen=True)
class Model:
    """A model of a study.

    Attributes:
        cfg: as for train.py --cfg, with or without .yaml; of a peer its own name for the model.
        name: in tables; default: that of `cfg`, of a peer with its project in brackets.
        peer: yolov5 or ultralytics: trained from scratch by that project's code; "": by this project's.
        rows: other rows in place of the file's, by their number; the others stay where they are.
        mgil: options for every MGIL row, in place of the row's own of the same name.
        width: width multiple; 0: the file's.
        like: cfg of another model, whose operations at 640 px and 80 classes the width is to come nearest to.

    Raises:
        ValueError: an unknown peer, or changes to a peer's model, which is its own.
    """

    cfg: str
    name: str = ""
    peer: str = ""
    rows: Mapping[int, list[Any]] = field(default_factory=dict)
    mgil: Mapping[str, Any] = field(default_factory=dict)
    width: float = 0.0
    like: str = ""

    def __post_init__(self) -> None:
        if self.peer and self.peer not in PEERS:
            raise ValueError(f"{self.cfg}: peer {self.peer!r} is none of {', '.join(PEERS)}")
        if self.peer and (self.rows or self.mgil or self.width or self.like):
            raise ValueError(f"{self.cfg} of {self.peer} is taken as it is: leave rows, mgil, width and like out")
        if self.width and self.like:
            raise ValueError(f"{self.cfg}: give width {self.width:g} or like {self.like!r}, not both")
        if not self.name:
            name = f"{self.cfg} ({self.peer})" if self.peer else Path(self.cfg).name.removesuffix(".yaml")
            object.__setattr__(self, "name", name)

    def definition(self) -> dict[str, Any]:
        """All that defines the model: its whole architecture, or a peer's name for it.

        Raises:
            ValueError: options for MGIL rows where there are none, a row number or a width that no model has.
            FileNotFoundError: no such model.
        """
        if self.peer:
            return {"peer": self.peer, "model": self.cfg}
        architecture = load_cfg(self.cfg)
        if self.rows:
            architecture |= with_rows(architecture, self.rows, self.cfg)
        if self.mgil:
            every = [*architecture["backbone"], *architecture["head"]]
            if all(row[2] != BLOCK for row in every):
                raise ValueError(f"{self.cfg} has no {BLOCK} row to give {dict(self.mgil)} to")
            for part in ("backbone", "head"):
                architecture[part] = [with_options(row, self.mgil) for row in architecture[part]]
        if self.width:
            architecture["width_multiple"] = self.width
        elif self.like:
            architecture["width_multiple"] = width_like(json.dumps(architecture), self.like)
        return architecture


def load_cfg(cfg: str) -> dict[str, Any]:
    """The architecture of a model's name or path, without what does not define it."""
    architecture = load_architecture(cfg if cfg.endswith((".yaml", ".yml")) else f"{cfg}.yaml")
    return {key: value for key, value in architecture.items() if key not in ("source", "nc", "ch")}


def with_rows(architecture: Mapping[str, Any], rows: Mapping[int, list[Any]], cfg: str) -> dict[str, Any]:
    """Backbone and head with other rows in some places."""
    split = len(architecture["backbone"])
    every = [*architecture["backbone"], *architecture["head"]]
    for number, row in rows.items():
        if not 0 <= number < len(every):
            raise ValueError(f"{cfg} has no row {number}; rows are numbered 0 to {len(every) - 1}, the head's too")
        every[number] = row
    return {"backbone": every[:split], "head": every[split:]}


def with_options(row: list[Any], options: Mapping[str, Any]) -> list[Any]:
    """A row of a model YAML; an MGIL row with `options` in its args."""
    if row[2] != BLOCK:
        return row
    *start, arguments = row
    own = arguments[-1] if isinstance(arguments[-1], dict) else {}
    return [*start, [*(value for value in arguments if value is not own), {**own, **options}]]


@cache
def width_like(architecture: str, cfg: str) -> float:
    """The width multiple that gives an architecture, as json, the operations of another model.

    Solving takes seconds, and the cells of a study share their models.
    """
    return solve_width(json.loads(architecture), gflops_of(load_cfg(cfg)))


def solve_width(architecture: Mapping[str, Any], gflops: float) -> float:
    """The width multiple whose operations come nearest to `gflops`, in steps of 1/128.

    Raises:
        ValueError: beyond what widths from 1/128 to 4 reach, or between two that are both far off.
    """

    def cost(width: float) -> float:
        return gflops_of({**architecture, "width_multiple": width})

    return nearest_width(cost, gflops, architecture["width_multiple"], 1 / WIDTH_STEPS, WIDEST, "GFLOPs")


def gflops_of(architecture: Mapping[str, Any]) -> float:
    """Billions of operations at 640 px and 80 classes, a multiply-add counted as two."""
    unread = patch("mgil.networks.detector.write_anchors")  # no values of anchors either
    with torch.device("meta"), patch.object(Detect, "start_biases"), unread:  # shapes alone: no weights are drawn
        return profile(build_model(architecture, num_classes=80)).gflops
