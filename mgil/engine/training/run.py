"""What train.py does: a config in, a run folder with weights, numbers and pictures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from mgil.datasets.batches.eval_loader import EvalLoader
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.batches.memory import free_ram_bytes
from mgil.datasets.batches.stores import StoreName
from mgil.engine.devices import select_device
from mgil.engine.distributed import (
    all_processes,
    from_all,
    from_main,
    is_main,
    mean_over_processes,
    process_group,
    rank,
    world_size,
)
from mgil.engine.evaluation.evaluate import EvalResult, evaluate
from mgil.engine.runs import new_run_folder, set_aside
from mgil.engine.stopping import how_to_go_on
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.log import ResultsCsv, TensorBoard, TimeLeft
from mgil.engine.training.plots import plot_labels, plot_results, plot_train_batches
from mgil.engine.training.precision import Precision
from mgil.engine.training.random_state import random_state, restore_random_state, seed_everything
from mgil.engine.training.resume import (
    FINAL_TABLE,
    find_resume,
    patience_is_over,
    read_progress,
    resumed_config,
    sound_state,
)
from mgil.engine.training.run_claim import RunClaim
from mgil.engine.training.schedule import Schedule, build_optimizer, scaled_weight_decay
from mgil.engine.training.setup import (
    check_anchors,
    fill_memory,
    freeze_rows,
    image_difficulty,
    load_splits,
    make_model,
    read_named_files,
    settle,
)
from mgil.engine.training.trainer import EpochLosses, Progress, Trainer
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.files.atomic import write_text_atomic
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.criterion import Criterion, make_loss
from mgil.tasks.detect.plots import BatchPictures, plot_result
from mgil.tasks.detect.recipe import load_hyp
from mgil.tasks.detect.report import result_lines, write_per_class_csv

Report = Callable[[str], None]
STORES: dict[str, StoreName] = {"auto": "auto", "ram": "resident", "none": "streamed"}


def run_train(config: TrainConfig, report: Report = print, given: Collection[str] | None = None) -> Path:
    """Train a detector.

    Args:
        config: The run's options.
        report: Gets the lines for people, in the main process only.
        given: Names of the options that the user gave, which a resumed run is checked for; None: those that differ
            from their defaults.

    Returns:
        The run's folder.

    Raises:
        FileNotFoundError: Data, weights, model or recipe that are not there.
        ValueError: Options that do not fit together.
        FloatingPointError: Losses, weights or validations are no numbers any more.
        KeyboardInterrupt: Ctrl-C; it says how to go on.
    """
    report = report if is_main() else lambda _line: None
    resumed = load_checkpoint(find_resume(config.resume, config.project)) if config.resume else None
    if resumed:
        config = resumed_config(config, resumed, given, report)
    device = select_device(config.device)
    run: _Run | None = None
    with process_group(device), ExitStack() as closing:
        try:
            run = _Run(config, device, resumed, report, closing)
            run.train()
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {run.last_good()}" if run else str(error)) from error
        except KeyboardInterrupt as stop:
            last = run.folder / "weights" / "last.pt" if run else resumed.path if resumed else None
            raise KeyboardInterrupt(how_to_go_on(last, config.nosave)) from stop
    return run.folder


class _Run:
    """One training run, from its set-up to the evaluation of its best weights."""

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        resumed: Checkpoint | None,
        report: Report,
        closing: ExitStack,
    ) -> None:
        self.device = device
        self.report = report
        self.closing = closing  # stops background work and finishes files, should the set-up fail too
        seed_everything(config.seed + rank())
        checkpoint = resumed or read_named_files(config)  # before the data, which may take minutes
        self.splits = load_splits(config, report)
        changes = {} if config.hyp else self.splits.config.hyp  # a data set may change the default recipe alone
        config = settle(config, self.splits.config)
        self.hyp = load_hyp(resumed.training["hyp"]) if resumed else load_hyp(config.hyp, changes)
        self.precision = Precision(config.amp, device)
        model_config = replace(config, cfg="") if resumed else config
        self.model = make_model(model_config, self.splits.config, config.imgsz, checkpoint, report).to(device)
        self.config = config = replace(config, imgsz=self.model.imgsz)
        frozen = freeze_rows(self.model, config.freeze)
        if not config.noautoanchor and not resumed:
            check_anchors(self.model, self.splits.train, config.imgsz, self.hyp, config.seed, report)
        if config.batch_size == -1:
            share = from_main(fill_memory(self.model, config.imgsz, self.precision))
            self.config = replace(config, batch_size=share * world_size())
            report(f"batch size {self.config.batch_size}")
        if config.sync_bn and world_size() > 1 and device.type == "cuda":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        elif config.sync_bn:
            raise ValueError("--sync-bn shares statistics between GPUs; it needs torchrun and several of them")
        self.folder = self._folder(resumed)  # not before the options are known to be good
        store = STORES[config.cache]
        if resumed and store == "auto":  # a matter of the day's memory, and it decides what a mosaic is made of
            store = resumed.training.get("store", store)
        self.trainer = self._trainer(frozen, store)
        self.eval_loader = self._eval_loader()
        self.progress = Progress()
        if resumed:
            self._restore(resumed)
        self.log: ResultsCsv | None = None
        self.board: TensorBoard | None = None
        if is_main():
            self._open_logs()

    def _folder(self, resumed: Checkpoint | None) -> Path:
        """The run's folder, made by the main process and known to all."""
        folder = None
        if resumed:
            weights = resumed.path.resolve().parent
            if weights.name != "weights":
                raise ValueError(f"--resume {resumed.path}: not in a run's folder (.../weights/last.pt); move it back")
            folder = str(weights.parent)
        elif is_main():
            folder = str(new_run_folder(self.config.project, self.config.name, self.config.exist_ok))
        path = Path(from_main(folder))
        if is_main():  # the others may be on another machine
            (path / "weights").mkdir(exist_ok=True)
            self.closing.callback(RunClaim(path).release)
        if is_main() and not resumed and (kept := set_aside(path / "weights")):
            self.report(f"--exist-ok: the earlier run's weights are now {', '.join(kept)}")
        return path

    def _trainer(self, frozen: tuple[nn.Module, ...], store: StoreName) -> Trainer:
        config, hyp = self.config, self.hyp
        loader = TrainLoader(
            self.splits.train,
            config.imgsz,
            config.batch_size // world_size(),
            hyp.augment(),
            seed=config.seed,
            workers=config.workers,
            store=store,
            rect=config.rect,
            stride=self.model.max_stride,
            rank=rank(),
            world_size=world_size(),
            agree=all_processes,
            device=self.device,
            strict=config.strict,
            report=self.report,
        )
        self.closing.callback(loader.close)
        gains = hyp.loss_gains(config.imgsz, self.model.num_classes, self.model.head.num_levels, config.label_smoothing)
        self.val_loss = make_loss(self.model.head, gains)  # the main process validates alone
        decay = scaled_weight_decay(hyp, config.batch_size)
        optimizer = build_optimizer(self.model, config.optimizer or hyp.optimizer, hyp, decay)
        return Trainer(
            self.model,
            loader,
            make_loss(self.model.head, gains, mean_over_processes),
            optimizer,
            Schedule(optimizer, hyp, config.epochs, len(loader), config.batch_size, config.cos_lr),
            self.precision,
            seed=config.seed,
            multi_scale=config.multi_scale,
            compiled=config.compile,
            frozen=frozen,
            report=self.report,
        )

    def _open_logs(self) -> None:
        config = self.config
        write_text_atomic(self.folder / "opt.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))
        write_text_atomic(self.folder / "hyp.yaml", yaml.safe_dump(self.hyp.as_dict(), sort_keys=False))
        self.log = ResultsCsv(self.folder / "results.csv", self.progress.epoch)
        self.board = TensorBoard(self.folder, self.progress.epoch)
        self.closing.callback(self.board.close)
        if not config.noplots:
            plot_labels(self.splits.train, self.model.names, self.folder / "labels.jpg")
            plot_train_batches(self.trainer.loader, self.model.names, self.folder)

    def train(self) -> None:
        """All epochs, then the evaluation of the best weights."""
        started, config = time.perf_counter(), self.config
        self.time_left = TimeLeft()
        self.report(f"training {config.epochs} epochs at {config.imgsz} px on {self.device}, into {self.folder}")
        for epoch in range(self.progress.epoch, config.epochs):
            if from_main(patience_is_over(self.progress, config)):  # here, so that a run resumed after that ends too
                self.report(f"no better fitness for {config.patience} epochs; stopping")
                break
            losses = self.trainer.train_epoch(epoch, f"{epoch + 1}/{config.epochs}" if is_main() else None)
            self.random_states = from_all(random_state(self.device))
            if is_main():
                self._finish_epoch(epoch, losses)
            if config.image_weights:  # the main process measured them
                self.trainer.loader.image_weights = from_main(self.trainer.loader.image_weights)
        if is_main():
            minutes = (time.perf_counter() - started) / 60
            self.report(f"trained in {minutes:.1f} minutes")
            self._finish()

    def _finish_epoch(self, epoch: int, losses: EpochLosses) -> None:
        """Validate, log, save."""
        config = self.config
        last = epoch + 1 == config.epochs
        values = {
            "epoch": epoch,
            "train/box_loss": losses.box,
            "train/obj_loss": losses.obj,
            "train/cls_loss": losses.cls,
            **{f"x/lr{i}": value for i, value in enumerate(losses.rates)},
        }
        best, good = False, True
        line = f"epoch {epoch + 1}/{config.epochs}  box {losses.box:.4f}  obj {losses.obj:.4f}  cls {losses.cls:.4f}"
        if not config.noval or last:
            result = self._validate(self.trainer.ema.model, self.val_loss)
            values |= metric_values(result)
            good = self.progress.accept(result.val_losses, last)
            best = good and self.progress.record(fitness(result))
            line += f"  P {result.precision:.3f}  R {result.recall:.3f}"
            line += f"  mAP50 {result.map50:.3f}  mAP50-95 {result.map50_95:.3f}"
            if config.image_weights:
                maps = np.array([row.ap50_95 for row in result.per_class])
                self.trainer.loader.set_image_weights(image_difficulty(self.splits.train, maps))
        self.report(f"{line}  {losses.seconds:.1f} s{self.time_left.after_epoch(config.epochs - epoch - 1)}")
        self.progress.epoch = epoch + 1
        assert self.log and self.board
        self.log.add(values)
        self.board.add(values, epoch)
        if good:
            self._save(epoch, best, last or patience_is_over(self.progress, config))
        else:
            self.report(f"epoch {epoch + 1}: the validation losses are no numbers; no checkpoint is written")

    def _eval_batch(self) -> int:
        """Images per batch of validation; without gradients twice as many fit."""
        return max(2 * self.config.batch_size // world_size(), 1)

    def _eval_loader(self) -> EvalLoader:
        """Validation batches; the resized images stay in memory between epochs where they fit."""
        return EvalLoader(
            self.splits.val,
            self.config.imgsz,
            self._eval_batch(),
            stride=self.model.max_stride,
            workers=self.config.workers,
            memory_budget=0 if self.config.cache == "none" else free_ram_bytes() // 3,
            ahead=self.device.type != "cpu",
            strict=self.config.strict,
            report=self.report,
        )

    def _validate(self, model: nn.Module, loss: Criterion | None, pictures: BatchPictures | None = None) -> EvalResult:
        return evaluate(
            model,
            self.eval_loader,
            self.splits.val,
            self.splits.config,
            device=self.device,
            loss=loss,
            on_batch=pictures,
        )

    def _save(self, epoch: int, best: bool, last: bool) -> None:
        config, weights = self.config, self.folder / "weights"
        model = self.trainer.ema.model
        info = {
            "epoch": epoch,
            "fitness": self.progress.best_fitness,
            "data": str(self.splits.config.yaml_path),
        }
        assert isinstance(model, DetectionModel)
        if best and not config.nosave:
            save_checkpoint(weights / "best.pt", model, info)
        if config.save_period > 0 and (epoch + 1) % config.save_period == 0:
            save_checkpoint(weights / f"epoch{epoch}.pt", model, info)
        if not config.nosave or last:  # after all else: from here on a resumed run takes the epoch for done
            save_checkpoint(weights / "last.pt", model, info, self._state())

    def _state(self) -> dict[str, Any]:
        """Everything that resuming needs."""
        weights = self.trainer.loader.image_weights
        return {
            "config": self.config.as_dict(),
            "hyp": self.hyp.as_dict(),
            "progress": vars(self.progress),
            "images": len(self.splits.train.image_paths),
            "store": "resident" if self.trainer.loader.store.window is None else "streamed",
            "trainer": self.trainer.state(),
            "image_weights": None if weights is None else weights.tolist(),
            "random": [random_state(self.device), *self.random_states[1:]],  # validation may have moved this process's
        }

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.training
        if checkpoint.names != self.model.names:
            raise ValueError(
                f"--resume {checkpoint.path}: trained on {len(checkpoint.names)} classes, "
                f"{self.splits.config.yaml_path} has {len(self.model.names)}, or others; restore the data set"
            )
        if from_main(state["progress"]) != state["progress"]:
            raise ValueError(f"--resume {checkpoint.path}: not the one that the main process has; copy that here")
        found = len(self.splits.train.image_paths)
        if state.get("images", found) != found:
            self.report(f"train: {found} images, the run had {state['images']}: from here on it is another run")
        self.progress = read_progress(checkpoint)
        with sound_state(checkpoint):
            self.trainer.restore(state["trainer"], checkpoint.state_dict)
            if state["image_weights"] is not None:
                self.trainer.loader.set_image_weights(np.array(state["image_weights"]))  # which checks them
                self.trainer.loader.image_weights = np.array(state["image_weights"])  # the bits, not normalised again
        restore_random_state(checkpoint, self.device, self.report)
        done = self.progress.epoch >= self.config.epochs or patience_is_over(self.progress, self.config)
        where = "after its last epoch" if done else f"at epoch {self.progress.epoch + 1}"
        self.report(f"resuming {checkpoint.path} {where}")

    def last_good(self) -> str:
        """Where the state is from which one could go on."""
        path = self.folder / "weights" / "last.pt"
        return f"{path} is the last good state" if path.exists() else "there is no checkpoint yet"

    def _finish(self) -> None:
        """Evaluate the best weights once more, with every table and picture."""
        weights = self.folder / "weights"
        chosen = weights / ("last.pt" if self.config.nosave or not (weights / "best.pt").exists() else "best.pt")
        model = model_from_checkpoint(chosen, self.device)
        pictures = BatchPictures(self.folder, self.model.names, len(self.splits.val))
        result = self._validate(model, None, None if self.config.noplots else pictures)
        batch = self._eval_batch()
        if not self.config.noplots:
            pictures.write()
            plot_result(result, self.model.names, self.folder)
            plot_results(self.folder / "results.csv", self.folder / "results.png")
        write_per_class_csv(self.folder / FINAL_TABLE, result)
        for line in result_lines(result, input_size=self.config.imgsz, batch_size=batch, verbose=False):
            self.report(line)
        self.report(f"results saved to {self.folder}")


def fitness(result: EvalResult) -> float:
    """What the best epoch is chosen by: 0.1 mAP50 + 0.9 mAP50-95, YOLOv5's."""
    return float(np.nan_to_num(0.1 * result.map50 + 0.9 * result.map50_95))


def metric_values(result: EvalResult) -> dict[str, float]:
    """An evaluation under the column names of results.csv."""
    box, obj, cls = result.val_losses
    return {
        "metrics/precision": result.precision,
        "metrics/recall": result.recall,
        "metrics/mAP_0.5": result.map50,
        "metrics/mAP_0.5:0.95": result.map50_95,
        "val/box_loss": box,
        "val/obj_loss": obj,
        "val/cls_loss": cls,
    }
