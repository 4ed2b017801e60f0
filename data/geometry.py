"""Where every pixel of an augmented batch comes from: drawn for the whole batch at once, before any pixel moves.

A picture is made of one layer, or of two when mixup blends them. A layer is a canvas that holds up to four tiles
(stored images) around a centre, and one affine map from the canvas to the output:

    slot 0 | slot 1        a mosaic: 2S x 2S pixels, the centre drawn in its middle half
    -------+-------
    slot 2 | slot 3        a plain image: the canvas is the image itself, in slot 3, the centre at its corner (0, 0)

Coordinates are continuous, (x, y); pixel j covers [j, j + 1). Tiles lie on whole canvas pixels, so that the only
resampling is the one from the canvas to the output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.augment import AugmentConfig, draw_colours

# Below this scale bilinear sampling skips source pixels; the canvas is then halved by area until it no longer does.
MIN_BILINEAR_SCALE = 0.6
MAX_HALVINGS = 5


@dataclass(frozen=True)
class Plan:
    """The recipe of a batch: B pictures of L >= B layers; layer i < B is the base of picture i.

    Attributes:
        output_hw: height and width of the pictures.
        primaries: (B,) int64 tile that each picture is drawn for.
        positions: (L, 4) int64 tile of each slot, -1 where the slot is empty.
        tile_sizes_hw: (L, 4, 2) int64 sizes of these tiles.
        centres_xy: (L, 2) int64 where the four tiles meet on the canvas.
        canvas_sizes_hw: (L, 2) int64.
        matrices: (L, 2, 3) float64, canvas pixels to output pixels.
        pictures: (L,) int64 picture that each layer belongs to.
        weights: (L,) float64 share of each layer in its picture.
        colours: (B, 3, 3) float64 colour map per picture, None for none.
    """

    output_hw: tuple[int, int]
    primaries: np.ndarray
    positions: np.ndarray
    tile_sizes_hw: np.ndarray
    centres_xy: np.ndarray
    canvas_sizes_hw: np.ndarray
    matrices: np.ndarray
    pictures: np.ndarray
    weights: np.ndarray
    colours: np.ndarray | None

    @property
    def picture_count(self) -> int:
        """B."""
        return len(self.primaries)

    @property
    def is_plain(self) -> np.ndarray:
        """(L,) bool: layers that are one image and no mosaic."""
        return np.all(self.positions[:, :3] < 0, axis=1)

    @property
    def origins_xy(self) -> np.ndarray:
        """(L, 4, 2) int64 canvas position of each tile's top-left corner; meaningless for an empty slot."""
        left_or_above = np.array([[1, 1], [0, 1], [1, 0], [0, 0]])  # does the tile end at the centre, along x and y?
        return self.centres_xy[:, None, :] - left_or_above * self.tile_sizes_hw[..., ::-1]

    @property
    def halvings(self) -> np.ndarray:
        """(L,) int64 how often a canvas is halved by area before it is sampled, so that small scales do not alias."""
        scales = np.sqrt(np.abs(np.linalg.det(self.matrices[:, :, :2])))
        needed = np.ceil(np.log2(MIN_BILINEAR_SCALE / scales) - 1e-9)
        return np.clip(needed, 0, MAX_HALVINGS).astype(np.int64)


def draw_plan(
    rng: np.random.Generator,
    config: AugmentConfig,
    primaries: np.ndarray,
    partners: tuple[int, int],
    tile_sizes_hw: np.ndarray,
    output_hw: tuple[int, int],
    *,
    mosaic: bool = True,
) -> Plan:
    """Draw the recipe of one batch.

    Args:
        rng: source of every draw.
        config: strengths.
        primaries: (B,) positions (rows of `tile_sizes_hw`) that the pictures are drawn for.
        partners: half-open range of positions from which the other tiles of mosaics and mixup are drawn.
        tile_sizes_hw: (P, 2) size of the tile at each position.
        output_hw: size of the pictures; square where mosaics are made.
        mosaic: False makes plain images only, whatever the configuration.
    """
    count = len(primaries)
    is_mosaic = (rng.random(count) < config.mosaic) & mosaic
    mixed = np.flatnonzero((rng.random(count) < config.mixup) & is_mosaic)
    layers = count + len(mixed)
    is_mosaic = np.concatenate([is_mosaic, np.ones(len(mixed), bool)])

    positions = rng.integers(*partners, size=(layers, 4))
    positions[:count, 0] = primaries
    plain = np.full((layers, 4), -1)
    plain[:, 3] = positions[:, 0]
    positions = np.where(is_mosaic[:, None], rng.permuted(positions, axis=1), plain)
    sizes = np.where(positions[..., None] >= 0, tile_sizes_hw[positions], 0)

    side = output_hw[0]
    centres = rng.integers(side // 2, side + side // 2 + 1, size=(layers, 2))
    output_wh = np.array(output_hw[::-1])
    tile_wh = sizes[:, 3, ::-1]
    pads = (output_wh - tile_wh) // 2  # whole pixels: without augmentation a plain image is not resampled
    anchors = np.where(is_mosaic[:, None], output_wh, output_wh / 2 - pads)

    weights = np.ones(layers)
    weights[count:] = rng.beta(32.0, 32.0, len(mixed))
    weights[mixed] -= weights[count:]
    return Plan(
        output_hw=output_hw,
        primaries=primaries,
        positions=positions,
        tile_sizes_hw=sizes,
        centres_xy=np.where(is_mosaic[:, None], centres, 0),
        canvas_sizes_hw=np.where(is_mosaic[:, None], 2 * np.array(output_hw), sizes[:, 3]),
        matrices=draw_matrices(rng, config, anchors, output_hw),
        pictures=np.concatenate([np.arange(count), mixed]),
        weights=weights,
        colours=draw_colours(rng, config, count),
    )


def draw_matrices(
    rng: np.random.Generator, config: AugmentConfig, anchors_xy: np.ndarray, output_hw: tuple[int, int]
) -> np.ndarray:
    """Random affine maps: scale and rotate about an anchor, shear, place the anchor near the output's middle, flip.

    Args:
        rng: source of every draw.
        config: strengths.
        anchors_xy: (L, 2) point of each canvas that lands on the output's middle when nothing is translated.
        output_hw: size of the output, for the translation and the flips.

    Returns:
        (L, 2, 3) float64, canvas pixels to output pixels.
    """
    count = len(anchors_xy)
    angle = np.deg2rad(rng.uniform(-1, 1, count) * config.degrees)
    scale = 1 + rng.uniform(-1, 1, count) * config.scale
    shear = np.tan(np.deg2rad(rng.uniform(-1, 1, (2, count)) * config.shear))
    middle = (0.5 + rng.uniform(-1, 1, (count, 2)) * config.translate) * np.array(output_hw[::-1])
    flipped = rng.random((count, 2)) < np.array([config.fliplr, config.flipud])

    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    rotate = np.stack([cosine, sine, -sine, cosine], axis=-1).reshape(count, 2, 2)
    ones = np.ones(count)
    skew = np.stack([ones, shear[0], shear[1], ones], axis=-1).reshape(count, 2, 2)
    linear = skew @ rotate
    offset = middle - np.einsum("lij,lj->li", linear, anchors_xy)

    sign = np.where(flipped, -1.0, 1.0)
    offset = sign * offset + np.where(flipped, np.array(output_hw[::-1], float), 0.0)
    return np.concatenate([sign[..., None] * linear, offset[..., None]], axis=2)
