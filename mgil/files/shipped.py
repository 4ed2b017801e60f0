"""The YAML files and pictures that come with the project: `models/` and `data/` of the checkout, or of the wheel."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """The folder `models` or `data`.

    In a checkout it lies beside the package, where users of YOLOv5 look for it; the wheel carries it inside.
    """
    inside = PACKAGE / "shipped" / name
    return inside if inside.is_dir() else PACKAGE.parent / name


EXAMPLES = shipped("data") / "images"  # the pictures
