"""Networks of timm as classifiers, with stems for small pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from mgil.tasks.classify.network import ClassNetwork, build_class_network

pytest.importorskip("timm")


def build(keys: Mapping[str, Any]) -> ClassNetwork:
    with torch.device("meta"):
        return build_class_network({"host": "resnet18", "source": "own.yaml", **keys}, ("cat", "dog"), 32)


@pytest.mark.parametrize("stem", ["half", "cifar"])
def test_stems_for_small_pictures_are_as_wide_as_the_first_stage(stem: str) -> None:
    def facts(channels: list[int]) -> tuple[tuple[int, ...], int]:
        model = build({"stem": stem, "host_options": {"channels": channels}})
        assert isinstance(model.host.layer1[0].downsample, (nn.Identity, type(None)))
        count = sum(value.numel() for name, value in model.host.named_parameters() if value.ndim == 4)
        return tuple(model.host.conv1.weight.shape), count

    whole, half = facts([64, 128, 256, 512]), facts([32, 64, 128, 256])
    assert (whole[0], half[0]) == ((64, 3, 3, 3), (32, 3, 3, 3))
    stem_weights = 3 * 9 * 64
    assert whole[1] - stem_weights == 4 * (half[1] - stem_weights // 2)  # every other convolution is a quarter
    assert (
        build({"stem": "imagenet", "host_options": {"channels": [8, 8, 16, 16]}}).host.conv1.out_channels == 64
    )  # timm's own stays
    assert build({"host": "resnet18d"}).host.conv1[0].out_channels == 32
    for options, message in (
        ({"channels": [15, 30, 60, 120]}, "channels 15, ...: the first must be even with stem"),
        ({"channels": [1, 2, 4, 8]}, "channels 1, ...: the first must be even"),
        ({"channels": [16, 32, 64, 128], "stem_width": 8}, "has no stem_width; channels says its width"),
    ):
        with pytest.raises(ValueError, match=message):
            build({"stem": stem, "host_options": options})
    with pytest.raises(ValueError, match="stem: half is for ResNets with a 7x7 layer and a pool, not for resnet18d"):
        build({"host": "resnet18d", "stem": "half"})
