"""Parameters and multiply-adds of the classifiers, to the digit.

The multiply-adds are those of convolutions and linear layers, every tap of a kernel counted.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgil.tasks.classify.network import ClassNetwork, build_class_network

pytest.importorskip("timm")

POOLED = {"pools": "block", "norms": "keep"}
SPD, MGIL = {"blocks": "spd", **POOLED}, {"blocks": "mgil", **POOLED}
KINDS: tuple[dict[str, Any], ...] = ({}, SPD, MGIL, {**MGIL, "shortcuts": "block", "large": True})
# Host, classes, pixels, stem; then parameters and multiply-adds: plain, SPD, MGIL, and MGIL in 1x1 shortcuts too.
# Of blocks that leave the host's batch normalisation behind them (norms: keep), as they were counted first.
ROWS: list[tuple[str, int, int, str, list[tuple[int, int]]]] = [
    ("resnet18", 200, 64, "imagenet", [(11279112, 148148224), (16070984, 225808384),
                                       (28848850, 527886592), (47351592, 696269280)]),
    ("resnet18", 200, 64, "half", [(11271432, 555520000), (15923400, 730697728),
                                   (28552248, 1334764784), (47054990, 2008036816)]),
    ("resnet18", 200, 64, "cifar", [(11271432, 2221772800), (15918088, 2901250048),
                                    (28397918, 4713275616), (46900660, 7406105024)]),
    ("resnet50", 200, 64, "half", [(23910152, 1298219008), (33206984, 1643266048),
                                   (45835832, 2247333104), (341768062, 13019682928)]),
    ("resnet50", 10, 32, "imagenet", [(23528522, 83431424), (32965258, 113463296),
                                      (45743124, 189049088), (341675354, 863612032)]),
    ("resnet50", 10, 32, "half", [(23520842, 324472832), (32817674, 410734592),
                                  (45446522, 561816816), (341378752, 3255937136)]),
    ("resnet50", 10, 32, "cifar", [(23520842, 1297829888), (32812362, 1637568512),
                                   (45292192, 2090639584), (341224422, 12862989408)]),
]  # fmt: skip
QUICK = {("resnet18", "imagenet", 1), ("resnet18", "half", 2), ("resnet18", "cifar", 0)}
CASES = [
    pytest.param(
        {"host": host, "stem": stem, **KINDS[kind]},
        classes,
        size,
        figures[kind],
        id=f"{host}-{size}-{stem}-{('plain', 'spd', 'mgil', 'mgil-everywhere')[kind]}",
        marks=() if (host, stem, kind) in QUICK else pytest.mark.nightly,
    )
    for host, classes, size, stem, figures in ROWS
    for kind in range(4)
]
QUICK_ROWS = {("yolov5n-cls.yaml", 1000), ("yolov5n-cls-mgil.yaml", 10), ("yolov5n-cls-spd.yaml", 10)}
# Published for yolov5n-cls: 2.5 M parameters.
OF_ROWS = [
    ("yolov5n-cls.yaml", 1000, 224, 2493000, 178702336),
    ("yolov5n-cls.yaml", 200, 64, 1468200, 14739456),
    ("yolov5n-cls.yaml", 10, 32, 1224810, 3633664),
    ("yolov5n-cls-mgil.yaml", 1000, 224, 6837162, 930160528),
    ("yolov5n-cls-mgil.yaml", 200, 64, 5812362, 76103568),
    ("yolov5n-cls-mgil.yaml", 10, 32, 5568972, 18991504),
    ("yolov5n-cls-spd.yaml", 1000, 224, 3668040, None),
    ("yolov5n-cls-spd.yaml", 200, 64, 2643240, None),
    ("yolov5n-cls-spd.yaml", 10, 32, 2399850, None),
]


def on_meta(architecture: Any, classes: int, size: int) -> ClassNetwork:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build_class_network(architecture, tuple(map(str, range(classes))), size)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def counted(network: ClassNetwork) -> int:
    """Multiply-adds of one picture."""
    total = 0

    def count(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    network.mean, network.std = network.mean.to("meta"), network.std.to("meta")
    network.eval()(torch.empty(1, 3, network.imgsz, network.imgsz, device="meta"))
    return total


@pytest.mark.filterwarnings("ignore:.*1x1 shortcuts have")
@pytest.mark.parametrize(("architecture", "classes", "size", "figures"), CASES)
def test_hosts(architecture: dict[str, Any], classes: int, size: int, figures: tuple[int, int]) -> None:
    network = on_meta(architecture, classes, size)
    assert (parameters(network), counted(network)) == figures


@pytest.mark.parametrize(
    ("name", "classes", "size", "expected", "multiply_adds"),
    [pytest.param(*row, marks=() if (row[0], row[1]) in QUICK_ROWS else pytest.mark.nightly) for row in OF_ROWS],
)
def test_rows(name: str, classes: int, size: int, expected: int, multiply_adds: int | None) -> None:
    network = on_meta(name, classes, size)
    assert parameters(network) == expected
    if multiply_adds is not None:
        assert counted(network) == multiply_adds


LARGE = [
    pytest.param("m", 0.67, 0.75, marks=pytest.mark.nightly),
    pytest.param("x", 1.33, 1.25, marks=pytest.mark.nightly),
]


@pytest.mark.parametrize(("letter", "depth", "width"), [("s", 0.33, 0.5), *LARGE])
def test_larger_scales_by_hand(letter: str, depth: float, width: float) -> None:
    """Rows 0 to 8 of the detector, then 1280 channels and the classes; batch normalisation has two values a channel."""

    def conv(given: int, out: int, side: int = 1) -> int:
        return given * out * side * side + 2 * out

    def c3(c: int, number: int) -> int:
        half, times = c // 2, max(round(number * depth), 1)
        return 2 * conv(c, half) + conv(c, c) + times * (conv(half, half) + conv(half, half, 3))

    c = [int(64 * width) << level for level in range(5)]
    stages = sum(conv(c[i], c[i + 1], 3) + c3(c[i + 1], number) for i, number in enumerate((3, 6, 9, 3)))
    expected = conv(3, c[0], 6) + stages + conv(c[4], 1280) + 1281 * 1000
    assert parameters(on_meta(f"yolov5{letter}-cls.yaml", 1000, 224)) == expected


def test_shipped_blocks_take_the_normalisation_over() -> None:
    """Two values a channel fewer than in the table for each of four layers; a pool has no normalisation behind it."""
    assert parameters(on_meta("resnet18-mgil.yaml", 200, 96)) == 28848850 - 2 * (64 + 128 + 256 + 512)
