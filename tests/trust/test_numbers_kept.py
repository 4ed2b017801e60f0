"""NaN and Inf in whole runs: what is saved, what is refused, and when a run ends."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.prediction.load import load_model
from mgil.engine.training.log import read_results
from mgil.engine.training.progress import MOST_FAULTY_VALIDATIONS, Progress
from mgil.engine.training.run import run_train
from mgil.engine.training.trainer import Trainer
from mgil.engine.weights.checkpoints import load_checkpoint, save_checkpoint
from mgil.engine.weights.finite import first_not_finite
from mgil.networks.detector import build_model
from mgil.tasks.detect.aligned_loss import AlignedLoss
from tests.engine.tiny import RECIPE, TINY, Playground, write_yaml

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "changes",
    [{"lr0": 10.0, "weight_decay": 0.5}, {"lr0": 10.0, "weight_decay": 5.0}, {"weight_decay": 1e30}],
    ids=["slowly", "fast", "at once"],
)
def test_a_recipe_that_diverges_is_a_clear_error(ground: Playground, tmp_path: Path, changes: dict[str, float]) -> None:
    """Weight decay times the rate is above 2, so that every step makes the weights larger, up to Inf."""
    hyp = write_yaml(tmp_path / "hyp.yaml", RECIPE | changes)
    lines: list[str] = []
    with pytest.raises(FloatingPointError, match=r"^epoch \d.*: .*lower lr0.*; ") as caught:
        run_train(ground.config(tmp_path, hyp=hyp, epochs=30), lines.append)
    assert any("Images: " in line for line in lines)
    kept = list((tmp_path / "exp" / "weights").iterdir())
    assert ("is the last good state" in str(caught.value)) == ("last.pt" in {path.name for path in kept})
    for path in kept:
        assert first_not_finite(vars(load_checkpoint(path))) == ""


def test_the_highest_rate_alone_gives_numbers(ground: Playground, tmp_path: Path) -> None:
    """Clipped gradients keep the weights finite up to the highest rate that a recipe may have."""
    hyp = write_yaml(tmp_path / "hyp.yaml", RECIPE | {"lr0": 10.0, "warmup_epochs": 3.0, "warmup_bias_lr": 10.0})
    lines: list[str] = []
    run = run_train(ground.config(tmp_path, hyp=hyp, epochs=10), lines.append)
    assert not any("Images: " in line for line in lines)
    assert first_not_finite(vars(load_checkpoint(run / "weights" / "last.pt"))) == ""


def test_a_run_with_a_few_bad_steps_is_a_good_run(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of twelve steps spoiled: the run ends well, with finite files, one line a fault and every epoch's row."""
    original, calls = AlignedLoss.__call__, []

    def spoiled(self: AlignedLoss, raws: Any, targets: Any) -> Any:
        loss, terms = original(self, raws, targets)
        calls.append(raws[0].requires_grad)
        bad = calls[-1] and sum(calls) in (1, 4, 6)
        return (loss * NAN, terms * NAN) if bad else (loss, terms)

    monkeypatch.setattr(AlignedLoss, "__call__", spoiled)
    lines: list[str] = []
    run = run_train(ground.config(tmp_path, epochs=6), lines.append)
    assert sum("the loss is nan; this step is skipped. Images: " in line for line in lines) == 3
    rows = read_results(run / "results.csv")
    assert len(rows) == 6 and all(math.isfinite(float(value)) for row in rows for value in row.values())
    for name in ("last.pt", "best.pt"):
        assert first_not_finite(vars(load_checkpoint(run / "weights" / name))) == ""


def test_a_checkpoint_never_holds_nan(tmp_path: Path) -> None:
    model, path = build_model(TINY, names=list("rgb"), imgsz=32), tmp_path / "last.pt"
    save_checkpoint(path, model, {})
    before = path.read_bytes()
    with pytest.raises(FloatingPointError, match=r"last\.pt: not written, training\.momenta\.1 holds"):
        save_checkpoint(path, model, {}, {"momenta": [torch.ones(2), torch.tensor([1, NAN])]})
    model.model[1].requires_grad_(False)
    next(model.parameters()).data[0] = INF
    with pytest.raises(FloatingPointError, match=r"last\.pt: not written, weights\.model\.0\.conv\.weight holds"):
        save_checkpoint(path, model, {})
    assert path.read_bytes() == before and [item.name for item in tmp_path.iterdir()] == ["last.pt"]


