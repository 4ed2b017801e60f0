"""The flag --degrade: pictures made worse before a network sees them, and of several strengths one point for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgil.datasets.batches.degradation_steps import EXAMPLE, Step, steps_of
from mgil.files.flags import flag

if TYPE_CHECKING:
    from mgil.datasets.batches.degrade import Degradation

START = "start"


@dataclass(frozen=True)
class Point:
    """What pictures go through.

    Attributes:
        varied: the step whose strength this point stands for; None: what all strengths are compared with.
        degradation: all steps in their order; None: pictures stay as they are.
    """

    varied: Step | None
    degradation: Degradation | None

    def __str__(self) -> str:
        return str(self.varied or START)

    @property
    def folder(self) -> str:
        """Name of its files' folder."""
        return str(self).replace(":", "_")


def degrade_flag(more: str = "") -> Any:
    """The field `degrade` of a command's config; `more` ends the help."""
    return flag(
        (),
        nargs="+",
        help=f"make every picture worse before it is resized, one step after another: {EXAMPLE}, in its own pixels "
        f"and grey levels of 255{more}",
    )


def check_degrade(words: Sequence[str], *, several: bool) -> None:
    """Raise ValueError for what --degrade does not know, or for `several` strengths where one is all there can be."""
    varied: list[str] = []
    for word in words:
        try:
            steps = steps_of(word)
        except ValueError as error:
            raise ValueError(f"--degrade {word}: {error}") from error
        if len(steps) > 1 and not several:
            raise ValueError(f"--degrade {word}: give one strength; val.py compares several")
        if len(steps) > 1 and steps[0].kind in varied:
            raise ValueError(f"--degrade {word}: write all strengths of {steps[0].kind} into one word")
        varied += [steps[0].kind] * (len(steps) > 1)


def has_several(words: Sequence[str]) -> bool:
    """Whether words that `check_degrade` let pass ask for several points."""
    return any(len(steps_of(word)) > 1 for word in words)


def points_of(words: Sequence[str]) -> tuple[Point, ...]:
    """What --degrade asks for, from words that `check_degrade` let pass.

    A word of several strengths is tried by itself, at each of them, among the words of one: those are in every point.
    The first point has these alone.
    """
    from mgil.datasets.batches.degrade import Degradation  # with OpenCV, which --help can do without

    steps = [steps_of(word) for word in words]
    chains: list[tuple[Step | None, list[Step]]] = [(None, [one[0] for one in steps if len(one) == 1])]
    for place, strengths in enumerate(steps):
        if len(strengths) > 1:
            before = [one[0] for one in steps[:place] if len(one) == 1]
            after = [one[0] for one in steps[place + 1 :] if len(one) == 1]
            chains += [(step, [*before, step, *after]) for step in strengths]
    return tuple(Point(varied, Degradation(tuple(chain)) if chain else None) for varied, chain in chains)
