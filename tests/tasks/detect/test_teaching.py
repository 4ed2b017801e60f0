"""Learning from another detector: the losses by hand, what both see, and runs with a teacher."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mgil.engine.training.config import TrainConfig
from mgil.engine.weights.checkpoints import load_checkpoint, save_checkpoint
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.detect.criterion import detect_loss
from mgil.tasks.detect.recipe import DetectRecipe
from mgil.tasks.detect.teaching import Gains, TaughtLoss, attention_distance, log_score_map, score_loss, with_teacher
from tests.engine.tiny import NAMES, RECIPE, TINY, Playground, same_tensors
from tests.engine.training.running import rows_of, train, weights_of


def model_of(imgsz: int = 32, names: tuple[str, ...] = NAMES, seed: int = 0) -> DetectionModel:
    torch.manual_seed(seed)
    return build_model(TINY, names=names, imgsz=imgsz)


def test_the_best_score_of_every_place() -> None:
    fine, coarse = torch.full((1, 2, 2, 2, 7), -20.0), torch.full((1, 2, 1, 1, 7), -20.0)
    fine[0, 1, 0, 1, 4:] = torch.tensor([1.0, 0.5, -20.0])  # the second anchor, upper right: the first class
    coarse[0, 0, 0, 0, 4:] = torch.tensor([0.0, -1.0, 2.0])  # everywhere: a little of the first, more of the second
    found = log_score_map([coarse, fine]).exp()  # in any order of levels
    assert found.shape == (1, 2, 2, 2)

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    everywhere = (sigmoid(0) * sigmoid(-1), sigmoid(0) * sigmoid(2))
    expected = torch.tensor([[[everywhere[0]] * 2] * 2, [[everywhere[1]] * 2] * 2])
    expected[0, 0, 1] = sigmoid(1.0) * sigmoid(0.5)
    torch.testing.assert_close(found[0], expected)
    of_one_class = log_score_map([fine[..., :6]]).exp()
    assert of_one_class[0, 0, 0, 1].item() == pytest.approx(sigmoid(1.0))  # objectness alone


def test_scores_against_the_best_of_each_place_by_hand() -> None:
    own = torch.tensor([[[[0.25, 0.5]]]]).log().requires_grad_()
    theirs = torch.tensor([[[[0.1, 0.75, 0.2, 0.0], [0.3, 0.0, 0.5, 0.1]]]])  # the best of 2x2: 0.75 and 0.5
    loss = score_loss(own, theirs)
    entropy = -(0.75 * math.log(0.25) + 0.25 * math.log(0.75))
    assert loss.item() == pytest.approx((0.5**2 * entropy + 0) / 1.25)
    loss.backward()
    assert own.grad is not None and own.grad[0, 0, 0, 0] < 0 and own.grad[0, 0, 0, 1] == 0
    background = score_loss(torch.full((2, 1, 1, 1), 0.5).log(), torch.zeros(2, 1, 1, 1))
    assert background.item() == pytest.approx(2 * 0.25 * math.log(2) / 1.0)  # divided by half a box a picture
    sure = torch.zeros(1, 1, 1, 1, requires_grad=True)
    blind = torch.full((1, 1, 1, 1), -80.0, requires_grad=True)  # of a score that no float32 tells from 0
    (score_loss(sure, torch.zeros(1, 1, 1, 1)) + score_loss(blind, torch.full((1, 1, 1, 1), 0.9))).backward()
    assert sure.grad is not None and sure.grad.isfinite().all()
    assert blind.grad is not None and blind.grad.item() == pytest.approx(-0.9 * 0.9**2 / 0.9)
    shared = score_loss(own.detach(), theirs, lambda total: total * 2)  # of two processes, the other with three boxes
    assert shared.item() == pytest.approx(0.5**2 * entropy / 2.5)


def test_attention_is_compared_by_correlation() -> None:
    features = torch.randn(3, 8, 6, 5, generator=torch.Generator().manual_seed(0))
    assert attention_distance(features, features).item() == pytest.approx(0, abs=1e-5)
    wider = features.repeat(1, 2, 1, 1) * -7  # twice the channels, of another sign and size
    assert attention_distance(features, wider).item() == pytest.approx(0, abs=1e-5)
    finer = features.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert attention_distance(features, finer).item() == pytest.approx(0, abs=1e-5)
    strength = features.square().mean(1)
    opposite = (strength.amax((1, 2), keepdim=True) + 1 - strength).sqrt()[:, None]
    assert attention_distance(features, opposite).item() == pytest.approx(2, abs=1e-4)
    other = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    correlations = [
        np.corrcoef((one**2).mean(0).ravel(), (two**2).mean(0).ravel())[0, 1]
        for one, two in zip(features.numpy(), other.numpy(), strict=True)
    ]
    distance = attention_distance(features, other).item()
    assert distance == pytest.approx(1 - np.mean(correlations), abs=1e-4)
    flat = torch.ones(1, 2, 3, 3, requires_grad=True)  # attends to nothing, so nothing is compared
    distance_of_flat = attention_distance(flat, features[:1])
    distance_of_flat.backward()
    assert distance_of_flat.item() == 0 and flat.grad is not None and not flat.grad.any()
    assert attention_distance(torch.zeros(1, 2, 3, 3), features[:1]).item() == 0


def taught(
    model: DetectionModel, teacher: DetectionModel, gains: Gains, size: int, teacher_size: int, **recipe: float
) -> TaughtLoss:
    loss = detect_loss(model, DetectRecipe(**(RECIPE | recipe)), size, 0.0, None)
    order = [teacher.names.index(name) for name in model.names]
    return TaughtLoss(loss, model, teacher.eval(), order, gains, size, teacher_size)


def pictures(count: int, size: int) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(2))


TARGETS = torch.tensor([[0, 1, 40.0, 60.0, 20.0, 24.0], [1, 0, 30.0, 30.0, 30.0, 40.0]])


def test_both_see_the_same_pictures_each_at_its_size() -> None:
    model, teacher = model_of(), model_of(96, seed=1)
    loss = taught(model, teacher, Gains(1.0, 1.0), 32, 96)
    images = pictures(2, 96)
    seen, targets = loss.shown(images, TARGETS)
    torch.testing.assert_close(seen, F.avg_pool2d(images, 3))
    torch.testing.assert_close(targets, TARGETS / torch.tensor([1, 1, 3, 3, 3, 3.0]))
    raws = model(seen)
    total, terms = loss(raws, targets)
    alone, alone_terms = loss.loss(raws, targets)
    assert loss.terms == ("box", "obj", "cls", "teacher") and torch.equal(terms[:3], alone_terms)
    assert (total - alone).item() == pytest.approx(2 * terms[3].item(), rel=1e-4)  # a sum over the batch, as the rest
    with torch.no_grad():
        expected = score_loss(log_score_map(model.raw(seen)), log_score_map(teacher.raw(images)).exp())
    assert taught_term(model, teacher, Gains(1.0, 0.0), images) == pytest.approx(expected.item(), rel=1e-4)
    assert 0 < taught_term(model, teacher, Gains(0.0, 1.0), images) < 2
    assert not model.head._forward_pre_hooks and not teacher.head._forward_pre_hooks  # copies take nothing along


def taught_term(model: DetectionModel, teacher: DetectionModel, gains: Gains, images: Tensor) -> float:
    loss = taught(model, teacher, gains, 32, images.shape[-1])
    seen, targets = loss.shown(images, TARGETS)
    return float(loss(model(seen), targets)[1][3])


def test_classes_of_the_teacher_in_another_order() -> None:
    teacher = model_of(seed=1)
    with torch.no_grad():
        for layer in teacher.head.m:
            layer.bias.view(3, -1)[:, 5:] = torch.tensor([3.0, 0.0, -3.0])
    images = pictures(2, 32)
    same = taught_term(model_of(), teacher, Gains(1.0, 0.0), images)
    swapped = model_of(names=NAMES[::-1])  # the same numbers under other names
    assert taught_term(swapped, teacher, Gains(1.0, 0.0), images) != pytest.approx(same, rel=1e-3)
    with torch.no_grad():
        for layer in teacher.head.m:
            rows = layer.weight.view(3, 8, -1)
            rows[:, 5:] = rows[:, 5:].flip(1)
            layer.bias.view(3, 8)[:, 5:] = layer.bias.view(3, 8)[:, 5:].flip(1)
    assert taught_term(swapped, teacher, Gains(1.0, 0.0), images) == pytest.approx(same, rel=1e-4)


@pytest.mark.parametrize("gains", [Gains(3.0, 0.0), Gains(0.0, 3.0)])
def test_the_network_comes_nearer_to_its_teacher(gains: Gains) -> None:
    model, teacher = model_of(), model_of(64, seed=1)
    with torch.no_grad():  # sure of something
        for layer in teacher.head.m:
            layer.weight.mul_(20)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    loss, images = taught(model, teacher, gains, 32, 64, box=0, obj=0, cls=0), pictures(4, 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    found = []
    for _ in range(25):
        seen, targets = loss.shown(images, TARGETS[:0])
        total, terms = loss(model(seen), targets)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found.append(terms[3].item())
    assert found[-1] < 0.6 * found[0]
    assert same_tensors(before, teacher.state_dict())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teacher_img": 64}, "--teacher-img 64: of which network"),
        ({"teacher": "t.pt", "rect": True}, "--teacher and --rect exclude each other"),
        ({"teacher": "t.pt", "multi_scale": True}, "--teacher and --multi-scale exclude each other"),
        ({"teacher": "t.pt", "compile": True}, "--teacher and --compile exclude each other"),
        ({"teacher": "t.pt", "batch_size": -1}, "--batch-size -1 does not know what --teacher needs"),
    ],
)
def test_flags_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**fields)


def test_the_teacher_s_size() -> None:
    lines: list[str] = []
    teacher = model_of(96)

    def size(**fields: Any) -> int:
        config = with_teacher(TrainConfig(teacher="t.pt", **fields), teacher, NAMES[:2], DetectRecipe(), lines.append)
        assert config.teacher == str(Path("t.pt").resolve())
        return int(config.teacher_img)

    assert (size(imgsz=32), size(imgsz=128), size(imgsz=64, teacher_img=80)) == (96, 128, 96)
    assert "the teacher sees 96 px: 80 is not a multiple of its stride of 32" in lines
    with pytest.raises(ValueError, match="--teacher-img 32: a teacher that sees less than --img 64; give more"):
        size(imgsz=64, teacher_img=32)

    def refused(message: str, names: tuple[str, ...] = NAMES, recipe: Any = None, **fields: Any) -> None:
        with pytest.raises(ValueError, match=message):
            config = TrainConfig(teacher="t.pt", imgsz=32, **fields)
            with_teacher(config, teacher, names, DetectRecipe(**(recipe or {})), lines.append)

    refused(r"^--teacher t.pt: does not know the class 'black'; it knows 'red', 'green', 'blue'$", ("red", "black"))
    refused("does not know the class 'item'; .*'blue'; --single-cls needs one of one class", ("item",), single_cls=True)
    refused(
        "t.pt: teach_scores and .* are 0, so it would teach nothing", recipe={"teach_scores": 0, "teach_attention": 0}
    )
    refused(r"where degrade 0\.5 of the recipe does less; set it 0", recipe={"degrade": 0.5})


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Playground:
    """With teacher.pt of 64 px beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save_checkpoint(tmp_path / "teacher.pt", model_of(64, seed=1), {})
    return Playground(tmp_path / "play")


