"""Pictures of an evaluation of pose: crops with what was labelled and found, and PCK over the distance allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mgil.files.figures import literal, new_figure, save_figure
from mgil.files.matplotlib_import import own_settings
from mgil.files.paint import class_colour
from mgil.files.picture_grid import ChosenPictures
from mgil.tasks.pose.crops import CropMaps
from mgil.tasks.pose.options import JOINT_THRES
from mgil.tasks.pose.pck import THRESHOLDS, Pck
from mgil.tasks.pose.people import People
from mgil.tasks.pose.pictures import draw_crops

if TYPE_CHECKING:
    from mgil.datasets.batches.batch import EvalBatch

PCK_PICTURE = "pck_curve.png"
_MOST_NAMED = 20  # joints in the plot's legend; of more, the lines are thin and grey


class BatchPictures(ChosenPictures[tuple[Tensor, np.ndarray, np.ndarray]]):
    """Labelled people from all over the split, with labels and with what was found; see `ChosenPictures`.

    Args:
        folder: Where the pictures go.
        people: The split.
    """

    def __init__(self, folder: Path, people: People) -> None:
        super().__init__(folder, np.flatnonzero(~people.found & ~people.ignored))
        self.people = people

    def add(self, batch: EvalBatch, found: np.ndarray) -> None:
        """Keep the chosen people of a batch.

        Args:
            batch: Crops.
            found: (B, K, 3) X, Y in edge coordinates of the crops' pixels, and score.
        """
        labels = self.people.key_points[batch.indices]
        places = CropMaps(batch.gains[:, 0], batch.pads).to_input(labels[..., :2])
        for row, item in self.wanted(batch.indices):
            own = np.concatenate((places[row], labels[row, :, 2:]), axis=1)
            self.keep(item, (batch.images[row].clone(), own, found[row]))

    def write(self) -> None:
        """Write the pictures; people whose picture could not be read are missing in them."""
        for kept, labelled, predicted in self.pictures():
            seen = list(kept.values())
            crops = torch.stack([crop for crop, *_ in seen])
            for place, path, threshold in ((1, labelled, 0.0), (2, predicted, JOINT_THRES)):
                joints = np.stack([parts[place] for parts in seen]).reshape(len(seen), -1)
                rows = torch.from_numpy(np.concatenate((np.arange(len(seen))[:, None], joints), axis=1))
                draw_crops(crops, rows, self.people.skeleton, path, threshold)


@own_settings()
def plot_pck(pck: Pck, names: Sequence[str], folder: Path) -> None:
    """PCK over the distance that is allowed, a line for each joint and one for all labels together."""
    names = literal(names)  # before the figure, whose texts take its fonts
    figure, axes = new_figure(9, 6)
    for index, (name, curve) in enumerate(zip(names, pck.curves, strict=True)):
        if pck.counts[index] and len(names) <= _MOST_NAMED:
            colour = np.array(class_colour(index)) / 255 * 0.85
            axes.plot(THRESHOLDS, curve, linewidth=1, label=f"{name} {pck.by_key_point[index]:.3f}", color=colour)
        elif pck.counts[index]:
            axes.plot(THRESHOLDS, curve, linewidth=0.6, color="0.75")
    if total := pck.counts.sum():
        mean = np.where(pck.counts[:, None] > 0, pck.curves * pck.counts[:, None], 0).sum(axis=0) / total
        axes.plot(THRESHOLDS, mean, color="tab:blue", linewidth=3, label=f"all labels {pck.mean:.3f}")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.axvline(pck.threshold, color="tab:blue", linewidth=0.8, linestyle=":")
    axes.set(xlabel=f"Distance allowed, in units of {pck.unit}", ylabel="Share of labels", title=pck.name)
    axes.set(xlim=(0, THRESHOLDS[-1]), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    save_figure(figure, folder / PCK_PICTURE)