def test_weights_that_hold_nan_are_refused(ground: Playground, tmp_path: Path) -> None:
    """To train on, and to predict with: they would find nothing and say nothing."""
    model, path = build_model(TINY, names=list("rgb"), imgsz=32), tmp_path / "nan.pt"
    save_checkpoint(path, model, {})
    content = torch.load(path, weights_only=True)
    content["state_dict"]["model.2.bn.running_var"][3] = NAN
    torch.save(content, path)
    config = ground.config(tmp_path, weights=str(path))
    for use in (lambda: load_model(path), lambda: run_train(config, lambda _: None)):
        with pytest.raises(ValueError, match=r"nan\.pt: model\.2\.bn\.running_var holds NaN or Inf"):
            use()


def validations(monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
    """Let the validations of some epochs come out as NaN."""
    count = iter(range(100))

    def spoiled(*given: Any, **options: Any) -> Any:
        result = evaluate(*given, **options)
        return replace(result, losses=(NAN, 0.1, INF)) if next(count) in bad else result

    monkeypatch.setattr("mgil.engine.training.run.evaluate", spoiled)


def test_a_validation_without_numbers_is_not_saved(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its epoch is neither best nor last; the run goes on, and ends when it happens again and again."""
    monkeypatch.setattr(
        "mgil.tasks.detect.scores.DetectScores.fitness",
        property(lambda _: 1.0 + len(list(tmp_path.rglob("results.csv")))),
    )
    validations(monkeypatch, {2, 4, 5, 6})
    epochs: list[int] = []

    def saved(path: Any, model: Any, info: Any, *training: Any, task: str) -> None:
        save_checkpoint(path, model, info, *training, task=task)
        epochs.extend([info["epoch"]] if Path(path).name == "last.pt" else [])

    monkeypatch.setattr("mgil.engine.training.state.save_checkpoint", saved)
    lines: list[str] = []
    with pytest.raises(FloatingPointError, match=r"epoch 7: the validation losses are nan, 0\.1, inf.*last\.pt is the"):
        run_train(ground.config(tmp_path, epochs=9), lines.append)
    assert epochs == [0, 1, 3]
    assert load_checkpoint(tmp_path / "exp" / "weights" / "last.pt").info["epoch"] == 3
    assert [line[:7] for line in lines if "no checkpoint is written" in line] == ["epoch 3", "epoch 5", "epoch 6"]
    assert len(read_results(tmp_path / "exp" / "results.csv")) == 6


def test_when_validations_are_too_many(ground: Playground) -> None:
    progress = Progress()
    for _ in range(2):
        for _ in range(MOST_FAULTY_VALIDATIONS - 1):
            assert not progress.accept((NAN, 0, 0), last=False)
        assert progress.accept((0, 0, 0), last=False)
    with pytest.raises(FloatingPointError, match="epoch 1: the validation losses are inf, 0, 0; lower lr0"):
        progress.accept((INF, 0, 0), last=True)


def test_a_diverged_average_ends_the_run(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should weights become NaN by a way that nobody thought of, the files stay good and the tensor is named."""
    original = Trainer.train_epoch

    def train_epoch(self: Trainer, epoch: int, title: str | None = None) -> Any:
        losses = original(self, epoch, title)
        if epoch == 1:
            next(self.model.parameters()).data[0] = NAN
        return losses

    monkeypatch.setattr(Trainer, "train_epoch", train_epoch)
    with pytest.raises(FloatingPointError, match=r"training\.trainer\.model\.model\.0\.conv\.weight holds .*last good"):
        run_train(ground.config(tmp_path, epochs=3), lambda _: None)
    assert load_checkpoint(tmp_path / "exp" / "weights" / "last.pt").info["epoch"] == 0


def test_where_a_number_is_none() -> None:
    huge = torch.full((4,), 3e38)  # the sum overflows, the values do not
    assert first_not_finite({"a": [torch.ones(2), {"b": huge}], "c": 3, "d": None, "e": torch.ones(2, dtype=int)}) == ""
    assert first_not_finite({"a": [torch.ones(2), {"b": torch.tensor([1.0, -INF])}]}) == "a.1.b"
    assert first_not_finite(torch.tensor(NAN), "x") == "x"
