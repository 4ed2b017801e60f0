"""Mixed precision: what each choice means on each device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mgil.engine.training.config import AMP_CHOICES
from mgil.engine.training.precision import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("choice", "effective", "dtype"),
    [("auto", "off", torch.float32), ("off", "off", torch.float32), ("bf16", "bf16", torch.bfloat16)],
)
def test_choices_on_the_cpu(choice: str, effective: str, dtype: torch.dtype) -> None:
    precision = Precision(choice, CPU)
    assert (precision.choice, precision.dtype) == (effective, dtype)
    with precision.autocast():
        assert nn.Linear(4, 4)(torch.ones(2, 4)).dtype == dtype
    assert nn.Linear(4, 4)(torch.ones(2, 4)).dtype == torch.float32  # and it ends with the block


def test_without_float16_the_scaler_changes_nothing() -> None:
    precision = Precision("bf16", CPU)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    loss = (weight * 3).sum()
    assert precision.scaler.scale(loss) is loss
    loss.backward()
    precision.scaler.unscale_(optimizer)
    precision.scaler.step(optimizer)
    precision.scaler.update()
    assert weight.item() == pytest.approx(1 - 0.5 * 3)
    assert precision.scaler.state_dict() == {}


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="--amp fp16 needs a GPU.*cpu"):
        Precision("fp16", CPU)


def test_unknown_choice() -> None:
    with pytest.raises(ValueError, match=f"--amp 'half'.*{', '.join(AMP_CHOICES)}"):
        Precision("half", CPU)


@pytest.mark.cuda
def test_auto_on_a_gpu_is_the_best_it_has() -> None:
    precision = Precision("auto", torch.device("cuda"))
    assert precision.choice == ("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16")


@pytest.mark.cuda
def test_float16_gradients_are_scaled_and_a_step_that_overflows_is_left_out() -> None:
    precision = Precision("fp16", torch.device("cuda"))
    weight = nn.Parameter(torch.ones(1, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    start = precision.scaler.get_scale()
    assert start > 1
    for gradient in (3.0, float("inf")):
        optimizer.zero_grad()
        precision.scaler.scale((weight * gradient).sum()).backward()
        precision.scaler.unscale_(optimizer)
        precision.scaler.step(optimizer)
        precision.scaler.update()
    assert weight.item() == pytest.approx(1 - 0.5 * 3)
    assert precision.scaler.get_scale() == start / 2
