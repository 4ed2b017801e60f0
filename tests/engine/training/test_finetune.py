"""Training on from weights: what they were is scored first, what they bring stays, and a resumed run goes on so."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mgil.datasets.reading.config import load_data_config
from mgil.engine.training import setup
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.evolve import _recipe
from mgil.engine.training.progress import START_EPOCH, Progress
from mgil.engine.training.resume import patience_is_over
from mgil.engine.training.schedule import build_optimizer
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.engine.weights.start import Start
from mgil.files.recipe import load_recipe
from mgil.networks.detector import build_model
from mgil.tasks.detect.recipe import DetectRecipe
from mgil.tasks.registry import task_named
from tests.engine.tiny import NAMES, RECIPE, TINY, Playground, same_tensors, write_yaml
from tests.engine.training.running import rows_of, train, weights_of
from tests.trust.cutting import cut_run

PLAIN_ROWS = [[-1, 1, "Conv", [16, 3, 2]] if row[2] == "MGIL" else row for row in TINY["backbone"]]
BLOCK = {"residual": True, "coarse_shortcut": True}
BLOCK_ROWS = [[-1, 1, "MGIL", [16, BLOCK]] if row[2] == "MGIL" else row for row in TINY["backbone"]]
FINETUNE = {**RECIPE, "optimizer": "AdamW", "lr0": 1e-3, "batchnorm": "loaded", "warmup_bias_lr": 0.0}
AP = "metrics/mAP_0.5:0.95"


@pytest.fixture(scope="module")
def weights(ground: Playground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a plain network that finds the squares, if not well."""
    folder = tmp_path_factory.mktemp("weights")
    cfg = write_yaml(folder / "plain.yaml", TINY | {"backbone": PLAIN_ROWS})
    hyp = write_yaml(folder / "hyp.yaml", {**RECIPE, "optimizer": "AdamW", "lr0": 0.01, "warmup_bias_lr": 0.0})
    run = train(ground.config(folder, cfg=cfg, hyp=hyp, epochs=20, noval=True))
    return run / "weights" / "last.pt"


def finetune(ground: Playground, project: Path, weights: Path, recipe: dict[str, Any], **options: Any) -> TrainConfig:
    hyp = write_yaml(project / "finetune.yaml", recipe)
    return ground.config(project, **{"cfg": "", "hyp": hyp, "weights": str(weights), **options})


def test_the_weights_are_scored_before_the_first_step(ground: Playground, weights: Path, tmp_path: Path) -> None:
    """A learning rate of 0 changes nothing, so epoch 0 is what they were, and best.pt is they."""
    lines: list[str] = []
    run = train(finetune(ground, tmp_path, weights, {**FINETUNE, "lr0": 0.0}), lines)
    start, *epochs = rows_of(run)
    assert [row["epoch"] for row in (start, *epochs)] == ["-1", "0", "1"]
    assert float(start[AP]) > 0 and all(row[AP] == start[AP] for row in epochs)
    assert start["train/box_loss"] == start["x/lr0"] == ""
    assert all(row["val/box_loss"] == start["val/box_loss"] != "" for row in epochs)
    assert any(line.startswith("epoch 0/2  the weights as loaded  P ") for line in lines)
    assert any("; no epoch was better than the weights as loaded (fitness 0." in line for line in lines)
    assert same_tensors(weights_of(run, "best.pt"), weights_of(weights.parents[1], "last.pt"))
    assert load_checkpoint(run / "weights" / "best.pt").info["epoch"] == -1


def test_what_training_destroys_is_not_lost(ground: Playground, weights: Path, tmp_path: Path) -> None:
    recipe = {**FINETUNE, "optimizer": "SGD", "lr0": 5.0}
    run = train(finetune(ground, tmp_path, weights, recipe, epochs=1))
    start, epoch = rows_of(run)
    assert float(epoch[AP]) < float(start[AP])
    assert same_tensors(weights_of(run, "best.pt"), weights_of(weights.parents[1], "last.pt"))


