"""The one rule for input sizes: sides of SMALLEST_PX to MOST_SIDE, rounded up to multiples of the model's stride."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mgil.files.limits import MOST_SIDE
from mgil.files.text import Report

SMALLEST_PX = 32


def warn(line: str) -> None:
    """Show a line as a Python warning: for use from Python, where nothing is printed."""
    warnings.warn(line.removeprefix("warning: "), stacklevel=3)


def check_input_size(sides: Sequence[int]) -> None:
    """Raise ValueError for a side that is too small or too large to be meant."""
    given = f"--imgsz {' '.join(map(str, sides))}"
    if any(side < SMALLEST_PX for side in sides):
        raise ValueError(f"{given}: the smallest size is {SMALLEST_PX}")
    if any(side > MOST_SIDE for side in sides):
        raise ValueError(f"{given}: the largest size is {MOST_SIDE}")


def round_up(side: int, stride: int) -> int:
    """The next multiple of the stride."""
    return -(-side // stride) * stride


def input_size_hw(sides: Sequence[int], stride: int, report: Report) -> tuple[int, int]:
    """Height and width of the network's input.

    Args:
        sides: what is wanted, in pixels: one side for both, or height and width.
        stride: the model's largest.
        report: told when it is not what was wanted.

    Raises:
        ValueError: a side that is too small or too large.
    """
    check_input_size(sides)
    sides = sides[:1] if sides[0] == sides[-1] else sides
    fitting = [round_up(side, stride) for side in sides]
    if fitting != list(sides):
        wanted, used = ("x".join(map(str, shape)) for shape in (sides, fitting))
        report(f"warning: input size {wanted} is not a multiple of the stride {stride}; {used} is used")
    return fitting[0], fitting[-1]
