"""Parts of the training loop that need no run."""

from __future__ import annotations

import pytest
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.engine import command
from mgil.engine.training.multi_scale import MultiScale
from mgil.engine.training.progress import Progress
from mgil.tasks.detect.batches import DetectComposer
from tests.datasets.scenes import make_samples


def test_multi_scale_resizes_pictures_and_boxes_alike() -> None:
    """At 64 px and stride 32 the sizes are 32, 64 and 96; a box keeps its place."""
    composer = DetectComposer(make_samples([], []), 64, AugmentConfig())
    resize = MultiScale(0, 32, composer.rescaled)
    images = torch.zeros(1, 3, 64, 64)
    images[..., 16:48, 32:64] = 1
    boxes = torch.tensor([[0.0, 2, 48, 32, 32, 32]])
    seen = set()
    for index in range(30):
        resized, targets = resize(images, boxes, 0, index)
        size = resized.shape[-1]
        seen.add(size)
        assert targets[0].tolist() == [0, 2, *(value * size / 64 for value in (48, 32, 32, 32))]
        inside = resized[0, 0, size // 4 + 2 : size * 3 // 4 - 2, size // 2 + 2 :]
        assert inside.min() == 1 and resized.mean() == pytest.approx(0.25, abs=0.02)
        again, _ = resize(images, boxes, 0, index)
        assert again.shape == resized.shape
    assert seen == {32, 64, 96}


def test_multi_scale_at_one_stride_is_what_the_help_says(capsys: pytest.CaptureFixture[str]) -> None:
    resize = MultiScale(0, 32, lambda targets, _factor: targets)
    small, boxes = torch.zeros(1, 3, 32, 32), torch.zeros(0, 6)
    assert {resize(small, boxes, 0, index)[0].shape[-1] for index in range(30)} == {32, 64}
    with pytest.raises(SystemExit):
        command.train(["--help"])
    assert "32 or 64 px for --imgsz 32 with a stride of 32" in " ".join(capsys.readouterr().out.split())


def test_progress_records_the_best() -> None:
    progress = Progress()
    improved = []
    for epoch, fitness in enumerate([0.0, 0.3, 0.3, 0.2, 0.4]):
        progress.epoch = epoch
        improved.append(progress.record(fitness))
    assert improved == [True, True, False, False, True]
    assert (progress.best_fitness, progress.best_epoch) == (0.4, 4)
