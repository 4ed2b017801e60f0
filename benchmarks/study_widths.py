"""The width of a model that gives it the operations of another."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

MOST_OFF = 0.1  # of the operations that are asked for


def nearest_width(
    cost_of: Callable[[float], float], wanted: float, start: float, step: float, widest: int, unit: str
) -> float:
    """The width whose operations come nearest to those that are wanted.

    Args:
        cost_of: Operations at a width; they grow with it.
        wanted: Operations.
        start: Width to begin from.
        step: Widths are multiples of this.
        widest: Largest width, in steps.
        unit: Of the operations, for messages.

    Raises:
        ValueError: Beyond what the widths reach, or between two that are both far off.
    """

    @cache
    def cost(steps: int) -> float:
        return cost_of(steps * step)

    # Operations grow about with the square of the width: a first guess, then ever longer strides until it is passed.
    begin = max(round(start / step), 1)
    low = high = min(max(round(begin * math.sqrt(wanted / cost(begin))), 1), widest)
    stride = 1
    while low > 1 and cost(low) > wanted:
        low, stride = max(low - stride, 1), 2 * stride
    while high < widest and cost(high) <= wanted:
        high, stride = min(high + stride, widest), 2 * stride
    if not cost(low) <= wanted <= cost(high):
        raise ValueError(f"no width up to {widest * step:g} gives {wanted:g} {unit}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= wanted else (low, middle)
    nearest = min((low, high), key=lambda steps: abs(cost(steps) - wanted))
    if abs(cost(nearest) - wanted) > MOST_OFF * wanted:  # channels come in steps
        reached = f"the nearest, {nearest * step:g}, gives {cost(nearest):.3g}"
        raise ValueError(f"no width gives {wanted:g} {unit}; {reached}")
    return nearest * step
