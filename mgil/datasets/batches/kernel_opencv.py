"""The pixels of an augmentation plan on the CPU: one resampling per layer, one colour transform per picture."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.pastes import mirrored_sources

_Seen = tuple[list[list[int]], list[int]]


class Painter:
    """Draws pictures of a plan; everything that can be computed for all layers at once is, before the first.

    What is seen of the tiles is copied side by side and resampled once: by a resize where the plan shows a window of
    whole pixels, else by a warp. Warping tile after tile into the output would save the copy, but OpenCV leaves
    every pixel whose neighbours are partly outside a tile untouched, which shows as grey seams.

    Args:
        plan: recipe of a batch or of several.
        slots: (L, 4) int row of the tiles for each slot of the plan; ignored where the slot is empty.
    """

    def __init__(self, plan: Plan, slots: np.ndarray) -> None:
        self.output_hw = plan.output_hw
        self.fill = plan.fill
        self.colours = plan.colours
        self.weights = plan.weights.tolist()
        count = plan.picture_count
        self.seconds = {picture: count + place for place, picture in enumerate(plan.pictures[count:].tolist())}
        self.regions = None if plan.regions is None else plan.regions.tolist()
        self.halvings = plan.halvings.tolist()
        self.is_window = plan.is_window.tolist()
        steps = 2 ** plan.halvings[:, None]
        sources = plan.sources_xyxy
        sizes_wh = -(-(sources[:, 2:] - sources[:, :2]) // steps) * steps  # halves without a remainder
        self.sizes_wh = sizes_wh.tolist()
        self.scratch = np.empty(3 * sizes_wh.prod(axis=1).max(initial=0), np.uint8)
        self.pastes = plan.pastes
        self.corners = sources[:, :2].tolist()
        self.scratch_mirrored = np.empty(0 if plan.pastes is None else len(self.scratch), np.uint8)
        self.flips = (plan.matrices[:, [0, 1], [0, 1]] < 0).tolist()
        self.seen = _seen(plan, slots, sources)
        if plan.pastes is not None:
            widths = plan.canvas_sizes_hw[:, 1]
            self.seen_mirrored = _seen(plan, slots, mirrored_sources(sources, sizes_wh[:, 0], widths))
        # OpenCV counts from pixel centres: shift by half a pixel on both sides of the map.
        linear = plan.maps[:, :, :2] * steps[..., None]
        offset = plan.maps[:, :, 2] + linear.sum(axis=2) / 2
        self.maps = np.concatenate([linear, offset[..., None]], axis=2)
        self.maps[:, :2] -= self.maps[:, 2:] / 2
        self.is_affine = plan.perspectives is None

    def draw(self, tiles: np.ndarray, first: int, stop: int) -> torch.Tensor:
        """Pictures `first` to `stop` - 1 from (K, S, S, 3) uint8 tiles: (stop - first, 3, H, W) uint8, contiguous."""
        planar = np.empty((stop - first, 3, *self.output_hw), np.uint8)
        layer, second = (np.empty((*self.output_hw, 3), np.uint8) for _ in range(2))
        for number in range(first, stop):
            self._draw_layer(number, tiles, layer)
            mixed = self.seconds.get(number)
            if mixed is not None:
                self._draw_layer(mixed, tiles, second)
                left, top, right, bottom = self.regions[mixed] if self.regions else (-1,) * 4
                if left >= 0:
                    layer[top:bottom, left:right] = second[top:bottom, left:right]
                else:
                    cv2.addWeighted(layer, self.weights[number], second, self.weights[mixed], 0, dst=layer)
            if self.colours is not None:
                self.recolour(layer, self.colours[number])
            cv2.split(layer, list(planar[number - first]))
        return torch.from_numpy(planar)

    def recolour(self, picture: np.ndarray, colours: np.ndarray) -> None:
        """Map the colours of a picture in place, by a (3, 3) matrix."""
        cv2.transform(picture, colours, dst=picture)

    def _draw_layer(self, layer: int, tiles: np.ndarray, picture: np.ndarray) -> None:
        """Draw one layer into `picture`, (H, W, 3) uint8."""
        source = self._compose(layer, tiles, self.seen, self.scratch)
        if self.pastes is not None:
            self._paste(layer, tiles, source)
        halvings = self.halvings[layer]
        if halvings:
            smaller_wh = (source.shape[1] >> halvings, source.shape[0] >> halvings)
            source = cv2.resize(source, smaller_wh, interpolation=cv2.INTER_AREA)
        output_wh = self.output_hw[::-1]
        if self.is_window[layer]:
            cv2.resize(source, output_wh, dst=picture, interpolation=cv2.INTER_LINEAR)
            mirrored, upside_down = self.flips[layer]
            if mirrored or upside_down:
                cv2.flip(picture, (-1 if upside_down else 1) if mirrored else 0, dst=picture)
            return
        warp = cv2.warpAffine if self.is_affine else cv2.warpPerspective
        warp(
            source,
            self.maps[layer, :2] if self.is_affine else self.maps[layer],
            output_wh,
            dst=picture,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(self.fill,) * 3,
        )

    def _paste(self, layer: int, tiles: np.ndarray, source: np.ndarray) -> None:
        """Paste a layer's mirrored objects onto what it is drawn from."""
        assert self.pastes is not None
        mask = self.pastes.mask(layer, self.corners[layer], source.shape[:2])
        if mask is not None:
            mirrored = self._compose(layer, tiles, self.seen_mirrored, self.scratch_mirrored)[:, ::-1]
            source[mask] = mirrored[mask]

    def _compose(self, layer: int, tiles: np.ndarray, seen: _Seen, scratch: np.ndarray) -> np.ndarray:
        """What a layer is drawn from, in `scratch`: valid until that is used again."""
        width, height = self.sizes_wh[layer]
        source = scratch[: 3 * height * width].reshape(height, width, 3)
        source.fill(self.fill)
        rectangles, ends = seen
        begin = ends[layer - 1] if layer else 0
        for slot, left, top, right, bottom, x, y in rectangles[begin : ends[layer]]:
            source[top:bottom, left:right] = tiles[slot, y : y + bottom - top, x : x + right - left]
        return source


def _seen(plan: Plan, slots: np.ndarray, sources: np.ndarray) -> _Seen:
    """What is seen of each tile: its row, a rectangle in the source, and where that begins in the tile; layers' ends.

    Args:
        plan: recipe.
        slots: (L, 4) int row of the tiles for each slot of the plan.
        sources: (L, 4) int part of each canvas.
    """
    corner = sources[:, None, :2]
    low = np.maximum(plan.origins_xy, np.maximum(corner, 0))
    high = np.minimum(plan.canvas_sizes_hw[:, None, ::-1], sources[:, None, 2:])
    high = np.minimum(plan.origins_xy + plan.tile_sizes_hw[..., ::-1], high)
    seen = (plan.positions >= 0) & (low < high).all(axis=2)
    rectangles = np.concatenate([slots[..., None], low - corner, high - corner, low - plan.origins_xy], axis=2)
    return rectangles[seen].tolist(), np.cumsum(seen.sum(axis=1)).tolist()
