"""Networks with a past, for tests that must not depend on how a network begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def lived(network: Any) -> Any:
    """A network whose normalisations are nobody's start, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (layer.bias.data, layer.running_mean):
                tensor.normal_(0, 0.1, generator=generator)
    return network.eval()
