"""A split's pictures: every picture is an item and has one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mgil.datasets.batches.decode import Change, decode_scanned
from mgil.datasets.reading.path_list import PathList
from mgil.datasets.reading.samples import digest_of


@dataclass(frozen=True)
class ClassSplit:
    """N pictures with a class each.

    Attributes:
        image_paths: N; a picture inside a CIFAR file is "FILE:INDEX".
        sizes_hw: (N, 2) int32 pixels, after EXIF rotation.
        classes: (N,) int64 indices of `names`.
        names: Of the classes.
        pixels: (N, H, W, 3) uint8 RGB where the set's files hold pixels themselves; None: every picture is a file.
    """

    image_paths: Sequence[str]
    sizes_hw: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    pixels: np.ndarray | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.image_paths)

    def content(self) -> dict[str, Any]:
        """See `mgil.tasks.base.Split`."""
        return {"images": len(self), "labels": digest_of(self.sizes_hw, self.classes)}

    def rows(self, chosen: np.ndarray) -> ClassSplit:
        """Those pictures alone, (n,) indices or (N,) bool."""
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return replace(
            self,
            image_paths=PathList([self.image_paths[row] for row in chosen.tolist()]),
            sizes_hw=self.sizes_hw[chosen],
            classes=self.classes[chosen],
            pixels=None if self.pixels is None else self.pixels[chosen],
        )

    def picture(self, index: int, *, change: Change | None = None, **shown: Any) -> np.ndarray:
        """One picture at its own size.

        Args:
            index: Which.
            change, shown: As `decode_scanned` has them: what is done to the picture, what values of more than 8 bits
                mean, and who is told of them.

        Returns:
            (H, W, 3) uint8 RGB, not to be written to.

        Raises:
            ValueError: The file is gone, cannot be decoded, or has another size now.
        """
        if self.pixels is not None:
            picture: np.ndarray = self.pixels[index]
            return change(picture) if change else picture
        size_hw = self.sizes_hw[index]
        return decode_scanned(self.image_paths[index], int(size_hw.max()), size_hw, change=change, **shown)[0]
