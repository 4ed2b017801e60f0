"""What training keeps of a picture: no more pixels than its crops can show."""

from __future__ import annotations

import numpy as np

from mgil.datasets.batches.decode import decode_scanned
from mgil.datasets.batches.letterbox import fitted_size_hw, resize_image
from mgil.datasets.batches.stores import TileDecoder
from mgil.tasks.classify.recipe import ClassRecipe
from mgil.tasks.classify.split import ClassSplit

LARGEST = 2.25  # sides of the input: ImageNet's pictures of 500 x 375 stay whole at 224 px


def tile_sides(sizes_hw: np.ndarray, recipe: ClassRecipe, size: int) -> np.ndarray:
    """(N,) int64 longer sides of the tiles of pictures; none is larger than its picture.

    For random crops, pictures of up to `LARGEST` inputs stay whole; of larger ones the smallest crop has the pixels of
    the input. Padded and centred crops are resized here, as in evaluation: the shorter side becomes the input's.

    Args:
        sizes_hw: (N, 2) heights and widths of the pictures.
        recipe: Says which crops are taken.
        size: Side of the network's input in pixels.
    """
    height, width = np.asarray(sizes_hw, float).reshape(-1, 2).T
    longer, most = np.maximum(height, width), int(LARGEST * size)
    is_random = recipe.scale_min < 1
    needed = np.sqrt(recipe.scale_min * height * width) if is_random else np.minimum(height, width)
    sides = np.where(is_random & (longer <= most), longer, np.floor(longer * size / needed + 1e-9))
    return np.minimum(np.minimum(sides, most), longer).clip(1).astype(np.int64)


class ClassDecoder(TileDecoder):
    """Brings pictures of a split to the size of their tiles, from files or from the pixels that the split holds.

    Args:
        split: N pictures.
        sides: (N,) longer sides of their tiles.
    """

    def __init__(self, split: ClassSplit, sides: np.ndarray) -> None:
        super().__init__(split.image_paths, split.sizes_hw, int(sides.max(initial=1)))
        self.pixels = split.pixels
        self.sides = sides
        if len(sides):
            self.sizes_hw = fitted_size_hw(self.image_sizes_hw, sides[:, None])

    def decode_into(self, index: int, tile: np.ndarray) -> str | None:
        """See `TileDecoder`; the tile of a picture that cannot be read is black."""
        tile[...] = 0
        if index in self.skipped:
            return None
        height, width = self.sizes_hw[index].tolist()
        if self.pixels is not None:
            tile[:height, :width] = resize_image(self.pixels[index], (height, width))
            return None
        path, side, size_hw = self.image_paths[index], int(self.sides[index]), self.image_sizes_hw[index]
        try:
            picture, _ = decode_scanned(path, side, size_hw, values=self.depths.values, seen=self.depths.add)
        except ValueError as error:
            return str(error)
        tile[:height, :width] = picture
        return None
