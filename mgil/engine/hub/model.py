"""A detector that is used as YOLOv5's models from torch.hub are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mgil.engine.amp import AMP_CHOICES, check_amp_and_half
from mgil.engine.devices import amp_on
from mgil.engine.hub.detections import Detections
from mgil.engine.input_size import input_size_hw, warn
from mgil.engine.prediction.load import sides_of
from mgil.engine.prediction.predictor import Model
from mgil.engine.runtimes.model import check_fixed_size, fixed_size_hw, refuse_numbers
from mgil.files.flags import check_fields
from mgil.files.names import hint_for
from mgil.networks.network import Network
from mgil.networks.precision import as_float32, autocast
from mgil.tasks.base import Task

# YOLOv5's names for what may be set on a loaded model, and the options of detect.py that they are.
SETTINGS = {
    "conf": "conf_thres",
    "iou": "iou_thres",
    "classes": "classes",
    "max_det": "max_det",
    "agnostic": "agnostic_nms",
}
# What YOLOv5's models have beside that, and what takes its place. The first may be set to False, which it is.
ALWAYS_OFF = {
    "multi_label": "a box has its best class alone; val.py counts several",
}
ELSEWHERE = {
    "autoshape": "it takes images already",
    "fuse": "it is fused already",
    "warmup": "call it once: model(torch.zeros(1, 3, 64, 64))",
    "info": "print(model.model), or the lines of train.py",
    "yaml": "model.model.architecture",
    "hyp": "hyp.yaml in the run's folder",
    "imgsz": "the call takes it: model(images, size=320)",
    "size": "the call takes it: model(images, size=320)",
    "augment": "the call takes it: model(images, augment=True)",
    "half": "model.half() turns the weights to float16, on a GPU",
    "predict": "call it: model(images)",
    "pt": "model.model is the network, or the exported file",
    "dmb": "model.model is the network, or the exported file",
}
URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class HubModel(nn.Module):
    """A detector: images in, `Detections` out.

    `conf`, `iou`, `classes`, `max_det`, `agnostic`, `names` and `amp` may be set; `to`, `cpu`, `cuda`, `half` and
    `float` move it. It cannot be trained: BatchNorm is folded.

    Args:
        task: Detection.
        model: From `open_model`.
        source: The weights' path, for messages.
        amp: That it was opened with.

    Attributes:
        model: The network, or the exported file in its place.
        names: Class names by index, a dict; one may be set in it.
        stride: Largest stride in pixels.
        nc: Number of classes.
        amp: The number type that the network computes in, "bf16" or "fp16"; False: that of its weights. Set it to
            "auto", "off" (or False), "bf16" or "fp16".
    """

    def __init__(self, task: Task, model: Model, source: str, amp: str = "auto") -> None:
        super().__init__()
        self._task, self._opened, self._source = task, model, source
        self._options, self._names = model.options, dict(enumerate(model.names))
        self._device, self._half, self._amp = model.device, model.half, amp
        self.model: Any = model.model
        self.eval()

    @torch.no_grad()
    def forward(self, ims: Any, size: Any = None, augment: bool = False) -> Any:
        """Look at images, or run the network alone on a tensor.

        Args:
            ims: A path, an (H, W, 3) uint8 RGB array (of cv2.imread: `image[..., ::-1]`), a PIL image, or a list or
                tuple of these; or a (B, 3, H, W) float tensor in 0..1, sides multiples of `stride`.
            size: Longest side of the network's input in pixels, or its (height, width); by default the size that the
                weights were trained at. Of a tensor it is the tensor's own.
            augment: Look at three sizes, once mirrored.

        Returns:
            `Detections`. Of a tensor what the network gives, as in YOLOv5: (predictions, raw maps), the former
            (B, N, nc+5); with `augment` None for the maps; of an exported file its output.

        Raises:
            ValueError, FileNotFoundError: As `mgil.load_model` and its models.
        """
        if isinstance(ims, Tensor):
            return self._raw(ims, size, augment)
        images = list(ims) if isinstance(ims, list | tuple) else [ims]
        for image in images:
            _refuse_url(image)
        at_work = _at_work(self, size, augment)
        return Detections(at_work(images), at_work.names)

    def train(self, mode: bool = True) -> HubModel:
        """Take evaluation mode alone.

        Raises:
            ValueError: Training mode.
        """
        if mode:
            raise ValueError(
                f"{self._source}: loaded for inference; train.py trains, autoshape=False gives the network"
            )
        return super().train(mode)

    def _raw(self, images: Tensor, size: Any, augment: bool) -> Any:
        if not torch.jit.is_tracing():  # which takes every comparison for a part of the program
            if size is not None:
                raise ValueError(f"size={size!r}: a tensor goes into the network as it is; leave size out")
            _check_batch(images, self.model.max_stride)
        images = images.to(self._device, torch.float16 if self._half else torch.float32)
        if augment:
            return _predictor(self, augment, images.shape[2:]).predict(images), None
        if not isinstance(self.model, Network):
            return self.model(images)
        network: Any = self.model
        with autocast(self._device, network.amp):
            maps = as_float32(network.raw(images))
        return network.head.decode(maps), tuple(maps)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HubModel:
        """Move or cast, whichever method was called: where to, a tensor tells that goes the same way."""
        before = torch.zeros(1, dtype=torch.float16 if self._half else torch.float32, device=self._device)
        try:
            after = fn(before)
        except (RuntimeError, AssertionError) as error:  # no such device
            raise ValueError(f"{self._source}: stays on {self._device}: {str(error).splitlines()[0]}") from error
        same = (after.dtype, after.device) == (before.dtype, before.device)
        if problem := "" if same else _misplaced(after, isinstance(self.model, Network)):
            raise ValueError(f"{self._source}: stays on {self._device}: {problem}")
        half = after.dtype == torch.float16
        amp = _amp_on(self, self._amp, after.device, half)
        _compute_in(self, "off")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        _compute_in(self, amp)
        self._device, self._half = after.device, half
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Set what YOLOv5's users set.

        Raises:
            ValueError: A value that the model cannot have.
            AttributeError: A name that is not set here; says what takes its place.
        """
        if name in SETTINGS:
            options = replace(self._options, **{SETTINGS[name]: _plain(value)})
            check_fields(options)
            self._task.predictor(self.model, options, device=self._device, size_hw=(0, 0))  # complains about the value
            self._options = options
        elif name == "names":
            self._opened.names = value
            self._names = dict(enumerate(self._opened.names))
        elif name == "amp" and (value is False or value in AMP_CHOICES):
            _compute_in(self, _amp_on(self, value or "off", self._device, self._half))
            self._amp = value or "off"
        elif name in ALWAYS_OFF and value is False:
            pass
        elif name.startswith("_") or name in ("training", "model"):
            super().__setattr__(name, value)
        else:
            raise AttributeError(f"{name} cannot be set: {_instead(name)}")

    def __getattr__(self, name: str) -> Any:
        """What may be set, and what says how the model is.

        Raises:
            AttributeError: It has no such name; says what takes its place.
        """
        if name in SETTINGS:
            value = getattr(self._options, SETTINGS[name])
            return list(value) if isinstance(value, tuple) else value
        if name == "names":
            return self._names
        if name == "amp":
            chosen = getattr(self.model, "amp", "off")
            return chosen != "off" and chosen
        if name in ("stride", "nc"):
            return self.model.max_stride if name == "stride" else len(self._opened.names)
        if name in ALWAYS_OFF:
            return False
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise AttributeError(f"no {name} on a model of torch.hub: {_instead(name)}") from None


