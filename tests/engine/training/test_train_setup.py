"""What happens before the first epoch: anchors, frozen rows, batch size, weights of images."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.samples import Samples
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.precision import Precision
from mgil.engine.training.setup import fill_memory, freeze_rows, make_model, wasted_dilations, with_recipe
from mgil.engine.training.state import restore
from mgil.engine.weights.checkpoints import Checkpoint
from mgil.engine.weights.start import Start
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.detect.anchors import measure_fit
from mgil.tasks.detect.auto_anchor import check_anchors
from mgil.tasks.detect.image_weights import image_difficulty
from mgil.tasks.detect.recipe import DetectRecipe
from mgil.tasks.registry import task_named
from tests.datasets.scenes import make_samples
from tests.engine.tiny import NAMES, TINY, same_tensors, write_yaml
from tests.tasks.toy.network import ToyRecipe
from tests.tasks.toy.task import TASK

CPU = torch.device("cpu")
NC = {"nc": 3}
ANCHOR_T = DetectRecipe().anchor_t
DETECT = task_named("detect")
YOLOV5_ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]


@pytest.fixture
def model() -> DetectionModel:
    return build_model(TINY, names=NAMES, imgsz=64)


def boxes_of(sides_px: list[tuple[float, float]], size_hw: tuple[int, int]) -> Samples:
    """One box an image, of these widths and heights in pixels of the file."""
    rows = [[[0, 0.5, 0.5, width / size_hw[1], height / size_hw[0]]] for width, height in sides_px]
    return make_samples([f"{i}.png" for i in range(len(rows))], [size_hw] * len(rows), rows)


def data_of(names: tuple[str, ...]) -> DataConfig:
    return DataConfig(
        Path("d.yaml"), Path("."), ("t",), ("v",), (), names=names, category_ids=tuple(range(1, len(names) + 1))
    )


def test_a_task_without_recipes_of_its_own_has_the_defaults() -> None:
    config, recipe = with_recipe(TrainConfig(imgsz=64), TASK, data_of(NAMES), Start(), print)
    assert (config.hyp, recipe) == ("", ToyRecipe())


def test_anchors_that_suit_the_labels_are_kept(model: DetectionModel) -> None:
    before, lines = model.head.anchors_px.clone(), []
    check_anchors(model, boxes_of([(10, 12)] * 20, (64, 64)), 64, ANCHOR_T, 0, lines.append)
    assert torch.equal(model.head.anchors_px, before)
    assert "best possible recall 1.0000" in lines[0] and "suit the labels" in lines[0]


def test_anchors_are_measured_at_the_training_size(model: DetectionModel) -> None:
    """Boxes of 100 px in pictures of 640 x 320 px are 10 px at 64: they suit, though 100 px would not."""
    lines: list[str] = []
    check_anchors(model, boxes_of([(100, 100)] * 20, (320, 640)), 64, ANCHOR_T, 0, lines.append)
    assert "suit the labels" in lines[0]


def test_anchors_are_fitted_when_too_few_boxes_match() -> None:
    """YOLOv5's anchors at 64 px: the smallest is 10 x 13, and boxes of 2 to 3 px are out of its reach."""
    model = build_model(TINY | {"anchors": YOLOV5_ANCHORS}, names=NAMES, imgsz=64)
    random = np.random.default_rng(0)
    sides = random.uniform(2.05, 2.45, (60, 2))
    samples, lines = boxes_of([tuple(row) for row in sides.tolist()], (64, 64)), []
    check_anchors(model, samples, 64, ANCHOR_T, 0, lines.append)
    anchors = model.head.anchors_px
    assert measure_fit(sides, anchors.flatten(0, 1).numpy()).recall == 1.0
    assert "recall 0.0000: fitted new ones" in lines[0]
    assert re.search(r"recall 1\.0000: (2\.\d+x2\.\d+, ){3}30x61, .*, 373x326$", lines[0])
    assert (anchors.flatten(0, 1).prod(1).diff() >= 0).all()  # small ones on the fine map
    rebuilt = build_model(model.architecture, names=NAMES)
    torch.testing.assert_close(rebuilt.head.anchors_px, anchors)


