"""The number types that a network can compute in (mixed precision): its outputs are float32 in each."""

from __future__ import annotations

from typing import Any

import torch

DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """PyTorch's context in which convolutions compute in a number type.

    Args:
        device: Where they do.
        amp: A key of `DTYPES`; "off" is float32, also inside of another such context.
    """
    return torch.autocast(device.type, DTYPES[amp], enabled=amp != "off")


def as_float32(outputs: Any) -> Any:
    """A network's outputs, tensors nested in lists and tuples or not, with float32 in place of bfloat16 and float16."""
    if isinstance(outputs, list | tuple):
        return type(outputs)(map(as_float32, outputs))
    narrow = isinstance(outputs, torch.Tensor) and outputs.dtype in (torch.bfloat16, torch.float16)
    return outputs.float() if narrow else outputs