def _at_work(hub: HubModel, size: Any, augment: bool) -> Model:
    """The model for one call: calls at the same time in other threads have predictors of their own."""
    sides = sides_of(size)
    if sides:
        check_fixed_size(hub.model, sides, hub._source)
    fixed = fixed_size_hw(hub.model)
    size_hw = fixed or input_size_hw(sides or (hub.model.imgsz,), hub.model.max_stride, warn)
    opened = copy(hub._opened)
    opened.predictor = _predictor(hub, augment, size_hw)
    opened.names = hub._names  # checked again: one may have been set in the dict
    return opened


def _predictor(hub: HubModel, augment: bool, size_hw: Sequence[int]) -> Any:
    options = replace(hub._options, augment=augment)
    check_fields(options)
    height, width = size_hw
    return hub._task.predictor(hub.model, options, device=hub._device, size_hw=(height, width), half=hub._half)


def _amp_on(hub: HubModel, choice: str, device: torch.device, half: bool) -> str:
    """The number type that the model would compute in. ValueError: it cannot."""
    if isinstance(hub.model, Network) and not half:
        return amp_on(device, choice)
    check_amp_and_half(choice, half)
    if choice not in ("auto", "off") and not half:
        refuse_numbers(hub._source, f"--amp {choice}")
    return "off"


def _compute_in(hub: HubModel, amp: str) -> None:
    if isinstance(hub.model, Network):
        hub.model.computing_in(amp)


def _instead(name: str) -> str:
    if name == "amp":
        return 'give "auto", "bf16", "fp16" or "off"; model.half() turns the weights to float16, on a GPU'
    known = [*SETTINGS, "names", "amp", "stride", "nc", "model"]
    found = {**ALWAYS_OFF, **ELSEWHERE}.get(name) or hint_for(name, known, quoted=False)
    return found or f"there is {', '.join(known)}"


def _plain(value: Any) -> Any:
    """A value of NumPy or PyTorch as Python's, and a list as the tuple that it stands for."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(_plain, value)) if isinstance(value, list | tuple | range) else value


def _misplaced(tensor: Tensor, is_network: bool) -> str:
    """Why weights cannot be like this tensor, or nothing."""
    if not is_network:
        return "an exported file cannot be moved or cast; load it with another device="
    if tensor.dtype not in (torch.float32, torch.float16):
        return f"weights are float32 or float16, not {tensor.dtype}"
    if tensor.dtype == torch.float16 and tensor.device.type != "cuda":
        return f"half precision needs a CUDA device, not {tensor.device}; model.float() goes back"
    return "there is nothing to compute with" if tensor.device.type == "meta" else ""


def _refuse_url(image: Any) -> None:
    if isinstance(image, str | os.PathLike) and URL.match(os.fspath(image)):
        raise ValueError(
            f"{os.fspath(image)}: nothing is fetched; save the picture and give its path (detect.py --source takes "
            "streams)"
        )


def _check_batch(images: Tensor, stride: int) -> None:
    """Refuse a tensor that the network cannot take, or would take for something else."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or not images.numel():
        raise ValueError(f"tensor of shape {shape}: give (batch, 3, height, width), or images as arrays")
    if shape[2] % stride or shape[3] % stride:
        raise ValueError(f"tensor of {shape[2]}x{shape[3]} pixels: its sides must be multiples of the stride {stride}")
    if not images.is_floating_point():
        raise ValueError(f"tensor of {images.dtype}: give float, 0..1 (divide 0..255 by 255)")
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"tensor with values from {low:g} to {high:g}: give 0..1 (divide 0..255 by 255)")