def test_a_number_of_anchors_is_fitted_though_the_start_suits() -> None:
    """Boxes of 11 px: the squares of 8 and 16 px take them all, and are a start all the same."""
    model, lines = build_model(TINY | {"anchors": 2}, names=NAMES, imgsz=64), []
    check_anchors(model, boxes_of([(11, 11)] * 30, (64, 64)), 64, ANCHOR_T, 0, lines.append)
    assert "recall 1.0000: fitted new ones to the labels, recall 1.0000: " in lines[0]
    finest, *others = model.head.anchors_px.tolist()
    assert np.abs(np.array(finest) - 11).max() < 3
    assert others == [[[16, 16], [64, 64]], [[32, 32], [128, 128]]]  # of no box's size: kept
    assert model.architecture["anchors"][0] == pytest.approx(np.ravel(finest))
    assert not model.head.start_only


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "kept, no level has 10 boxes for each of its anchors"),
        ({"noautoanchor": True}, "--noautoanchor: trains with anchors that no label was asked for: 8x8, 32x32, 16x16"),
    ],
)
def test_a_start_that_stays_is_said(options: dict[str, bool], words: str) -> None:
    model, lines = build_model(TINY | {"anchors": 2}, names=NAMES, imgsz=64), []
    before = model.head.anchors_px.clone()
    samples = boxes_of([(11, 11)] * 4, (64, 64))
    DETECT.prepare(model, samples, DetectRecipe(), 64, 0, TrainConfig(**options), False, lines.append)
    assert len(lines) == 1 and words in lines[0]
    assert torch.equal(model.head.anchors_px, before)


def test_anchors_that_run_against_the_strides_are_turned_round() -> None:
    """As in YOLOv5; of levels that the YAML lists from coarse to fine, or of rows in the wrong order."""
    turned = TINY | {"head": [[[4, 3, 2], 1, "Detect", ["nc", "anchors"]]]}
    for architecture, fine in ((turned, 2), (TINY | {"anchors": TINY["anchors"][::-1]}, 0)):
        model, lines = build_model(architecture, names=NAMES, imgsz=64), []
        options = TrainConfig(noautoanchor=True)
        for _ in range(2):  # the second time there is nothing to do
            DETECT.prepare(model, boxes_of([], (64, 64)), DetectRecipe(), 64, 0, options, False, lines.append)
        assert model.head.anchors_px[fine].flatten().tolist() == [6, 6, 8, 8, 10, 10]
        assert model.architecture["anchors"][fine] == [6, 6, 8, 8, 10, 10]
        assert len(lines) == 1 and "ran against the levels' strides" in lines[0]


@pytest.mark.parametrize("number", [0, 4])
def test_anchors_are_kept_where_there_are_too_few_boxes(number: int) -> None:
    model = build_model(TINY | {"anchors": YOLOV5_ANCHORS}, names=NAMES, imgsz=64)
    before, lines = model.head.anchors_px.clone(), []
    check_anchors(model, boxes_of([(2.2, 2.2)] * number, (64, 64)), 64, ANCHOR_T, 0, lines.append)
    assert torch.equal(model.head.anchors_px, before)
    assert len(lines) == 1 and (": kept, " in lines[0]) == (number > 0)


def test_freeze(model: DetectionModel) -> None:
    assert len(freeze_rows(model, (2,))) == 2
    model.requires_grad_(True)
    modules = freeze_rows(model, (0, 2))
    assert modules == (model.model[0], model.model[2])
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(("model.0.", "model.2."))}


def test_freeze_nothing(model: DetectionModel) -> None:
    assert freeze_rows(model, ()) == ()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freeze_a_row_that_is_not_there(model: DetectionModel) -> None:
    """The message quotes what was typed, not the row that it came to."""
    with pytest.raises(ValueError, match=r"^--freeze 1 6 2: there is no row 6; model has rows 0 to 5$"):
        freeze_rows(model, (1, 6, 2))
    with pytest.raises(ValueError, match=r"^--freeze 99: means rows 0 to 98; model has rows 0 to 5$"):
        freeze_rows(model, (99,))
    with pytest.raises(ValueError, match=r"^--freeze 6: leaves nothing to train; model has rows 0 to 5$"):
        freeze_rows(model, (6,))


def test_freeze_everything(model: DetectionModel) -> None:
    with pytest.raises(ValueError, match=r"--freeze 0 1 2 3 4 5: leaves nothing to train"):
        freeze_rows(model, (0, 1, 2, 3, 4, 5))


