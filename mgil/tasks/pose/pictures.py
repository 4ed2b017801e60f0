"""Pictures of batches and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from mgil.files.figures import literal, new_figure, save_figure
from mgil.files.matplotlib_import import own_settings
from mgil.files.picture_grid import draw_grid
from mgil.tasks.pose.draw import paint_person
from mgil.tasks.pose.people import People
from mgil.tasks.pose.skeleton import Skeleton

LINE_PX = 2
BINS = 40
MOST_POINTS = 500  # of a key point


def draw_crops(images: Tensor, targets: Tensor, skeleton: Skeleton, path: Path, threshold: float = 0.0) -> None:
    """Save a grid of crops with their key points.

    Args:
        images: (B, 3, S, S) uint8 RGB.
        targets: (B, 1 + 3 K) rows: picture, then x, y (edge coordinates in pixels) and visibility or score of each.
        skeleton: Of the K key points.
        path: .jpg or .png to write.
        threshold: Key points of no more than this visibility or score are left out.

    Raises:
        OSError: The picture cannot be written.
    """
    points = targets.detach().float().cpu().numpy()[:, 1:].reshape(len(targets), -1, 3)

    def paint(cell: np.ndarray, index: int, scale: float) -> None:
        own = points[index]
        paint_person(cell, own[:, :2] * scale - 0.5, own[:, 2] > threshold, skeleton, LINE_PX)

    draw_grid(images, paint, path)


@own_settings()
def draw_people_labels(people: People, path: Path) -> None:
    """Save what the labels hold: how often each key point is labelled, where in the box, and how large people are."""
    own = people.rows(~people.found & ~people.ignored)
    names = literal(own.skeleton.names)  # before the figure, whose texts take its fonts
    figure, axes = new_figure(15, 5, columns=3)
    counts, places, sizes = axes[0]
    seen, rows = own.key_points[..., 2], np.arange(len(names))
    visible, hidden = (seen == 2).sum(axis=0), (seen == 1).sum(axis=0)
    counts.barh(rows, visible, label="visible")
    counts.barh(rows, hidden, left=visible, label="hidden")
    counts.set_yticks(rows, names)
    counts.invert_yaxis()
    counts.set(xlabel="labels", title=f"{len(own):,} people in {own.image_count:,} images")
    counts.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=2, frameon=False)
    shares = (own.key_points[..., :2] + 0.5 - own.boxes[:, None, :2]) / np.maximum(own.boxes[:, None, 2:], 1)
    for joint in rows.tolist():
        places.scatter(*shares[seen[:, joint] > 0, joint][:MOST_POINTS].T, s=3, alpha=0.3, linewidths=0)
    places.set(xlim=(-0.25, 1.25), ylim=(1.25, -0.25), xlabel="x, share of the box's width", ylabel="y, of its height")
    places.set(title="key points in their boxes")
    sizes.hist(own.boxes[:, 2:].max(axis=1), bins=BINS)
    sizes.set(xlabel="longer side of the box, pixels of the file", ylabel="people", title="sizes")
    save_figure(figure, path)
