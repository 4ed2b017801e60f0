"""Mixed precision: which number type the forward pass uses, and the gradient scaling that float16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from mgil.engine.training.config import AMP_CHOICES


class Precision:
    """Autocast and gradient scaler for one device.

    Args:
        choice: `auto` is bfloat16 on a GPU that has it, else float16 there, and float32 on a CPU; `off` is float32.
        device: Where the training runs.

    Raises:
        ValueError: An unknown choice, or float16 on a CPU.
    """

    def __init__(self, choice: str, device: torch.device) -> None:
        if choice not in AMP_CHOICES:
            raise ValueError(f"--amp {choice!r}: choose one of {', '.join(AMP_CHOICES)}")
        if choice == "fp16" and device.type != "cuda":
            raise ValueError(f"--amp fp16 needs a GPU, and the device is {device.type}; use --amp bf16 or off")
        if choice == "auto":
            choice = "off" if device.type != "cuda" else "bf16" if _has_bfloat16(device) else "fp16"
        self.choice = choice
        self.device = device
        self.dtype = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[choice]
        # disabled, it passes losses and steps through unchanged
        self.scaler = torch.amp.GradScaler(device.type, enabled=choice == "fp16")

    def autocast(self) -> AbstractContextManager[None]:
        """Context for the forward pass."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.choice != "off")

    def update(self, fault: torch.Tensor) -> None:
        """Let the scaler learn from a step; one at fault leaves no trace in it.

        Args:
            fault: () bool on the device, which is not waited for.
        """
        if not self.scaler.is_enabled():
            return
        state: tuple[torch.Tensor, torch.Tensor] = (self.scaler._scale, self.scaler._growth_tracker)  # type: ignore[assignment]
        before = [value.clone() for value in state]
        self.scaler.update()
        for value, old in zip(state, before, strict=True):
            value.copy_(torch.where(fault, old, value))


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the card computes in bfloat16 itself (compute capability 8.0 and later), not by emulation."""
    return torch.cuda.get_device_capability(device) >= (8, 0)
