"""Images that were whole when the split was read and cannot be read any more: gone, changed or damaged within."""

from __future__ import annotations

from collections.abc import Iterator

from mgil.files.text import Report

SHOWN = 10  # images that are told by name


class Unreadable:
    """Which images are skipped in training or evaluation, each told once.

    An image stays out until the end of the run, even should it come back: its labels are gone by then.

    Args:
        total: images of the split, over all processes.
        strict: make any such image an error.
        report: gets a line for each of the first.
    """

    def __init__(self, total: int, *, strict: bool, report: Report) -> None:
        self.total = total
        self.strict = strict
        self.report = report
        self.images: set[int] = set()  # data set indices
        self._new: list[tuple[int, str]] = []  # with their problems

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def __contains__(self, image: object) -> bool:
        """Whether the image of this index is skipped."""
        return image in self.images

    def __iter__(self) -> Iterator[int]:
        """Their indices, ascending."""
        return iter(sorted(self.images))

    def take_new(self) -> list[tuple[int, str]]:
        """The images added since the last call, with their problems, for the `add` of other processes."""
        new, self._new = self._new, []
        return new

    def add(self, image: int, problem: str) -> None:
        """Skip an image from now on.

        Args:
            image: data set index.
            problem: what is wrong with it, with its path.

        Raises:
            ValueError: `strict`, or more than half of the images are skipped by now, as when a disk is gone.
        """
        if image in self.images:
            return
        self.images.add(image)
        self._new.append((image, problem))
        if self.strict:
            raise ValueError(f"{problem}; an error with --strict")
        if 2 * len(self.images) > self.total:
            raise ValueError(f"{problem}; with it more than half of the images ({len(self.images)}) cannot be read")
        if len(self.images) <= SHOWN:
            self.report(f"{problem}; skipped")
        elif len(self.images) == SHOWN + 1:
            self.report("further images cannot be read either; they are skipped without a line each")
