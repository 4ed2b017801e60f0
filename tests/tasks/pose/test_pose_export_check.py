"""What the comparison of a pose file with PyTorch lets pass, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mgil.engine.export.job import ExportJob
from mgil.tasks.pose.export_check import compare
from mgil.tasks.registry import task_named
from tests.tasks.pose.mark_network import MarkNetwork

BINS = 64
JOB = ExportJob(MarkNetwork().eval(), "best", (32, 32), task=task_named("pose"))
GPU = replace(JOB, device=torch.device("cuda"))  # a name here: nothing is computed on it
HALF, BF16, INT8 = replace(JOB, half=True), replace(JOB, half=True, in_bfloat16=True), replace(JOB, int8=True)


def logits(second: float = 0.0) -> Tensor:
    """(1, 2, 3, 64): the best bin of each is 10, with a logit of 8; bin 40 has `second`."""
    values = torch.zeros(1, 2, 3, BINS)
    values[..., 10], values[..., 40] = 8.0, second
    return values


def joints(second: float = 0.0, **moved: float) -> Tensor:
    """What PyTorch decodes, with changes to the last joint."""
    found = JOB.model.decode(logits(second)).clone()  # type: ignore[operator]
    for key, value in moved.items():
        found[0, 2, "xyz".index(key)] = value
    return found


def verdict(job: ExportJob, second: float = 0.0, **moved: float) -> Any:
    return compare([joints(second, **moved)], [logits(second)], job)


def test_the_same_is_the_same() -> None:
    found = verdict(JOB)
    assert (found.crops, found.joints, found.moved, found.pixels, found.unlikely, found.scores) == (1, 3, 0, 0, 0, 0)
    assert str(found) == "largest difference on 1 crops: scores 0, places 0 px (3 joints)"


@pytest.mark.parametrize(
    ("job", "gap"), [(JOB, 0.0005), (GPU, 0.015), (HALF, 0.08), (BF16, 0.9)], ids=["float32", "TF32", "half", "bf16"]
)
def test_another_place_must_be_as_likely(job: ExportJob, gap: float) -> None:
    """Bin 40 is at 20.25 px, 15 px away."""
    found = verdict(job, 8 - gap, x=20.25)
    assert (found.moved, found.pixels) == (1, 15)
    assert found.unlikely == pytest.approx(gap, abs=1e-5)
    assert "1 of 3 joints elsewhere" in str(found)
    with pytest.raises(ValueError, match="beyond what .* explains"):
        verdict(job, 8 - 3 * gap, x=20.25)


def test_a_neighbouring_bin_is_no_small_difference_where_it_is_less_likely() -> None:
    with pytest.raises(ValueError, match=r"float32 explains .* places 0\.5 px \(1 of 3 joints elsewhere"):
        verdict(JOB, y=5.75)


@pytest.mark.parametrize(("job", "gap"), [(JOB, 0.0008), (GPU, 0.008), (HALF, 0.015), (BF16, 0.08)])
def test_scores(job: ExportJob, gap: float) -> None:
    score = float(joints()[0, 2, 2])
    assert verdict(job, z=score - gap).scores == pytest.approx(gap, abs=1e-5)
    with pytest.raises(ValueError, match="beyond what .* explains"):
        verdict(job, z=score - 2 * gap)


@pytest.mark.parametrize("moved", [{"x": 5.1}, {"x": -0.25}, {"y": 32.25}, {"x": 1e9}])
def test_places_that_are_no_middles_of_bins(moved: dict[str, float]) -> None:
    for job in (JOB, INT8):
        with pytest.raises(ValueError, match="places that are no middles of bins"):
            verdict(job, **moved)


def test_numbers_and_shapes() -> None:
    for moved in ({"x": float("nan")}, {"z": float("inf")}):
        with pytest.raises(ValueError, match="its output holds values that are no finite numbers"):
            verdict(JOB, **moved)
    with pytest.raises(ValueError, match="PyTorch's output holds"):
        compare([joints()], [logits(float("nan"))], JOB)
    with pytest.raises(ValueError, match=r"its output is \(1, 2, 3\), joints of PyTorch's are \(1, 3, 3\)"):
        compare([joints()[:, :2]], [logits()], JOB)


def test_int8_is_judged_by_shares_and_means() -> None:
    many = [joints()] * 9
    found = compare([*many, joints(x=20.25)], [logits()] * 10, INT8)  # 1 of 60 places
    assert (found.misplaced, found.moved) == (pytest.approx(1 / 60), 1)
    assert "1.7% of the places much less likely" in str(found)
    with pytest.raises(ValueError, match="INT8 explains"):
        compare([joints(x=20.25, y=20.25)], [logits()], INT8)  # 2 of 6
    with pytest.raises(ValueError, match="INT8 explains"):
        compare([joints(z=0.5)], [logits()], INT8)  # 0.16 on the mean
