"""Mixed precision in training: the number type of the forward pass, and the gradient scaling that float16 needs."""

from __future__ import annotations

import torch

from mgil.engine.devices import FOUND_AMX, amp_on, slow_amp
from mgil.engine.distributed import from_main
from mgil.files.text import Report
from mgil.networks.precision import DTYPES, autocast


class Precision:
    """Autocast and gradient scaler for one device.

    Args:
        choice: `auto` is bfloat16 on a GPU that has it, else float16 there; on a CPU bfloat16 where it has AMX, else
            float32. `off` is float32.
        device: Where the training runs.

    Attributes:
        choice: `off`, `bf16` or `fp16`.

    Raises:
        ValueError: An unknown choice, or float16 on a CPU.
    """

    def __init__(self, choice: str, device: torch.device) -> None:
        self.choice = amp_on(device, choice, training=True)
        self.device = device
        self.dtype = DTYPES[self.choice]
        # disabled, it passes losses and steps through unchanged
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.choice == "fp16")

    @property
    def of_validation(self) -> str:
        """The number type of validation: on a CPU that of training, on a GPU float32, as val.py has it by itself."""
        return self.choice if self.device.type == "cpu" else "off"

    def autocast(self) -> torch.autocast:
        """Context for the forward pass."""
        return autocast(self.device, self.choice)

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


def precision_of(choice: str, device: torch.device, resumed: bool, report: Report) -> Precision:
    """The precision of a run: all processes have the main one's, and a resumed run keeps what it began with.

    Args:
        choice: Of `--amp`; of a resumed run what last.pt has.
        device: Of this process.
        resumed: Whether the run goes on.
        report: Told where `auto` would be another one here, and where it is slow.

    Raises:
        ValueError: As `Precision`.
    """
    own = amp_on(device, "auto", training=True)
    if resumed and choice == "auto":  # written when that was float32 on every CPU
        choice = "off" if device.type == "cpu" else own
    if resumed and choice == "fp16" and device.type != "cuda":
        report(f"--amp fp16 needs a GPU: with --amp {own} it is another run from here on")
        choice = own
    elif resumed and choice != own:
        report(f"the run goes on with --amp {choice}, as it began; --amp auto would be {own} here")
    precision = Precision(from_main(amp_on(device, choice, training=True)), device)
    if resumed:
        return precision
    found = choice == "auto" and device.type == "cpu" and precision.choice == "bf16"
    if line := FOUND_AMX if found else slow_amp(precision.choice, device):
        report(line)
    return precision
