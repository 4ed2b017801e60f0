"""`--amp`, written once for all commands. Nothing is imported here that `--help` would wait for."""

from __future__ import annotations

from typing import Any

from mgil.files.flags import flag

AMP_CHOICES = ("auto", "off", "bf16", "fp16")


def amp_flag() -> Any:
    """The field of a command's flags."""
    return flag(
        "auto",
        choices=AMP_CHOICES,
        help="mixed precision; auto: bf16 on a CPU with AMX, off on another; on a GPU bf16 or fp16 in training alone",
    )


def check_amp_and_half(amp: str, half: bool) -> None:
    """Raise ValueError where `--half`, which is float16, and `--amp` ask for two number types."""
    if half and amp not in ("auto", "fp16"):
        raise ValueError(f"--half computes in float16, --amp {amp} does not; give one of them")
