"""Objects that a canvas shows a second time: cut out along their outlines, mirrored left to right with the canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Pastes:
    """K objects pasted onto canvases of a plan; all of them are cut from the canvases as they were before.

    Attributes:
        layers: (K,) int64 layer of each, ascending.
        slots: (K,) int64 slot of the tile that it was cut from.
        classes: (K,) int64.
        boxes_xyxy: (K, 4) float64 where it is on the canvas.
        outlines: K arrays (n, 2) int32 of the canvas pixels at its corners.
    """

    layers: np.ndarray
    slots: np.ndarray
    classes: np.ndarray
    boxes_xyxy: np.ndarray
    outlines: list[np.ndarray]

    def of_layers(self, layers: np.ndarray) -> Pastes:
        """Those of some layers, (l,) ascending, which are numbered anew."""
        places = np.searchsorted(layers, self.layers)
        return replace(self, layers=places).only(np.isin(self.layers, layers))

    def only(self, kept: np.ndarray) -> Pastes:
        """Those of a mask, (K,) bool."""
        return Pastes(
            layers=self.layers[kept],
            slots=self.slots[kept],
            classes=self.classes[kept],
            boxes_xyxy=self.boxes_xyxy[kept],
            outlines=[self.outlines[number] for number in np.flatnonzero(kept)],
        )

    def mask(self, layer: int, corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> np.ndarray | None:
        """Where a layer shows pasted objects within a part of its canvas: size_hw bool, None for nowhere."""
        first, end = np.searchsorted(self.layers, [layer, layer + 1])
        if first == end:
            return None
        mask = np.zeros(size_hw, np.uint8)
        for outline in self.outlines[first:end]:
            cv2.fillPoly(mask, [outline - np.array(corner_xy, np.int32)], 1)
        return mask.astype(bool)


def mirrored_sources(sources_xyxy: np.ndarray, widths: np.ndarray, canvas_widths: np.ndarray) -> np.ndarray:
    """The parts of canvases that lie where others would after a flip of the whole canvas.

    Args:
        sources_xyxy: (L, 4) parts of canvases.
        widths: (L,) pixels that are drawn of each, which may be a few more.
        canvas_widths: (L,).
    """
    mirrored = sources_xyxy.copy()
    mirrored[:, 0] = canvas_widths - sources_xyxy[:, 0] - widths
    mirrored[:, 2] = canvas_widths - sources_xyxy[:, 0]
    return mirrored
