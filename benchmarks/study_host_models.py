"""The models of a study whose networks have a host: YAMLs of models/ with changes of their keys made by the study."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.study_widths import nearest_width
from mgil.networks.network import Network
from mgil.networks.profile import profile

WIDTH_STEP, WIDEST = 2, 512  # channels of the host's first stage; the largest in steps
CSP_WIDTH, RESNET_WIDTH = 32, 64  # where the YAML says nothing


@dataclass(frozen=True)
class HostModel(ABC):
    """A model of a study of pose or of classification.

    Attributes:
        cfg: As for train.py --cfg, with or without .yaml; of a peer its own name for the model.
        name: In tables; default: that of `cfg`, of a peer with its project in brackets.
        peer: A project that trains it from scratch by its own code; "": by this project's.
        keys: Keys of the YAML in place of the file's; of `host_options` those that are named.
        like: Another model, whose operations the host's width is to come nearest to, at the cell's input size.
        published: What the paper states for what this model stands for, in percent; None: nothing. For the table alone.

    Raises:
        ValueError: An unknown peer, or changes to a peer's model, which is its own.
    """

    PEERS: ClassVar[tuple[str, ...]] = ()
    NO_DEFINITION: ClassVar[tuple[str, ...]] = ("source",)  # keys that the training or the data say
    PUBLISHED: ClassVar[str] = "published AP"  # the column of `published`

    cfg: str
    name: str = ""
    peer: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    like: HostModel | None = None
    published: float | None = None

    def __post_init__(self) -> None:
        if self.peer and self.peer not in self.PEERS:
            known = ", ".join(self.PEERS) or "there are none of this task"
            raise ValueError(f"{self.cfg}: peer {self.peer!r} is none of {known}")
        if self.peer and (self.keys or self.like):
            raise ValueError(f"{self.cfg} of {self.peer} is taken as it is: leave keys and like out")
        if self.like and self.like.peer:
            raise ValueError(f"{self.cfg}: like {self.like.name}: a peer's operations are not known before it is there")
        if not self.name:
            name = f"{self.cfg} ({self.peer})" if self.peer else Path(self.cfg).name.removesuffix(".yaml")
            object.__setattr__(self, "name", name)

    @staticmethod
    @abstractmethod
    def load(cfg: str | Mapping[str, Any]) -> dict[str, Any]:
        """The checked content of a YAML."""

    @staticmethod
    @abstractmethod
    def build(architecture: Mapping[str, Any], names: Sequence[str], imgsz: int) -> Network:
        """The network of such content."""

    @staticmethod
    def at_size(content: dict[str, Any], imgsz: int) -> dict[str, Any]:
        """The content with what depends on the input size."""
        return content

    def definition(self, imgsz: int, count: int) -> dict[str, Any]:
        """All that defines the model: its whole architecture at an input size, or a peer's name for it.

        Args:
            imgsz: Side of the input in pixels.
            count: Key points of a person, or classes.

        Raises:
            ValueError: A key or value that no model has, or no width gives the operations of `like`.
            FileNotFoundError: No such model.
        """
        if self.peer:
            return {"peer": self.peer, "model": self.cfg}
        content = self.load(self.cfg if self.cfg.endswith((".yaml", ".yml")) else f"{self.cfg}.yaml")
        changed = {key: value for key, value in self.keys.items() if key != "host_options"}
        options = {**content.get("host_options", {}), **self.keys.get("host_options", {})}
        if options or "host_options" in content:
            changed["host_options"] = options
        content = self.at_size(self.load({**content, **changed}), imgsz)
        definition = {key: value for key, value in content.items() if key not in self.NO_DEFINITION}
        if self.like:
            like = self.like.definition(imgsz, count)
            width = width_like(type(self), json.dumps(definition), json.dumps(like), imgsz, count)
            definition = at_width(definition, width)
        return definition

    def noted(self) -> dict[str, Any]:
        """What the rows of the csv say of it beside its name."""
        return {self.PUBLISHED: self.published, "operations of": self.like.name if self.like else ""}


def at_width(content: Mapping[str, Any], width: int) -> dict[str, Any]:
    """An architecture with a host of another width.

    Raises:
        ValueError: A host without a width.
    """
    host = content.get("host", "")
    if host == "csp":
        width_options: dict[str, Any] = {"width": width}
    elif str(host).startswith("resnet"):
        width_options = {"channels": [width, 2 * width, 4 * width, 8 * width]}
    else:
        raise ValueError(f"host {host} has no width to be changed; `like` is for csp and ResNets")
    return {**content, "host_options": {**content["host_options"], **width_options}}


@cache
def width_like(kind: type[HostModel], architecture: str, other: str, imgsz: int, count: int) -> int:
    """The width of the host of an architecture, as json, that gives it the operations of another one.

    Solving takes seconds, and the cells of a study share their models.

    Raises:
        ValueError: A host without a width, or none gives so many.
    """
    content = json.loads(architecture)
    options = content.get("host_options", {})
    start = options.get("width", CSP_WIDTH) if content.get("host") == "csp" else RESNET_WIDTH

    def cost(width: float) -> float:
        return mflops_of(kind, at_width(content, int(width)), imgsz, count)

    wanted = mflops_of(kind, json.loads(other), imgsz, count)
    return int(nearest_width(cost, wanted, start, WIDTH_STEP, WIDEST, "MFLOPs"))


def mflops_of(kind: type[HostModel], architecture: Mapping[str, Any], imgsz: int, count: int) -> float:
    """Millions of operations for one input, a multiply-add counted as two."""
    with torch.device("meta"):  # shapes alone: no weights are drawn
        model = kind.build(architecture, [f"name {number}" for number in range(count)], imgsz)
    return 1000 * profile(model, (imgsz, imgsz)).gflops
