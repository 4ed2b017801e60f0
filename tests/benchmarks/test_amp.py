"""The benchmark of bfloat16 measures what it says, on a tiny network and data set."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import amp
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.datasets.scenes import make_samples
from tests.engine.tiny import NAMES, TINY, make_data, random_squares, write_yaml


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_first_images_keep_their_boxes() -> None:
    box = (0.5, 0.25, 0.5, 0.125)
    samples = make_samples("abc", [(32, 48)] * 3, [[(1, *box)], [(2, *box), (0, *box)], [(2, *box)]])
    two = amp.first(samples, 2)
    assert len(two) == 2 and two.classes.tolist() == [1, 2, 0]
    assert np.array_equal(two.boxes_xyxy_px(), samples.boxes_xyxy_px()[:3])
    assert len(amp.first(samples, 9)) == 3


@pytest.mark.nightly
@pytest.mark.usefixtures("private_cache")
def test_times_and_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    data = make_data(tmp_path / "data", random_squares(8, seed=1), random_squares(4, seed=2))
    cfg = write_yaml(tmp_path / "tiny.yaml", TINY)
    command = f"amp --data {data} --models {cfg} --sizes 32 --batch 4 --images 8 --rounds 1 --output {tmp_path}"
    monkeypatch.setattr(sys, "argv", command.split())
    amp.main()
    rows = read(tmp_path / "amp.csv")
    assert [(row["part"], row["model"], row["size"]) for row in rows] == [(part, "tiny", "32") for part in amp.PARTS]
    for row in rows:
        plain, last, narrow = (float(row[f"{name} ms"]) for name in amp.SETTINGS)
        assert float(row["channels last float32 / bfloat16"]) == pytest.approx(last / narrow)
        assert float(row["contiguous float32 / bfloat16"]) == pytest.approx(plain / narrow)
        assert torch.backends.cpu.get_cpu_capability() in row["capability"]
    save_checkpoint(tmp_path / "tiny.pt", build_model(TINY, names=NAMES, imgsz=32), {})
    command = f"amp --accuracy --weights {tmp_path / 'tiny.pt'} --data {data} --sizes 32 64 --output {tmp_path}"
    monkeypatch.setattr(sys, "argv", command.split())
    amp.main()
    rows = read(tmp_path / "amp_accuracy_squares.csv")
    assert [row["size"] for row in rows] == ["32", "64"]
    for row in rows:
        assert float(row["difference"]) == float(row["bfloat16 AP"]) - float(row["float32 AP"])
    assert "CPU capability: " in capsys.readouterr().out
