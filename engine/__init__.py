"""What happens with models and data: training, evaluation, prediction, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.load import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """Import `load_model` when it is first asked for, so that importing one module of the room does not import all."""
    if name != "load_model":
        raise AttributeError(f"module 'engine' has no attribute '{name}'")
    from engine.load import load_model

    return load_model
