"""The images that exported files are checked with: those of the data set that can be read, and word of the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.images import data_inputs
from mgil.engine.export.run import check_inputs, run_export
from mgil.tasks.registry import task_named
from tests.engine.export.exported import save_tiny_detector
from tests.engine.tiny import make_data, random_squares
from tests.trust.odd_images import damaged_within

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")

STRIDE_32 = SimpleNamespace(max_stride=32)  # all that the task asks of a network here


def damage(folder: Path, *indices: int) -> list[Path]:
    """Damage images so that they pass the first look, which reads their size alone; return all of them."""
    paths = sorted((folder / "images" / "val").iterdir())
    for index in indices:
        paths[index].write_bytes(damaged_within(paths[index].read_bytes()))
    return paths


def test_others_take_the_place_of_damaged_ones(tmp_path: Path) -> None:
    """Of 6 images 2 are wanted, first and last; these are damaged, so the next two in order come in."""
    data = load_data_config(str(make_data(tmp_path, random_squares(1), random_squares(6, seed=4))))
    paths = damage(tmp_path, 0, 5)
    lines: list[str] = []
    inputs = data_inputs(task_named("detect"), STRIDE_32, data, ("val",), (32, 32), 2, lines.append)
    pictures = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths[1:3]])
    assert torch.equal((inputs * 255).round().byte(), torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert [(path.name in line, line.endswith("; skipped")) for path, line in zip(paths[::5], lines, strict=True)] == [
        (True, True)
    ] * 2


def test_fewer_than_wanted(tmp_path: Path) -> None:
    data = load_data_config(str(make_data(tmp_path, random_squares(1), random_squares(4, seed=4))))
    damage(tmp_path, 2)
    assert data_inputs(task_named("detect"), STRIDE_32, data, ("val",), (32, 64), 4, lambda _line: None).shape == (
        3,
        3,
        32,
        64,
    )


@pytest.mark.parametrize(("int8", "pictures", "batches"), [(False, 4, 4), (True, 32, 32), (True, 32, 2)])
def test_int8_is_judged_on_pictures_enough_for_a_share(int8: bool, pictures: int, batches: int, tmp_path: Path) -> None:
    data = load_data_config(str(make_data(tmp_path, random_squares(1), random_squares(40, seed=4))))
    size = pictures // batches
    job: Any = SimpleNamespace(
        int8=int8, dynamic=False, size_hw=(32, 32), batch_size=size, model=STRIDE_32, task=task_named("detect")
    )
    found = check_inputs(job, data, lambda _line: None)
    assert [tuple(batch.shape) for batch in found] == [(size, 3, 32, 32)] * batches
    assert len(torch.cat(found).unique(dim=0)) == pictures


@pytest.mark.parametrize("count", [1, 4])
def test_a_set_that_is_damaged_throughout_is_an_error(tmp_path: Path, count: int) -> None:
    data = load_data_config(str(make_data(tmp_path, random_squares(1), random_squares(count, seed=4))))
    damage(tmp_path, *range(count))
    with pytest.raises(ValueError, match="more than half of the images .* cannot be read"):
        data_inputs(task_named("detect"), STRIDE_32, data, ("val",), (32, 32), 4, lambda _line: None)


def test_export_says_which_image_it_left_out(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", random_squares(1), random_squares(3, seed=4))
    paths = damage(tmp_path / "data", 0)
    lines: list[str] = []
    weights = save_tiny_detector(tmp_path / "best.pt")
    run_export(ExportConfig(weights=str(weights), data=str(data), imgsz=(64,)), lines.append)
    assert [line for line in lines if paths[0].name in line and line.endswith("; skipped")]
    assert "largest difference on 2 images" in lines[-1]
