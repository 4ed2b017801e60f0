"""Pictures of an evaluation: what is written is what matplotlib would write."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mgil.files.confusion_figure import plot_confusion_matrix
from mgil.files.figures import new_figure, save_figure
from mgil.tasks.detect.batches import detect_eval_loader
from mgil.tasks.detect.plots import BatchPictures
from tests.datasets.scenes import make_samples, write_image


def test_saved_pixels_are_matplotlibs(tmp_path: Path) -> None:
    figure, axes = new_figure(4, 3)
    axes.plot([0, 1], [0, 1], label="a long label outside")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    again = copy.deepcopy(figure)
    save_figure(figure, tmp_path / "ours.png")
    again.savefig(tmp_path / "theirs.png", dpi=150)
    ours, theirs = (Image.open(tmp_path / name) for name in ("ours.png", "theirs.png"))
    assert ours.size == (600, 450) and ours.info["dpi"] == theirs.info["dpi"]
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_confusion_colours_follow_the_shares(tmp_path: Path) -> None:
    """Three classes: one always right, one never seen, one half mistaken; the deeper blue, the larger the share."""
    from matplotlib import colormaps

    matrix = np.array([[8, 0, 5, 0], [0, 0, 0, 0], [0, 0, 5, 0], [0, 4, 0, 0]])
    plot_confusion_matrix(matrix, ("a", "b", "c", "background"), tmp_path / "confusion.png")
    pixels = np.asarray(Image.open(tmp_path / "confusion.png").convert("RGB")).reshape(-1, 3)
    for share, cells in ((1.0, 2), (0.5, 2)):
        colour = np.array(colormaps["Blues"](share, bytes=True)[:3])
        seen = int((np.abs(pixels.astype(int) - colour).max(axis=1) == 0).sum())
        assert seen > cells * 3000  # cells of some 90 pixels, less the numbers written on them


@pytest.mark.parametrize(("count", "pictures"), [(5, 1), (40, 3), (100, 3)])
def test_pictured_images_are_spread_over_the_split(
    count: int, pictures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image i is of the grey level i and has a bright square, which is its label and its detection. Every 8th image is
    a banner: they are the first batches, yet no picture shows more of them than the split has."""
    paths, sizes, boxes = [], [], []
    for number in range(count):
        height, width = (8, 64) if number % 8 == 7 else (64, 48 + number % 3)
        image = np.full((height, width, 3), number, np.uint8)
        top, left = height // 2, 8 + number % 16
        image[top : top + 4, left : left + 6] = 250
        paths.append(write_image(tmp_path / f"{number}.png", image))
        sizes.append((height, width))
        boxes.append([[number % 5, (left + 3) / width, (top + 2) / height, 6 / width, 4 / height]])
    loader = detect_eval_loader(make_samples(paths, sizes, boxes), 64, 4)
    drawn = {}
    monkeypatch.setattr(
        "mgil.tasks.detect.plots.draw_batch_grid",
        lambda images, rows, names, path: drawn.update({path.name: (images, rows)}),
    )
    hook = BatchPictures(tmp_path, ("a", "b", "c", "d", "e"), count)
    for batch in loader:
        corners = torch.cat((batch.targets[:, 2:4] - batch.targets[:, 4:] / 2, batch.targets[:, 4:]), dim=1)
        corners[:, 2:] += corners[:, :2]
        sure, doubtful = (torch.full((len(batch.targets), 1), score) for score in (0.5, 0.1))
        rows = torch.cat([torch.cat((corners, score, batch.targets[:, 1:2]), dim=1) for score in (sure, doubtful)])
        hook.add(batch, [rows[torch.cat((batch.targets[:, 0],) * 2) == image] for image in range(len(batch.images))])
    hook.write()
    assert sorted(drawn) == sorted(f"val_batch{n}_{kind}.jpg" for n in range(pictures) for kind in ("labels", "pred"))
    shown = []
    for number in range(pictures):
        images, labels = drawn[f"val_batch{number}_labels.jpg"]
        same_images, predictions = drawn[f"val_batch{number}_pred.jpg"]
        assert torch.equal(images, same_images)
        torch.testing.assert_close(predictions[:, :6], labels)
        assert predictions[:, 6].tolist() == [0.5] * len(images)
        for place, (image, row) in enumerate(zip(images, labels, strict=True)):
            bright = (image[0] == 250).nonzero().float()
            assert row[0] == place
            assert row[2:4].tolist() == pytest.approx(((bright.amin(0) + bright.amax(0) + 1) / 2).flip(0).tolist())
        levels = [int(image[0, image.shape[1] // 2 - 2, image.shape[2] // 2]) for image in images]
        assert levels == sorted(levels)  # the order of the data set
        assert levels[0] < count / 10 + 1 and levels[-1] >= count - count / 10 - 1
        assert sum(level % 8 == 7 for level in levels) <= len(levels) / 8 + 2
        shown += levels
    assert len(shown) == len(set(shown)) == min(count, 48)
