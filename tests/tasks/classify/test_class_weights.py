"""Weights of timm, of YOLOv5 and of other tasks in classifiers with and without blocks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.engine.weights.foreign import ForeignWeights, load_start, start_from_tensors
from mgil.engine.weights.start import start_from
from mgil.networks.detector import build_model
from mgil.tasks.classify.network import ClassNetwork, build_class_network
from mgil.tasks.classify.weights import take_class_weights, without_blocks
from mgil.tasks.registry import task_named
from tests.networks.lived import lived

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

NAMES = ("ant", "bee", "cat", "dog", "eel")
RESNET: dict[str, Any] = {"host": "resnet18", "host_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}
BACKBONE = [[-1, 1, "Conv", [8, 6, 2, 2]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "C3", [16]]]
ROWS: dict[str, Any] = {"backbone": BACKBONE, "head": [[-1, 1, "Classify", ["nc", 32]]]}
RES = {"residual": True, "coarse_shortcut": True}
BLOCKS: dict[str, Any] = {
    **ROWS,
    "backbone": [[-1, 1, "MGIL", [8, RES]], [-1, 1, "MGIL", [16, RES]], BACKBONE[2]],
}
DETECTOR: dict[str, Any] = {"backbone": BACKBONE, "head": [[[2], 1, "Detect", ["nc", 3]]]}


def build(architecture: Any = RESNET, names: tuple[str, ...] = NAMES, **more: Any) -> ClassNetwork:
    torch.manual_seed(1)
    return build_class_network({**architecture, **more}, names, 64).eval()


@pytest.fixture(scope="module")
def theirs() -> Any:
    """timm's network as a whole, head and all."""
    torch.manual_seed(0)
    return lived(timm.create_model("resnet18", num_classes=5, **RESNET["host_options"]))


def pictures() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("more", [{}, {"blocks": "mgil-res", "shortcuts": "sct1x1"}])
def test_a_host_computes_what_timm_s_does(theirs: Any, more: dict[str, Any]) -> None:
    """Blocks that begin as what they replace, too."""
    model = build(**more)
    taken = take_class_weights(model, theirs.state_dict())
    torch.testing.assert_close(model(pictures()), theirs((pictures() - model.mean) / model.std), rtol=1e-4, atol=1e-4)
    assert not taken.left and not taken.unused
    assert len(taken.carry.carried) == (4 if more else 0) and not taken.carry.left
    assert ("4 of 4 stride-2 layers carried over" in str(taken)) == bool(more)


def test_other_classes_begin_untrained(theirs: Any) -> None:
    fresh, model = build(names=NAMES[:3]), build(names=NAMES[:3])
    taken = take_class_weights(model, theirs.state_dict())
    assert taken.left == ("host.fc.weight", "host.fc.bias")
    assert "untrained: host.fc.weight, host.fc.bias; not used: host.fc.weight, host.fc.bias" in str(taken)
    assert torch.equal(model.host.fc.weight, fresh.host.fc.weight)
    assert torch.equal(model.host.layer4[0].conv2.weight, theirs.layer4[0].conv2.weight)


def test_another_stem_begins_untrained() -> None:
    """A 7x7 kernel is no 3x3 one, in a block neither."""
    options = {"layers": [1, 1, 1, 1], "channels": [64, 8, 16, 16]}  # stems of both kinds are 64 wide
    theirs = timm.create_model("resnet18", num_classes=len(NAMES), **options)
    small = partial(build, {**RESNET, "host_options": options}, stem="half")
    plain = take_class_weights(small(), theirs.state_dict())
    assert plain.left == ("host.conv1.weight",)
    model, fresh = small(blocks="mgil-res"), small(blocks="mgil-res")
    taken = take_class_weights(model, theirs.state_dict())
    assert sorted(taken.carried) == [f"host.layer{stage}.0.conv1" for stage in (2, 3, 4)]
    assert all(name.startswith(("host.conv1.", "host.bn1.")) for name in taken.left) and taken.left
    for key in taken.left:
        assert torch.equal(model.state_dict()[key], fresh.state_dict()[key])


def test_blocks_that_cannot_compute_it_say_why(theirs: Any) -> None:
    taken = take_class_weights(build(blocks="mgil"), theirs.state_dict())
    assert not taken.carried and "residual=True" in taken.carry.left["host.layer2.0.conv1"]


