from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.geometry import Plan, draw_plan
from mgil.datasets.batches.kernel_opencv import Painter
from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.letterbox import FILL
from mgil.tasks.detect.targets import cxcywh_to_xyxy, plan_targets
from tests.datasets.scenes import make_samples, smooth_image

SIZE = 64
STILL = AugmentConfig(translate=0.0, scale=0.0, fliplr=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)


def tiles_and_sizes(count: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tiles whose unused part is noise, which must never be seen."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
    sizes = rng.integers(SIZE // 3, SIZE + 1, (count, 2))
    sizes[np.arange(count), rng.integers(2, size=count)] = SIZE
    for tile, (height, width) in zip(tiles, sizes, strict=True):
        tile[:height, :width] = smooth_image(rng, height, width)
    return tiles, sizes


def draw(config: AugmentConfig, sizes: np.ndarray, count: int = 40, output_hw: tuple[int, int] = (SIZE, SIZE)) -> Plan:
    rng = np.random.default_rng(7)
    primaries = np.arange(count) % len(sizes)
    return draw_plan(rng, config, primaries, (0, len(sizes)), sizes, output_hw, mosaic=output_hw[0] == output_hw[1])


def render_opencv(plan: Plan, tiles: np.ndarray, slots: np.ndarray) -> torch.Tensor:
    return Painter(plan, slots).draw(tiles, 0, plan.picture_count)


def render_both(plan: Plan, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (
        render_opencv(plan, tiles, plan.positions).numpy(),
        render_torch(plan, torch.from_numpy(tiles), plan.positions).numpy(),
    )


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(),
        AugmentConfig(mosaic=0.0),
        AugmentConfig(mosaic=0.5, mixup=0.5, degrees=45, shear=8, scale=0.9, flipud=0.5),
        AugmentConfig(degrees=180, hsv_h=0.5, hsv_s=1.0, hsv_v=1.0),
        AugmentConfig(perspective=0.008),
        AugmentConfig(mosaic=0.5, mixup=0.5, degrees=45, shear=8, scale=0.9, flipud=0.5, perspective=0.1),
    ],
    ids=["low", "plain", "everything", "strong colours", "perspective", "everything and much perspective"],
)
def test_kernels_agree(config: AugmentConfig) -> None:
    tiles, sizes = tiles_and_sizes()
    opencv, on_torch = render_both(draw(config, sizes), tiles)
    assert opencv.shape == on_torch.shape == (40, 3, SIZE, SIZE)
    difference = np.abs(opencv.astype(int) - on_torch)
    assert difference.mean() < 1.0
    assert np.percentile(difference, 99.9) <= 12


def test_a_window_is_resized_to_what_an_affine_warp_gives() -> None:
    tiles, sizes = tiles_and_sizes()
    plan = draw(AugmentConfig(flipud=0.5, mixup=0.3, scale=0.35), sizes)
    assert plan.is_window.all()
    resized = render_opencv(plan, tiles, plan.positions)
    warped_plan = replace(plan)
    vars(warped_plan)["is_window"] = np.zeros(len(plan.pictures), bool)
    warped = render_opencv(warped_plan, tiles, plan.positions)
    # The outermost pixels differ: a resize knows nothing beyond the window.
    difference = (resized.int() - warped.int()).abs()[:, :, 1:-1, 1:-1].float()
    assert difference.mean() < 0.5 and difference.max() <= 6
    assert not torch.equal(resized, warped)


def test_pictures_drawn_in_parts_are_those_drawn_together() -> None:
    tiles, sizes = tiles_and_sizes()
    plan = draw(AugmentConfig(mosaic=0.8, mixup=0.5), sizes)
    together = render_opencv(plan, tiles, plan.positions)
    painter = Painter(plan, plan.positions)
    for first, stop in ((0, 7), (7, 8), (8, 40), (3, 5)):
        assert torch.equal(painter.draw(tiles, first, stop), together[first:stop])
        part = plan.part(first, stop)
        assert torch.equal(render_opencv(part, tiles, part.positions), together[first:stop])


def test_kernels_agree_on_rectangles() -> None:
    tiles, sizes = tiles_and_sizes()
    sizes = np.minimum(sizes, [48, SIZE])
    opencv, on_torch = render_both(draw(AugmentConfig(), sizes, output_hw=(48, 64)), tiles)
    assert opencv.shape == (40, 3, 48, 64)
    assert np.abs(opencv.astype(int) - on_torch).mean() < 1.0


def test_unmoved_mosaic_is_a_crop_of_the_tiles_side_by_side() -> None:
    tiles, sizes = tiles_and_sizes()
    plan = draw(STILL, sizes)
    for rendered in render_both(plan, tiles):
        for picture in range(plan.picture_count):
            canvas = np.full((4 * SIZE, 4 * SIZE, 3), FILL, np.uint8)
            x, y = plan.centres_xy[picture] + SIZE
            (a, b, c, d), s = plan.positions[picture], sizes
            canvas[y - s[a, 0] : y, x - s[a, 1] : x] = tiles[a, : s[a, 0], : s[a, 1]]
            canvas[y - s[b, 0] : y, x : x + s[b, 1]] = tiles[b, : s[b, 0], : s[b, 1]]
            canvas[y : y + s[c, 0], x - s[c, 1] : x] = tiles[c, : s[c, 0], : s[c, 1]]
            canvas[y : y + s[d, 0], x : x + s[d, 1]] = tiles[d, : s[d, 0], : s[d, 1]]
            crop = canvas[3 * SIZE // 2 : 5 * SIZE // 2, 3 * SIZE // 2 : 5 * SIZE // 2]
            np.testing.assert_array_equal(rendered[picture], crop.transpose(2, 0, 1))


@pytest.mark.parametrize(("flipud", "fliplr"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_unmoved_plain_image_is_letterboxed_and_flipped_exactly(flipud: float, fliplr: float) -> None:
    tiles, sizes = tiles_and_sizes()
    plan = draw(replace(STILL, mosaic=0.0, flipud=flipud, fliplr=fliplr), sizes, count=12)
    for rendered in render_both(plan, tiles):
        for picture, (height, width) in enumerate(sizes):
            expected = np.full((SIZE, SIZE, 3), FILL, np.uint8)
            top, left = (SIZE - height) // 2, (SIZE - width) // 2
            expected[top : top + height, left : left + width] = tiles[picture, :height, :width]
            expected = expected[:: -1 if flipud else 1, :: -1 if fliplr else 1]
            np.testing.assert_array_equal(rendered[picture], expected.transpose(2, 0, 1))


def test_half_size_is_the_mean_of_four_pixels() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.uint8)
    plan = draw(replace(STILL, mosaic=0.0), np.array([[SIZE, SIZE]]), count=1)
    plan = replace(plan, matrices=np.array([[[0.5, 0, 0], [0, 0.5, 0]]]))
    means = tiles[0].astype(float).reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    for rendered in render_both(plan, tiles):
        assert np.abs(rendered[0][:, : SIZE // 2, : SIZE // 2] - means).max() <= 0.51
        assert (rendered[0][:, SIZE // 2 :] == FILL).all() and (rendered[0][:, :, SIZE // 2 :] == FILL).all()


def test_double_size_against_bilinear_formula() -> None:
    tiles = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    tiles[0, :, 10:] = 200  # a vertical edge at x = 10
    plan = draw(replace(STILL, mosaic=0.0), np.array([[SIZE, SIZE]]), count=1)
    plan = replace(plan, matrices=np.array([[[2.0, 0, 0], [0, 2.0, 0]]]))
    for rendered in render_both(plan, tiles):
        # Output pixel centres 18.5, 19.5, 20.5, 21.5 are source 9.25, 9.75, 10.25, 10.75, between centres 9.5 and 10.5.
        assert np.abs(rendered[0, 0, 30, 18:22].astype(int) - [0, 50, 150, 200]).max() <= 2


def test_pixels_and_boxes_take_the_same_perspective() -> None:
    """A white rectangle is drawn where its box is said to be."""
    config = AugmentConfig(
        mosaic=0.0, translate=0.05, scale=0.2, perspective=0.01, degrees=20, hsv_h=0, hsv_s=0, hsv_v=0
    )
    tiles, sizes = np.full((1, SIZE, SIZE, 3), FILL, np.uint8), np.array([[SIZE, SIZE]])
    tiles[0, 20:44, 12:36] = 255
    samples = make_samples(["a.png"], [(SIZE, SIZE)], [[(0, 24 / SIZE, 0.5, 24 / SIZE, 24 / SIZE)]])
    plan = draw(config, np.tile(sizes, (40, 1)))
    plan = replace(plan, positions=np.where(plan.positions >= 0, 0, -1))
    targets = plan_targets(plan, samples, plan.positions, config)
    assert len(targets) == plan.picture_count and plan.perspectives is not None
    for rendered in render_both(plan, tiles):
        for picture, _, *box in targets.tolist():
            rows, columns = np.nonzero(rendered[int(picture), 0] > (255 + FILL) / 2)
            drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(drawn, cxcywh_to_xyxy(np.array(box)), atol=1.5)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, SIZE), (SIZE, 1)])
def test_thin_images(size_hw: tuple[int, int]) -> None:
    tiles = np.full((2, SIZE, SIZE, 3), 200, np.uint8)
    sizes = np.array([size_hw, size_hw])
    for config in (AugmentConfig(), AugmentConfig(mosaic=0.0, degrees=90), replace(STILL, mosaic=0.0)):
        for rendered in render_both(draw(config, sizes, count=8), tiles):
            assert rendered.shape == (8, 3, SIZE, SIZE)
    for rendered in render_both(draw(replace(STILL, mosaic=0.0), sizes, count=2), tiles):
        assert (rendered == 200).sum() == 2 * 3 * size_hw[0] * size_hw[1]


def test_value_gain_is_that_of_hsv() -> None:
    tiles, sizes = tiles_and_sizes()
    base = replace(STILL, mosaic=0.0)
    plain = draw(base, sizes, count=12)
    gain = 0.8
    dimmed = replace(plain, colours=np.tile(gain * np.eye(3), (12, 1, 1)))
    for before, after in zip(render_both(plain, tiles), render_both(dimmed, tiles), strict=True):
        for picture in range(12):
            hsv = cv2.cvtColor(before[picture].transpose(1, 2, 0).astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
            hsv[..., 2] *= gain
            expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).transpose(2, 0, 1) * 255
            assert np.abs(after[picture] - expected).max() <= 0.51


@pytest.mark.cuda
def test_kernels_agree_on_the_gpu() -> None:
    tiles, sizes = tiles_and_sizes()
    plan = draw(AugmentConfig(mixup=0.5, degrees=20, mosaic=0.8), sizes)
    on_gpu = render_torch(plan, torch.from_numpy(tiles).cuda(), plan.positions)
    assert on_gpu.is_cuda
    on_cpu = render_opencv(plan, tiles, plan.positions)
    assert (on_gpu.cpu().int() - on_cpu.int()).abs().float().mean() < 1.0
