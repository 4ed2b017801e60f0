"""The memory layout that a network is trained in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mgil.engine.training.trainer import layout_for

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (nn.Conv2d(3, 48, 1, stride=2), torch.contiguous_format),
        (nn.Conv2d(7, 8, 1, stride=(1, 2)), torch.contiguous_format),
        (nn.Conv2d(8, 48, 1, stride=2), torch.channels_last),
        (nn.Conv2d(3, 48, 1), torch.channels_last),
        (nn.Conv2d(3, 48, 3, stride=2, padding=1), torch.channels_last),
    ],
    ids=["of a picture", "of seven channels", "of eight", "without stride", "of 3x3"],
)
def test_thin_strided_layers_of_1x1_are_trained_contiguously(layer: nn.Conv2d, wanted: torch.memory_format) -> None:
    model = nn.Sequential(nn.Conv2d(3, layer.in_channels, 3), layer)
    assert layout_for(model, CPU) is wanted
    assert layout_for(model, torch.device("cuda")) is torch.channels_last
    model.to(memory_format=layout_for(model, CPU))  # the gradients that end the process in the other layout
    for _ in range(12):
        images = torch.rand(4, 3, 66, 66).contiguous(memory_format=layout_for(model, CPU))
        model(images).sum().backward()
