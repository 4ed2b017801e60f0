"""YOLOv5's way to a model in Python, through torch.hub:

model = torch.hub.load("path/of/this/folder", "custom", path="best.pt", source="local")
results = model("image.jpg")
results.print()
results.pandas().xyxy[0]

As a program it tries a model out: python hubconf.py --model best.pt
"""

from __future__ import annotations

import os
import typing

import torch
from torch import nn

dependencies = ["torch", "torchvision", "numpy", "cv2", "PIL", "yaml"]


def custom(
    path: str | os.PathLike[str] = "path/to/model.pt",
    autoshape: bool = True,
    _verbose: bool = True,
    device: str | int | torch.device | None = None,
    download: bool = False,
    amp: str = "auto",
) -> nn.Module:
    """Load weights of your own; see `mgil.engine.hub.load.open_weights`."""
    from mgil.engine.hub.load import open_weights

    return open_weights(path, autoshape, _verbose, device, download, amp)


def _named(
    name: str,
    pretrained: bool = True,
    channels: int = 3,
    classes: int = 80,
    autoshape: bool = True,
    _verbose: bool = True,
    device: str | int | torch.device | None = None,
    path: str | os.PathLike[str] = "",
    download: bool = False,
    amp: str = "auto",
) -> nn.Module:
    from mgil.engine.hub.load import open_named

    return open_named(name, pretrained, channels, classes, autoshape, _verbose, device, path, download, amp)


def yolov5n(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5n, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5n", *given, **options)


def yolov5s(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5s, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5s", *given, **options)


def yolov5m(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5m, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5m", *given, **options)


def yolov5l(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5l, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5l", *given, **options)


def yolov5x(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5x, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5x", *given, **options)


def yolov5n6(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5n6, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5n6", *given, **options)


def yolov5s6(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5s6, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5s6", *given, **options)


def yolov5m6(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5m6, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5m6", *given, **options)


def yolov5l6(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5l6, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5l6", *given, **options)


def yolov5x6(*given: typing.Any, **options: typing.Any) -> nn.Module:
    """YOLOv5x6, with pretrained, channels, classes, autoshape, _verbose, device, path (of weights), download, amp."""
    return _named("yolov5x6", *given, **options)


if __name__ == "__main__":
    from mgil.engine.hub.command import main

    main()
