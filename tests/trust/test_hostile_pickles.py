"""Pickles in checkpoints: what they refer to is found without running them, and quickly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.weights.checkpoints import load_checkpoint
from mgil.engine.weights.pickle_names import references_in
from tests.trust import hostile
from tests.trust.hostile import MEGABYTES, SECONDS
from tests.trust.limits import bounded


def refusal(path: Path) -> str:
    """What is said of a checkpoint that is refused."""
    with bounded(SECONDS, MEGABYTES), pytest.raises(ValueError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and message.isprintable(), message
    return message


def test_pickles_are_followed_in_a_time_that_grows_with_their_length() -> None:
    with bounded(SECONDS, MEGABYTES):
        found = references_in(hostile.high_stack(300_000, 100_000))
    assert not found.names and not found.persistent


@pytest.mark.parametrize(
    ("pickled", "names", "persistent"),
    [
        (b"\x80\x02cos\nsystem\n(X\1\0\0\0a(K\1(tt0.", 1, 0),  # tuples in tuples are left out
        (b"\x80\x02((00X\1\0\0\0aK\2\x86Q.", 0, 1),  # POP takes a mark that nothing lies on
        (b"\x80\x02](K\1eX\1\0\0\0a\x85Q.", 0, 1),
    ],
)
def test_what_pickles_refer_to(pickled: bytes, names: int, persistent: int) -> None:
    found = references_in(pickled)
    assert (len(found.names), len(found.persistent)) == (names, persistent)


@pytest.mark.parametrize("pickled", [b"K\1(2.", b"K\1(\x85.", b"(Q.", b"t.", b"K\1(K\1\x86Q.", b"0."])
def test_pickles_that_reach_below_a_mark(pickled: bytes) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        references_in(pickled)


def yolov5_model(**changes: Any) -> dict[str, Any]:
    """What YOLOv5 saves, in small: a pickled module, with a buffer and an attribute that is none."""
    model, head = torch.nn.Module(), torch.nn.Module()
    model.yaml, model.names, model.stride = {"nc": 1}, ["a"], torch.tensor([8.0, 16.0, 32.0])
    head.register_buffer("anchors", torch.ones(3, 3, 2))
    head.anchor_grid = [torch.ones(1, 3, 1, 1, 2).expand(1, 3, 8, 8, 2)]
    model.add_module("head", head)
    for name, value in changes.items():
        setattr(head if name in ("anchors", "anchor_grid") else model, name, value)
    return {"model": model, "ema": None}


def test_yolov5_checkpoints_saved_after_inference(tmp_path: Path) -> None:
    """The head keeps a grid then, whose elements share their memory; nothing that is used may do so."""
    path = hostile.save(yolov5_model(), tmp_path / "a.pt")
    checkpoint = load_checkpoint(path)
    assert checkpoint.architecture["anchors"] == [[side] * 6 for side in (8.0, 16.0, 32.0)]
    endless = torch.ones(1).expand(10**12)
    for change in (
        {"anchor_grid": [endless]},
        {"anchors": torch.ones(1, 1, 1).expand(3, 3, 2)},
        {"anchors": endless.view(1, -1, 1)},
        {"stride": torch.ones(1).expand(3)},
        {"stride": torch.ones(100_000)},
    ):
        hostile.save(yolov5_model(**change), path)
        refusal(path)


def test_the_old_format_is_told_by_its_name(tmp_path: Path) -> None:
    path = hostile.save(yolov5_model(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    said = f"{path}: in PyTorch's old format; load and save it again with PyTorch 1.6 or newer"
    assert refusal(path) == said
