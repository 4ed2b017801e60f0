"""What train.py does: a config in, a run folder with weights, numbers and pictures out."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from mgil.engine.devices import select_device
from mgil.engine.distributed import from_all, from_main, is_main, process_group
from mgil.engine.evaluation.evaluate import Evaluation, evaluate
from mgil.engine.stopping import how_to_go_on
from mgil.engine.training.config import TrainFlags
from mgil.engine.training.log import TimeLeft
from mgil.engine.training.parts import RunParts, open_log, put_together
from mgil.engine.training.plots import plot_results
from mgil.engine.training.progress import START_EPOCH
from mgil.engine.training.random_state import random_state
from mgil.engine.training.resume import checkpoint_to_resume, patience_is_over, resumed_config
from mgil.engine.training.state import restore, save, save_best
from mgil.engine.training.trainer import EpochLosses
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.files.text import Report
from mgil.tasks.base import Loss
from mgil.tasks.registry import task_named


def run_train(
    config: TrainFlags, report: Report = print, given: Collection[str] | None = None, program: str = "train.py"
) -> Path:
    """Train a network.

    Args:
        config: The run's options.
        report: Gets the lines for people, in the main process only.
        given: Names of the options that the user gave, which a resumed run is checked for; None: those that differ
            from their defaults.
        program: How the user calls it, "train.py" or "mgil train"; for messages.

    Returns:
        The run's folder.

    Raises:
        FileNotFoundError: Data, weights, model or recipe that are not there.
        ValueError: Options that do not fit together.
        FloatingPointError: Losses, weights or validations become NaN.
        KeyboardInterrupt: Ctrl-C; it says how to go on.
    """
    report = report if is_main() else lambda _line: None
    resumed = checkpoint_to_resume(config) if config.resume else None
    if resumed:
        config = resumed_config(config, resumed, given, report)
    task = task_named(config.task)
    device = select_device(config.device)
    run: RunParts | None = None
    with process_group(device), ExitStack() as closing:
        try:
            run = put_together(config, task, device, resumed, report, closing)
            if resumed:
                restore(run, resumed)
            if is_main():
                open_log(run, closing)
            train(run)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {last_good(run)}" if run else str(error)) from error
        except KeyboardInterrupt as stop:
            last = run.folder / "weights" / "last.pt" if run else resumed.path if resumed else None
            raise KeyboardInterrupt(how_to_go_on(last, config.nosave, program)) from stop
    return run.folder


def train(run: RunParts) -> None:
    """All epochs, then the evaluation of the best weights."""
    config, trainer = run.config, run.trainer
    run.report(f"training {config.epochs} epochs at {config.imgsz} px on {run.device}, into {run.folder}")
    if is_main() and run.progress.epoch == 0:
        draw_items(run, score_start(run) if config.weights and not config.noval else None)
    share_item_weights(run)
    started, time_left = time.perf_counter(), TimeLeft()
    for epoch in range(run.progress.epoch, config.epochs):
        if from_main(patience_is_over(run.progress, config)):  # here, so that a run resumed after that ends too
            run.report(f"no better fitness for {config.patience} epochs; stopping")
            break
        losses = trainer.train_epoch(epoch, f"{epoch + 1}/{config.epochs}" if is_main() else None)
        run.random_states = from_all(random_state(run.device))
        if is_main():
            finish_epoch(run, epoch, losses, time_left)
        share_item_weights(run)
    if is_main():
        run.report(f"trained in {(time.perf_counter() - started) / 60:.1f} minutes{gained(run)}")
        finish(run)


def draw_items(run: RunParts, scores: Any) -> None:
    """Choose how often the coming epoch draws each item, by the last scores, of which there may be none yet."""
    weights = run.task.item_weights(run.splits.train, scores, run.config)
    if weights is not None:
        run.trainer.loader.set_image_weights(weights)


def share_item_weights(run: RunParts) -> None:
    """Give those of the main process, which alone validates, to the others."""
    run.trainer.loader.image_weights = from_main(run.trainer.loader.image_weights)


def score_start(run: RunParts) -> Any:
    """Validate the loaded weights before the first step; with best.pt kept, it is they until an epoch is better.

    Returns:
        The task's scores; None without a split for that.
    """
    if run.splits.val is None:
        return None
    assert run.log and run.written
    found = validate(run, run.trainer.ema.model, run.val_loss)
    run.report(f"epoch 0/{run.config.epochs}  the weights as loaded  {found.scores.summary()}")
    run.log.add({"epoch": START_EPOCH, **_columns(run, found)}, START_EPOCH)
    run.progress.begin(found.scores.fitness, kept=not run.config.nosave)
    run.written.keep_up()
    save_best(run, START_EPOCH)
    return found.scores


def finish_epoch(run: RunParts, epoch: int, losses: EpochLosses, time_left: TimeLeft) -> None:
    """Validate, log, save; in the main process."""
    config, progress = run.config, run.progress
    last = epoch + 1 == config.epochs
    values = {"epoch": epoch, **losses.columns()}
    best, good = False, True
    line = f"epoch {epoch + 1}/{config.epochs}  {losses}"
    if run.splits.val is not None and (not config.noval or last):
        found = validate(run, run.trainer.ema.model, run.val_loss)
        values |= _columns(run, found)
        good = progress.accept(found.losses, last)
        best = good and progress.record(found.scores.fitness)
        line += f"  {found.scores.summary()}"
        draw_items(run, found.scores)
    run.report(f"{line}  {losses.seconds:.1f} s{time_left.after_epoch(config.epochs - epoch - 1)}")
    progress.epoch = epoch + 1
    assert run.log and run.written
    run.log.add(values, epoch)
    run.written.keep_up()
    if good:
        save(run, epoch, best, last or patience_is_over(progress, config))
    else:
        run.report(f"epoch {epoch + 1}: the validation losses are NaN or Inf; no checkpoint is written")


def _columns(run: RunParts, found: Evaluation) -> dict[str, float]:
    """The columns of results.csv that a validation fills."""
    losses = {f"val/{term}_loss": value for term, value in zip(run.val_loss.terms, found.losses, strict=True)}
    return {**found.scores.columns(), **losses}


def validate(run: RunParts, model: nn.Module, loss: Loss | None, pictures: bool = False) -> Evaluation:
    """Score weights on the validation split."""
    assert run.splits.val is not None and run.eval_loader is not None
    folder = run.folder if pictures else None
    judge = run.task.judge(model, run.splits.val, run.splits.data, run.config, folder)
    return evaluate(model, run.eval_loader, judge, device=run.device, loss=loss)


def finish(run: RunParts) -> None:
    """Evaluate the best weights once more, with every table and picture."""
    config, weights = run.config, run.folder / "weights"
    if run.splits.val is None:
        if not config.noplots:
            plot_results(run.folder / "results.csv", run.folder / "results.png")
        run.report(f"no val split, so nothing is scored and no epoch is the best: take {weights / 'last.pt'}")
        return
    chosen = weights / ("last.pt" if config.nosave or not (weights / "best.pt").exists() else "best.pt")
    model = model_from_checkpoint(chosen, run.device).computing_in(run.trainer.precision.of_validation)
    found = validate(run, model, loss=None, pictures=not config.noplots)
    run.report(found.speed_line(run.eval_batch, run.task.last_stage))
    for line in found.scores.lines(config.imgsz, verbose=False):
        run.report(line)
    assert run.written
    run.written.keep_up()
    if not config.noplots:
        plot_results(run.folder / "results.csv", run.folder / "results.png")
    found.scores.write(run.folder, pictures=not config.noplots)
    run.report(f"results saved to {run.folder}")


def gained(run: RunParts) -> str:
    """What the best epoch has over the weights that the run began with, for the line that ends the training."""
    start, best, epoch = run.progress.start_fitness, run.progress.best_fitness, run.progress.best_epoch
    if start < 0:
        return ""
    if best > start:
        where = f"in epoch {epoch + 1}"
        return f"; fitness {best:.4f} {where}, {best - start:+.4f} over the weights as loaded"
    kept = ": best.pt is these" if epoch == START_EPOCH else ""
    return f"; no epoch was better than the weights as loaded (fitness {start:.4f}){kept}"


def last_good(run: RunParts) -> str:
    """Where the state is from which one could go on."""
    path = run.folder / "weights" / "last.pt"
    return f"{path} is the last good state" if path.exists() else "there is no checkpoint yet"
