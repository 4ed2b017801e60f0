"""What YOLOv5's own continuous integration runs for detection, line by line, in a checkout of this project."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mgil.datasets.reading.config import load_data_config
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.conftest import SHARED_ENVIRONMENT
from tests.engine.tiny import random_squares, write_squares

REPOSITORY = Path(__file__).resolve().parents[3]
WEIGHTS, BEST = "yolov5n", "runs/train/exp/weights/best"
COMMANDS = [
    "python train.py --imgsz 64 --batch 32 --weights yolov5n.pt --cfg yolov5n.yaml --epochs 1 --device cpu",
    *(
        f"python {script}.py --imgsz 64 {batch}--weights {weights}.pt --device cpu"
        for weights in (WEIGHTS, BEST)
        for script, batch in (("val", "--batch 32 "), ("detect", ""))
    ),
    "python hubconf.py --model yolov5n",
    "python export.py --weights yolov5n.pt --img 64 --include torchscript",
]
# As theirs, but for the picture: bus.jpg is not here.
HUB = f"""
import torch
im = torch.zeros([1, 3, 64, 64])
for path in '{WEIGHTS}.pt', '{BEST}.pt':
    model = torch.hub.load('.', 'custom', path=path, source='local')
    print(model('data/images/digits1.png'))
    model(im)  # warmup, build grids for trace
    torch.jit.trace(model, [im])
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with yolov5n.pt in it, and beside it a small data set in the place of COCO128."""
    place = tmp_path_factory.mktemp("ci")
    for name in ("mgil", "models", "data"):
        shutil.copytree(REPOSITORY / name, place / "yolov5" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for script in REPOSITORY.glob("*.py"):
        shutil.copy(script, place / "yolov5")
    official = Path(os.environ.get(SHARED_ENVIRONMENT, REPOSITORY.parent / "shared"), "weights", "yolov5n-v7.0.pt")
    weights = place / "yolov5" / "yolov5n.pt"
    if official.exists():
        shutil.copy(official, weights)
    else:
        torch.manual_seed(0)
        save_checkpoint(weights, build_model("yolov5n.yaml", names=load_data_config("coco.yaml").names), {})
    write_squares(place / "datasets" / "coco128", "train2017", random_squares(8, 64), 64)
    return place / "yolov5"


@pytest.mark.nightly
@pytest.mark.timeout(1200)  # eight programs, one of which trains
def test_every_line_runs(checkout: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MGIL_CACHE": str(tmp_path / "cache"), "PYTHONPATH": ""}
    for line in [*COMMANDS, "python -"]:
        words = [sys.executable, *shlex.split(line)[1:]]
        given = HUB if line == "python -" else None
        done = subprocess.run(words, cwd=checkout, env=environment, input=given, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert done.stdout.count("image 1/1: 64x64 ") == 2
    assert (checkout / "yolov5n.torchscript").exists() and (checkout / f"{BEST}.pt").exists()
    runs = {
        name: sorted(path.name for path in (checkout / "runs" / name).iterdir()) for name in ("train", "val", "detect")
    }
    assert runs == {"train": ["exp"], "val": ["exp", "exp2"], "detect": ["exp", "exp2", "exp3"]}


def test_the_hub_part_in_this_process(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    images = torch.zeros([1, 3, 64, 64])
    model = torch.hub.load(".", "custom", path="yolov5n.pt", source="local", device="cpu")
    print(model("data/images/digits1.png"))
    assert "\nimage 1/1: 64x64 " in capsys.readouterr().out
    assert model(images)[0].shape == (1, 252, 85)
    traced = torch.jit.trace(model, [images], check_trace=False)
    images = torch.rand(1, 3, 64, 64)
    (predictions, maps), (again, maps_again) = model(images), traced(images)
    for ours, theirs in zip((predictions, *maps), (again, *maps_again), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
