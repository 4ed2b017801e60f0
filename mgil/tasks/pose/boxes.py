"""Where people are looked for: in a detector's boxes, in those of a file, or in the whole picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mgil.files.text import Report, printable
from mgil.tasks.abilities import Followable, FollowingPredictor

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

    @property
    def ltwh(self) -> np.ndarray:
        """(n, 4) left, top, width, height."""
        return np.concatenate((self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]), axis=1)

    def rows(self, chosen: np.ndarray) -> Boxes:
        """Those alone."""
        return Boxes(self.xyxy[chosen], self.scores[chosen])

    def within(self, height: int, width: int) -> Boxes:
        """What of them lies in the picture: cut off at its border; those of which nothing remains are left out."""
        finite = self.rows(np.isfinite(self.xyxy).all(axis=1) & np.isfinite(self.scores))
        cut = finite.xyxy.clip(0, (width, height, width, height))
        has_area = np.all(cut[:, 2:] > cut[:, :2], axis=1)
        return Boxes(cut, finite.scores).rows(has_area)

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
        report(f"people: {whom(source, finder.names, self._classes, chosen)}")

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str], weak: bool) -> list[Boxes]:
        """See `BoxSource`."""
        found = self._finder.candidates(images, paths) if weak else self._finder(images, paths)
        boxes = []
        for result in found:
            assert isinstance(result, Followable)  # as those of candidates are
            boxes.append(people_in(result, self._classes))
        return boxes


def people_in(result: Followable, classes: Sequence[int] | None) -> Boxes:
    """The boxes of those classes; None: all."""
    every = Boxes(result.boxes_xyxy.astype(np.float64), result.box_scores.astype(np.float64))
    return every if classes is None else every.rows(np.isin(result.classes, classes))


def whom(source: str, names: Sequence[str], classes: Sequence[int] | None, chosen: bool) -> str:
    """Which of a detector's classes count, in words."""
    start = f"boxes of {printable(source)}"
    if classes is not None:
        return f"{start}, class {listed([names[index] for index in classes])}"
    if len(names) == 1:
        return f"{start}, class {printable(names[0])}"
    if chosen:
        return f"{start}, of the classes of --classes"
    return f"{start}, of all its classes ({listed(names)}): none is called person; --classes chooses"


def people_classes(names: Sequence[str]) -> tuple[int, ...] | None:
    """The classes of a detector that are people, by their names; None: it has but one, or no name says so."""
    found = tuple(index for index, name in enumerate(names) if name.strip().lower() in PEOPLE)
    return found if found and len(names) > 1 else None


def listed(names: Sequence[str]) -> str:
    """The first of them, for a line."""
    shown = [printable(name) for name in names[:MOST_LISTED]]
    return ", ".join([*shown, *["..."] * (len(names) > MOST_LISTED)])
