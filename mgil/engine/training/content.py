"""What a run learns from, so that a resumed run knows its data set again wherever that lies now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from torch import nn

from mgil.datasets.reading.samples import digest_of
from mgil.engine.training.setup import Splits
from mgil.tasks.base import Split

_WHAT = {"file names": "file names, or their order", "labels": "labels or image sizes"}


def content_of(splits: Splits, teacher: nn.Module | None = None) -> dict[str, Any]:
    """Plain values that are equal for two data sets with the same names, images and labels, and for no others.

    Images are known by their paths below the folder that they have in common, in the order of the split. A teacher is
    known by its weights.
    """
    found = {"train": splits.train, "val": splits.val}
    content: dict[str, Any] = {
        "names": list(splits.data.names),
        **{split: _facts(images) for split, images in found.items()},
    }
    if teacher is not None:
        content["teacher"] = digest_of(*(value.cpu().numpy() for value in teacher.state_dict().values()))
    return content


def differences(found: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    """What is not as it was, in words.

    Args:
        found: The content now.
        earlier: That of the run. What an older version did not keep is not compared, nor a split that one side lacks.
    """
    told = []
    names, had = found["names"], earlier.get("names", found["names"])
    if names != had:
        told.append(f"names: {', '.join(names[:5])}, the run had {', '.join(map(str, had[:5]))}")
    if "teacher" in found and earlier.get("teacher", found["teacher"]) != found["teacher"]:
        told.append("teacher: other weights")
    for split in ("train", "val"):
        now, before = found[split] or {}, earlier.get(split) or {}
        changed = [key for key in before if key in now and now[key] != before[key]]
        counts = [key for key in changed if isinstance(now[key], int)]
        if counts:  # which explain the rest
            had = ", ".join(f"{before[key]}" if len(counts) == 1 else f"{before[key]} {key}" for key in counts)
            told.append(f"{split}: {', '.join(f'{now[key]} {key}' for key in counts)}, the run had {had}")
        elif changed:
            told.append(f"{split}: other {' and other '.join(_WHAT.get(key, key) for key in changed)}")
    return told


def summary(content: dict[str, Any]) -> str:
    """The numbers of a content in a few words."""
    parts = ((split, content[split]) for split in ("train", "val") if content[split])
    return "; ".join(
        f"{split}: {', '.join(f'{value} {key}' for key, value in facts.items() if isinstance(value, int))}"
        for split, facts in parts
    )


def _facts(images: Split | None) -> dict[str, Any] | None:
    if images is None:
        return None
    return {"images": len(images), **images.content(), "file names": _names_digest(images.image_paths)}


def _names_digest(paths: Sequence[str]) -> str:
    places = [os.path.abspath(path) for path in paths]
    try:
        common = len(os.path.commonpath({os.path.dirname(place) for place in places}))
    except ValueError:  # no image, or several drives
        common = 0
    digest = hashlib.sha256()
    for place in places:
        digest.update(os.fsencode(place[common:].replace(os.sep, "/").strip("/")) + b"\0")
    return digest.hexdigest()
