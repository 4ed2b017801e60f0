"""From a person's box in a picture to a square crop, and back.

The crop is a square around the middle of the box, its side the longer side of the box times a padding, as in
SimpleBaseline and SimCC. Maps are between edges of pixels, x in [0, width], so that the crop of a mirrored picture is
the mirrored crop; key points lie in the middles of pixels, which is half a pixel further.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mgil.datasets.batches.geometry import plan_of
from mgil.datasets.batches.kernel_opencv import Painter

PADDING = 1.25


@dataclass(frozen=True)
class CropMaps:
    """Maps of n crops: input pixels = picture pixels * gain + pad, both measured from edges.

    Attributes:
        gains: (n,) float64.
        pads: (n, 2) float64 x, y.
    """

    gains: np.ndarray
    pads: np.ndarray

    def rows(self, chosen: np.ndarray) -> CropMaps:
        """Those alone, (m,) indices."""
        return CropMaps(self.gains[chosen], self.pads[chosen])

    def to_input(self, key_points: np.ndarray) -> np.ndarray:
        """(n, K, 2) key points in pictures (middles of pixels) to edge coordinates of the crops."""
        return (key_points + 0.5) * self.gains[:, None, None] + self.pads[:, None]

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(n, K, 2) edge coordinates of crops to key points in pictures (middles of pixels)."""
        return (points - self.pads[:, None]) / self.gains[:, None, None] - 0.5


def crop_maps(boxes: np.ndarray, size: int, padding: float = PADDING) -> CropMaps:
    """Maps of the crops around boxes.

    Args:
        boxes: (n, 4) left, top, width, height in pixels, edges.
        size: Side of the crops in pixels.
        padding: Side of what is seen, as a multiple of the longer side of the box.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = np.maximum(boxes[:, 2:].max(axis=1, initial=0), 1.0) * padding
    gains = size / sides
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    return CropMaps(gains, size / 2 - centres * gains[:, None])


def crop_people(image: np.ndarray, boxes: np.ndarray, size: int, how: str = "linear") -> tuple[np.ndarray, CropMaps]:
    """Cut people out of one picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (n, 4) left, top, width, height in pixels, edges.
        size: Side of the crops.
        how: "linear" looks at the nearest four pixels, as SimCC does, and so takes a picture that aliases where people
            are large; "area" averages over all pixels, as a small sensor does.

    Returns:
        (n, 3, size, size) uint8, black beyond the picture, and their maps.
    """
    maps = crop_maps(boxes, size)
    count, (height, width) = len(maps.gains), image.shape[:2]
    matrices = np.zeros((count, 2, 3))
    matrices[:, [0, 1], [0, 1]] = maps.gains[:, None]
    matrices[:, :, 2] = maps.pads
    tiles_hw, averaged = np.full((count, 2), (height, width)), how == "area"
    plan = plan_of(matrices, tiles_hw, np.arange(count), (size, size), fill=0, averaged=averaged)
    crops = Painter(plan, np.zeros((count, 4), np.int64)).draw(image[None], 0, count)
    return crops.numpy(), maps
