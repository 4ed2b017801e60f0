"""The memory layout that a network is trained in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mgil.engine.training.trainer import needs_contiguous

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("layer", "unsafe"),
    [
        (nn.Conv2d(3, 48, 1, stride=2), True),
        (nn.Conv2d(7, 8, 1, stride=(1, 2)), True),
        (nn.Conv2d(8, 48, 1, stride=2), False),
        (nn.Conv2d(3, 48, 1), False),
        (nn.Conv2d(3, 48, 3, stride=2, padding=1), False),
    ],
    ids=["of a picture", "of seven channels", "of eight", "without stride", "of 3x3"],
)
def test_thin_strided_layers_of_1x1_are_trained_contiguously(layer: nn.Conv2d, unsafe: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, layer.in_channels, 3), layer)
    assert needs_contiguous(model, CPU) is unsafe
    assert not needs_contiguous(model, torch.device("cuda"))
    layout = torch.contiguous_format if unsafe else torch.channels_last
    model.to(memory_format=layout)  # the other one may end the process here
    for _ in range(12):
        images = torch.rand(4, 3, 66, 66).contiguous(memory_format=layout)
        model(images).sum().backward()
