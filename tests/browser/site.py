"""The served page as the tests use it: what it is asked and what it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PATIENCE_MS = 60_000  # for a busy machine


class Found(NamedTuple):
    """One row of the page's table."""

    name: str
    score: float
    box_xyxy: np.ndarray


class Site(NamedTuple):
    """A folder with the page and models, and its address."""

    folder: Path
    address: str

    @property
    def page(self) -> str:
        return f"{self.address}/browser/"


def says(page: Any, selector: str, text: str | re.Pattern[str]) -> None:
    """Wait until an element of the page contains a text."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(text, timeout=PATIENCE_MS)


def open_model(page: Any, path: Path) -> None:
    page.set_input_files("#model-file", path)
    says(page, "#model-text", f"{path.name}: input")


def look_at(page: Any, picture: Path) -> list[Found]:
    page.set_input_files("#image-file", picture)
    says(page, "#source-text", picture.name)
    says(page, "#summary", re.compile("found"))
    return shown(page)


def shown(page: Any) -> list[Found]:
    found = []
    cells = "[...document.querySelectorAll('#rows tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    for name, score, left, top, width, height in page.evaluate(cells):
        x1, y1 = float(left), float(top)
        box_xyxy = np.array([x1, y1, x1 + float(width), y1 + float(height)])
        found.append(Found(name, float(score), box_xyxy))
    return found


def iou(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.clip(sides, 0, None).prod())
    return shared / (float((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod()) - shared)


def assert_same(found: list[Found], expected: list[Found]) -> None:
    assert [row.name for row in found] == [row.name for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert iou(one.box_xyxy, other.box_xyxy) > 0.9
        assert abs(one.score - other.score) < 0.02
