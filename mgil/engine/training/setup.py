"""The parts of a training run before its first epoch: files, labels, network, batch size."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from mgil.block.mgil import MGIL
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.samples import NoImages
from mgil.engine.data_of_weights import fetched, load_data, place_of_data
from mgil.engine.distributed import from_main, is_main, world_size
from mgil.engine.input_size import input_size_hw
from mgil.engine.training.config import TrainFlags, frozen_rows
from mgil.engine.training.precision import Precision
from mgil.engine.weights.checkpoints import Checkpoint, check_weights, load_checkpoint, model_from_checkpoint
from mgil.engine.weights.foreign import ForeignWeights, load_start, start_from_tensors
from mgil.engine.weights.released import fetch_weights
from mgil.engine.weights.start import Start, start_from
from mgil.files.recipe import DEGRADED, Recipe, load_recipe
from mgil.files.text import Report
from mgil.networks.network import Network
from mgil.networks.profile import profile
from mgil.tasks.abilities import ForeignTask, TeachingTask
from mgil.tasks.base import Split, Task

DEFAULT_EPOCHS, DEFAULT_BATCH = 100, 16
MEMORY_SHARE = 0.8  # of the GPU's free memory that --batch-size -1 aims at
MOSTLY = 0.5  # share of the classes that weights know, from which on what they know is to be kept rather than built on
PROBE_BATCHES = (2, 3, 4, 8, 16)  # not 1, which BatchNorm may refuse: see least_batch.py


@dataclass(frozen=True)
class Splits:
    """The data set, and the labels that a run trains and validates on; val is None where --noval finds none."""

    data: DataConfig
    train: Split
    val: Split | None


def read_named_files(config: TrainFlags, task: Task, report: Report) -> Checkpoint | ForeignWeights | None:
    """Read the files that the options name, all but the data set itself; the weights are returned, see `load_start`.

    Reading a data set can take minutes, after which nobody wants to hear of a mistyped name.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: It cannot be used.
        OSError: Weights cannot be fetched.
    """
    if config.download:
        _fetch(config.weights, report)
    checkpoint = load_start(config.weights, task) if config.weights else None
    if isinstance(checkpoint, ForeignWeights) and not config.cfg:
        raise ValueError(f"--weights {checkpoint.path}: does not say which network it is of; name that with --cfg")
    if isinstance(checkpoint, Checkpoint):
        check_weights(checkpoint)
        if checkpoint.task != task.name and not config.cfg:  # with a model of its own, a task may take what fits
            raise ValueError(
                f"--weights {checkpoint.path}: its task is {checkpoint.task}, not {task.name}; "
                f"train the task {checkpoint.task} to go on with it, or give a --cfg"
            )
    if config.cfg:
        task.check_architecture(config.cfg)
    if config.hyp:
        load_recipe(task.recipe, config.hyp)
    if is_main():  # the only one to read it
        place_of_data(task, config.data)
    return checkpoint


def _fetch(weights: str, report: Report) -> None:
    if is_main():
        fetch_weights(weights, report)
    from_main(None)  # the others wait for the file


def load_teacher(config: TrainFlags, task: Task, device: torch.device, report: Report) -> Network | None:
    """The network that the options name to learn from, at rest and ready to look at pictures; None: there is none.

    Raises:
        FileNotFoundError: Its file is missing.
        ValueError: It cannot be used.
        OSError: It cannot be fetched.
    """
    path = task.teacher(config) if isinstance(task, TeachingTask) else ""
    if not path:
        return None
    if config.download:
        _fetch(path, report)
    try:
        checkpoint = load_checkpoint(path)
        check_weights(checkpoint)
        if checkpoint.task != task.name:
            raise ValueError(f"its task is {checkpoint.task}, not {task.name}")
        teacher = model_from_checkpoint(checkpoint, device)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"--teacher {path}: {error}") from error
    return teacher.requires_grad_(False).to(memory_format=torch.channels_last)


def load_splits(config: TrainFlags, task: Task, report: Report) -> Splits:
    """Read the labels of both splits; the main process first, so that the others find its cache."""
    data: DataConfig | None = None
    if is_main():
        data = load_data(task, config.data)
        if config.download:
            data = fetched(task, data, ("train", "val"), report)
        data = task.adapted(data, config)
    data = from_main(data)
    assert data
    train: Split | None = None
    val: Split | None = None
    for turn in (True, False):
        if turn == is_main():
            train = task.read(data, "train", strict=config.strict, report=report)
            val = _val_split(config, data, task, report)
        from_main(None)  # the others wait here for the main process
    assert train is not None
    return Splits(data, train, val)


def _val_split(config: TrainFlags, data: DataConfig, task: Task, report: Report) -> Split | None:
    """The split to validate on; with --noval there may be none."""
    if not config.noval:
        return task.read(data, "val", strict=config.strict, report=report)
    if not data.val:
        report(f"{data.yaml_path} gives no val split: with --noval the run goes on, and nothing is scored")
        return None
    try:
        return task.read(data, "val", strict=config.strict, report=report)
    except (FileNotFoundError, NoImages) as error:
        report(f"{error}: with --noval the run goes on, and nothing is scored")
        return None


def resolved(config: TrainFlags, data: DataConfig, task: Task) -> TrainFlags:
    """Put values in place of "the default": what the data set suggests. The recipe's is up to `with_recipe`.

    Raises:
        ValueError: A batch that the processes cannot share equally.
    """
    imgsz = config.imgsz or data.imgsz or task.default_imgsz
    batch_size = config.batch_size or data.batch_size or DEFAULT_BATCH
    if batch_size > 0 and batch_size % world_size():
        raise ValueError(f"--batch-size {batch_size} is not a multiple of the {world_size()} processes")
    return replace(
        config,
        imgsz=imgsz,
        epochs=config.epochs or data.epochs or DEFAULT_EPOCHS,
        batch_size=batch_size,
    )


def with_recipe(
    config: TrainFlags, task: Task, data: DataConfig, start: Start, report: Report
) -> tuple[TrainFlags, Recipe]:
    """Put the task's recipe in place of "the default": the one for the size, or for weights that are trained on.

    Returns:
        The config, and the recipe with the data set's changes to it, which a recipe that was asked for does not get.
    """
    if config.hyp:
        return config, load_recipe(task.recipe, config.hyp)
    changes = changes_for(data, start.whole)
    if unused := [name for name in data.hyp if name not in changes]:
        report(f"{data.yaml_path}: its hyp of {', '.join(unused)} is for training from scratch, and is left out here")
    config = replace(config, hyp=task.default_recipe(config.imgsz, start.whole, start.known >= MOSTLY))
    return config, load_recipe(task.recipe, config.hyp or {}, changes)


def changes_for(data: DataConfig, finetune: bool) -> dict[str, Any]:
    """What a data set changes in the default recipe.

    Weights that are trained on bear other learning rates than those with which the set is learned from scratch, so what
    is not the task's own stays out there; what its pictures bear, as flips, holds for both.
    """
    rates = {item.name for item in fields(Recipe)} - {"degrade", *DEGRADED} if finetune else ()
    return {name: value for name, value in data.hyp.items() if name not in rates}


def make_model(
    config: TrainFlags,
    task: Task,
    names: tuple[str, ...],
    weights: Checkpoint | ForeignWeights | None,
    report: Report,
    device: torch.device | str = "cpu",
) -> tuple[Network, Start]:
    """Build the network, and fill it from a checkpoint as far as that fits.

    Args:
        config: Says which architecture, and the training size; the model has it rounded up to its stride.
        task: Builds it.
        names: Of the data set's classes.
        weights: From `read_named_files`, or the run to resume.
        report: Gets a line for people.
        device: Where the network goes.

    Returns:
        The network, and what it has from the checkpoint.

    Raises:
        ValueError: An architecture or weights that cannot be used, or a size that is too small.
    """
    imgsz, checkpoint = config.imgsz, weights if isinstance(weights, Checkpoint) else None
    cfg: Any = config.cfg or (checkpoint.architecture if checkpoint else task.default_cfg)
    generator = torch.get_rng_state()
    try:
        model = task.build(cfg, names, imgsz)
        imgsz = input_size_hw((imgsz,), model.max_stride, report)[0]
        if imgsz != model.imgsz:  # the stride is known now; the biases are made for a size
            torch.set_rng_state(generator)
            model = task.build(cfg, names, imgsz)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}" if checkpoint and not config.cfg else str(error)) from error
    start = start_from(model, checkpoint, bool(config.cfg), report, task.named, task.name) if checkpoint else Start()
    if isinstance(weights, ForeignWeights):
        assert isinstance(task, ForeignTask)
        start = start_from_tensors(model, task, weights, report)
    source = model.architecture["source"]
    report(f"{source}: {profile(model, (imgsz, imgsz))}")
    for line in wasted_dilations(model, imgsz):
        report(line)
    return model.to(device), start


def wasted_dilations(model: nn.Module, imgsz: int) -> list[str]:
    """One line that names the MGIL blocks some of whose dilation rates reach past the whole map at this input size."""
    found: list[str] = []
    hooks = []

    def look(name: str, block: MGIL) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            height, width = inputs[0].shape[-2:]
            rates = block.unused_dilations((height, width))
            if rates:
                found.append(f"{name} (rate {', '.join(map(str, rates))})")

        return hook

    for name, module in model.named_modules():
        if isinstance(module, MGIL):
            hooks.append(module.register_forward_pre_hook(look(name, module)))
    try:
        profile(model, (imgsz, imgsz))  # a pass over shapes alone
    finally:
        for handle in hooks:
            handle.remove()
    if not found:
        return []
    what = "these dilations reach past the whole feature map and run as 1x1 convolutions, as they see one pixel"
    return [f"at {imgsz} px {what}: {'; '.join(found)}"]


def freeze_rows(model: Network, freeze: tuple[int, ...]) -> tuple[nn.Module, ...]:
    """Stop rows of the model from training, and return them.

    Args:
        model: Its rows are frozen in place.
        freeze: The numbers given with `--freeze`.

    Raises:
        ValueError: A row that the model does not have, or none left to train; quotes what was given.
    """
    own, source = model.rows, model.architecture["source"]
    given, rows, last = f"--freeze {' '.join(map(str, freeze))}", frozen_rows(freeze), len(own) - 1
    if rows and max(rows) > last:
        meant = f"means rows 0 to {max(rows)}" if len(freeze) == 1 else f"there is no row {max(rows)}"
        raise ValueError(f"{given}: {meant}; {source} has rows 0 to {last}")
    for row in rows:
        own[row].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{given}: leaves nothing to train; {source} has rows 0 to {last}")
    return tuple(own[row] for row in rows)


def fill_memory(model: nn.Module, imgsz: int, precision: Precision, default: int = DEFAULT_BATCH) -> int:
    """The batch size that fills most of the GPU's memory (`--batch-size -1`).

    Peak memory is measured for a few small batches, a straight line laid through it and followed to `MEMORY_SHARE`.
    Without a GPU there is nothing to fill, and `default` is returned.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        return default
    model = deepcopy(model)  # BatchNorm statistics stay as they are, and the average of the weights takes as much later
    free, _ = torch.cuda.mem_get_info(device)
    sizes, peaks = [], []
    for batch in PROBE_BATCHES:
        try:
            torch.cuda.reset_peak_memory_stats(device)
            images = torch.zeros(batch, 3, imgsz, imgsz, device=device)
            with precision.autocast():
                outputs = model(images)
            total_of(outputs).backward()
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            model.zero_grad(set_to_none=True)
        sizes.append(batch)
        peaks.append(torch.cuda.max_memory_allocated(device))
    torch.cuda.empty_cache()
    if len(sizes) < 2:
        raise ValueError(f"--batch-size -1: not even three images of {imgsz} px fit the GPU's {free / 1e9:.1f} GB free")
    slope, start = np.polyfit(sizes, peaks, 1)
    return max(int((free * MEMORY_SHARE - start) / max(slope, 1)), 1)


def total_of(outputs: Any) -> torch.Tensor:
    """The sum over all tensors of a network's outputs, nested in lists and tuples or not."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float().sum()
    return torch.stack([total_of(part) for part in outputs]).sum()
