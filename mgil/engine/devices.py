"""What this machine has: the device to compute on, and a display."""

from __future__ import annotations

import os
import sys

import torch

from mgil.engine.distributed import local_rank, world_size


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


def lacks_display() -> bool:
    """Whether no window can be opened here, as far as it can be told: on Linux the environment says so."""
    return sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
