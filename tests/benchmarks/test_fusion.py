"""MGAF's weights over images, against a network whose weights can be written down."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import fusion
from benchmarks.fusion import fine_weights, held, plot_histograms, summary
from mgil.block.mgaf import MGAF
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import DetectionModel, build_model
from tests.engine.tiny import NAMES, TINY, make_data, random_squares


class Fused(nn.Module):
    """The image as the fine feature, half of it as the coarse one."""

    def __init__(self, slope: float, bias: float) -> None:
        super().__init__()
        self.mgaf = MGAF(3)
        with torch.no_grad():
            for parameter in self.mgaf.parameters():
                parameter.zero_()
            self.mgaf.conv.weight[0, 0] = 1.0  # reads the mean of the fine red
            self.mgaf.fc.weight[0, 0] = slope
            self.mgaf.fc.bias[0] = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mgaf(x, x / 2)


def batches(reds: list[int], order: list[int]) -> list[SimpleNamespace]:
    """Batches of two plain images."""
    images = torch.zeros(len(reds), 3, 4, 4, dtype=torch.uint8)
    images[:, 0] = torch.tensor(reds, dtype=torch.uint8)[:, None, None]
    return [
        SimpleNamespace(images=images[order[place : place + 2]], indices=np.array(order[place : place + 2]))
        for place in range(0, len(order), 2)
    ]


def test_weights_are_the_closed_form_in_the_samples_order() -> None:
    reds = [0, 51, 102, 255, 204]
    found = fine_weights(Fused(3.0, -1.0).eval(), batches(reds, [3, 1, 0, 4, 2]), torch.device("cpu"))
    expected = [1 / (1 + math.exp(-(3.0 * red / 255 - 1.0))) for red in reds]  # softmax of (a, 0)
    assert list(found) == ["mgaf"]
    np.testing.assert_allclose(found["mgaf"], expected, rtol=1e-6)
    (line,) = summary(found)
    assert line["mean"] == pytest.approx(np.mean(expected)) and line["images"] == 5
    assert line["standard deviation"] == pytest.approx(np.std(expected), rel=1e-5)
    assert line["min"] == pytest.approx(min(expected)) and line["max"] == pytest.approx(max(expected))
    assert line["depends on the image"] == "yes"


def test_a_constant_is_called_one() -> None:
    found = fine_weights(Fused(0.0, 0.7).eval(), batches([0, 90, 180, 255], [0, 1, 2, 3]), torch.device("cpu"))
    (line,) = summary(found)
    assert line["mean"] == pytest.approx(1 / (1 + math.exp(-0.7))) and line["depends on the image"] == "no"


def test_a_model_without_fusion_is_an_error_and_no_hook_stays() -> None:
    with pytest.raises(ValueError, match="no MGAF"):
        fine_weights(nn.Conv2d(3, 3, 1), [], torch.device("cpu"))
    model = Fused(1.0, 0.0).eval()
    fine_weights(model, batches([0, 1], [0, 1]), torch.device("cpu"))
    assert not model.mgaf._forward_pre_hooks


def test_weights_can_be_held_at_their_means() -> None:
    model = Fused(3.0, -1.0).eval()
    images = torch.rand(4, 3, 5, 5)
    before = model(images)
    with held(model, {"mgaf": np.array([0.2, 0.4])}):
        torch.testing.assert_close(model(images), 0.3 * images + 0.7 * images / 2)
    assert torch.equal(model(images), before)


@pytest.mark.parametrize(("pad", "side"), [([], 64), (["--pad", "0.5"], 96)])
def test_the_command_writes_tables_and_a_plot(
    pad: list[str], side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data", random_squares(2), random_squares(5))
    model = build_model(TINY, names=NAMES, imgsz=32)
    with torch.no_grad():
        model.model[1].mgaf.fc.bias[0] = math.log(3)  # 3/4 and 1/4
    save_checkpoint(tmp_path / "best.pt", model, {"data": str(data)})
    options = ["--weights", str(tmp_path / "best.pt"), "--device", "cpu", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["fusion", *options, "--imgsz", "64", *pad])
    seen = set()

    def look(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, DetectionModel):
            seen.add(tuple(inputs[0].shape))

    hook = nn.modules.module.register_module_forward_pre_hook(look)
    fusion.main()
    hook.remove()
    assert {shape for shape in seen if shape[0] == 5} == {(5, 3, side, side)}
    with (tmp_path / "out" / "fusion.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["block"] == "model.1.mgaf" and float(line["mean"]) == pytest.approx(0.75)
    assert line["images"] == "5" and line["depends on the image"] == "no"
    with (tmp_path / "out" / "fusion_ap.csv").open(newline="") as file:
        free, fixed = csv.DictReader(file)
    assert float(free["AP"]) == pytest.approx(float(fixed["AP"]), abs=1e-6)  # a constant held at itself
    rows = (tmp_path / "out" / "fusion_images.csv").read_text().splitlines()
    assert rows[0] == "image,model.1.mgaf" and rows[1] == "001.png,0.750000" and len(rows) == 6
    assert cv2.imread(str(tmp_path / "out" / "fusion.png")) is not None


def test_many_blocks_fit_one_picture(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {f"model.{place}.mgaf": random.normal(0.5, 0.02 * place, 200).clip(0, 1) for place in range(5)}
    plot_histograms(tmp_path / "fusion.png", weights)
    assert cv2.imread(str(tmp_path / "fusion.png")).std() > 5
