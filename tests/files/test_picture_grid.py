"""Pictures of batches: small images enlarged, boxes where they belong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mgil.files.paint import class_colour
from mgil.files.picture_grid import draw_batch_grid
from mgil.tasks.detect.draw import draw_detections
from mgil.tasks.detect.plots import detections_as_targets

NAMES = ("first", "second")


def read_rgb(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


def test_small_image_is_enlarged_and_its_box_lies_in_place(tmp_path: Path) -> None:
    images = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)
    draw_batch_grid(images, torch.tensor([[0.0, 1, 32, 40, 20, 16]]), NAMES, tmp_path / "a.png")
    picture = read_rgb(tmp_path / "a.png")
    assert picture.shape == (384, 384, 3)
    box = np.abs(picture - class_colour(1)).max(axis=2) == 0
    rows, columns = np.nonzero(box[200:])  # below the label
    # Box 22..42 by 32..48 px, six times enlarged, drawn two pixels wide.
    assert (columns.min(), columns.max(), 200 + rows.max()) == pytest.approx((132, 252, 288), abs=1)
    assert not box[200:280, 140:245].any()


@pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (3, (2, 2)), (5, (2, 3)), (40, (4, 4))])
def test_grid_of_images_in_order(tmp_path: Path, count: int, grid: tuple[int, int]) -> None:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 48) * 5
    draw_batch_grid(images, torch.zeros(0, 6), NAMES, tmp_path / "a.png")
    picture = read_rgb(tmp_path / "a.png")
    cell_h, cell_w = 256, 384
    assert picture.shape[:2] == (grid[0] * (cell_h + 4) - 4, grid[1] * (cell_w + 4) - 4)
    for index in range(min(count, 16)):
        row, column = divmod(index, grid[1])
        assert (picture[row * (cell_h + 4) + 128, column * (cell_w + 4) + 192] == index * 5).all()


def test_large_images_are_reduced(tmp_path: Path) -> None:
    draw_batch_grid(torch.zeros(16, 3, 640, 640, dtype=torch.uint8), torch.zeros(0, 7), NAMES, tmp_path / "a.jpg")
    assert max(read_rgb(tmp_path / "a.jpg").shape) <= 1940


def test_hostile_targets_do_not_stop_the_picture(tmp_path: Path) -> None:
    rows = torch.tensor([[0, 7, 32, 32, 10, 10, 0.5], [0, 0, -500, 900, 3000, 2000, 0.9], [9, 0, 1, 1, 1, 1, 0.1]])
    draw_batch_grid(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), rows, ("a" * 300,), tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png").any()


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        draw_batch_grid(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, 6), NAMES, tmp_path / "absent/a.jpg")


def test_detections_become_rows() -> None:
    found = [torch.zeros(0, 6), torch.tensor([[10.0, 20.0, 30.0, 60.0, 0.5, 3.0]])]
    assert detections_as_targets(found).tolist() == [[1, 3, 20, 40, 20, 40, 0.5]]
    assert detections_as_targets([]).shape == (0, 7)
    assert detections_as_targets([torch.zeros(0, 6)]).shape == (0, 7)


def test_a_class_has_one_colour_in_all_pictures(tmp_path: Path) -> None:
    """Those of training and evaluation, those of detect.py, and the bars of labels.jpg (test_plots_train.py)."""
    batch = torch.zeros(1, 3, 480, 480, dtype=torch.uint8)
    draw_batch_grid(batch, torch.tensor([[0.0, 3, 240, 240, 100, 100]]), NAMES, tmp_path / "a.png")
    picture = draw_detections(
        np.zeros((480, 480, 3), np.uint8), np.array([[190.0, 190, 290, 290]]), np.array([3]), np.array([0.9]), "abcd"
    )
    for image in (read_rgb(tmp_path / "a.png"), picture):
        assert tuple(image[240, 190]) == tuple(image[289, 240]) == class_colour(3)


def test_names_of_any_script_are_written(tmp_path: Path) -> None:
    pictures = []
    for name in ("каска", "шлем", "x\ny"):
        target = torch.tensor([[0.0, 0, 32, 40, 20, 16]])
        draw_batch_grid(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), target, (name,), tmp_path / "a.png")
        pictures.append(read_rgb(tmp_path / "a.png"))
    assert not np.array_equal(pictures[0], pictures[1]), "question marks would look alike"