def test_a_run_with_a_teacher_resumes_exactly(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    config = ground.config(tmp_path / "runs", teacher=str(tmp_path / "teacher.pt"), noplots=False)
    whole = train(config, lines)
    assert any(line.endswith("teacher.pt teaches at 64 px what is learned at 32 px") for line in lines)
    rows = rows_of(whole)
    assert all(float(row["train/teacher_loss"]) > 0 and "val/teacher_loss" not in row for row in rows)
    content = load_checkpoint(whole / "weights" / "last.pt")
    assert content.imgsz == 32 and content.training["config"]["teacher_img"] == 64
    alone = train(ground.config(tmp_path / "runs"))
    assert not same_tensors(weights_of(whole), weights_of(alone))

    from mgil.engine.training import run as module

    finish_epoch = module.finish_epoch

    def stopped(run: Any, epoch: int, *rest: Any) -> None:
        finish_epoch(run, epoch, *rest)
        if epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "finish_epoch", stopped)
        patch.chdir(tmp_path)
        train(ground.config(tmp_path / "runs", teacher="teacher.pt", name="cut"))  # a path from there
    for name in ("moved", "other"):
        shutil.copytree(tmp_path / "runs" / "cut", tmp_path / "runs" / name)
    own_size = TrainConfig(resume=str(tmp_path / "runs" / "cut"), teacher_img=64)  # which it has
    assert same_tensors(weights_of(train(own_size)), weights_of(whole))
    (tmp_path / "teacher.pt").rename(tmp_path / "elsewhere.pt")
    with pytest.raises(FileNotFoundError, match=r"--teacher .*teacher.pt: "):
        train(TrainConfig(resume=str(tmp_path / "runs" / "moved")))
    moved = TrainConfig(resume=str(tmp_path / "runs" / "moved"), teacher=str(tmp_path / "elsewhere.pt"))
    assert same_tensors(weights_of(train(moved)), weights_of(whole))
    save_checkpoint(tmp_path / "teacher.pt", model_of(64, seed=2), {})
    train(TrainConfig(resume=str(tmp_path / "runs" / "other")), lines)
    assert "teacher: other weights: from here on it is another run" in lines


