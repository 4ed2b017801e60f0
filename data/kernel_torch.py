"""The pixels of an augmentation plan on the GPU: the same mathematics as `kernel_opencv`, for the batch at once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from data.geometry import Plan
from data.letterbox import FILL

CANVAS_PIXELS_AT_ONCE = 1 << 24  # bounds the memory that indices and floating point canvases take


def render_torch(plan: Plan, tiles: torch.Tensor, slots: np.ndarray) -> torch.Tensor:
    """Draw the pictures of a plan on the device that holds the tiles.

    Args:
        plan: recipe of the batch.
        tiles: (K, S, S, 3) uint8 RGB, each image in the top-left corner.
        slots: (L, 4) int row of `tiles` for each slot of the plan; ignored where the slot is empty.

    Returns:
        (B, 3, H, W) uint8 on the tiles' device.
    """
    device = tiles.device
    pictures = torch.zeros(plan.picture_count, 3, *plan.output_hw, device=device)
    halvings = plan.halvings
    for level in np.unique(halvings):
        layers = np.flatnonzero(halvings == level)
        step = 2 ** int(level)
        canvas_hw = tuple((-(-plan.canvas_sizes_hw[layers].max(axis=0) // step) * step).tolist())
        at_once = max(1, CANVAS_PIXELS_AT_ONCE // (canvas_hw[0] * canvas_hw[1]))
        for start in range(0, len(layers), at_once):
            part = layers[start : start + at_once]
            canvases = _compose(plan, tiles, slots, part, canvas_hw).permute(0, 3, 1, 2).float()
            if step > 1:
                canvases = F.avg_pool2d(canvases, step)
            drawn = _warp(canvases, plan.matrices[part], step, plan.output_hw)
            weights = torch.from_numpy(plan.weights[part]).to(device, torch.float32)
            owners = torch.from_numpy(plan.pictures[part]).to(device)
            # Rounded before blending, as the CPU kernel's layers are: they hold whole grey levels.
            pictures.index_add_(0, owners, drawn.round() * weights[:, None, None, None])
    pictures = pictures.round()
    if plan.colours is not None:
        colours = torch.from_numpy(plan.colours).to(device, torch.float32)
        pictures = torch.einsum("bij,bjhw->bihw", colours, pictures).round()
    return pictures.clamp(0, 255).to(torch.uint8)


def _compose(
    plan: Plan, tiles: torch.Tensor, slots: np.ndarray, layers: np.ndarray, canvas_hw: tuple[int, int]
) -> torch.Tensor:
    """Canvases of some layers, (l, *canvas_hw, 3) uint8: each pixel is fetched from the tile of its quadrant."""
    device = tiles.device

    def per_slot(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    y = torch.arange(canvas_hw[0], device=device).view(1, -1, 1)
    x = torch.arange(canvas_hw[1], device=device).view(1, 1, -1)
    centres = per_slot(plan.centres_xy[layers])[:, :, None, None]
    quadrant = 2 * (y >= centres[:, 1]) + (x >= centres[:, 0]).long()  # (l, CH, CW)
    row = torch.arange(len(layers), device=device).view(-1, 1, 1)

    # A tile's rectangle on the canvas; an empty slot has a tile of no size.
    sizes = per_slot(plan.tile_sizes_hw[layers])
    origins = per_slot(plan.origins_xy[layers])
    tile_y = y - origins[..., 1][row, quadrant]
    tile_x = x - origins[..., 0][row, quadrant]
    inside = (tile_y >= 0) & (tile_x >= 0)
    inside &= (tile_y < sizes[..., 0][row, quadrant]) & (tile_x < sizes[..., 1][row, quadrant])
    limits = per_slot(plan.canvas_sizes_hw[layers])[:, :, None, None]
    inside &= (y < limits[:, 0]) & (x < limits[:, 1])

    tile = per_slot(np.where(plan.positions[layers] >= 0, slots[layers], 0))[row, quadrant]
    side = tiles.shape[1] - 1
    pixels = tiles[tile, tile_y.clamp(0, side), tile_x.clamp(0, side)]
    return torch.where(inside[..., None], pixels, FILL)


def _warp(canvases: torch.Tensor, matrices: np.ndarray, step: int, output_hw: tuple[int, int]) -> torch.Tensor:
    """Resample canvases, (l, 3, h, w) float, that were shrunk by `step`: (l, 3, *output_hw)."""
    device = canvases.device
    inverse = np.linalg.inv(matrices[:, :, :2])
    offset = -np.einsum("lij,lj->li", inverse, matrices[:, :, 2])
    # From output pixels straight to grid_sample's coordinates, where the canvas reaches from -1 to 1.
    side_xy = step * np.array(canvases.shape[:1:-1], float)
    theta = np.concatenate([inverse, offset[..., None]], axis=2) * (2 / side_xy)[:, None]
    theta[:, :, 2] -= 1
    y = torch.arange(output_hw[0], device=device, dtype=torch.float32) + 0.5
    x = torch.arange(output_hw[1], device=device, dtype=torch.float32) + 0.5
    ones = torch.ones(output_hw, device=device)
    points = torch.stack([x.expand(output_hw), y[:, None].expand(output_hw), ones], dim=-1)  # (H, W, 3)
    grid = torch.einsum("lij,hwj->lhwi", torch.from_numpy(theta).to(device, torch.float32), points)
    # Zeros outside stand for the fill colour.
    return F.grid_sample(canvases - FILL, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + FILL
