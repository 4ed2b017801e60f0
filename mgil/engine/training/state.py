"""What a checkpoint holds of a run, and how a resumed run takes it up again."""

from __future__ import annotations

from typing import Any

import numpy as np

from mgil.engine.distributed import from_main
from mgil.engine.training.content import differences, summary
from mgil.engine.training.parts import RunParts
from mgil.engine.training.random_state import random_state, restore_random_state
from mgil.engine.training.resume import patience_is_over, read_progress, sound_state
from mgil.engine.weights.checkpoints import Checkpoint, save_checkpoint
from mgil.networks.network import Network


def save(run: RunParts, epoch: int, best: bool, last: bool) -> None:
    """Write the checkpoints that are due after an epoch.

    Args:
        run: Its averaged weights are saved.
        epoch: The epoch that is done, from 0.
        best: No epoch before was better.
        last: No epoch follows.
    """
    config, weights = run.config, run.folder / "weights"
    model, info = _averaged(run, epoch)
    if best:
        save_best(run, epoch)
    if config.save_period > 0 and (epoch + 1) % config.save_period == 0:
        save_checkpoint(weights / f"epoch{epoch}.pt", model, info, task=run.task.name)
    if not config.nosave or last:  # after all else: from here on a resumed run takes the epoch for done
        save_checkpoint(weights / "last.pt", model, info, training_state(run), task=run.task.name)


def save_best(run: RunParts, epoch: int) -> None:
    """Write best.pt, unless the run keeps only its last checkpoint."""
    if not run.config.nosave:
        model, info = _averaged(run, epoch)
        save_checkpoint(run.folder / "weights" / "best.pt", model, info, task=run.task.name)


def _averaged(run: RunParts, epoch: int) -> tuple[Network, dict[str, Any]]:
    """The averaged weights, and what a checkpoint says about them."""
    model = run.trainer.ema.model
    assert isinstance(model, Network)
    info = {"epoch": epoch, "fitness": run.progress.best_fitness, "data": str(run.splits.data.yaml_path)}
    if values := run.splits.data.values:
        info["range"] = list(values.ends)
    return model, info


def training_state(run: RunParts) -> dict[str, Any]:
    """Everything that resuming needs: tensors and plain values."""
    loader = run.trainer.loader
    weights = loader.image_weights
    return {
        "config": run.config.as_dict(),
        "hyp": run.recipe.as_dict(),
        "progress": vars(run.progress),
        "content": run.content,
        "resting": list(run.resting),
        "factors": run.factors,
        "store": "resident" if loader.store.window is None else "streamed",
        "trainer": run.trainer.state(),
        "image_weights": None if weights is None else weights.tolist(),
        "random": [random_state(run.device), *run.random_states[1:]],  # validation may have moved this process's
    }


def _check_content(run: RunParts, checkpoint: Checkpoint) -> None:
    """Refuse other classes, and other images and labels at another place; at the same place these are told."""
    state, data = checkpoint.training, run.splits.data.yaml_path
    with sound_state(checkpoint):
        older = {"train": {"images": state["images"]}} if "images" in state else {}  # versions that kept no more
        earlier = {"names": list(checkpoint.names), **state.get("content", older)}
        changed = differences(run.content, earlier)
    moved = str(data) != checkpoint.info.get("data")
    if changed and (moved or checkpoint.names != run.splits.data.names):
        raise ValueError(
            f"--resume {checkpoint.path}: {data} is not what it was trained on; {'; '.join(changed)}. A run goes on "
            f"with the same names, images and labels alone; to train on others, begin anew with --weights "
            f"{checkpoint.path}"
        )
    for line in changed:
        run.report(f"{line}: from here on it is another run")
    if moved:
        run.report(f"--data {data} instead of {checkpoint.info.get('data')}: the same content ({summary(run.content)})")


def restore(run: RunParts, checkpoint: Checkpoint) -> None:
    """Take up the state of an interrupted run.

    Raises:
        ValueError: It is of other classes, damaged, or not the one that the main process has.
    """
    state = checkpoint.training
    _check_content(run, checkpoint)
    if from_main(state["progress"]) != state["progress"]:
        raise ValueError(f"--resume {checkpoint.path}: not the one that the main process has; copy that here")
    if checkpoint.values != run.splits.data.values:
        now, before = (values or "neither bits nor range" for values in (run.splits.data.values, checkpoint.values))
        run.report(f"{run.splits.data.yaml_path} has {now}, the run had {before}: from here on it is another run")
    run.progress = read_progress(checkpoint)
    with sound_state(checkpoint):
        run.trainer.restore(state["trainer"], checkpoint.state_dict)
        if state["image_weights"] is not None:
            loader = run.trainer.loader
            loader.set_image_weights(np.array(state["image_weights"]))  # which checks them
            loader.image_weights = np.array(state["image_weights"])  # the bits, not normalised again
    restore_random_state(checkpoint, run.device, run.report)
    done = run.progress.epoch >= run.config.epochs or patience_is_over(run.progress, run.config)
    where = "after its last epoch" if done else f"at epoch {run.progress.epoch + 1}"
    run.report(f"resuming {checkpoint.path} {where}")
