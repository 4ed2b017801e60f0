"""detect.py --visualize: pictures of what each layer sees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model

LAYERS = 24  # of yolov5n, but for its head


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """yolov5n of random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "n.pt"
    save_checkpoint(path, build_model("yolov5n.yaml", names=("cat", "dog"), imgsz=64), {"epoch": 0})
    return path


def features(weights: Path, source: Path, project: Path) -> Path:
    """The folder of the pictures of a run."""
    options = {"weights": str(weights), "source": str(source), "project": str(project), "device": "cpu"}
    summary = run_detect(DetectConfig(visualize=True, nosave=True, **options), lambda _line: None)  # type: ignore[arg-type]
    assert summary.folder is not None
    return summary.folder / "features"


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_layer_is_written(weights: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(64, 64)).save(tmp_path / "a.png")
    folder = features(weights, tmp_path / "a.png", tmp_path / "out")
    names = sorted(path.name for path in (folder / "a").iterdir())
    assert len(names) == LAYERS and names[0] == "stage0_Conv_features.png"


def test_streams_of_several_shapes_are_looked_at_one_by_one(weights: Path, tmp_path: Path) -> None:
    """Each has maps of its own shape."""
    shapes = {"wide": (48, 96), "square": (64, 64)}
    for name, (height, width) in shapes.items():
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (width, height))
        for _ in range(3):
            writer.write(noise(height, width))
        writer.release()
    (tmp_path / "both.streams").write_text("\n".join(str(tmp_path / f"{name}.avi") for name in shapes))
    folder = features(weights, tmp_path / "both.streams", tmp_path / "out")
    ratios = {}
    for name in shapes:
        found = min(folder.glob(f"*{name}*"))
        assert len(list(found.iterdir())) == LAYERS
        height, width = cv2.imread(str(found / "stage0_Conv_features.png")).shape[:2]
        ratios[name] = width / height
    assert ratios["wide"] == pytest.approx(2 * ratios["square"], rel=0.1)
