"""The pixels of an augmentation plan on the CPU: one warpAffine per layer, one colour transform per picture."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from data.geometry import Plan
from data.letterbox import FILL

GREY = (FILL, FILL, FILL)


def render_opencv(plan: Plan, tiles: np.ndarray, slots: np.ndarray) -> torch.Tensor:
    """Draw the pictures of a plan.

    The tiles are copied side by side onto a canvas and the canvas is resampled once. Warping tile after tile into the
    output would save the copy, but OpenCV leaves every pixel whose neighbours are partly outside a tile untouched,
    which shows as grey seams, and it visits the whole output four times.

    Args:
        plan: recipe of the batch.
        tiles: (K, S, S, 3) uint8 RGB, each image in the top-left corner.
        slots: (L, 4) int row of `tiles` for each slot of the plan; ignored where the slot is empty.

    Returns:
        (B, 3, H, W) uint8, contiguous.
    """
    height, width = plan.output_hw
    count = plan.picture_count
    pictures = np.empty((count, height, width, 3), np.uint8)
    painter = _Painter(plan, tiles, slots)
    for picture in range(count):
        painter.draw(picture, pictures[picture])
    for layer in range(count, len(plan.pictures)):
        picture = plan.pictures[layer]
        second = np.empty_like(pictures[picture])
        painter.draw(layer, second)
        blend = (plan.weights[picture], second, plan.weights[layer], 0)
        cv2.addWeighted(pictures[picture], *blend, dst=pictures[picture])
    planar = np.empty((count, 3, height, width), np.uint8)
    for picture in range(count):
        if plan.colours is not None:
            cv2.transform(pictures[picture], plan.colours[picture], dst=pictures[picture])
        cv2.split(pictures[picture], list(planar[picture]))
    return torch.from_numpy(planar)


class _Painter:
    """Draws layers; everything that can be computed for all layers at once is, before the first."""

    def __init__(self, plan: Plan, tiles: np.ndarray, slots: np.ndarray) -> None:
        self.tiles = tiles
        self.slots = slots.tolist()
        self.used = (plan.positions >= 0).tolist()
        self.sizes = plan.tile_sizes_hw.tolist()
        self.output_wh = plan.output_hw[::-1]
        self.halvings = plan.halvings.tolist()
        self.is_plain = plan.is_plain.tolist()
        steps = 2 ** plan.halvings[:, None]
        canvas_hw = -(-plan.canvas_sizes_hw // steps) * steps  # rounded up, so that it halves without a remainder
        self.canvases = canvas_hw.tolist()
        self.scratch = np.empty(3 * canvas_hw.prod(axis=1).max(initial=0), np.uint8)
        low = np.maximum(plan.origins_xy, 0)
        high = np.minimum(plan.origins_xy + plan.tile_sizes_hw[..., ::-1], plan.canvas_sizes_hw[:, None, ::-1])
        self.pastes = np.concatenate([low, high, plan.origins_xy], axis=2).tolist()
        # OpenCV counts from pixel centres: shift by half a pixel on both sides of the map.
        linear = plan.matrices[:, :, :2] * steps[..., None]
        offset = plan.matrices[:, :, 2] + linear.sum(axis=2) / 2 - 0.5
        self.matrices = np.concatenate([linear, offset[..., None]], axis=2)

    def draw(self, layer: int, picture: np.ndarray) -> None:
        """Draw one layer into `picture`, (H, W, 3) uint8."""
        halvings = self.halvings[layer]
        if self.is_plain[layer] and halvings == 0:
            height, width = self.sizes[layer][3]
            canvas = self.tiles[self.slots[layer][3], :height, :width]
        else:
            canvas = self.compose(layer)
        if halvings:
            smaller_wh = (canvas.shape[1] >> halvings, canvas.shape[0] >> halvings)
            canvas = cv2.resize(canvas, smaller_wh, interpolation=cv2.INTER_AREA)
        cv2.warpAffine(
            canvas,
            self.matrices[layer],
            self.output_wh,
            dst=picture,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=GREY,
        )

    def compose(self, layer: int) -> np.ndarray:
        """The canvas of a layer; valid until the next call."""
        height, width = self.canvases[layer]
        canvas = self.scratch[: 3 * height * width].reshape(height, width, 3)
        canvas.fill(FILL)
        for slot in range(4):
            if not self.used[layer][slot]:
                continue
            left, top, right, bottom, x, y = self.pastes[layer][slot]
            tile = self.tiles[self.slots[layer][slot]]
            canvas[top:bottom, left:right] = tile[top - y : bottom - y, left - x : right - x]
        return canvas
