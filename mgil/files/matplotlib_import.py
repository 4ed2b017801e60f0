"""matplotlib, imported so that neither a notebook's settings nor the user's can end a run, and drawing by its defaults.

Pictures go into files: no backend, window or style sheet is needed, and the user's own figures keep theirs.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from mgil.files.packages import import_package

BACKEND = "MPLBACKEND"  # Jupyter and Colab name one that other environments do not have


def load_matplotlib() -> ModuleType:
    """Import matplotlib, whatever MPLBACKEND and matplotlibrc files say; a backend that it knows stays chosen.

    Raises:
        MissingPackage: It is not installed, or cannot be loaded.
    """
    if (loaded := sys.modules.get("matplotlib")) is not None:
        return loaded
    chosen = os.environ.pop(BACKEND, None)
    try:
        with _quiet():
            matplotlib = _imported()
            if chosen:
                with suppress(ValueError):  # as matplotlib itself does when it is imported
                    matplotlib.rcParams["backend"] = chosen
    finally:
        if chosen is not None:
            os.environ[BACKEND] = chosen
    return matplotlib


def _imported() -> ModuleType:
    try:
        return import_package("matplotlib")
    except UnicodeDecodeError:  # a matplotlibrc that is no text; the one in the working folder counts first
        data = matplotlib_data()
        assert data is not None
        for half_done in [name for name in sys.modules if name.startswith("matplotlib.")]:
            del sys.modules[half_done]
        before = Path.cwd()
        os.chdir(data)
        try:
            return import_package("matplotlib")
        finally:
            os.chdir(before)


def matplotlib_data() -> Path | None:
    """The folder of matplotlib's own fonts and settings, found without importing it; None where it is not installed."""
    try:
        spec = find_spec("matplotlib")
    except (ImportError, ValueError):  # something stands in its place
        return None
    return Path(spec.origin).parent / "mpl-data" if spec and spec.origin else None


@contextmanager
def own_settings() -> Iterator[None]:
    """Inside, or in a function that this decorates, matplotlib has its defaults and says nothing; after, the user's.

    Raises:
        MissingPackage: As `load_matplotlib`.
    """
    matplotlib = load_matplotlib()
    defaults = matplotlib.rcParamsDefault
    own = {name: defaults[name] for name in defaults if not name.startswith("backend")}
    with _quiet(), matplotlib.rc_context(own):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back matplotlib's remarks about folders, settings, layouts and letters."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
