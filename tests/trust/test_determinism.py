"""The same seed on the same machine gives the same weights, however the images are fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import load_checkpoint
from tests.engine.tiny import RECIPE, Playground, same_tensors, write_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
# Every augmentation that draws random numbers, and twice as many images as the streamed store's ring has rows.
AUGMENTED = RECIPE | {"mosaic": 0.8, "mixup": 0.4, "hsv_h": 0.02, "degrees": 10.0, "shear": 3.0, "flipud": 0.3}


def result(ground: Playground, project: Path, **options: Any) -> tuple[dict[str, torch.Tensor], bytes]:
    """Weights and results.csv of a run of two epochs."""
    options = {"multi_scale": True, "batch_size": 4} | options
    run = run_train(ground.config(project, **options), lambda _line: None)
    return load_checkpoint(run / "weights" / "last.pt").state_dict, (run / "results.csv").read_bytes()


def equal(first: tuple[dict[str, torch.Tensor], bytes], second: tuple[dict[str, torch.Tensor], bytes]) -> bool:
    return same_tensors(first[0], second[0]) and first[1] == second[1]


def test_the_same_seed_the_same_result(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with 0 and with 2 workers, resident and streamed; the seed is what makes the difference."""
    monkeypatch.setattr(
        "mgil.datasets.batches.stores.RING_TILES", 4
    )  # the ring is at its smallest, 4 batches of 2 images
    options: dict[str, Any] = {"hyp": write_yaml(tmp_path / "hyp.yaml", AUGMENTED), "batch_size": 2}
    ways = [{"cache": cache, "workers": workers} for cache in ("ram", "none") for workers in (0, 2)]
    found = [result(ground, tmp_path, **options, **way) for way in ways]
    assert equal(found[0], found[1]), "resident: 0 and 2 workers"
    assert equal(found[2], found[3]), "streamed: 0 and 2 workers"
    assert equal(found[3], result(ground, tmp_path, **options, **ways[3])), "twice the same"
    # Partners of a streamed mosaic are images that have arrived already: another choice, and no promise.
    assert not equal(found[0], found[2])
    assert not equal(found[0], result(ground, tmp_path, **options, **ways[0], seed=1))


def test_without_partners_resident_is_streamed(ground: Playground, tmp_path: Path) -> None:
    """Where no picture needs a second image, both give the same pixels, so the same weights."""
    alone = write_yaml(tmp_path / "hyp.yaml", AUGMENTED | {"mosaic": 0.0, "mixup": 0.0})
    ways = [{"cache": "ram"}, {"cache": "none"}, {"cache": "none", "workers": 2}]
    first, *others = (result(ground, tmp_path, hyp=alone, **way) for way in ways)
    assert all(equal(first, other) for other in others)


@pytest.mark.nightly
def test_another_process_with_the_same_options(ground: Playground, tmp_path: Path) -> None:
    """Neither hash seeds nor anything else of a process leaks into the result: everything in last.pt is the same."""
    config = ground.config(tmp_path, epochs=1, cache="none", workers=2, exist_ok=True)
    flags = ["--noplots", "--noautoanchor", "--exist-ok", "--device", "cpu"]
    for name in ("cfg", "hyp", "data", "imgsz", "epochs", "batch_size", "cache", "workers", "project"):
        flags += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    path = run_train(config, lambda _line: None) / "weights" / "last.pt"
    here = torch.load(path, weights_only=True)
    command = [sys.executable, "train.py", *flags]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert same_tensors(torch.load(path, weights_only=True), here)
