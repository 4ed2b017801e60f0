"""MGIL-YOLOv5: vision on small images, with a stride-2 layer that loses no information.

The names below are imported when they are first asked for: `import mgil` costs nothing, the block needs torch alone,
and `load_model` what the extra `all` installs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgil.block import MGIL, SPDConv, carry_over, reparameterise, replace_stride2
    from mgil.engine.prediction.load import load_model

__version__ = "0.1.0"

__all__ = ["MGIL", "SPDConv", "carry_over", "load_model", "reparameterise", "replace_stride2"]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'mgil' has no attribute {name!r}")
    home = "mgil.engine.prediction.load" if name == "load_model" else "mgil.block"
    return getattr(import_module(home), name)