def test_nothing_that_fits_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of the tensors fits model"):
        take_class_weights(build(), {"encoder.weight": torch.zeros(3)})


def test_without_blocks(theirs: Any) -> None:
    model = build(blocks="mgil", pools="block", shortcuts="sct1x1", norms="keep", block_options={"fine_convs": 1})
    assert without_blocks(model).host.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_files_of_tensors(theirs: Any, name: str, tmp_path: Path) -> None:
    """As train.py reads them."""
    tensors = {key: value.contiguous() for key, value in theirs.state_dict().items()}
    safetensors.save_file(tensors, tmp_path / name) if name.endswith("s") else torch.save(tensors, tmp_path / name)
    lines: list[str] = []
    task, model = task_named("classify"), build(blocks="mgil-res")
    weights = load_start(str(tmp_path / name), task)
    assert isinstance(weights, ForeignWeights)
    start = start_from_tensors(model, task, weights, lines.append)  # type: ignore[arg-type]
    assert start.whole and start.head and len(start.carried) == 4 and "4 of 4 stride-2 layers" in lines[0]
    torch.testing.assert_close(model(pictures()), theirs((pictures() - model.mean) / model.std), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("plain", "blocks", "count"), [(RESNET, {**RESNET, "blocks": "mgil-res"}, 4), (ROWS, BLOCKS, 2)]
)
def test_training_starts_from_plain_weights(plain: Any, blocks: Any, count: int, tmp_path: Path) -> None:
    """The engine's own way: weights of the plain network, an architecture with blocks; the outputs agree."""
    lines: list[str] = []
    source, model = lived(build(plain)), build(blocks)
    save_checkpoint(tmp_path / "plain.pt", source, {}, task="classify")
    checkpoint = load_checkpoint(tmp_path / "plain.pt")
    assert torch.equal(model_from_checkpoint(checkpoint, fuse=False)(pictures()), source(pictures()))
    start = start_from(model, checkpoint, True, lines.append, task="classify")
    assert start.whole and start.head and not start.left and len(start.carried) == count
    assert start.off is not None and start.off < 1e-3
    assert f"{count} of {count} stride-2 layers carried over; outputs agree" in lines[-1]
    torch.testing.assert_close(model(pictures()), source(pictures()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("architecture", "carried"), [(ROWS, 0), (BLOCKS, 2)])
def test_a_detector_s_rows_are_a_start(architecture: Any, carried: int) -> None:
    """By name, into blocks too; its classes are no classes of pictures, even of the same names."""
    torch.manual_seed(2)
    detector = lived(build_model(DETECTOR, names=NAMES, imgsz=64))
    lines: list[str] = []
    model = build(architecture)
    checkpoint = Checkpoint(Path("boxes.pt"), detector.architecture, NAMES, 64, dict(detector.state_dict()))
    start = start_from(model, checkpoint, True, lines.append, task="classify")
    assert start.whole and not start.head and not start.classes and start.off is None
    assert {name.rpartition(".")[0] for name in start.left} == {
        "model.3.conv.conv",
        "model.3.conv.bn",
        "model.3.linear",
    }
    assert len(start.carried) == carried
    assert lines[-1].startswith("boxes.pt: weights of the task detect: ") and "differ" not in lines[-1]
    with torch.no_grad():
        torch.testing.assert_close(model.model[:3](pictures()), detector.model[:3](pictures()), rtol=1e-4, atol=1e-4)


def test_the_official_detector_is_a_start(official_weights: Path) -> None:
    lines: list[str] = []
    model = build_class_network("yolov5n-cls.yaml", NAMES, 64)
    checkpoint = load_checkpoint(official_weights)
    start = start_from(model, checkpoint, True, lines.append, task="classify")
    assert start.whole and not start.head and not start.classes
    assert all(name.startswith("model.9.") for name in start.left) and len(start.left) == 8
    for key, value in model.state_dict().items():
        assert key in start.left or torch.equal(value, checkpoint.state_dict[key].to(value))
    assert "loaded; not loaded: model.9.conv.conv.weight" in lines[-1]
    with pytest.raises(ValueError, match=r"none of its tensors fits timm:resnet18"):
        start_from(build_class_network("timm:resnet18", NAMES, 64), checkpoint, True, lines.append, task="classify")
