"""Libraries that only some commands need: imported when used, named when missing, never installed unasked."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingPackage(ValueError):
    """A library that is not installed, or cannot be loaded; the message names the pip package."""


def import_package(module: str, pip_name: str | None = None) -> ModuleType:
    """Import a library.

    Args:
        module: Its name in Python, e.g. "onnx" or "onnxruntime.quantization".
        pip_name: Its name for pip; by default the first part of the module's name.

    Raises:
        MissingPackage: It, or a library that it needs, is not installed or cannot be loaded.
    """
    top = module.partition(".")[0]
    package = pip_name or top
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or top).partition(".")[0]
        if missing == top:
            raise MissingPackage(f"{package} is not installed: pip install {package}") from error
        raise MissingPackage(f"{package} needs {missing}, which is not installed: pip install {missing}") from error
    except (ImportError, OSError, RuntimeError, AttributeError, TypeError) as error:  # broken
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingPackage(f"{package} is installed but cannot be loaded ({reason}); install it anew") from error
