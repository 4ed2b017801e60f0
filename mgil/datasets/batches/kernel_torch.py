"""The pixels of an augmentation plan on the GPU: the same mathematics as `kernel_opencv`, for the batch at once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.pastes import mirrored_sources

FAR = 100.0  # half sides of a source: well outside of it
CANVAS_PIXELS_AT_ONCE = 1 << 24  # bounds the memory that indices and floating point copies take


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
        sources = plan.sources_xyxy[layers]
        width, height = (-(-(sources[:, 2:] - sources[:, :2]).max(axis=0) // step) * step).tolist()
        at_once = max(1, CANVAS_PIXELS_AT_ONCE // (height * width))
        for start in range(0, len(layers), at_once):
            part = layers[start : start + at_once]
            drawn_from = _compose(plan, tiles, slots, part, plan.sources_xyxy[part, :2], (height, width))
            if plan.pastes is not None:
                drawn_from = _pasted(plan, tiles, slots, part, drawn_from)
            drawn_from = drawn_from.permute(0, 3, 1, 2).float()
            if step > 1:
                drawn_from = F.avg_pool2d(drawn_from, step)
            drawn = _warp(drawn_from, plan, part, step)
            owners = torch.from_numpy(plan.pictures[part]).to(device)
            # Rounded before blending, as the CPU kernel's layers are: they hold whole grey levels.
            pictures.index_add_(0, owners, drawn.round() * _shares(plan, part, device))
    pictures = pictures.round()
    if plan.colours is not None:
        colours = torch.from_numpy(plan.colours).to(device, torch.float32)
        pictures = torch.einsum("bij,bjhw->bihw", colours, pictures).round()
    return pictures.clamp(0, 255).to(torch.uint8)


def _shares(plan: Plan, layers: np.ndarray, device: torch.device) -> torch.Tensor:
    """What some layers add to each pixel of their pictures, (l, 1, H or 1, W or 1) float."""
    weights = torch.from_numpy(plan.weights[layers]).to(device, torch.float32)[:, None, None, None]
    if plan.regions is None:
        return weights
    covering = np.flatnonzero(plan.regions[:, 0] >= 0)
    above = np.full(plan.picture_count, -1)  # the layer that covers a part of each picture
    above[plan.pictures[covering]] = covering
    above = above[plan.pictures[layers]]
    regions = torch.from_numpy(np.where(above[:, None] >= 0, plan.regions[above], 0)).to(device)[:, :, None, None]
    y = torch.arange(plan.output_hw[0], device=device).view(1, -1, 1)
    x = torch.arange(plan.output_hw[1], device=device).view(1, 1, -1)
    inside = (x >= regions[:, 0]) & (y >= regions[:, 1]) & (x < regions[:, 2]) & (y < regions[:, 3])
    is_second = torch.from_numpy(above == layers).to(device)[:, None, None]
    covered = torch.from_numpy(above >= 0).to(device)[:, None, None, None]
    return torch.where(covered, (inside == is_second)[:, None].float(), weights)


def _compose(
    plan: Plan,
    tiles: torch.Tensor,
    slots: np.ndarray,
    layers: np.ndarray,
    corners_xy: np.ndarray,
    source_hw: tuple[int, int],
) -> torch.Tensor:
    """Parts of canvases from their corners on, (l, *source_hw, 3) uint8; each pixel comes from its quadrant's tile."""
    device = tiles.device

    def per_slot(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    corners = per_slot(corners_xy)[:, :, None, None]
    y = torch.arange(source_hw[0], device=device).view(1, -1, 1) + corners[:, 1]  # (l, SH, 1) canvas coordinates
    x = torch.arange(source_hw[1], device=device).view(1, 1, -1) + corners[:, 0]
    centres = per_slot(plan.centres_xy[layers])[:, :, None, None]
    quadrant = 2 * (y >= centres[:, 1]) + (x >= centres[:, 0]).long()  # (l, SH, SW)
    row = torch.arange(len(layers), device=device).view(-1, 1, 1)

    # A tile's rectangle on the canvas; an empty slot has a tile of no size.
    sizes = per_slot(plan.tile_sizes_hw[layers])
    origins = per_slot(plan.origins_xy[layers])
    tile_y = y - origins[..., 1][row, quadrant]
    tile_x = x - origins[..., 0][row, quadrant]
    inside = (tile_y >= 0) & (tile_x >= 0)
    inside &= (tile_y < sizes[..., 0][row, quadrant]) & (tile_x < sizes[..., 1][row, quadrant])
    limits = per_slot(plan.canvas_sizes_hw[layers])[:, :, None, None]
    inside &= (y >= 0) & (x >= 0) & (y < limits[:, 0]) & (x < limits[:, 1])

    tile = per_slot(np.where(plan.positions[layers] >= 0, slots[layers], 0))[row, quadrant]
    side = tiles.shape[1] - 1
    pixels = tiles[tile, tile_y.clamp(0, side), tile_x.clamp(0, side)]
    return torch.where(inside[..., None], pixels, plan.fill)


def _pasted(
    plan: Plan, tiles: torch.Tensor, slots: np.ndarray, layers: np.ndarray, sources: torch.Tensor
) -> torch.Tensor:
    """What some layers are drawn from, (l, h, w, 3), with their mirrored objects pasted."""
    assert plan.pastes is not None
    height, width = sources.shape[1:3]
    corners = plan.sources_xyxy[layers]
    masks = np.zeros((len(layers), height, width), bool)
    for place, layer in enumerate(layers.tolist()):
        mask = plan.pastes.mask(layer, corners[place, :2], (height, width))
        if mask is not None:
            masks[place] = mask
    mirrored = mirrored_sources(corners, np.full(len(layers), width), plan.canvas_sizes_hw[layers, 1])
    copies = _compose(plan, tiles, slots, layers, mirrored[:, :2], (height, width)).flip(2)
    return torch.where(torch.from_numpy(masks).to(sources.device)[..., None], copies, sources)


def _inverse(plan: Plan, layers: np.ndarray) -> np.ndarray:
    """(l, 3, 3) maps of some layers from output pixels to canvas pixels."""
    if plan.perspectives is not None:
        return np.linalg.inv(plan.maps[layers])
    inverse = plan.maps[layers]
    inverse[:, :2, :2] = np.linalg.inv(plan.matrices[layers, :, :2])
    inverse[:, :2, 2] = -np.einsum("lij,lj->li", inverse[:, :2, :2], plan.matrices[layers, :, 2])
    return inverse


def _warp(sources: torch.Tensor, plan: Plan, layers: np.ndarray, step: int) -> torch.Tensor:
    """Resample what some layers are drawn from, (l, 3, h, w) float, shrunk by `step`: (l, 3, *output_hw)."""
    device = sources.device
    corners, opposite = plan.sources_xyxy[layers, :2], plan.sources_xyxy[layers, 2:]
    # From output pixels straight to grid_sample's coordinates, where the source reaches from -1 to 1.
    side_xy = step * np.array(sources.shape[:1:-1], float)
    theta = _inverse(plan, layers)
    theta[:, :2] -= corners[..., None] * theta[:, 2:]
    theta[:, :2] *= (2 / side_xy)[:, None]
    theta[:, :2] -= theta[:, 2:]
    height, width = plan.output_hw
    y = torch.arange(height, device=device, dtype=torch.float32) + 0.5
    x = torch.arange(width, device=device, dtype=torch.float32) + 0.5
    ones = torch.ones(height, width, device=device)
    points = torch.stack([x.expand(height, width), y[:, None].expand(height, width), ones], dim=-1)  # (H, W, 3)
    rows = torch.from_numpy(theta).to(device, torch.float32)
    grid = torch.einsum("lij,hwj->lhwi", rows[:, :2], points)
    if plan.perspectives is not None:
        depth = torch.einsum("lj,hwj->lhw", rows[:, 2], points)[..., None]
        # Zero is the horizon, behind which no canvas reaches: there all is outside, by as much as can be counted.
        grid = (grid / torch.where(depth == 0, 1e-6, depth)).clamp(-FAR, FAR)
    # A window ends with its last pixel, as in a resize; beyond a canvas lies the fill colour.
    ends = np.where(plan.is_window[layers, None], (2 * (opposite - corners) - step) / side_xy - 1, np.inf)
    starts = np.where(plan.is_window[layers, None], step / side_xy - 1, -np.inf)
    low, high = (torch.from_numpy(edge).to(device, torch.float32)[:, None, None] for edge in (starts, ends))
    grid = torch.minimum(torch.maximum(grid, low), high)
    # Zeros outside stand for the fill colour.
    filled = F.grid_sample(sources - plan.fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return filled + plan.fill
