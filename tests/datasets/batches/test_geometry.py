from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mgil.datasets.batches import geometry
from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.geometry import Plan, draw_matrices, draw_plan
from mgil.tasks.detect.targets import plan_targets, transform_boxes
from tests.datasets.scenes import make_samples

SIZE = 96
STILL = {"translate": 0.0, "scale": 0.0, "fliplr": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}


def plan_of(config: AugmentConfig, count: int = 50, seed: int = 0, partners: tuple[int, int] = (0, 20)) -> Plan:
    rng = np.random.default_rng(seed)
    sizes = np.array([[SIZE, SIZE * 2 // 3], [SIZE // 2, SIZE]] * 10)
    return draw_plan(rng, config, np.arange(count) % 20, partners, sizes, (SIZE, SIZE))


def test_mosaic_tiles_meet_at_the_centre() -> None:
    plan = plan_of(AugmentConfig())
    ends = plan.origins_xy + plan.tile_sizes_hw[..., ::-1]
    centres = plan.centres_xy
    assert (ends[:, 0] == centres).all() and (plan.origins_xy[:, 3] == centres).all()
    assert (plan.origins_xy[:, 1, 0] == centres[:, 0]).all() and (ends[:, 1, 1] == centres[:, 1]).all()
    assert (ends[:, 2, 0] == centres[:, 0]).all() and (plan.origins_xy[:, 2, 1] == centres[:, 1]).all()
    assert centres.min() >= SIZE // 2 and centres.max() <= SIZE * 3 // 2


def test_a_picture_shows_its_image_and_partners_of_the_window() -> None:
    plan = plan_of(AugmentConfig(mosaic=0.7, mixup=0.5), count=500, partners=(5, 9))
    count = plan.picture_count
    assert (plan.positions[:count] == plan.primaries[:, None]).any(axis=1).all()
    others = plan.positions[:count][plan.positions[:count] != np.repeat(plan.primaries[:, None], 4, axis=1)]
    assert set(np.unique(others)) <= {-1, 5, 6, 7, 8}
    assert np.isin(plan.positions[count:], [5, 6, 7, 8]).all()
    is_plain = (plan.positions[:, :3] < 0).all(axis=1)  # one image and no mosaic
    assert abs((~is_plain[:count]).mean() - 0.7) < 0.07
    assert not is_plain[plan.pictures[count:]].any()


def test_mixup_shares_sum_to_one() -> None:
    plan = plan_of(AugmentConfig(mixup=1.0))
    assert len(plan.pictures) == 2 * plan.picture_count
    np.testing.assert_allclose(np.bincount(plan.pictures, plan.weights), 1)
    assert 0.3 < plan.weights.min() < plan.weights.max() < 0.7  # beta(32, 32)


def test_matrix_against_products_of_homogeneous_matrices() -> None:
    config = AugmentConfig(degrees=30, translate=0.2, scale=0.4, shear=10, fliplr=0.5, flipud=0.5)
    anchors = np.random.default_rng(1).uniform(0, 100, (40, 2))
    matrices = draw_matrices(np.random.default_rng(2), config, anchors, (60, 80))

    rng = np.random.default_rng(2)
    angles = rng.uniform(-1, 1, 40) * 30
    scales = 1 + rng.uniform(-1, 1, 40) * 0.4
    shears = rng.uniform(-1, 1, (2, 40)) * 10
    middles = (0.5 + rng.uniform(-1, 1, (40, 2)) * 0.2) * [80, 60]
    flips = rng.random((40, 2)) < 0.5
    for i in range(40):
        radians = np.deg2rad(angles[i])
        to_anchor = np.array([[1, 0, -anchors[i, 0]], [0, 1, -anchors[i, 1]], [0, 0, 1]])
        # Counter-clockwise as seen, with y pointing down.
        turn = np.array([[np.cos(radians), np.sin(radians), 0], [-np.sin(radians), np.cos(radians), 0], [0, 0, 1]])
        zoom = np.diag([scales[i], scales[i], 1])
        skew = np.array([[1, np.tan(np.deg2rad(shears[0, i])), 0], [np.tan(np.deg2rad(shears[1, i])), 1, 0], [0, 0, 1]])
        place = np.array([[1, 0, middles[i, 0]], [0, 1, middles[i, 1]], [0, 0, 1]])
        mirror = np.eye(3)
        if flips[i, 0]:
            mirror[0] = [-1, 0, 80]
        if flips[i, 1]:
            mirror[1] = [0, -1, 60]
        np.testing.assert_allclose(matrices[i], (mirror @ place @ skew @ zoom @ turn @ to_anchor)[:2], atol=1e-9)


def test_perspective_against_products_of_homogeneous_matrices() -> None:
    """YOLOv5's product: the perspective comes after the shift to the canvas' middle and before all else."""
    options = {"degrees": 30, "shear": 10, "mosaic": 0.5, "mixup": 0.5, "scale": 0.5}
    tilts = np.random.default_rng(3).uniform(-1, 1, (200, 2)) * 0.004
    flat = plan_of(AugmentConfig(**options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "draw_tilts", lambda rng, config, anchors, canvases: tilts[: len(anchors)])
        plan = plan_of(AugmentConfig(perspective=0.004, **options))
    for name in ("primaries", "positions", "centres_xy", "canvas_sizes_hw", "pictures", "weights", "colours"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(flat, name))  # nothing else is drawn differently
    assert flat.perspectives is None and plan.perspectives is not None and not plan.is_window.any()
    for layer, flat_map in enumerate(flat.maps):
        is_mosaic = (plan.positions[layer, :3] >= 0).any()
        # What lands on the output's middle: the middle of a mosaic's canvas, or of the letterboxed image.
        left, top = (0, 0) if is_mosaic else (SIZE - plan.tile_sizes_hw[layer, 3, ::-1]) // 2
        middle = SIZE if is_mosaic else SIZE / 2
        to_middle = np.array([[1, 0, left - middle], [0, 1, top - middle], [0, 0, 1]])
        tilt = np.array([[1, 0, 0], [0, 1, 0], [*tilts[layer], 1]])
        expected = flat_map @ np.linalg.inv(to_middle) @ tilt @ to_middle
        np.testing.assert_allclose(plan.maps[layer], expected, atol=1e-9)
    part = plan.part(10, 20)
    np.testing.assert_array_equal(part.maps, plan.maps[plan.layers_of(10, 20)])


@pytest.mark.parametrize("perspective", [0.001, 0.1])
def test_no_part_of_a_canvas_comes_near_the_eye(perspective: float) -> None:
    plan = plan_of(AugmentConfig(perspective=perspective, mosaic=0.5), count=300)
    height, width = plan.canvas_sizes_hw.T
    for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
        depth = plan.maps[:, 2, 0] * x + plan.maps[:, 2, 1] * y + plan.maps[:, 2, 2]
        assert depth.min() > 0.1 - 1e-9 and depth.max() < 2
    strongest = np.abs(plan.maps[:, 2, :2]).max()
    assert strongest <= perspective and (perspective > 0.001 or strongest > 0.0009)


def test_without_perspective_the_draws_are_what_they_were() -> None:
    """Numbers of the version before perspective; sums of whole pixels, so that no platform rounds them otherwise."""
    plan = plan_of(AugmentConfig(mosaic=0.8, mixup=0.5))
    low, high = plan.sources_xyxy[:, :2], plan.sources_xyxy[:, 2:]
    drawn = [plan.positions.sum(), plan.centres_xy.sum(), low.sum(), high.sum(), len(plan.pictures)]
    assert drawn == [2088, 10682, 4176, 18410, 66]


def test_canvases_are_halved_only_where_bilinear_sampling_would_alias() -> None:
    plan = plan_of(AugmentConfig(scale=0.9), count=500)
    scales = np.sqrt(np.abs(np.linalg.det(plan.matrices[:, :, :2])))
    effective = scales * 2.0**plan.halvings
    assert (plan.halvings[scales >= 0.6] == 0).all()
    assert (effective[scales < 0.6] >= 0.6 - 1e-9).all() and (effective[scales < 0.6] < 1.2).all()


@pytest.mark.parametrize("output_hw", [(96, 96), (64, 96)])
def test_without_rotation_the_draw_is_rounded_to_whole_pixels(output_hw: tuple[int, int]) -> None:
    config = AugmentConfig(translate=0.2, scale=0.9, flipud=0.5)
    height, width = output_hw
    anchors = np.random.default_rng(1).integers(0, 2 * width, (300, 2)).astype(float)
    matrices = draw_matrices(np.random.default_rng(2), config, anchors, output_hw)

    rng = np.random.default_rng(2)
    rng.uniform(-1, 1, 300)  # the angles
    scales = 1 + rng.uniform(-1, 1, 300) * 0.9
    rng.uniform(-1, 1, (2, 300))
    middles = (0.5 + rng.uniform(-1, 1, (300, 2)) * 0.2) * [width, height]
    flips = rng.random((300, 2)) < [0.5, 0.5]
    steps = 2.0 ** np.clip(np.ceil(np.log2(0.6 / scales)), 0, 5)
    for matrix, scale, middle, flip, anchor, step in zip(matrices, scales, middles, flips, anchors, steps, strict=True):
        assert matrix[0, 1] == matrix[1, 0] == 0
        for axis, side in enumerate((width, height)):
            # where the output's two sides lie on the canvas
            ends = np.sort((np.array([0, side]) - matrix[axis, 2]) / matrix[axis, axis])
            np.testing.assert_allclose(ends, ends.round(), atol=1e-7)
            assert (ends[1] - ends[0]).round() % step == 0
            assert abs((ends[1] - ends[0]) - max(side / scale, step)) <= step / 2 + 1e-9
            assert abs(ends[0] - (anchor[axis] - middle[axis] / scale)) <= 0.5 + 1e-9
            assert (matrix[axis, axis] < 0) == flip[axis]


def test_which_layers_are_windows() -> None:
    assert plan_of(AugmentConfig(mosaic=0.5, mixup=0.5, scale=0.7), count=500).is_window.mean() > 0.98
    far = plan_of(AugmentConfig(scale=0.99), count=500)  # pictures that would show little but the fill colour
    assert (far.is_window == (far.area_factors > 1 / 17)).mean() > 0.98
    assert (far.sources_xyxy[:, 2:] - far.sources_xyxy[:, :2]).max() <= 4 * SIZE
    for turned in (AugmentConfig(degrees=5), AugmentConfig(shear=5)):
        plan = plan_of(turned)
        assert not plan.is_window.any()
        np.testing.assert_array_equal(plan.sources_xyxy[:, 2:], plan.canvas_sizes_hw[:, ::-1])


def test_parts_of_a_plan() -> None:
    plan = plan_of(AugmentConfig(mosaic=0.8, mixup=0.5))
    parts = [plan.part(first, first + 10) for first in range(0, 50, 10)]
    assert sum(len(part.pictures) for part in parts) == len(plan.pictures) > 50
    for number, part in enumerate(parts):
        assert part.picture_count == 10
        assert part.pictures[:10].tolist() == list(range(10)) and part.pictures.max() < 10
        layers = plan.layers_of(10 * number, 10 * number + 10)
        np.testing.assert_array_equal(plan.pictures[layers] - 10 * number, part.pictures)
        np.testing.assert_array_equal(plan.matrices[layers], part.matrices)
        np.testing.assert_allclose(np.bincount(part.pictures, part.weights), 1)


def test_partners_can_have_a_range_for_each_picture() -> None:
    rng = np.random.default_rng(0)
    low = np.repeat([0, 5, 10, 15], 25)
    sizes = np.full((20, 2), SIZE)
    plan = draw_plan(rng, AugmentConfig(mixup=1.0), low.copy(), (low, low + 5), sizes, (SIZE, SIZE))
    assert (plan.positions // 5 == low[plan.pictures, None] // 5).all()
    assert len(np.unique(plan.positions)) == 20


def test_boxes_in_perspective() -> None:
    nearer_to_the_right = np.array([[[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]]])  # (x, y) / (1 - x / 100)
    # Corners (10, 20) and (50, 40): divided by 0.9 on the left, by 0.5 on the right.
    moved = transform_boxes(np.array([[10.0, 20, 50, 40]]), nearer_to_the_right)
    np.testing.assert_allclose(moved, [[10 / 0.9, 20 / 0.9, 100, 80]])


def test_boxes_follow_a_quarter_turn() -> None:
    turn = np.array([[[0.0, 1.0, 0.0], [-1.0, 0.0, 100.0]]])  # (x, y) -> (y, 100 - x)
    np.testing.assert_allclose(transform_boxes(np.array([[10.0, 20, 30, 25]]), turn), [[20, 70, 25, 90]])


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((0.5, 0.5, 0.5, 0.5), True),
        ((0.5, 0.5, 2.1 / SIZE, 2.1 / SIZE), True),
        ((0.5, 0.5, 1.9 / SIZE, 0.5), False),  # thinner than 2 px
        ((0.5, 0.5, 0.0, 0.0), False),
        ((0.02, 0.5, 0.5, 0.5), True),  # cut at the edge, more than half left
    ],
)
def test_which_boxes_survive(box: tuple[float, float, float, float], kept: bool) -> None:
    config = AugmentConfig(mosaic=0.0, **STILL)
    samples = make_samples(["a.png"], [(SIZE, SIZE)], [[(3, *box)]])
    plan = draw_plan(np.random.default_rng(0), config, np.zeros(1, int), (0, 1), np.array([[SIZE, SIZE]]), (SIZE, SIZE))
    targets = plan_targets(plan, samples, plan.positions, config)
    assert len(targets) == kept
    if kept:
        assert targets[0, 1] == 3 and targets.dtype == np.float32


def test_a_mostly_hidden_box_is_dropped_even_when_the_canvas_hid_it() -> None:
    config = AugmentConfig(mosaic=0.0, **STILL)
    samples = make_samples(["a.png"], [(SIZE, SIZE)], [[(0, -0.19, 0.5, 0.5, 0.5)]])
    plan = draw_plan(np.random.default_rng(0), config, np.zeros(1, int), (0, 1), np.array([[SIZE, SIZE]]), (SIZE, SIZE))
    assert len(plan_targets(plan, samples, plan.positions, config)) == 1  # 0.12 of it is left
    stricter = AugmentConfig(mosaic=0.0, min_area_ratio=0.13, **STILL)
    assert len(plan_targets(plan, samples, plan.positions, stricter)) == 0


@pytest.mark.parametrize(("left", "kept"), [(-36, False), (-24, False), (-22, False), (-21, True), (0, True)])
@pytest.mark.parametrize("perspective", [0.0, 1e-6])
def test_what_the_canvas_hides_does_not_come_back_by_a_turn(left: int, kept: bool, perspective: float) -> None:
    """A box of 24 px in a tile that the canvas cuts; by an eighth turn what is left of it encloses half of its area."""
    config = AugmentConfig(degrees=45.0, **STILL)
    samples = make_samples(["a.png"], [(SIZE, SIZE)], [[(0, 0.5, 0.5, 24 / SIZE, 24 / SIZE)]])
    plan = plan_of(config, count=1)
    eighth = np.sqrt(0.5) * np.array([[[1.0, 1, -SIZE], [-1, 1, -SIZE]]])  # about (0, SIZE), which goes to the middle
    plan = replace(
        plan,
        positions=np.array([[-1, -1, 0, -1]]),
        tile_sizes_hw=np.full((1, 4, 2), SIZE),
        centres_xy=np.array([[left + 60, SIZE - 48]]),  # the box goes from `left` to `left` + 24, around y = SIZE
        matrices=eighth + [[[0, 0, SIZE / 2], [0, 0, SIZE / 2]]],
        perspectives=np.array([[perspective, 0, 1]]) if perspective else None,
    )
    assert len(plan_targets(plan, samples, np.zeros((1, 4), int), config)) == kept


def test_no_labels_at_all() -> None:
    samples = make_samples(["a.png"] * 20, [(SIZE, SIZE)] * 20)
    plan = plan_of(AugmentConfig())
    assert plan_targets(plan, samples, plan.positions, AugmentConfig()).shape == (0, 6)


def test_rows_of_repeated_and_empty_images() -> None:
    box = (0, 0.5, 0.5, 0.5, 0.5)
    samples = make_samples(["a.png"] * 3, [(SIZE, SIZE)] * 3, [[box] * 2, [], [box] * 3])
    rows, owners = samples.rows_of(np.array([2, 1, 0, 2]))
    assert rows.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    assert owners.tolist() == [0, 0, 0, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 1.0),
        ("perspective", 0.2),
        ("mosaic", 1.5),
        ("hsv_v", -0.1),
        ("degrees", "3"),
        ("fliplr", float("nan")),
    ],
)
def test_impossible_strengths_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        AugmentConfig(**{name: value})  # type: ignore[arg-type]
