"""What this machine has: the device to compute on, its number types, and a display."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import torch

from mgil.engine.amp import AMP_CHOICES
from mgil.engine.distributed import local_rank, world_size

BFLOAT16 = ("AMX", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10")  # in the values of ONEDNN_MAX_CPU_ISA that allow it
FOUND_AMX = "this CPU has AMX: the network computes in bfloat16; --amp off is float32"


def select_device(text: str = "") -> torch.device:
    """Turn YOLOv5's `--device` into a device.

    Args:
        text: "" (the first GPU if there is one, else the CPU), "cpu", "mps", a GPU number, or under torchrun a list of
            them, of which this process takes its own.

    Raises:
        ValueError: No such device.
    """
    text = str(text).strip().lower().replace("cuda:", "").replace(" ", "")
    if text == "cpu":
        return torch.device("cpu")
    if text == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("--device mps: this PyTorch or machine has no Metal support; use --device cpu")
        return torch.device("mps")
    if text in ("", "cuda"):
        if not torch.cuda.is_available():
            if text:
                raise ValueError("--device cuda: there is no GPU here that PyTorch can use; use --device cpu")
            return torch.device("cpu")
        if world_size() == 1:
            return torch.device("cuda", 0)
        text = ",".join(map(str, range(torch.cuda.device_count())))
    return _numbered(text, world_size())


def _numbered(text: str, processes: int) -> torch.device:
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(f"--device {text!r}: give cpu, mps, a GPU number such as 0, or 0,1 under torchrun")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    missing = [number for number in numbers if int(number) >= count]
    if missing:
        raise ValueError(f"--device {text}: there is no GPU {missing[0]} here ({count} found); use --device cpu")
    if len(numbers) > 1 and processes == 1:
        raise ValueError(
            f"--device {text}: several GPUs need one process each: "
            f"torchrun --nproc_per_node {len(numbers)} train.py ..."
        )
    if local_rank() >= len(numbers):
        raise ValueError(f"--device {text}: process {local_rank()} of this machine has no GPU; start one per GPU")
    return torch.device("cuda", int(numbers[local_rank()]))


@cache
def has_amx() -> bool:
    """Whether PyTorch multiplies matrices of bfloat16 in this CPU's own units (Intel AMX, flag `amx_bf16`)."""
    return _has("amx_bf16", ("AMX",))


def has_bfloat16() -> bool:
    """Whether PyTorch's convolutions have instructions for bfloat16 here: AMX, or AVX-512's (flag `avx512_bf16`)."""
    return has_amx() or _has("avx512_bf16", BFLOAT16)


def onednn_may_use(instructions: tuple[str, ...] = BFLOAT16) -> bool:
    """Whether ONEDNN_MAX_CPU_ISA, which PyTorch's and OpenVINO's oneDNN heed, leaves them instructions.

    Args:
        instructions: What is in those of its values that do.
    """
    highest = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return highest in ("", "ALL", "DEFAULT") or any(name in highest for name in instructions)


def _has(flag: str, instructions: tuple[str, ...]) -> bool:
    """Whether the CPU has the flag, as PyTorch and Linux write it, and oneDNN may use it."""
    if not onednn_may_use(instructions):
        return False
    if hasattr(torch.cpu, "get_capabilities"):  # younger than the oldest PyTorch that is supported
        return bool(torch.cpu.get_capabilities().get(flag, False))
    listed = Path("/proc/cpuinfo")
    return listed.is_file() and flag in listed.read_text(encoding="utf-8", errors="replace").split()


def amp_on(device: torch.device, choice: str, *, training: bool = False) -> str:
    """The number type that `--amp` means: off (float32), bf16 or fp16.

    Args:
        device: Where the network computes.
        choice: `auto` is bf16 on a CPU with AMX. On a GPU it is bf16 or fp16 in training, and off else, as in YOLOv5,
            whose flag for it is `--half`.
        training: Whether it is trained.

    Raises:
        ValueError: An unknown choice, or float16 without a GPU.
    """
    if choice not in AMP_CHOICES:
        raise ValueError(f"--amp {choice!r}: choose one of {', '.join(AMP_CHOICES)}")
    if choice == "fp16" and device.type != "cuda":
        raise ValueError(f"--amp fp16 needs a GPU, and the device is {device.type}; use --amp bf16 or off")
    if choice != "auto":
        return choice
    if device.type == "cpu":
        return "bf16" if has_amx() else "off"
    if device.type == "cuda" and training:  # older cards than 8.0 only emulate bfloat16
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "off"


def slow_amp(amp: str, device: torch.device) -> str:
    """A line for people where a number type is slower than float32, else nothing."""
    slow = amp == "bf16" and device.type == "cpu" and not has_bfloat16()
    return "--amp bf16: this CPU has no instructions for bfloat16, which is slower here than float32" if slow else ""


def lacks_display() -> bool:
    """Whether no window can be opened here, as far as it can be told: on Linux the environment says so."""
    return sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
