"""The parts of a training run before its first epoch: labels, model, anchors, batch size."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from mgil.block.mgil import MGIL
from mgil.datasets.batches.letterbox import fitted_size_hw
from mgil.datasets.reading.config import DataConfig, find_data_yaml, load_data_config
from mgil.datasets.reading.download import download
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.engine.distributed import from_main, is_main, world_size
from mgil.engine.input_size import input_size_hw
from mgil.engine.training.config import DEFAULT_CFG, TrainConfig, frozen_rows
from mgil.engine.training.precision import Precision
from mgil.engine.weights.checkpoints import Checkpoint, check_weights, load_checkpoint, transfer_weights
from mgil.networks.config import load_architecture
from mgil.networks.detector import DetectionModel, build_model
from mgil.networks.profile import profile
from mgil.tasks.detect.anchors import ENOUGH_RECALL, fit_levels, measure_fit
from mgil.tasks.detect.recipe import Hyp, default_hyp, load_hyp

Report = Callable[[str], None]
DEFAULT_IMGSZ, DEFAULT_EPOCHS, DEFAULT_BATCH = 640, 100, 16
MEMORY_SHARE = 0.8  # of the GPU's free memory that --batch-size -1 aims at
PROBE_BATCHES = (2, 3, 4, 8, 16)  # not 1, of which BatchNorm cannot take the statistics on a 1x1 map


@dataclass(frozen=True)
class Splits:
    """The labels that a run trains and validates on."""

    config: DataConfig
    train: Samples
    val: Samples


def read_named_files(config: TrainConfig) -> Checkpoint | None:
    """Read the files that the options name, all but the data set itself; the weights are returned.

    Reading a data set can take minutes, after which nobody wants to hear of a mistyped name.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: It cannot be used.
    """
    checkpoint = load_checkpoint(config.weights) if config.weights else None
    if checkpoint:
        check_weights(checkpoint)
    if config.cfg:
        load_architecture(config.cfg)
    if config.hyp:
        load_hyp(config.hyp)
    if is_main():  # the only one to read it
        find_data_yaml(config.data)
    return checkpoint


def load_splits(config: TrainConfig, report: Report) -> Splits:
    """Read the labels of both splits; the main process first, so that the others find its cache."""
    data: DataConfig | None = None
    if is_main():
        data = load_data_config(config.data)
        if config.download and not all(map(os.path.exists, (*data.train, *data.val))):
            data = download(data, report)
        if config.single_cls:
            data = data.as_one_class()
    data = from_main(data)
    assert data
    loaded: dict[str, Samples] = {}
    for turn in (True, False):
        if turn == is_main():
            for split in ("train", "val"):
                loaded[split] = load_samples(data, split, strict=config.strict, report=report)
        from_main(None)  # the others wait here for the main process
    return Splits(data, loaded["train"], loaded["val"])


def settle(config: TrainConfig, data: DataConfig) -> TrainConfig:
    """Put values in place of "the default": what the data set suggests, and the recipe for the size.

    Raises:
        ValueError: A batch that the processes cannot share equally.
    """
    imgsz = config.imgsz or data.imgsz or DEFAULT_IMGSZ
    batch_size = config.batch_size or data.batch_size or DEFAULT_BATCH
    if batch_size > 0 and batch_size % world_size():
        raise ValueError(f"--batch-size {batch_size} is not a multiple of the {world_size()} processes")
    return replace(
        config,
        imgsz=imgsz,
        epochs=config.epochs or data.epochs or DEFAULT_EPOCHS,
        batch_size=batch_size,
        hyp=config.hyp or default_hyp(imgsz),
    )


def make_model(
    config: TrainConfig, data: DataConfig, imgsz: int, checkpoint: Checkpoint | None, report: Report
) -> DetectionModel:
    """Build the network, and fill it from a checkpoint as far as that fits.

    Args:
        config: Says which architecture and weights.
        data: Gives the classes.
        imgsz: Training size in pixels; the model has it rounded up to its stride.
        checkpoint: The contents of `config.weights`, if any.
        report: Gets a line for people.

    Raises:
        ValueError: An architecture or weights that cannot be used, or a size that is too small.
    """
    cfg: Any = config.cfg or (checkpoint.architecture if checkpoint else DEFAULT_CFG)
    generator = torch.get_rng_state()
    try:
        model = build_model(cfg, names=data.names, imgsz=imgsz)
        imgsz = input_size_hw((imgsz,), model.max_stride, report)[0]
        if imgsz != model.imgsz:  # the stride is known now; the biases are made for a size
            torch.set_rng_state(generator)
            model = build_model(cfg, names=data.names, imgsz=imgsz)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}" if checkpoint and not config.cfg else str(error)) from error
    if checkpoint:
        check_weights(checkpoint)
        # with an architecture of one's own, its anchors are meant
        transfer = transfer_weights(model, checkpoint.state_dict, skip=(".anchors",) if config.cfg else ())
        report(f"{checkpoint.path}: {transfer}")
        if not transfer.loaded:
            raise ValueError(f"--weights {checkpoint.path}: none of its tensors fits {model.architecture['source']}")
    report(f"{model.architecture['source']}: {profile(model, (imgsz, imgsz))}")
    for line in wasted_dilations(model, imgsz):
        report(line)
    return model


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
    return [f"at {imgsz} px these dilations reach past the whole feature map and see one pixel: {'; '.join(found)}"]


def freeze_rows(model: DetectionModel, freeze: tuple[int, ...]) -> tuple[nn.Module, ...]:
    """Stop rows of the model from training, and return them.

    Args:
        model: Its rows are frozen in place.
        freeze: The numbers given with `--freeze`.

    Raises:
        ValueError: A row that the model does not have, or none left to train; quotes what was given.
    """
    given, rows, last = f"--freeze {' '.join(map(str, freeze))}", frozen_rows(freeze), len(model.model) - 1
    if rows and max(rows) > last:
        meant = f"means rows 0 to {max(rows)}" if len(freeze) == 1 else f"there is no row {max(rows)}"
        raise ValueError(f"{given}: {meant}; {model.architecture['source']} has rows 0 to {last}")
    for row in rows:
        model.model[row].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{given}: leaves nothing to train; {model.architecture['source']} has rows 0 to {last}")
    return tuple(model.model[row] for row in rows)


def check_anchors(model: DetectionModel, samples: Samples, imgsz: int, hyp: Hyp, seed: int, report: Report) -> None:
    """AutoAnchor: fit new anchors when too few boxes could be matched by the model's own (YOLOv5's 0.98)."""
    labels = samples.without_crowds()  # crowd boxes are not trained on, so they need no anchor
    fitted_hw = np.repeat(np.asarray(fitted_size_hw(samples.sizes_hw, imgsz)), np.diff(labels.offsets), axis=0)
    sizes_wh = labels.boxes_cxcywh[:, 2:4] * fitted_hw[:, ::-1]
    head = model.head
    own = head.anchors_px.cpu().numpy()
    fit = measure_fit(sizes_wh, own.reshape(-1, 2), hyp.anchor_t)
    text = f"AutoAnchor: {fit.per_box:.2f} anchors per box, best possible recall {fit.recall:.4f}"
    if fit.recall > ENOUGH_RECALL:
        report(f"{text}: the model's anchors suit the labels")
        return
    found = fit_levels(sizes_wh, own, head.stride.tolist(), hyp.anchor_t, seed=seed)
    better = measure_fit(sizes_wh, found.reshape(-1, 2), hyp.anchor_t)
    if better.recall <= fit.recall:
        report(f"{text}: kept, the ones fitted to the labels are no better ({better.recall:.4f})")
        return
    anchors = torch.from_numpy(found).float()
    head.set_anchors_px(anchors)
    model.architecture["anchors"] = anchors.flatten(1).tolist()
    listed = "; ".join(f"{width:.0f},{height:.0f}" for width, height in found.reshape(-1, 2))
    report(f"{text}: fitted new ones to the labels, recall {better.recall:.4f}: {listed} (width,height)")


def fill_memory(model: DetectionModel, imgsz: int, precision: Precision, default: int = 16) -> int:
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
                raws = model(images)
            sum(raw.float().sum() for raw in raws).backward()
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


def image_difficulty(samples: Samples, class_maps: np.ndarray) -> np.ndarray:
    """Weights of `--image-weights`: images with rare classes and classes of low AP are drawn more often.

    Args:
        samples: The training split.
        class_maps: (nc,) mAP50-95 by class.

    Returns:
        (N,) weights, all positive. YOLOv5's rule: class weight (1 - mAP)^2 / frequency, summed over an image's labels.
    """
    nc = len(class_maps)
    labels = samples.without_crowds()
    count = np.bincount(labels.classes, minlength=nc).clip(min=1)
    weight = (1 - np.nan_to_num(class_maps)) ** 2 / count
    total = np.bincount(labels.image_index, weights=weight[labels.classes], minlength=len(labels))
    return total + max(total.max(), 1.0) * 1e-3  # images without labels teach too