def test_what_training_gained_is_said(ground: Playground, weights: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run = train(finetune(ground, tmp_path, weights, FINETUNE, epochs=4), lines)
    start, *epochs = [float(row[AP]) for row in rows_of(run)]
    assert max(epochs) > start
    assert any("over the weights as loaded" in line and "; fitness 0." in line for line in lines)


@pytest.mark.parametrize("batchnorm", ["loaded", "batch"])
def test_loaded_statistics_rest_where_the_recipe_says_so(
    ground: Playground, weights: Path, tmp_path: Path, batchnorm: str
) -> None:
    run = train(finetune(ground, tmp_path, weights, {**FINETUNE, "batchnorm": batchnorm}, epochs=1))
    before, after = weights_of(weights.parents[1]), weights_of(run)
    means = [key for key in before if key.endswith("running_mean")]
    assert means and all(torch.equal(before[key], after[key]) == (batchnorm == "loaded") for key in means)
    gammas = [key.replace("running_mean", "weight") for key in means]
    assert all(not torch.equal(before[key], after[key]) for key in gammas), "which are trained all the same"


def test_a_block_begins_as_the_layer_and_only_its_new_parts_have_moving_statistics(
    ground: Playground, weights: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    cfg = write_yaml(tmp_path / "block.yaml", TINY | {"backbone": BLOCK_ROWS})
    run = train(finetune(ground, tmp_path, weights, FINETUNE, cfg=cfg, epochs=1), lines)
    assert any("1 of 1 stride-2 layers carried over; outputs agree to " in line for line in lines)
    plain = train(finetune(ground, tmp_path, weights, FINETUNE, epochs=1, name="plain"))
    assert float(rows_of(run)[0][AP]) == pytest.approx(float(rows_of(plain)[0][AP]), abs=1e-4)
    before, after = weights_of(weights.parents[1]), weights_of(run)
    assert torch.equal(after["model.1.flie.lie.0.bn.running_mean"], before["model.1.bn.running_mean"])
    assert torch.equal(after["model.0.bn.running_mean"], before["model.0.bn.running_mean"])
    assert after["model.1.flie.lie.1.bn.running_mean"].any() and after["model.1.cii.lie.0.bn.running_mean"].any()


@pytest.mark.parametrize("blocks", [False, True])
def test_a_resumed_run_is_the_uninterrupted_one(
    ground: Playground, weights: Path, tmp_path: Path, blocks: bool
) -> None:
    """To the bit, with statistics that rest and parameters with a learning rate of their own."""
    cfg = write_yaml(tmp_path / "block.yaml", TINY | {"backbone": BLOCK_ROWS}) if blocks else ""
    recipe = {**FINETUNE, "new_rate": 3}
    whole = train(finetune(ground, tmp_path, weights, recipe, cfg=cfg, name="whole"))
    cut_run(finetune(ground, tmp_path, weights, recipe, cfg=cfg, name="cut"))
    lines: list[str] = []
    cut = train(TrainConfig(resume=str(tmp_path / "cut")), lines)
    assert not any("as loaded  P" in line for line in lines) and any("as loaded" in line for line in lines)
    assert (cut / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    first, second = (load_checkpoint(run / "weights" / "last.pt") for run in (whole, cut))
    assert same_tensors(first.state_dict, second.state_dict)
    assert first.training["factors"] == second.training["factors"] and bool(first.training["factors"]) == blocks
    assert first.training["resting"] == second.training["resting"] != []
    assert same_tensors(weights_of(whole, "best.pt"), weights_of(cut, "best.pt"))


@pytest.mark.parametrize(("key", "value"), [("resting", ["model.99.bn"]), ("factors", {"model.0.conv.weight": -1.0})])
def test_a_damaged_state_is_refused(ground: Playground, weights: Path, tmp_path: Path, key: str, value: Any) -> None:
    cut_run(finetune(ground, tmp_path, weights, FINETUNE))
    last = tmp_path / "exp" / "weights" / "last.pt"
    found = load_checkpoint(last)
    model = model_from_checkpoint(found, fuse=False)
    save_checkpoint(last, model, found.info, {**found.training, key: value})
    with pytest.raises(ValueError, match="its training state does not fit here"):
        train(TrainConfig(resume=str(last)))


def test_the_recipe_and_the_anchors(ground: Playground, weights: Path, tmp_path: Path) -> None:
    """The weights' anchors fit no square of 8 to 14 px at 64 px of input; they stay unless asked."""
    lines: list[str] = []
    own: dict[str, Any] = {"epochs": 1, "noautoanchor": False, "hyp": "", "noval": True}
    run = train(finetune(ground, tmp_path, weights, {}, **own, name="a"), lines)
    wanted = load_recipe(DetectRecipe, "finetune").as_dict()
    assert load_checkpoint(run / "weights" / "last.pt").training["hyp"] == wanted
    assert any(line.startswith("the anchors that the weights were trained with stay: 6x6, 8x8") for line in lines)
    asked = train(finetune(ground, tmp_path, weights, {}, **own, autoanchor=True, name="b"), lines)
    assert any(line.startswith("AutoAnchor: ") for line in lines)
    other = write_yaml(tmp_path / "other.yaml", TINY)  # whose block no weights fill
    lines.clear()
    part = train(finetune(ground, tmp_path, weights, {}, **own, cfg=other, name="c"), lines)
    assert load_checkpoint(part / "weights" / "last.pt").training["hyp"]["lr0"] == 0.002, "the recipe of 32 px"
    assert any(
        "0 of 1 stride-2 layers carried over; untrained: model.1: the later convolutions" in line for line in lines
    )
    assert asked.exists()


@pytest.mark.parametrize(("known", "recipe"), [(1.0, "finetune"), (0.5, "finetune"), (0.3, "lowres"), (0, "lowres")])
def test_weights_of_other_classes_have_the_recipe_of_small_pictures(
    ground: Playground, tmp_path: Path, known: float, recipe: str
) -> None:
    """At every size."""
    config, data = ground.config(tmp_path, hyp="", imgsz=640), load_data_config(ground.data)
    start = Start(whole=True, head=True, known=known)
    found, used = setup.with_recipe(config, task_named("detect"), data, start, lambda _line: None)
    assert found.hyp == f"hyp.{recipe}.yaml" and used == load_recipe(DetectRecipe, recipe)


def test_autoanchor_and_noautoanchor_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="--autoanchor and --noautoanchor"):
        TrainConfig(autoanchor=True, noautoanchor=True)


def test_other_classes_take_what_is_of_no_class(weights: Path) -> None:
    """Two of four names agree: boxes, objectness and these come from the weights, the other rows are the start's."""
    source = model_from_checkpoint(weights, fuse=False)
    architecture = TINY | {"backbone": PLAIN_ROWS}
    model = build_model(architecture, names=("blue", "pink", "Red", "grey"), imgsz=32)
    fresh = deepcopy(model.state_dict())
    found = model.in_class_order(source.state_dict(), NAMES)
    theirs = source.state_dict()["model.5.m.0.weight"].unflatten(0, (3, 8))
    ours = found["model.5.m.0.weight"].unflatten(0, (3, 9))
    assert torch.equal(ours[:, :5], theirs[:, :5])
    assert torch.equal(ours[:, [5, 7]], theirs[:, [5 + NAMES.index("blue"), 5 + NAMES.index("red")]])
    assert torch.equal(ours[:, [6, 8]], fresh["model.5.m.0.weight"].unflatten(0, (3, 9))[:, [6, 8]])


def test_factors_make_groups_of_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    recipe = DetectRecipe(lr0=0.1, optimizer="SGD")
    optimizer = build_optimizer(model, "SGD", recipe, 0.5, {"0.weight": 0.25, "1.weight": 2.0, "0.bias": 0.25})
    groups = optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        ([names[id(each)] for each in group["params"]], group["factor"], group["weight_decay"]) for group in groups
    ]
    assert found == [
        *((["1.bias"], 1.0, 0.0), ([], 1.0, 0.5), ([], 1.0, 0.0)),
        *((["0.weight"], 0.25, 0.5), (["0.bias"], 0.25, 0.0), (["1.weight"], 2.0, 0.0)),
    ]


@pytest.mark.parametrize(("rate", "message"), [(11.0, "the highest learning rate is 10"), (0, "new_rate: 0 would")])
def test_a_new_rate_that_no_network_bears_is_refused(rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectRecipe(lr0=1.0, new_rate=rate)


@pytest.mark.parametrize(("kept", "over"), [(True, [False, False, True]), (False, [False, False, False])])
def test_the_start_counts_for_patience_where_it_is_kept(kept: bool, over: list[bool]) -> None:
    """Two epochs that are no better end a run; with --nosave the start is not there to be taken."""
    progress, config = Progress(), TrainConfig(patience=2)
    progress.begin(0.5, kept)
    found = []
    for epoch in range(3):
        progress.epoch = epoch
        found.append(patience_is_over(progress, config))
        progress.record(0.1 * (epoch + 1))
    assert found == over and (progress.best_epoch, progress.start_fitness) == (START_EPOCH if kept else 2, 0.5)


def test_what_is_not_kept_is_not_the_best(ground: Playground, weights: Path, tmp_path: Path) -> None:
    """With --nosave, so in trials of a search, which could not tell bad recipes apart otherwise."""
    recipe, lines = {**FINETUNE, "optimizer": "SGD", "lr0": 5.0}, []
    run = train(finetune(ground, tmp_path, weights, recipe, epochs=1, nosave=True), lines)
    start, epoch = rows_of(run)
    progress = load_checkpoint(run / "weights" / "last.pt").training["progress"]
    own, loaded = (0.1 * float(row["metrics/mAP_0.5"]) + 0.9 * float(row[AP]) for row in (epoch, start))
    assert own < loaded and (progress["best_epoch"], progress["best_fitness"]) == (0, pytest.approx(own, abs=1e-5))
    assert progress["start_fitness"] == pytest.approx(loaded, abs=1e-5)
    assert any(f"no epoch was better than the weights as loaded (fitness {loaded:.4f})" in line for line in lines)
    assert not any("best.pt is these" in line for line in lines)


def test_a_search_starts_from_the_recipe_that_a_training_would_take(
    ground: Playground, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from weights that are still to be fetched, and with a data set whose rates are for training from scratch."""
    absent, lines = tmp_path / "yolov5n.pt", []
    monkeypatch.setattr(setup, "fetch_weights", lambda path, _report: shutil.copy(weights, path))
    data = replace(load_data_config(ground.data), hyp={"lr0": 0.5, "fliplr": 0.0})
    config = ground.config(tmp_path, weights=str(absent), cfg="", hyp="", download=True)
    own = _recipe(config, task_named("detect"), data, lines.append)
    assert own == replace(load_recipe(DetectRecipe, "finetune"), fliplr=0.0)
    assert lines[-1].endswith("its hyp of lr0 is for training from scratch, and is left out here")
    scratch = _recipe(replace(config, weights="", download=False), task_named("detect"), data, lines.append)
    assert (scratch.lr0, scratch.fliplr, scratch.assign, len(lines)) == (0.5, 0.0, "aligned", 1)
    assert "new_rate" in own.spans() and "new_rate" not in scratch.spans()


def test_what_makes_pictures_worse_is_no_rate(ground: Playground) -> None:
    """A data set's degradations hold from weights too, as its augmentation does; its learning rates do not."""
    hyp = {"degrade": 0.5, "degrade_noise": 40.0, "fliplr": 0.0, "lr0": 0.1}
    data = replace(load_data_config(ground.data), hyp=hyp)
    assert setup.changes_for(data, finetune=False) == hyp
    assert setup.changes_for(data, finetune=True) == {name: hyp[name] for name in hyp if name != "lr0"}
