"""What training keeps of a person: the part of the picture that its augmented crops can show."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mgil.datasets.batches.decode import decode_scanned
from mgil.datasets.batches.stores import TileDecoder
from mgil.tasks.pose.people import People

LARGEST_LINEAR = 1024  # pixels; COCO's pictures have 640
LARGEST_AREA = 4  # sides of the input


@dataclass(frozen=True)
class Regions:
    """Rectangles of pictures, and the tiles that hold them: tile pixels = (picture pixels - corner) * factor.

    Attributes:
        corners: (N, 2) int64 x, y of the top-left corners in pictures.
        sizes_wh: (N, 2) int64 in pictures.
        factors: (N, 2) float64 along x and y; 1 where nothing is lost.
        tile_sizes_hw: (N, 2) int64.
        side: Of the tile that holds the largest, in pixels.
    """

    corners: np.ndarray
    sizes_wh: np.ndarray
    factors: np.ndarray
    tile_sizes_hw: np.ndarray
    side: int

    def to_tiles(self, rows: np.ndarray) -> np.ndarray:
        """(n, 3, 3) maps from pictures to tiles of some items."""
        maps = np.tile(np.eye(3), (len(rows), 1, 1))
        maps[:, [0, 1], [0, 1]] = self.factors[rows]
        maps[:, :2, 2] = -self.corners[rows] * self.factors[rows]
        return maps


def regions_of(people: People, reach: float, size: int, how: str) -> Regions:
    """The regions around people.

    Args:
        people: N items.
        reach: Side of a region as a multiple of the longer side of the box.
        size: Side of the network's input in pixels.
        how: How crops are taken. "linear" keeps every pixel, as SimCC looks at single ones; only regions of more than
            `LARGEST_LINEAR` px become smaller. "area" averages anyhow, so regions become smaller than that.
    """
    boxes = people.boxes
    middle, side = boxes[:, :2] + boxes[:, 2:] / 2, reach * boxes[:, 2:].max(axis=1, initial=1.0)
    picture_wh = people.sizes_hw[:, ::-1]
    low = np.clip(np.floor(middle - side[:, None] / 2), 0, picture_wh - 1).astype(np.int64)
    high = np.clip(np.ceil(middle + side[:, None] / 2), low + 1, picture_wh).astype(np.int64)
    sizes_wh = high - low
    largest = LARGEST_LINEAR if how == "linear" else LARGEST_AREA * size
    # of the region with what lies beyond the picture, so that people at the edge are seen as finely as others
    shares = np.minimum(1.0, largest / np.maximum(side, 1.0))[:, None]
    tiles_wh = np.clip(np.ceil(sizes_wh * shares), 1, largest).astype(np.int64)
    return Regions(low, sizes_wh, tiles_wh / sizes_wh, tiles_wh[:, ::-1], int(tiles_wh.max(initial=1)))


class PersonDecoder(TileDecoder):
    """Decodes the regions of people; people of one picture who are asked for in a row share its decoding."""

    def __init__(self, people: People, regions: Regions) -> None:
        super().__init__(people.image_paths, people.sizes_hw, regions.side)
        self.sizes_hw = regions.tile_sizes_hw
        self.regions = regions
        self.pictures = Pictures()

    def decode_into(self, index: int, tile: np.ndarray) -> str | None:
        """See `TileDecoder`; the tile of a picture that cannot be read is black."""
        tile[...] = 0
        if index in self.skipped:
            return None
        try:
            path, size_hw = self.image_paths[index], self.image_sizes_hw[index]
            picture = self.pictures.read(path, size_hw, values=self.depths.values, seen=self.depths.add)
        except ValueError as error:
            return str(error)
        (x, y), (width, height) = self.regions.corners[index], self.regions.sizes_wh[index]
        region = picture[y : y + height, x : x + width]
        tile_hw = self.regions.tile_sizes_hw[index]
        if tuple(tile_hw) != region.shape[:2]:
            region = cv2.resize(region, tile_hw[::-1].tolist(), interpolation=cv2.INTER_AREA)
        tile[: tile_hw[0], : tile_hw[1]] = region
        return None


class Pictures:
    """Decodes pictures in full, and keeps the last one of each thread for the next person in it."""

    def __init__(self) -> None:
        self._last = threading.local()

    def read(self, path: str, size_hw: np.ndarray, **shown: Any) -> np.ndarray:
        """(H, W, 3) uint8 RGB.

        Args:
            path: Of the file.
            size_hw: Its size when it was scanned.
            shown: What `decode_scanned` takes of values, and of a change to the picture.

        Raises:
            ValueError: It cannot be decoded, or is another one now.
        """
        if getattr(self._last, "path", None) == path:
            return self._last.picture
        self._last.path = None
        picture, _ = decode_scanned(path, int(max(size_hw)), size_hw, **shown)
        self._last.path, self._last.picture = path, picture
        return picture

    def __getstate__(self) -> dict[str, object]:
        """Worker processes begin with none."""
        return {}

    def __setstate__(self, _state: dict[str, object]) -> None:
        self._last = threading.local()
