"""A training run, put together: everything that its loop needs, in the order in which mistakes are cheapest."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.eval_loader import EvalLoader
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.batches.memory import free_ram_bytes
from mgil.datasets.batches.random_degradation import RandomDegradation
from mgil.datasets.batches.stores import StoreName
from mgil.datasets.reading.depths import DepthTally
from mgil.engine.data_of_weights import data_named_by
from mgil.engine.distributed import all_processes, from_main, is_main, mean_over_processes, rank, world_size
from mgil.engine.evaluation.finisher import has_idle_core
from mgil.engine.runs import new_run_folder
from mgil.engine.training.config import TrainFlags
from mgil.engine.training.content import content_of
from mgil.engine.training.least_batch import check_least_batch
from mgil.engine.training.log import RunLog, columns
from mgil.engine.training.own_files import PICTURED_BATCHES, own_files
from mgil.engine.training.plots import check_plots
from mgil.engine.training.precision import Precision, precision_of
from mgil.engine.training.progress import Progress
from mgil.engine.training.random_state import seed_everything
from mgil.engine.training.resume import sound_state
from mgil.engine.training.run_claim import RunClaim
from mgil.engine.training.schedule import Schedule, build_optimizer, scaled_weight_decay
from mgil.engine.training.setup import (
    Splits,
    fill_memory,
    freeze_rows,
    load_splits,
    load_teacher,
    make_model,
    read_named_files,
    resolved,
    with_recipe,
)
from mgil.engine.training.trainer import Trainer
from mgil.engine.weights.checkpoints import Checkpoint
from mgil.engine.weights.start import Start
from mgil.files.atomic import write_text_atomic
from mgil.files.fonts import tell_missing_letters
from mgil.files.recipe import Recipe, load_recipe
from mgil.files.text import Report
from mgil.files.written_files import WrittenFiles
from mgil.networks.network import Network
from mgil.tasks.abilities import TeachingTask
from mgil.tasks.base import Loading, Loss, Split, Task

STORES: dict[str, StoreName] = {"auto": "auto", "ram": "resident", "none": "streamed"}


@dataclass
class RunParts:
    """One training run.

    Attributes:
        config: With values in place of all defaults.
        task: What is trained.
        recipe: The task's.
        splits: The data set.
        folder: Where results go.
        trainer: Model, loader, loss, optimizer.
        content: What the data set holds, see `training.content`.
        eval_loader: Validation batches; the resized images stay in memory between epochs where they fit. None: there
            is no val split.
        val_loss: The loss of validation, which the main process alone runs.
        report: Gets the lines for people.
        progress: Where the run stands.
        log: results.csv and TensorBoard; None in all but the main process.
        written: The list of the folder's files; None in all but the main process.
        random_states: Of all processes, after an epoch.
        resting: Names of the normalisations whose loaded statistics stay as they are.
        factors: Parameters by name with a learning rate of their own, as a multiple of the others'.
        teacher: Whose answers are learned beside the labels.
    """

    config: TrainFlags
    task: Task
    recipe: Recipe
    splits: Splits
    folder: Path
    device: torch.device
    report: Report
    trainer: Trainer = field(init=False)
    content: dict[str, Any] = field(init=False)
    eval_loader: EvalLoader | None = field(init=False)
    val_loss: Loss = field(init=False)
    progress: Progress = field(default_factory=Progress)
    log: RunLog | None = None
    written: WrittenFiles | None = None
    random_states: list[Any] = field(default_factory=list)
    resting: tuple[str, ...] = ()
    factors: dict[str, float] = field(default_factory=dict)
    teacher: Network | None = None

    @property
    def eval_batch(self) -> int:
        """Images per batch of validation; without gradients twice as many fit."""
        return max(2 * self.config.batch_size // world_size(), 1)


def put_together(
    config: TrainFlags,
    task: Task,
    device: torch.device,
    resumed: Checkpoint | None,
    report: Report,
    closing: ExitStack,
) -> RunParts:
    """Read files, labels and weights, and make the parts of a run.

    Args:
        config: As the user gave it, or of the run to resume.
        task: What is trained.
        device: Of this process.
        resumed: The checkpoint to go on from; its state is not brought back here, see `training.state.restore`.
        report: Gets the lines for people.
        closing: Stops background work and finishes files, should the set-up fail too.

    Raises:
        FileNotFoundError: Data, weights, model or recipe that are not there.
        ValueError: Options that do not fit together.
    """
    if not config.noplots and is_main():
        check_plots()
    seed_everything(config.seed + rank())
    checkpoint = resumed or read_named_files(config, task, report)  # before the data, which may take minutes
    teacher = load_teacher(config, task, device, report)
    with data_named_by(resumed.path if resumed else None):
        splits = load_splits(config, task, report)
    config = resolved(config, splits.data, task)
    precision = precision_of(config.amp, device, resumed is not None, report)
    config = replace(config, amp=precision.choice)  # last.pt has it: the run goes on in the same numbers elsewhere
    of_weights = replace(config, cfg="") if resumed else config
    model, start = make_model(of_weights, task, splits.data.names, checkpoint, report, device)
    config, recipe = _recipe(replace(config, imgsz=model.imgsz), task, splits, start, resumed, report)
    if teacher is not None:
        assert isinstance(task, TeachingTask)
        config = task.with_teacher(config, teacher, model.names, recipe, report)
    frozen = freeze_rows(model, config.freeze)
    resting, factors = _from_start(model, recipe, config, start, resumed)
    if not resumed:
        task.prepare(model, splits.train, recipe, config.imgsz, config.seed, config, start.head, report)
    config = _filling_memory(config, model, precision, report)
    _share_statistics(config, model, device)
    composer = task.composer(splits.train, recipe, config.imgsz, model, config)
    still = (*frozen, *map(model.get_submodule, resting))
    check_least_batch(model, still, composer, config)
    val_loss = task.loss(model, recipe, config.imgsz, config)
    folder = _folder(config, resumed, closing)  # not before the options are known to be good
    parts = RunParts(config, task, recipe, splits, folder, device, report, resting=resting, factors=factors)
    parts.teacher = teacher
    if is_main():  # the others may be on another machine
        parts.written = own_files(folder, config, task, splits.val, resumed is not None, report, closing)
    parts.trainer = _trainer(parts, model, composer, precision, still, _store(config, resumed))
    closing.callback(parts.trainer.loader.close)
    parts.content = content_of(splits, teacher)
    parts.eval_loader = _eval_loader(parts, splits.val, model) if splits.val is not None else None
    parts.val_loss = val_loss
    return parts


def open_log(parts: RunParts, closing: ExitStack) -> None:
    """Write what describes the run, and start its log; in the main process only."""
    config, folder = parts.config, parts.folder
    write_text_atomic(folder / "opt.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))
    write_text_atomic(folder / "hyp.yaml", yaml.safe_dump(parts.recipe.as_dict(), sort_keys=False))
    parts.log = RunLog(
        folder, columns(parts.trainer.loss.terms, parts.task.metrics, parts.val_loss.terms), parts.progress.epoch
    )
    closing.callback(parts.log.close)
    if not config.noplots:
        tell_missing_letters(parts.splits.data.names, parts.report)
        names = parts.splits.data.names
        parts.task.draw_labels(parts.splits.train, names, folder / "labels.jpg")
        loader = parts.trainer.loader
        for index in range(min(PICTURED_BATCHES, len(loader))):
            batch = loader.batch(0, index)
            path = folder / f"train_batch{index}.jpg"
            parts.task.draw_batch(batch.images.cpu(), batch.targets.cpu(), names, path)


def _recipe(
    config: TrainFlags, task: Task, splits: Splits, start: Start, resumed: Checkpoint | None, report: Report
) -> tuple[TrainFlags, Recipe]:
    """The recipe of the run, and the config that names it."""
    if resumed:
        return config, load_recipe(task.recipe, resumed.training["hyp"])
    config, recipe = with_recipe(config, task, splits.data, start, report)
    if start == Start() or start.classes or recipe.new_rate == 1:
        return config, recipe
    # of other classes the whole network has to learn, not the last row alone
    rate = recipe.lr0 * recipe.new_rate
    unknown = f"the weights do not know all {task.named[1]}"
    report(f"{unknown}: lr0 is {rate:g}, the recipe's {recipe.lr0:g} times its new_rate")
    return config, replace(recipe, lr0=rate, new_rate=1.0)


def _from_start(
    model: nn.Module, recipe: Recipe, config: TrainFlags, start: Start, resumed: Checkpoint | None
) -> tuple[tuple[str, ...], dict[str, float]]:
    """What a run owes to the weights that it began with: `RunParts.resting` and `RunParts.factors`."""
    if resumed is None:
        resting = start.norms if recipe.batchnorm == "loaded" else ()
        factors = {name: float(recipe.new_rate) for name in start.new if recipe.new_rate != 1}
        if (config.optimizer or recipe.optimizer) != "SGD":
            # Adam moves every tap by as much, those that begin at 0 too: without this a block's first kernel, which
            # has four times the taps of the layer that it holds, would move four times as far from what that computed.
            factors |= {name: share for name, share in start.carried.items() if share < 1}
        return resting, factors
    with sound_state(resumed):
        state = resumed.training
        resting, factors = tuple(state.get("resting", ())), dict(state.get("factors", {}))
        known = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
        if unknown := [name for name in (*resting, *factors) if name not in known]:
            raise ValueError(f"the network has no {unknown[0]!r:.80}")
        if not all(isinstance(value, float) and 0 <= value < math.inf for value in factors.values()):
            raise ValueError("a learning rate's factor is no positive number")
    return resting, factors


def _filling_memory(config: TrainFlags, model: nn.Module, precision: Precision, report: Report) -> TrainFlags:
    """With --batch-size -1 the number of images that fits."""
    if config.batch_size != -1:
        return config
    share = from_main(fill_memory(model, config.imgsz, precision))
    report(f"batch size {share * world_size()}")
    return replace(config, batch_size=share * world_size())


def _share_statistics(config: TrainFlags, model: nn.Module, device: torch.device) -> None:
    if not config.sync_bn:
        return
    if world_size() == 1 or device.type != "cuda":
        raise ValueError("--sync-bn shares statistics between GPUs; it needs torchrun and several of them")
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place, but for a model that is a BatchNorm itself


def _store(config: TrainFlags, resumed: Checkpoint | None) -> StoreName:
    store = STORES[config.cache]
    if resumed and store == "auto":  # a matter of the day's memory, and it decides what a mosaic is made of
        store = resumed.training.get("store", store)
    return store


def _folder(config: TrainFlags, resumed: Checkpoint | None, closing: ExitStack) -> Path:
    """The run's folder, made by the main process and known to all."""
    folder = None
    if resumed:
        weights = resumed.path.resolve().parent
        if weights.name != "weights":
            raise ValueError(f"--resume {resumed.path}: not in a run's folder (.../weights/last.pt); move it back")
        folder = str(weights.parent)
    elif is_main():
        folder = str(new_run_folder(config.project, config.name, config.exist_ok))
    path = Path(from_main(folder))
    if is_main():  # the others may be on another machine
        closing.callback(RunClaim(path).release)
    return path


