"""Pictures of an evaluation: what is written is what matplotlib would write."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from PIL import Image

from engine.plots_eval import _figure, _save, plot_confusion_matrix


def test_saved_pixels_are_matplotlibs(tmp_path: Path) -> None:
    figure, axes = _figure(4, 3)
    axes.plot([0, 1], [0, 1], label="a long label outside")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    again = copy.deepcopy(figure)
    _save(figure, tmp_path / "ours.png")
    again.savefig(tmp_path / "theirs.png", dpi=150)
    ours, theirs = (Image.open(tmp_path / name) for name in ("ours.png", "theirs.png"))
    assert ours.size == (600, 450) and ours.info["dpi"] == theirs.info["dpi"]
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_confusion_colours_follow_the_shares(tmp_path: Path) -> None:
    """Three classes: one always right, one never seen, one half mistaken; the deeper blue, the larger the share."""
    from matplotlib import colormaps

    matrix = np.array([[8, 0, 5, 0], [0, 0, 0, 0], [0, 0, 5, 0], [0, 4, 0, 0]])
    plot_confusion_matrix(matrix, ("a", "b", "c"), tmp_path / "confusion.png")
    pixels = np.asarray(Image.open(tmp_path / "confusion.png").convert("RGB")).reshape(-1, 3)
    for share, cells in ((1.0, 2), (0.5, 2)):
        colour = np.array(colormaps["Blues"](share, bytes=True)[:3])
        seen = int((np.abs(pixels.astype(int) - colour).max(axis=1) == 0).sum())
        assert seen > cells * 3000  # cells of some 90 pixels, less the numbers written on them
