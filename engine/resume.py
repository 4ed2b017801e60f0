"""Going on with an interrupted run: which checkpoint is meant, and what may change."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

from engine.checkpoints import Checkpoint
from engine.train_config import MAY_CHANGE_ON_RESUME, TrainConfig, config_from_dict

TRAINING_KEYS = {"config", "hyp", "progress", "trainer", "image_weights", "torch_rng", "cuda_rng"}


def find_resume(given: str) -> Path:
    """The checkpoint that `--resume` means: the file itself, a run's folder, or with "latest" the newest last.pt.

    Raises:
        FileNotFoundError: "latest", and there is none.
    """
    if given != "latest":
        path = Path(given)
        return path / "weights" / "last.pt" if path.is_dir() else path
    found = sorted(Path("runs").glob("**/weights/last.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError("--resume: there is no last.pt under runs/; give the file's path")
    return found[-1]


def resumed_config(config: TrainConfig, checkpoint: Checkpoint, given: Collection[str] | None = None) -> TrainConfig:
    """The interrupted run's options, with those changes that a resumed run may have.

    Args:
        config: What the user asks for now.
        checkpoint: The interrupted run's last.pt.
        given: Names of the options that the user gave; None: those that differ from their defaults.

    Raises:
        ValueError: A checkpoint made for inference, a run that is complete, or a change that would make it another
            run; the flag is named.
    """
    if not checkpoint.training.keys() >= TRAINING_KEYS:
        raise ValueError(f"--resume {checkpoint.path}: made for inference, not for resuming; give the run's last.pt")
    saved = config_from_dict(checkpoint.training["config"])
    default = TrainConfig()
    names = [item.name for item in fields(TrainConfig)]
    if given is None:
        given = [name for name in names if getattr(config, name) != getattr(default, name)]
    for name in given:
        value, own = getattr(config, name), getattr(saved, name)
        if name == "batch_size" and value == -1:  # the run goes on with the number that was found then
            continue
        if value != own and name not in MAY_CHANGE_ON_RESUME:
            flag, allowed = name.replace("_", "-"), ", ".join(MAY_CHANGE_ON_RESUME[1:])
            raise ValueError(f"--{flag} {value!r}: a resumed run keeps its own {own!r}; only {allowed} may change")
        saved = replace(saved, **{name: value})
    if checkpoint.training["progress"]["epoch"] >= saved.epochs:  # told before any data is read
        raise ValueError(f"--resume {checkpoint.path}: all {saved.epochs} epochs are done; ask for more with --epochs")
    return saved
