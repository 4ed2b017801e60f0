"""The moving average against a loop over NumPy arrays."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from mgil.engine.training.ema import ModelEma


def test_closed_form() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    ema = ModelEma(model)
    random = np.random.default_rng(0)
    average = {key: value.numpy().astype(np.float64) for key, value in model.state_dict().items()}
    for update in range(1, 41):
        for value in model.state_dict().values():
            value.copy_(torch.as_tensor(random.normal(size=tuple(value.shape)) * 100))
        ema.update()
        decay = 0.9999 * (1 - math.exp(-update / 2000))
        for key, value in model.state_dict().items():
            average[key] = decay * average[key] + (1 - decay) * value.numpy().astype(np.float64)
    assert ema.updates == 40
    for key, value in ema.model.state_dict().items():
        if value.is_floating_point():
            np.testing.assert_allclose(value.numpy(), average[key], rtol=1e-4, atol=1e-4, err_msg=key)


def test_what_the_device_leaves_out_does_not_count() -> None:
    """Decided by a tensor, as on a GPU: an update left out moves nothing, and the next has the share of its number."""
    model = nn.Linear(2, 3)
    ema = ModelEma(model)
    random = np.random.default_rng(0)
    average = {key: value.numpy().astype(np.float64) for key, value in model.state_dict().items()}
    updates = 0
    for step in range(30):
        for value in model.state_dict().values():
            value.copy_(torch.as_tensor(random.normal(size=tuple(value.shape)) * 100))
        left_out = step % 3 == 1
        ema.update(unless=torch.tensor(left_out))
        if left_out:
            continue
        updates += 1
        decay = 0.9999 * (1 - math.exp(-updates / 2000))
        for key, value in model.state_dict().items():
            average[key] = decay * average[key] + (1 - decay) * value.numpy().astype(np.float64)
        assert ema.updates == updates
    assert ema.updates == 20 and isinstance(ema.updates, int)
    for key, value in ema.model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), average[key], rtol=1e-4, atol=1e-4, err_msg=key)


def test_counting_goes_on_from_a_restored_number() -> None:
    ema = ModelEma(nn.Linear(1, 1))
    ema.updates = 7
    ema.update(unless=torch.tensor(False))
    ema.update()
    assert ema.updates == 9


def test_integer_buffers_are_taken_over() -> None:
    model = nn.BatchNorm1d(3)
    ema = ModelEma(model)
    model.num_batches_tracked.fill_(41)
    ema.update()
    assert ema.model.num_batches_tracked == 41
    assert ema.model.num_batches_tracked.dtype == torch.int64


def test_the_average_is_a_copy_that_only_evaluates() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    ema = ModelEma(model)
    with torch.no_grad():
        model[0].weight.fill_(7)
    assert not (ema.model[0].weight == 7).any()
    assert not ema.model.training and not ema.model[1].training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_early_weights_are_forgotten() -> None:
    """The first update takes all but 0.9999 * (1 - exp(-1/2000)) = 0.0005 of the new weights."""
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    ema = ModelEma(model)
    nn.init.ones_(model.weight)
    ema.update()
    assert abs(ema.model.weight.item() - (1 - 0.9999 * (1 - math.exp(-1 / 2000)))) < 1e-6
