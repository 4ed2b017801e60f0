"""The models of a study of pose: YAMLs of models/ with changes of their keys made by the study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.study_widths import nearest_width
from mgil.networks.profile import profile
from mgil.tasks.pose.config import load_architecture, split_at
from mgil.tasks.pose.network import build_pose

PEERS = ("ultralytics",)
NO_DEFINITION = ("source", "crop", "skeleton")  # the training says how crops are taken, the data what joints are
WIDTH_STEP, WIDEST = 2, 512  # channels of the host, which halves them; its largest width in steps


@dataclass(frozen=True)
class PoseModel:
    """A model of a study of pose.

    Attributes:
        cfg: As for train.py --cfg, with or without .yaml; of a peer its own name for the model.
        name: In tables; default: that of `cfg`, of a peer with its project in brackets.
        peer: ultralytics: trained from scratch by that project's code; "": by this project's.
        keys: Keys of the YAML in place of the file's; of `host_options` those that are named.
        like: Another model, whose operations the host's width is to come nearest to, at the cell's input size.
        published: AP that the paper states for what this model stands for, in percent; None: none. For the table alone.

    Raises:
        ValueError: An unknown peer, or changes to a peer's model, which is its own.
    """

    cfg: str
    name: str = ""
    peer: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    like: PoseModel | None = None
    published: float | None = None

    def __post_init__(self) -> None:
        if self.peer and self.peer not in PEERS:
            raise ValueError(f"{self.cfg}: peer {self.peer!r} is none of {', '.join(PEERS)}")
        if self.peer and (self.keys or self.like):
            raise ValueError(f"{self.cfg} of {self.peer} is taken as it is: leave keys and like out")
        if self.like and self.like.peer:
            raise ValueError(f"{self.cfg}: like {self.like.name}: a peer's operations are not known before it is there")
        if not self.name:
            name = f"{self.cfg} ({self.peer})" if self.peer else Path(self.cfg).name.removesuffix(".yaml")
            object.__setattr__(self, "name", name)

    def definition(self, imgsz: int, joints: int) -> dict[str, Any]:
        """All that defines the model: its whole architecture at an input size, or a peer's name for it.

        Args:
            imgsz: Side of the crops in pixels.
            joints: Key points of a person.

        Raises:
            ValueError: A key or value that no model has, or no width gives the operations of `like`.
            FileNotFoundError: No such model.
        """
        if self.peer:
            return {"peer": self.peer, "model": self.cfg}
        content = load_architecture(self.cfg if self.cfg.endswith((".yaml", ".yml")) else f"{self.cfg}.yaml")
        options = {**content["host_options"], **self.keys.get("host_options", {})}
        content = load_architecture({**content, **self.keys, "host_options": options})
        content["split"] = split_at(content["split"], imgsz)
        definition = {key: value for key, value in content.items() if key not in NO_DEFINITION}
        if self.like:
            like = self.like.definition(imgsz, joints)
            width = width_like(json.dumps(definition), json.dumps(like), imgsz, joints)
            definition["host_options"] = {**options, "width": width}
        return definition

    def noted(self) -> dict[str, Any]:
        """What the rows of the csv say of it beside its name."""
        return {"published AP": self.published, "operations of": self.like.name if self.like else ""}


@cache
def width_like(architecture: str, other: str, imgsz: int, joints: int) -> int:
    """The width of the host of an architecture, as json, that gives it the operations of another one.

    Solving takes seconds, and the cells of a study share their models.

    Raises:
        ValueError: A host without a width, or none gives so many.
    """
    content = json.loads(architecture)
    if content["host"] != "csp":
        raise ValueError(f"host {content['host']} has no width to be changed; `like` is for the host csp")
    options = {"width": 32, **content["host_options"]}

    def cost(width: float) -> float:
        return mflops_of({**content, "host_options": {**options, "width": int(width)}}, imgsz, joints)

    wanted = mflops_of(json.loads(other), imgsz, joints)
    return int(nearest_width(cost, wanted, options["width"], WIDTH_STEP, WIDEST, "MFLOPs"))


def mflops_of(architecture: Mapping[str, Any], imgsz: int, joints: int) -> float:
    """Millions of operations for one crop, a multiply-add counted as two."""
    with torch.device("meta"):  # shapes alone: no weights are drawn
        model = build_pose(architecture, [f"joint {number}" for number in range(joints)], imgsz)
    return 1000 * profile(model, (imgsz, imgsz)).gflops
