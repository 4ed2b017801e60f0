"""What training keeps of a picture: no more pixels than its crops can show."""

from __future__ import annotations

import math

import numpy as np

from mgil.datasets.batches.decode import decode_scanned
from mgil.datasets.batches.letterbox import fitted_size_hw
from mgil.datasets.batches.stores import TileDecoder
from mgil.tasks.classify.crops import middle_xyxy, resized
from mgil.tasks.classify.recipe import ClassRecipe
from mgil.tasks.classify.split import ClassSplit

LARGEST = 2.25  # sides of the input: ImageNet's pictures of 500 x 375 stay whole at 224 px


def longest_of(recipe: ClassRecipe, how: str) -> float:
    """Of what shape a tile may be, its longer side over its shorter; of longer pictures the middle is kept.

    All of a picture that is squashed; where nothing is random the square that evaluation shows; else `LARGEST`, so that
    one extreme picture does not make all tiles large: its shorter side is as fine as evaluation shows it all the same.

    Args:
        recipe: Says which crops are taken.
        how: "center" or "squash", see `mgil.tasks.classify.crops.eval_crop`.
    """
    if how == "squash":
        return math.inf
    return LARGEST if recipe.scale_min < 1 or recipe.pad else 1.0


def tile_sizes(sizes_hw: np.ndarray, recipe: ClassRecipe, size: int, how: str) -> np.ndarray:
    """(N, 2) int64 heights and widths of the tiles of pictures.

    For random crops, pictures of up to `LARGEST` inputs stay whole; of larger ones the smallest crop has the pixels of
    the input. For others the shorter side becomes the input's. None has fewer pixels than evaluation shows, or is
    enlarged, but for squashed ones: those are squares, which cost no memory more, and all crops are taken out of them.

    Args:
        sizes_hw: (N, 2) heights and widths of the pictures.
        recipe: Says which crops are taken.
        size: Side of the network's input in pixels.
        how: "center" or "squash".
    """
    sizes_hw, most = np.asarray(sizes_hw, np.int64).reshape(-1, 2), int(LARGEST * size)
    longer, shorter = sizes_hw.max(axis=1), sizes_hw.min(axis=1)
    if how == "squash":
        longer = shorter = np.where(longer == shorter, longer, np.maximum(longer, size))
        kept_hw = np.stack([longer, longer], axis=1)
    else:
        longer = np.minimum(longer, np.floor(shorter * longest_of(recipe, how)).astype(np.int64))
        kept_hw = np.minimum(sizes_hw, longer[:, None])
    is_random = recipe.scale_min < 1
    needed = np.minimum(np.sqrt(recipe.scale_min * longer * shorter), shorter) if is_random else shorter
    sides = np.where(is_random & (longer <= most), longer, np.floor(longer * size / needed + 1e-9))
    sides = np.minimum(np.minimum(sides, most), longer).clip(1).astype(np.int64)
    return fitted_size_hw(kept_hw, sides[:, None]) if len(kept_hw) else kept_hw


class ClassDecoder(TileDecoder):
    """Brings pictures of a split to the size of their tiles, from files or from the pixels that the split holds.

    Args:
        split: N pictures.
        sizes_hw: (N, 2) heights and widths of their tiles.
        longest: See `longest_of`.
    """

    def __init__(self, split: ClassSplit, sizes_hw: np.ndarray, longest: float) -> None:
        super().__init__(split.image_paths, split.sizes_hw, int(sizes_hw.max(initial=1)))
        self.pixels = split.pixels
        self.sizes_hw, self.longest = sizes_hw, longest

    def decode_into(self, index: int, tile: np.ndarray) -> str | None:
        """See `TileDecoder`; the tile of a picture that cannot be read is black."""
        tile[...] = 0
        if index in self.skipped:
            return None
        try:
            picture = self._picture(index)
        except ValueError as error:
            return str(error)
        height, width = self.sizes_hw[index].tolist()
        left, top, right, bottom = middle_xyxy(picture.shape[:2], self.longest)
        tile[:height, :width] = resized(picture[top:bottom, left:right], (height, width))
        return None

    def _picture(self, index: int) -> np.ndarray:
        """All of a picture; a JPEG that is far larger than its tile may be reduced."""
        if self.pixels is not None:
            picture: np.ndarray = self.pixels[index]
            return picture
        height, width = self.image_sizes_hw[index].tolist()
        left, top, right, bottom = middle_xyxy((height, width), self.longest)
        tile_height, tile_width = self.sizes_hw[index].tolist()
        share = min(max(tile_height / (bottom - top), tile_width / (right - left)), 1.0)
        return decode_scanned(
            self.image_paths[index],
            math.ceil(share * max(height, width)),
            (height, width),
            resized=False,
            values=self.depths.values,
            seen=self.depths.add,
        )[0]
