"""An image is the same tensor to val.py and to detect.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mgil.datasets.batches.decode import decode_image
from mgil.datasets.batches.letterbox import letterbox_image
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.samples import Samples
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.images import data_inputs
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.detect.batches import detect_eval_loader
from mgil.tasks.registry import task_named
from tests.datasets.scenes import make_samples, smooth_image
from tests.engine.tiny import NAMES, TINY, Playground
from tests.tasks.detect.judging import detector, evaluate

SIZES_HW = [(480, 640), (427, 640), (640, 427), (333, 500), (37, 61), (61, 37), (64, 64), (65, 64), (720, 1280), (1, 7),
            (3, 200), (550, 1000), (97, 640), (129, 128), (33, 32)]  # fmt: skip

STRIDE_32 = SimpleNamespace(max_stride=32)  # all that the task asks of a network here


class Recorder(nn.Module):
    """Keeps what it is shown, and finds nothing."""

    names, imgsz, stride, max_stride = ("thing",), 64, torch.tensor([8.0, 16.0, 32.0]), 32

    def __init__(self, size_hw: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.size_hw = size_hw
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += [image.clone() for image in images]
        return torch.zeros(len(images), 1, 6)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """PNGs, and photographs turned by their EXIF data."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(SIZES_HW):
        turned = number % 3 == 2
        picture = Image.fromarray(smooth_image(random, *((width, height) if turned else (height, width))))
        path = folder / f"{number}.{'jpg' if turned else 'png'}"
        exif = Image.Exif()
        exif[274] = 6 if turned else 1  # shown turned by 90 degrees
        picture.save(path, exif=exif)
        paths.append(str(path))
    return make_samples(paths, SIZES_HW)


@pytest.mark.parametrize(
    ("size_hw", "fixed"), [((64, 64), None), ((160, 160), None), ((96, 96), (96, 96)), ((64, 160), (64, 160))]
)
def test_val_and_detect_see_the_same_pixels(
    size_hw: tuple[int, int], fixed: tuple[int, int] | None, samples: Samples
) -> None:
    val, detect = Recorder(fixed), Recorder(fixed)
    config: Any = SimpleNamespace(names=("thing",), category_ids=(1,))
    loader = detect_eval_loader(samples, max(size_hw), 4, shape_hw=fixed)
    order = np.concatenate([batch.indices for batch in loader])
    evaluate(val, loader, samples, config)
    finder = detector(detect, device=torch.device("cpu"), size_hw=size_hw)  # type: ignore[arg-type]
    for path in samples.image_paths:
        finder(path)
    assert len(val.seen) == len(detect.seen) == len(SIZES_HW)
    for image, seen in zip(order.tolist(), val.seen, strict=True):
        assert seen.dtype == torch.float32
        assert torch.equal(seen, detect.seen[image]), Path(samples.image_paths[image]).name


@pytest.mark.parametrize("size", [64, 160])
def test_val_py_and_detect_py_see_the_same_pixels(
    size: int, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command's config on: what the network is shown of each image, and how large that is."""
    weights, folder = tmp_path / "tiny.pt", Path(samples.image_paths[0]).parent
    save_checkpoint(weights, build_model(TINY, names=NAMES, imgsz=64), {})
    (tmp_path / "data.yaml").write_text(f"val: {folder}\nnames: [{', '.join(NAMES)}]\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("mgil.tasks.detect.plots.plot_result", lambda *_: None)
    seen: list[torch.Tensor] = []
    forward = DetectionModel.forward

    def recorded(model: DetectionModel, images: torch.Tensor) -> Any:
        seen.extend(image.clone() for image in images)
        return forward(model, images)

    monkeypatch.setattr(DetectionModel, "forward", recorded)
    common: dict[str, Any] = {"imgsz": (size,), "device": "cpu", "project": str(tmp_path / "runs")}
    run_val(ValConfig((str(weights),), str(tmp_path / "data.yaml"), workers=0, **common), lambda _line: None)
    val = sorted(seen, key=_order)
    seen.clear()
    run_detect(DetectConfig(str(weights), str(folder), nosave=True, **common), lambda _line: None)
    detect = sorted(seen, key=_order)
    assert len(val) == len(detect) == len(SIZES_HW)
    assert all(torch.equal(one, other) for one, other in zip(val, detect, strict=True))
    assert {max(image.shape) for image in val} == {size}


def _order(image: torch.Tensor) -> tuple[Any, ...]:
    return (*image.shape, float(image.double().sum()))


def test_a_list_is_seen_as_its_images_are(samples: Samples) -> None:
    one, many = Recorder(), Recorder()
    for model, images in ((one, samples.image_paths), (many, [list(samples.image_paths)])):
        finder = detector(model, device=torch.device("cpu"), size_hw=(64, 64))  # type: ignore[arg-type]
        for given in images:
            finder(given)
    assert len(one.seen) == len(many.seen)
    assert all(any(torch.equal(image, other) for other in many.seen) for image in one.seen)


def test_exported_files_are_checked_and_calibrated_with_them_too(ground: Playground) -> None:
    """A frame that is no square, which a square image fills from the top to the bottom."""
    data = load_data_config(ground.data)
    inputs = data_inputs(task_named("detect"), STRIDE_32, data, ("val",), (64, 160), 3, print)
    paths = sorted(Path(data.val[0]).iterdir())
    assert inputs.shape == (3, 3, 64, 160) and len(paths) == 4
    for place, image in enumerate((0, 2, 3)):  # spread over four
        expected = letterbox_image(decode_image(str(paths[image])), (64, 160))[0]
        assert torch.equal(inputs[place], torch.from_numpy(expected).permute(2, 0, 1).float() / 255)
