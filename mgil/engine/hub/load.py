"""What the functions of hubconf.py do."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from mgil.engine.devices import select_device
from mgil.engine.hub.model import HubModel
from mgil.engine.input_size import warn
from mgil.engine.prediction.load import open_model
from mgil.engine.runtimes.model import device_for, is_exported, load_exported
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint, transfer_weights
from mgil.engine.weights.released import fetch_weights
from mgil.files.flags import from_keywords, positive_int
from mgil.networks.detector import build_model
from mgil.tasks.base import Task
from mgil.tasks.registry import DEFAULT_TASK, options_of

OFFICIAL_CHANNELS, OFFICIAL_CLASSES = 3, 80
PathLike = str | os.PathLike[str]
Device = str | int | torch.device | None


def open_weights(
    path: PathLike,
    autoshape: bool = True,
    verbose: bool = True,
    device: Device = None,
    download: bool = False,
    amp: str = "auto",
) -> nn.Module:
    """Load weights.

    Args:
        path: A .pt file of train.py or YOLOv5, or an exported file.
        autoshape: Give a `HubModel`, which takes images and finds boxes; without it the network itself, in evaluation
            mode: (B, 3, H, W) tensors in, and of a .pt file ready to be trained.
        verbose: Print a line about what was loaded.
        device: None (the first GPU if there is one, else the CPU), "cpu", "mps", a GPU's number or a torch.device.
        download: Fetch YOLOv5's weights by their name when they are missing; the URL is printed first.
        amp: As for `mgil.load_model`.

    Raises:
        FileNotFoundError: No such weights.
        ValueError: Weights that cannot be used, or of another task than detection; no such device.
        OSError: Weights cannot be fetched.
    """
    path, place = os.fspath(path), "" if device is None else str(device)
    if download:
        fetch_weights(path, print)
    if not autoshape:
        _check_plain(amp)
        return _network(path, place)

    def own(task: Task) -> Any:
        _check_task(task.name, path)
        return from_keywords(options_of(task.name, "detect"), {})

    task, model = open_model(path, place, (), False, own, warn, amp=amp)
    if verbose:
        height, width = model.size_hw
        print(f"{path}: {len(model.names)} classes, input up to {height}x{width} pixels, on {model.device}")
    return HubModel(task, model, path, amp)


def open_named(
    name: str,
    pretrained: bool = True,
    channels: int = OFFICIAL_CHANNELS,
    classes: int = OFFICIAL_CLASSES,
    autoshape: bool = True,
    verbose: bool = True,
    device: Device = None,
    path: PathLike = "",
    download: bool = False,
    amp: str = "auto",
) -> nn.Module:
    """A model of YOLOv5, by name.

    Args:
        name: As "yolov5n".
        pretrained: With YOLOv5's weights. Without them, or with other `channels` or `classes` than theirs, it is the
            network itself, to be trained; what fits of the weights is in it.
        channels: Of the input image.
        classes: Their number.
        autoshape, verbose, device, download, amp: As for `open_weights`.
        path: Where the weights are; by default {name}.pt in the working folder.

    Raises:
        FileNotFoundError, ValueError, OSError: As `open_weights`.
    """
    if not isinstance(pretrained, bool):
        raise ValueError(f"pretrained={pretrained!r}: give True or False; path= says where the weights are")
    for word, count in (("channels", channels), ("classes", classes)):
        if not positive_int.accepts(count):
            raise ValueError(f"{word}={count!r} is not {positive_int.wanted}")
    weights = os.fspath(path) or f"{name}.pt"
    if pretrained and (channels, classes) == (OFFICIAL_CHANNELS, OFFICIAL_CLASSES):
        return open_weights(weights, autoshape, verbose, device, download, amp)
    _check_plain(amp)
    cfg = f"{name[:-1]}-p6.yaml" if name.endswith("6") else f"{name}.yaml"
    network = build_model(cfg, num_classes=classes, channels=channels).eval()
    if pretrained:
        if download:
            fetch_weights(weights, print)
        checkpoint = load_checkpoint(weights)
        transfer = transfer_weights(network, checkpoint.state_dict)
        if len(checkpoint.names) == classes:
            network.names = checkpoint.names
        if verbose:
            print(f"{weights}: {transfer}")
    return network.to(select_device("" if device is None else str(device)))


def _network(path: str, place: str) -> nn.Module:
    if is_exported(path):
        exported = load_exported(path, device_for([path], place))
        _check_task(exported.task.name, path)
        return exported
    checkpoint = load_checkpoint(path)
    _check_task(checkpoint.task, path)
    return model_from_checkpoint(checkpoint, select_device(place), fuse=False).requires_grad_(True)


def _check_plain(amp: str) -> None:
    if amp != "auto":
        raise ValueError(f"amp={amp!r}: this is the network itself, which computes in what torch.autocast says")


def _check_task(name: str, path: str) -> None:
    if name != DEFAULT_TASK:
        raise ValueError(
            f"{path} is of the task {name}; this interface is for detection, use mgil.load_model({path!r})"
        )
