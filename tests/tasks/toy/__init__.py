"""A task of its own, outside the project: the mean colour of a picture, learnt by some 500 parameters.

It proves that the engine knows no task: nothing of mgil/engine was touched for it.
"""

from __future__ import annotations

from mgil.tasks.registry import register


def enter() -> None:
    """Make the toy known to this process."""
    register("toy", "tests.tasks.toy")
