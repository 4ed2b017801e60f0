"""The state of random numbers: seeded, saved, and taken up again by each process of a resumed run."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from mgil.engine.distributed import rank, world_size
from mgil.engine.training.resume import sound_state
from mgil.engine.weights.checkpoints import Checkpoint
from mgil.files.text import Report


def seed_everything(seed: int) -> None:
    """Seed every generator that a run might draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, torch.Tensor | None]:
    """The state of this process's random numbers: PyTorch's own and, on a GPU, that device's."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(checkpoint: Checkpoint, device: torch.device, report: Report) -> None:
    """Go on with the random numbers where each process of the interrupted run stood.

    A checkpoint holds one state per process. Where there are more or fewer processes now, each is seeded anew instead,
    with the first 64-bit word of `numpy.random.SeedSequence([seed, epochs done, rank])`. A file of an older version
    holds the main process's state alone and counts as one of a single process.
    """
    training = checkpoint.training
    with sound_state(checkpoint):
        states = _random_states(training, device)
        if len(states) != world_size():
            processes = "1 process" if len(states) == 1 else f"{len(states)} processes"
            report(
                f"{checkpoint.path}: holds the random states of {processes}, there are {world_size()} now: each starts "
                "anew with one from --seed, the epoch and its rank"
            )
            sequence = np.random.SeedSequence([training["config"]["seed"], training["progress"]["epoch"], rank()])
            torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))  # of GPUs too
            return
        state = states[rank()]
        torch.set_rng_state(state["torch"])
        if device.type == "cuda" and state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], device)


def _random_states(training: dict[str, Any], device: torch.device) -> list[dict[str, Any]]:
    """The saved states by rank."""
    if "random" in training:
        states = training["random"]
        if not isinstance(states, list) or not states:
            raise ValueError(f"random is {states!r:.40}, not a list of states")
        return states
    gpus, index = training["cuda_rng"], device.index or 0  # an older version saved those of all GPUs
    return [{"torch": training["torch_rng"], "cuda": gpus[index] if index < len(gpus) else None}]