def test_wasted_dilations() -> None:
    """An MGIL behind a stride of 16 makes a 1x1 map of 32-px input: every rate reaches past it."""
    rows = [[-1, 1, "Conv", [8, 3, 2]]] * 4 + [[-1, 1, "MGIL", [8]]]
    model = build_model({"anchors": [[5, 5]], "backbone": rows, "head": [[[4], 1, "Detect", ["nc", "anchors"]]]} | NC)
    (line,) = wasted_dilations(model, 32)
    assert line.startswith("at 32 px") and "run as 1x1" in line and line.endswith(": model.4 (rate 1, 2, 3)")
    assert wasted_dilations(model, 1280) == []
    assert not any(module._forward_pre_hooks for module in model.modules())  # nothing is left behind


def test_a_model_without_mgil_wastes_none() -> None:
    rows = [[-1, 1, "Conv", [8, 3, 2]]] * 5
    head = [[[4], 1, "Detect", ["nc", "anchors"]]]
    assert wasted_dilations(build_model({"anchors": [[5, 5]], "backbone": rows, "head": head} | NC), 32) == []


def test_without_a_gpu_there_is_no_memory_to_fill(model: DetectionModel) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert fill_memory(model, 64, Precision("off", CPU)) == 16
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.cuda
def test_the_batch_that_fills_a_gpu_fits_and_leaves_no_trace() -> None:
    model = build_model(TINY, names=NAMES, imgsz=64).cuda()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert fill_memory(model, 640, Precision("off", torch.device("cuda"))) > 16
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_image_difficulty() -> None:
    """Class weight (1 - mAP)^2 / count: 0.25 / 2, 1 / 1 and, for the unmeasured one, 1 / 1; 0.1% for every image."""
    classes: list[list[int]] = [[0, 1], [0], [], [2]]
    boxes = [[[kind, 0.5, 0.5, 0.1, 0.1] for kind in kinds] for kinds in classes]
    samples = make_samples(["a", "b", "c", "d"], [(64, 64)] * 4, boxes)
    found = image_difficulty(samples, np.array([0.5, 0.0, np.nan, 0.9]))
    np.testing.assert_allclose(found, np.array([1.125, 0.125, 0.0, 1.0]) + 1.125e-3)


def test_image_difficulty_without_labels() -> None:
    samples = make_samples(["a", "b"], [(64, 64)] * 2)
    np.testing.assert_allclose(image_difficulty(samples, np.array([0.5])), [1e-3, 1e-3])


def test_the_model_is_the_one_asked_for(tmp_path: Path) -> None:
    cfg, lines = write_yaml(tmp_path / "tiny.yaml", TINY), []
    model, _ = make_model(TrainConfig(cfg=cfg, imgsz=64), DETECT, NAMES, None, lines.append)
    assert (model.names, model.imgsz, model.num_classes) == (NAMES, 64, 3)
    assert lines[0].startswith("tiny.yaml: ") and "MFLOPs at 64x64" in lines[0]


def test_single_class_has_one_name(tmp_path: Path) -> None:
    """YOLOv5's: "item", unless the data set has a single class, which keeps its name."""
    config = TrainConfig(cfg=write_yaml(tmp_path / "tiny.yaml", TINY), imgsz=64)
    assert make_model(config, DETECT, data_of(NAMES).as_one_class().names, None, lambda _: None)[0].names == ("item",)
    assert make_model(config, DETECT, data_of(("helmet",)).as_one_class().names, None, lambda _: None)[0].names == (
        "helmet",
    )


def test_weights_bring_their_architecture_and_anchors(model: DetectionModel) -> None:
    model.head.set_anchors_px(model.head.anchors_px * 1.5)
    checkpoint, lines = _checkpoint(model), []
    found, _ = make_model(TrainConfig(imgsz=96), DETECT, ("one", "two"), checkpoint, lines.append)
    assert (found.names, found.imgsz) == (("one", "two"), 96)
    assert torch.equal(found.model[0].conv.weight, model.model[0].conv.weight)
    assert torch.equal(found.head.anchors_px, model.head.anchors_px)
    total = len(model.state_dict())
    assert lines[:2] == [
        "w.pt: has 3 classes for 2 here; the classes begin untrained",
        f"w.pt: all {total} tensors loaded, but what is of the untrained classes",
    ]
    rows = [head.weight.unflatten(0, (3, -1)) for head in (found.head.m[0], model.head.m[0])]
    assert torch.equal(rows[0][:, :5], rows[1][:, :5])  # boxes and objectness are of no class


