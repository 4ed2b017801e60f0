"""What the comparison of an exported file with PyTorch lets pass, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mgil.engine.export.check import check_file
from mgil.engine.export.job import ExportJob
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.suppression import Suppression
from tests.engine.export.export_tiny import pictures, small_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # the second is a name here: nothing is computed on it


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    return small_model()


def job_of(model: DetectionModel, device: torch.device = CPU, suppression: Suppression | None = None) -> ExportJob:
    return ExportJob(model=model, stem="best", size_hw=(64, 64), device=device, inside=suppression)


def off_by(model: DetectionModel, boxes: float, scores: float) -> Callable[[Tensor], Tensor]:
    """A file that is wrong in one box and one score of each image."""

    def run(images: Tensor) -> Tensor:
        found = model(images).clone()
        found[:, 7, 2] += boxes
        found[:, 8, 5] += scores
        return found

    return run


@pytest.mark.parametrize(("boxes", "scores"), [(0.03, 0.0), (0.0, 0.003)])
def test_float32_is_exact_on_the_cpu_and_less_so_on_gpus(model: DetectionModel, boxes: float, scores: float) -> None:
    run, inputs = off_by(model, boxes, scores), [pictures((64, 64), 1)]
    with pytest.raises(ValueError, match=r"beyond what float32 explains \(0\.013 px, 0\.001\)"):
        check_file(job_of(model), run, inputs)
    difference = check_file(job_of(model, GPU), run, inputs)
    assert difference.boxes_px == pytest.approx(boxes, abs=1e-3)  # batches are rounded otherwise
    assert difference.scores == pytest.approx(scores, abs=1e-5)
    assert check_file(job_of(model), off_by(model, boxes / 10, scores / 10), inputs).images == 1


@pytest.mark.parametrize("suppression", [None, Suppression(total=4)])
@pytest.mark.parametrize("batch", [0, 1])
def test_numbers_that_are_none_are_refused(model: DetectionModel, suppression: Suppression | None, batch: int) -> None:
    inputs = list(pictures((64, 64), 2).split(1))
    calls: list[Tensor] = []

    def run(images: Tensor) -> Tensor:
        calls.append(images)
        found = model(images) if suppression is None else torch.zeros(1, 4, 6)
        return found * float("nan") if len(calls) == batch + 1 else found

    with pytest.raises(ValueError, match="^its output holds values that are no finite numbers"):
        check_file(job_of(model, suppression=suppression), run, inputs)


def test_a_model_that_gives_none_itself_is_named() -> None:
    model = small_model()
    model.head.m[0].bias[0] = float("nan")
    with pytest.raises(ValueError, match="^PyTorch's output holds values that are no finite numbers"):
        check_file(job_of(model), model, [pictures((64, 64), 1)])


def test_a_comparison_of_no_boxes_says_so(model: DetectionModel) -> None:
    """A file of zeros is as good as PyTorch on images where that finds nothing."""
    inputs = [pictures((64, 64), 1)] * 2

    def nothing(images: Tensor) -> Tensor:
        return torch.zeros(len(images), 100, 6)

    difference = check_file(job_of(model, suppression=Suppression(conf_thres=1.0)), nothing, inputs)
    assert difference.compared == 0
    assert difference.missing is None
    assert str(difference).startswith("not compared, PyTorch finds no box on 2 images")
    assert "largest difference" not in str(difference)
    with pytest.raises(ValueError, match="differs from PyTorch"):
        check_file(job_of(model, suppression=Suppression()), nothing, inputs)
