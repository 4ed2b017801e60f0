"""Where people are looked for: in a detector's boxes, in those of a file, or in the whole picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mgil.files.text import Report, printable
from mgil.tasks.base import Followable, FollowingPredictor

PEOPLE = frozenset({"person", "people", "pedestrian", "pedestrians", "human"})  # what detectors call them
MOST_LISTED = 5  # names in a line


@dataclass(frozen=True)
class Boxes:
    """Boxes of one picture.

    Attributes:
        xyxy: (n, 4) float64 left, top, right, bottom in pixels, edges.
        scores: (n,) float64, 0..1.
    """

    xyxy: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.xyxy)

    def rows(self, chosen: np.ndarray) -> Boxes:
        """Those alone."""
        return Boxes(self.xyxy[chosen], self.scores[chosen])

    def within(self, height: int, width: int) -> Boxes:
        """What of them lies in the picture: cut off at its border; those of which nothing remains are left out."""
        finite = self.rows(np.isfinite(self.xyxy).all(axis=1) & np.isfinite(self.scores))
        cut = finite.xyxy.clip(0, (width, height, width, height))
        return Boxes(cut, finite.scores).rows((cut[:, 2:] > cut[:, :2]).all(axis=1))

    def best(self, most: int) -> Boxes:
        """The surest, in their order."""
        return self.rows(np.argsort(-self.scores, kind="stable")[:most])


class BoxSource(Protocol):
    """Says where the people of pictures are."""

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str], weak: bool) -> list[Boxes]:
        """Boxes of each (H, W, 3) picture; with `weak` also those that are too unsure to be shown."""


class WholePictures:
    """Each picture shows one person, who fills it."""

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str], weak: bool) -> list[Boxes]:
        """See `BoxSource`."""
        return [Boxes(np.array([[0.0, 0, *image.shape[1::-1]]]), np.ones(1)) for image in images]


class DetectedBoxes:
    """The people among what a detector finds.

    Args:
        finder: The detector.
        source: Its file, for messages.
        chosen: The classes were chosen by their indices, so that all that it finds counts.
        report: Told which of its classes are people.
    """

    def __init__(self, finder: FollowingPredictor, source: str, chosen: bool, report: Report) -> None:
        self._finder = finder
        self._classes = None if chosen else people_classes(finder.names)
        height, width = finder.size_hw
        seen = f"seen at up to {height}x{width} pixels"
        if self._classes is None:
            whom = "all that it finds" if len(finder.names) > 1 else f"its class {printable(finder.names[0])}"
            if len(finder.names) > 1 and not chosen:
                whom += f": none of its classes ({listed(finder.names)}) is called person; --classes chooses"
        else:
            whom = f"its class {listed([finder.names[index] for index in self._classes])}"
        report(f"people: those of {printable(source)}, {seen}; {whom}")

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str], weak: bool) -> list[Boxes]:
        """See `BoxSource`."""
        found = self._finder.candidates(images, paths) if weak else self._finder(images, paths)
        boxes = []
        for result in found:
            assert isinstance(result, Followable)  # as those of candidates are
            every = Boxes(result.boxes_xyxy.astype(np.float64), result.box_scores.astype(np.float64))
            boxes.append(every if self._classes is None else every.rows(np.isin(result.classes, self._classes)))
        return boxes


def people_classes(names: Sequence[str]) -> tuple[int, ...] | None:
    """The classes of a detector that are people, by their names; None: it has but one, or no name says so."""
    found = tuple(index for index, name in enumerate(names) if name.strip().lower() in PEOPLE)
    return found if found and len(names) > 1 else None


def listed(names: Sequence[str]) -> str:
    """The first of them, for a line."""
    shown = [printable(name) for name in names[:MOST_LISTED]]
    return ", ".join([*shown, *["..."] * (len(names) > MOST_LISTED)])
