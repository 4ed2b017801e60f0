"""Are there NaN or Inf among these numbers, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def first_not_finite(tensors: Any, name: str = "") -> str:
    """Name of the first tensor in a nesting of mappings and lists that holds NaN or Inf; "" when there is none."""
    if isinstance(tensors, Tensor):
        # one pass: a sum is NaN or Inf as soon as one value is; a sum that overflows is looked at closely
        finite = not tensors.is_floating_point() or tensors.sum().isfinite() or tensors.isfinite().all()
        return "" if finite else name
    items: Any = tensors.items() if isinstance(tensors, Mapping) else ()
    if isinstance(tensors, list | tuple):
        items = enumerate(tensors)
    return next((found for key, value in items if (found := first_not_finite(value, f"{name}.{key}".lstrip(".")))), "")
