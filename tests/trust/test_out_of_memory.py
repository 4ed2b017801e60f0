"""Batches that a GPU has no room for: the message names them and the size that fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from mgil.datasets.batches.loader import BatchMaker
from mgil.datasets.reading.samples import Samples
from mgil.engine.cli import run_cli
from mgil.engine.memory_errors import memory_errors
from mgil.engine.training.run import run_train
from tests.engine.tiny import Playground
from tests.trust.spoiling import SpoiltLoss, make_trainer


def out_of_memory(*_: Any, **_options: Any) -> NoReturn:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_out_of_gpu_memory(
    samples: Samples, ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the batch and the size that fits, in training and in validation."""
    trainer = make_trainer(samples, [])
    calls = iter(range(100))
    trainer.loss = SpoiltLoss(trainer.loss, lambda: 1.0 if next(calls) < 3 else out_of_memory())
    text = r"epoch 3, batch 4: 4 images of 32x32 px do not fit the GPU.*; 2 should; use half the --batch-size"
    with pytest.raises(ValueError, match=text):
        trainer.train_epoch(2)
    monkeypatch.setattr("mgil.engine.evaluation.evaluate._Clock.step", out_of_memory)
    text = r"validation batch 1: 4 images of 32x32 px do not fit the GPU.*; 2 should; use half"
    with pytest.raises(ValueError, match=text):
        run_train(ground.config(tmp_path, batch_size=8, epochs=1), lambda _: None)


def test_a_batch_that_is_not_even_made(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU augments: its memory may end in the loader, which works ahead of the steps."""
    trainer = make_trainer(samples, [])
    original: Callable[..., Any] = BatchMaker.__call__
    monkeypatch.setattr(
        BatchMaker, "__call__", lambda maker, index: original(maker, index) if index != 3 else out_of_memory()
    )
    text = r"epoch 3, batch 4: 4 images of 32x32 px do not fit the GPU.*; 2 should; use half the --batch-size"
    with pytest.raises(ValueError, match=text):
        trainer.train_epoch(2)


def test_one_image_too_many() -> None:
    text = "b: 1 images of 64x96 px do not fit the GPU.*; not even one .*--imgsz"
    with pytest.raises(ValueError, match=text), memory_errors("b", (1, 3, 64, 96)):
        out_of_memory()


@pytest.mark.cuda
def test_out_of_memory_of_a_real_gpu(samples: Samples) -> None:
    trainer = make_trainer(samples, [], device="cuda")
    trainer.loss = SpoiltLoss(trainer.loss, lambda: float(torch.empty(1 << 50, device="cuda")[0]))
    with pytest.raises(ValueError, match=r"epoch 1, batch 1: 4 images .*GiB in use\); 2 should; use half"):
        trainer.train_epoch(0)
    make_trainer(samples, [], device="cuda").train_epoch(0)  # the GPU is as usable as before


@pytest.mark.parametrize("take", [lambda: np.empty(1 << 60, np.uint8), lambda: torch.empty(1 << 60)])
def test_more_than_the_computer_has(take: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> None:
    """NumPy and PyTorch say it in their own ways."""
    with pytest.raises(SystemExit) as stopped:
        run_cli(take)
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("error: out of memory; use a smaller --batch-size or --imgsz (")