def _trainer(
    parts: RunParts,
    model: Network,
    composer: Composer,
    precision: Precision,
    frozen: tuple[nn.Module, ...],
    store: StoreName,
) -> Trainer:
    config, recipe, task = parts.config, parts.recipe, parts.task
    loader = TrainLoader(
        composer,
        config.batch_size // world_size(),
        seed=config.seed,
        workers=config.workers,
        store=store,
        rank=rank(),
        world_size=world_size(),
        agree=all_processes,
        device=parts.device,
        strict=config.strict,
        values=parts.splits.data.values,
        degradation=_degradation(recipe),
        report=parts.report,
    )
    decay = scaled_weight_decay(recipe, config.batch_size)
    optimizer = build_optimizer(model, config.optimizer or recipe.optimizer, recipe, decay, parts.factors)
    loss = task.loss(model, recipe, config.imgsz, config, mean_over_processes)
    if parts.teacher is not None:
        assert isinstance(task, TeachingTask)
        loss = task.taught(loss, model, parts.teacher, recipe, config, mean_over_processes)
    return Trainer(
        model,
        loader,
        loss,
        optimizer,
        Schedule(optimizer, recipe, config.epochs, len(loader), config.batch_size, config.cos_lr),
        precision,
        seed=config.seed,
        multi_scale=config.multi_scale,
        compiled=config.compile,
        frozen=frozen,
        report=parts.report,
    )


def _eval_loader(parts: RunParts, val: Split, model: Network) -> EvalLoader:
    config = parts.config
    loading = Loading(
        parts.eval_batch,
        workers=config.workers,
        memory_budget=0 if config.cache == "none" else free_ram_bytes() // 3,
        ahead=parts.device.type != "cpu" or has_idle_core(),
        strict=config.strict,
        report=parts.report,
    )
    loader = parts.task.eval_loader(val, config.imgsz, model, config, loading)
    loader.depths = DepthTally(parts.splits.data.values)
    return loader


def _degradation(recipe: Recipe) -> RandomDegradation | None:
    """What training pictures go through; None: nothing."""
    if not recipe.degrade:
        return None
    strengths = (recipe.degrade_blur, recipe.degrade_area, recipe.degrade_gamma)
    return RandomDegradation(recipe.degrade, *strengths, recipe.degrade_noise, recipe.degrade_jpeg)