def test_weights_for_an_architecture_of_ones_own_leave_its_anchors(model: DetectionModel, tmp_path: Path) -> None:
    cfg = write_yaml(tmp_path / "tiny.yaml", TINY | {"anchors": YOLOV5_ANCHORS})
    lines: list[str] = []
    found, _ = make_model(TrainConfig(cfg=cfg, imgsz=64), DETECT, NAMES, _checkpoint(model), lines.append)
    assert found.head.anchors_px.flatten(1).tolist() == YOLOV5_ANCHORS
    assert "not loaded: model.5.anchors" in lines[0]
    assert torch.equal(found.head.m[0].weight, model.head.m[0].weight)


def test_outputs_of_a_class_go_to_the_class_of_that_name(model: DetectionModel) -> None:
    config, lines = TrainConfig(imgsz=64), []
    images = torch.rand(2, 3, 64, 64)
    torch.nn.init.normal_(model.head.m[1].bias)
    found, _ = make_model(config, DETECT, ("blue", "Red", "green"), _checkpoint(model), lines.append)
    assert lines[0] == "w.pt: has its classes in another order; they are matched by name"
    assert "not loaded" not in lines[1]
    before, after = model.eval()(images), found.eval()(images)
    assert NAMES == ("red", "green", "blue") and not torch.equal(before, after)
    assert torch.equal(after, before[..., [0, 1, 2, 3, 4, 7, 5, 6]])
    lines.clear()
    other, _ = make_model(config, DETECT, ("blue", "pink", "grey"), _checkpoint(model), lines.append)
    assert torch.equal(other.eval()(images), before[..., [0, 1, 2, 3, 4, 7, 5, 6]])
    lines.clear()
    renamed, _ = make_model(config, DETECT, ("a", "b", "c"), _checkpoint(model), lines.append)
    assert torch.equal(renamed.eval()(images), before) and "order" not in lines[0]


def test_weights_of_another_network_are_refused(model: DetectionModel, tmp_path: Path) -> None:
    other = {**TINY, "backbone": [[-1, 1, "Conv", [24, 3, 2]]] * 5}
    config = TrainConfig(cfg=write_yaml(tmp_path / "other.yaml", other), imgsz=64)
    stranger = Checkpoint(Path("w.pt"), model.architecture, NAMES, 64, {"elsewhere": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"--weights w\.pt: none of its tensors fits other\.yaml"):
        make_model(config, DETECT, NAMES, stranger, lambda _: None)


def _checkpoint(model: DetectionModel) -> Checkpoint:
    return Checkpoint(Path("w.pt"), model.architecture, model.names, model.imgsz, dict(model.state_dict()))


def test_a_size_that_the_deepest_stride_does_not_divide_is_rounded_up(tmp_path: Path) -> None:
    """The model is the one that the rounded size would have made: same weights, biases for that size."""
    deeper = {**TINY, "backbone": [*TINY["backbone"], [-1, 1, "Conv", [16, 3, 2]]]}
    deeper["head"] = [[[3, 4, 5], 1, "Detect", ["nc", "anchors"]]]
    cfg = write_yaml(tmp_path / "p6.yaml", deeper)
    lines: list[str] = []
    torch.manual_seed(1)
    rounded, _ = make_model(TrainConfig(cfg=cfg, imgsz=96), DETECT, NAMES, None, lines.append)
    assert lines[0] == "warning: input size 96 is not a multiple of the stride 64; 128 is used"
    torch.manual_seed(1)
    asked, _ = make_model(TrainConfig(cfg=cfg, imgsz=128), DETECT, NAMES, None, lambda _line: None)
    assert asked.max_stride == 64 and rounded.imgsz == asked.imgsz == 128
    assert same_tensors(dict(rounded.state_dict()), dict(asked.state_dict()))


def test_a_run_that_is_resumed_on_classes_in_another_order_is_refused() -> None:
    names = ("green", "red", "blue")
    content = {"names": list(names), "train": None, "val": None}
    run: Any = SimpleNamespace(splits=SimpleNamespace(data=data_of(names)), content=content)
    saved = Checkpoint(Path("last.pt"), TINY, NAMES, 64, {}, training={"progress": {}})
    with pytest.raises(ValueError, match=r"last\.pt: .*names: green, red, blue, the run had red, green, blue\."):
        restore(run, saved)
