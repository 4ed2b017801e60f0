"""Importing a library that changes the process it is imported into, with all that put back."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import cv2
import numpy as np
import torch
from PIL import Image

# Functions that ultralytics replaces, on some systems or on all.
_PATCHED = ((torch, "save"), (Image, "open"), (cv2, "imread"), (cv2, "imwrite"), (cv2, "imshow"))


@contextmanager
def process_put_back(environment: Mapping[str, str], loggers: tuple[str, ...]) -> Iterator[None]:
    """Put back environment variables, threads, warning filters, print options, loggers and patched functions.

    Args:
        environment: Variables to set for the time in between; "{}" in a value stands for the path of an empty folder,
            which is deleted at the end.
        loggers: Names of those that may be changed.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mgil-"))
        stack.enter_context(_environment({name: value.format(folder) for name, value in environment.items()}))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.printoptions())
        stack.callback(torch.set_printoptions, **torch._tensor_str.get_printoptions())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        for module, name in _PATCHED:
            stack.callback(setattr, module, name, getattr(module, name))
        for name in loggers:
            stack.enter_context(_logger(logging.getLogger(name)))
        yield


@contextmanager
def never_imported(package: str) -> Iterator[None]:
    """Forget the modules of a package that are imported in between; who holds one may go on using it.

    So a later `import` by the user runs the package's code anew, with the user's own settings.
    """
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == package:
                del sys.modules[name]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextmanager
def _logger(logger: logging.Logger) -> Iterator[None]:
    level, handlers, propagate, disabled = logger.level, list(logger.handlers), logger.propagate, logger.disabled
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate, logger.disabled = propagate, disabled