def test_what_cannot_teach(ground: Playground, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--teacher .*nowhere.pt: "):
        train(ground.config(tmp_path / "runs", teacher=str(tmp_path / "nowhere.pt")))
    save_checkpoint(tmp_path / "other.pt", model_of(names=("red", "green", "black")), {})
    with pytest.raises(ValueError, match=r"other.pt: does not know the class 'blue'"):
        train(ground.config(tmp_path / "runs", teacher=str(tmp_path / "other.pt")))
    assert not (tmp_path / "runs").exists()


def test_small_boxes_are_judged_by_what_the_network_sees(ground: Playground, tmp_path: Path) -> None:
    from mgil.tasks.detect.task import TASK

    config = ground.config(tmp_path, teacher="t.pt", teacher_img=128)
    samples = TASK.read(TASK.adapted(load(ground.data), config), "train", strict=False, report=lambda _line: None)
    composer = TASK.composer(samples, DetectRecipe(**RECIPE), 32, model_of(), config)
    assert composer.size == 128 and composer.augment.min_box_px == 8
    tilted = TASK.composer(samples, DetectRecipe(perspective=0.01), 32, model_of(), config)
    assert tilted.augment.perspective == pytest.approx(0.0025)  # per pixel of a picture four times as wide


def load(path: str) -> Any:
    from mgil.datasets.reading.config import load_data_config

    return load_data_config(path)


def test_what_weighs_nothing_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, teacher, images = model_of(), model_of(seed=1), pictures(2, 32)
    both = taught_term(model, teacher, Gains(1.0, 1.0), images)
    parts = [taught_term(model, teacher, Gains(*gains), images) for gains in ((1.0, 0.0), (0.0, 1.0))]
    assert both == pytest.approx(sum(parts), rel=1e-4) and min(parts) > 0
    monkeypatch.setattr("mgil.tasks.detect.teaching.attention_distance", None)
    assert taught_term(model, teacher, Gains(1.0, 0.0), images) == pytest.approx(parts[0], rel=1e-4)


def test_what_is_not_a_teacher(ground: Playground, tmp_path: Path) -> None:
    (tmp_path / "no.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"--teacher .*no.pt: .*not a PyTorch checkpoint"):
        train(ground.config(tmp_path / "runs", teacher=str(tmp_path / "no.pt")))
