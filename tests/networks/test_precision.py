"""A network in another number type: what is rounded, and what stays float32."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgil.networks.detector import DetectionModel, build_model
from mgil.networks.precision import as_float32, autocast
from tests.engine.export.export_tiny import small_model
from tests.engine.tiny import NAMES, TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    torch.manual_seed(0)
    return build_model(TINY, names=NAMES, imgsz=64).eval().fused().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def kinds_in(model: nn.Module, images: Tensor) -> set[torch.dtype]:
    """Number types that the convolutions give."""
    kinds = set()
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: kinds.add(output.dtype))
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return kinds


def test_layers_compute_in_bfloat16_and_boxes_are_decoded_in_float32(model: DetectionModel, images: Tensor) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    exact = model(images)
    with autocast(CPU, "bf16"):
        raws = model.raw(images)
    assert {raw.dtype for raw in raws} == {torch.bfloat16}
    assert model.computing_in("bf16") is model and kinds_in(model, images) == {torch.bfloat16}
    found = model(images)
    # the head's rounded maps, decoded in float32: bfloat16 could not tell pixel 64.25 from 64.5
    assert found.dtype == torch.float32 and torch.equal(found, model.head.decode([raw.float() for raw in raws]))
    scale = torch.tensor([96.0, 64, 96, 64, *[1.0] * (model.head.num_outputs - 4)])
    gap = ((found - exact) / scale).abs().max()
    assert 1e-5 < gap < 2**-6  # 8 bits of a bfloat16, two of them lost on the way
    # the weights were rounded once and not in each call; what else there is was not; and "off" brings every bit back
    layers = {name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    for key, value in model.state_dict().items():
        kind = torch.bfloat16 if key.rpartition(".")[0] in layers else torch.float32
        assert value.dtype == kind and torch.equal(value, before[key].to(kind)), key
    again = model.computing_in("bf16")(images)
    assert torch.equal(again, found)
    model.computing_in("off")
    assert [parameter.data_ptr() for parameter in model.parameters()] == pointers
    after = model.state_dict()
    assert all(torch.equal(after[key], value) and value.dtype == after[key].dtype for key, value in before.items())
    assert torch.equal(model(images), exact) and kinds_in(model, images) == {torch.float32}


def test_rounding_once_is_what_autocast_does() -> None:
    """In every kind of layer; the block's convolutions share kernels, and have factors beside them."""
    whole = small_model().fused()
    last = torch.rand(1, 3, 32, 64).contiguous(memory_format=torch.channels_last)
    twin = deepcopy(whole).to(memory_format=torch.channels_last)
    with autocast(CPU, "bf16"):
        expected = twin(last)
    assert torch.equal(deepcopy(whole.computing_in("bf16"))(last), expected)


def test_a_network_of_its_own_type_inside_another_context(model: DetectionModel, images: Tensor) -> None:
    """Members of an ensemble have types of their own."""
    with autocast(CPU, "off"):
        assert kinds_in(model.computing_in("bf16"), images) == {torch.bfloat16}
    assert kinds_in(model.computing_in("off"), images) == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_outputs_become_float32(dtype: torch.dtype) -> None:
    half, whole, double = torch.ones(2, dtype=dtype), torch.arange(2), torch.ones(1, dtype=torch.float64)
    found: Any = as_float32([half, (whole, [double]), "text", None])
    assert found[0].dtype == torch.float32 and found[0].tolist() == [1, 1]
    assert found[1][0] is whole and found[1][1][0] is double and found[2:] == ["text", None]
    assert type(found[1]) is tuple
