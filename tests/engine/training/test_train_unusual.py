"""Runs of unusual architectures, batch sizes and folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import yaml

from mgil.engine.training.config import TrainConfig
from mgil.engine.training.resume import find_resume
from mgil.engine.training.run import run_train
from mgil.engine.training.setup import make_model
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.tasks.registry import task_named
from tests.engine.tiny import NAMES, TINY, Playground, write_yaml
from tests.engine.training.running import rows_of, train

pytestmark = pytest.mark.usefixtures("private_cache")


def test_anchors_in_the_head_row(ground: Playground, tmp_path: Path) -> None:
    """An architecture may hold its anchors there instead of under `anchors`."""
    head = [[[2, 3, 4], 1, "Detect", ["nc", TINY["anchors"]]]]
    cfg = write_yaml(tmp_path / "m.yaml", {"backbone": TINY["backbone"], "head": head})
    run = train(ground.config(tmp_path, cfg=cfg, epochs=1, noval=True))
    assert model_from_checkpoint(run / "weights" / "best.pt").head.anchors_px.flatten(1).tolist() == TINY["anchors"]


def test_a_backbone_that_goes_deeper_than_the_head(ground: Playground, tmp_path: Path) -> None:
    """Rectangles of validation are whole strides of the deepest layer, or the maps of its neck would not fit.

    Its two anchors a level are fitted to the squares of 8 to 14 px, and travel with the weights.
    """
    joined = [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 3], 1, "Concat", [1]]]
    neck = [*joined, [[2, 6], 1, "Detect", ["nc", "anchors"]]]
    cfg = write_yaml(tmp_path / "cfg.yaml", TINY | {"head": neck, "anchors": 2})
    run = train(ground.config(tmp_path, cfg=cfg, epochs=1, noautoanchor=False))
    assert len(rows_of(run)) == 1
    checkpoint = load_checkpoint(run / "weights" / "best.pt")
    fine, coarse = checkpoint.architecture["anchors"]
    assert all(8 <= side <= 14 for side in fine) and coarse == [16, 16, 64, 64]  # no square is of its size
    anchors = model_from_checkpoint(checkpoint).head.anchors_px.flatten(1)
    torch.testing.assert_close(anchors, torch.tensor([fine, coarse]))
    model, _ = make_model(TrainConfig(weights="best.pt", imgsz=32), task_named("detect"), NAMES, checkpoint, len)
    assert not model.head.start_only  # the next run starts from the fitted ones


def test_a_batch_larger_than_the_set(ground: Playground, tmp_path: Path) -> None:
    assert len(rows_of(train(ground.config(tmp_path, epochs=1, batch_size=64)))) == 1


def test_the_batch_size_is_found(ground: Playground, tmp_path: Path) -> None:
    run = train(ground.config(tmp_path, epochs=1, batch_size=-1))
    assert yaml.safe_load((run / "opt.yaml").read_text())["batch_size"] == 16  # without a GPU


def test_sync_bn_needs_several_gpus(ground: Playground, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--sync-bn"):
        train(ground.config(tmp_path / "runs", sync_bn=True))
    assert not (tmp_path / "runs").exists()


def test_exist_ok_starts_the_results_anew(ground: Playground, tmp_path: Path) -> None:
    for _ in range(2):
        run = train(ground.config(tmp_path, epochs=1, exist_ok=True, noval=True))
    assert run == tmp_path / "exp" and len(rows_of(run)) == 1


def test_exist_ok_keeps_the_earlier_weights_apart(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before its first checkpoint, the second run has none to resume from, least of all the first run's."""
    run = train(ground.config(tmp_path, epochs=1, exist_ok=True, noval=True))
    earlier = (run / "weights" / "last.pt").read_bytes()
    monkeypatch.setattr("mgil.engine.training.run.train", lambda _self: None)
    lines: list[str] = []
    run_train(ground.config(tmp_path, epochs=5, seed=7, exist_ok=True, noval=True), lines.append)
    assert "--exist-ok: the earlier run's weights are now previous_last.pt, previous_best.pt" in lines
    assert (run / "weights" / "previous_last.pt").read_bytes() == earlier
    with pytest.raises(FileNotFoundError, match="ended before its first checkpoint"):
        find_resume(str(run))


def test_the_folder_beside_a_runs_is_not_taken_for_one_that_ended_early(ground: Playground, tmp_path: Path) -> None:
    """Nobody is told to begin a good run anew."""
    run = train(ground.config(tmp_path, epochs=1, noval=True))
    assert find_resume(str(run / "weights")) == find_resume(str(run)) == run / "weights" / "last.pt"
    with pytest.raises(FileNotFoundError, match=r"not a run's folder, which holds opt\.yaml and weights/"):
        find_resume(str(run.parent))


def test_exist_ok_keeps_the_weights_of_all_earlier_runs(ground: Playground, tmp_path: Path) -> None:
    earlier = []
    for seed in range(3):
        run = train(ground.config(tmp_path, epochs=1, seed=seed, exist_ok=True, noval=True))
        earlier.append((run / "weights" / "last.pt").read_bytes())
    assert len(set(earlier)) == 3
    names = ("previous_last.pt", "previous_last2.pt", "last.pt")
    assert [(run / "weights" / name).read_bytes() for name in names] == earlier
    assert (run / "weights" / "previous_best2.pt").exists()


@pytest.mark.parametrize(
    ("val", "said"),
    [
        ("", "gives no val split"),
        ("val: gone\n", "data set not found"),
        ("val: empty\n", "no images found"),
        ("val: [empty/list.txt]\n", "no images found"),
    ],
)
def test_noval_needs_no_val_split(
    val: str, said: str, ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does --noplots need matplotlib."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "list.txt").touch()
    data = tmp_path / "data.yaml"
    data.write_text(f"train: {Path(ground.data).parent / 'images' / 'train'}\n{val}names: [red, green, blue]\n")
    with pytest.raises((FileNotFoundError, ValueError), match=said):
        train(ground.config(tmp_path, data=str(data), epochs=1))
    lines: list[str] = []
    run = train(ground.config(tmp_path, data=str(data), epochs=1, noval=True), lines)
    assert [line for line in lines if said in line and line.endswith("the run goes on, and nothing is scored")]
    assert lines[-1] == f"no val split, so nothing is scored and no epoch is the best: take {run}/weights/last.pt"
    (row,) = rows_of(run)
    assert row["train/box_loss"] and not row["val/box_loss"] and not row["metrics/mAP_0.5"]
    assert sorted(path.name for path in (run / "weights").iterdir()) == ["last.pt"]
    with pytest.raises(ValueError, match="1 epochs are done; --epochs 2 or more goes on"):
        train(TrainConfig(resume=str(run)))
    with pytest.raises(ValueError, match=r"^matplotlib is not installed: .*; --noplots trains without pictures$"):
        train(ground.config(tmp_path, epochs=1, noplots=False))
