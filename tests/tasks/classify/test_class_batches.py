"""Classification's batches, held against slices of numpy and pictures made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.kernel_opencv import Painter
from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.batches.planner import images_of
from mgil.tasks.base import Loading
from mgil.tasks.classify.batches import ClassComposer, ClassLoader
from mgil.tasks.classify.crops import eval_crop
from mgil.tasks.classify.options import TrainOptions
from mgil.tasks.classify.recipe import ClassRecipe
from mgil.tasks.classify.split import ClassSplit
from mgil.tasks.registry import task_named

STILL = ClassRecipe(scale_min=1, fliplr=0)
NAMES = ("a", "b", "c")


def held(pixels: np.ndarray) -> ClassSplit:
    """A split that holds its (N, H, W, 3) pixels itself, as CIFAR's files do."""
    count = len(pixels)
    sizes = np.tile(np.array(pixels.shape[1:3], np.int32), (count, 1))
    classes = np.arange(count, dtype=np.int64) % len(NAMES)
    return ClassSplit([f"batch:{row}" for row in range(count)], sizes, classes, NAMES, pixels)


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def files(folder: Path, sizes_hw: list[tuple[int, int]], ending: str = "png") -> ClassSplit:
    """A split of smooth pictures of these sizes."""
    rng, paths = np.random.default_rng(1), []
    for number, (height, width) in enumerate(sizes_hw):
        picture = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (width, height))
        paths.append(str(folder / f"{number}.{ending}"))
        cv2.imwrite(paths[-1], picture)
    classes = np.arange(len(paths), dtype=np.int64) % len(NAMES)
    return ClassSplit(paths, np.array(sizes_hw, np.int32), classes, NAMES)


def loader_of(
    split: ClassSplit, recipe: ClassRecipe, size: int, batch: int = 8, how: str = "center", **options: object
) -> TrainLoader:
    told = {"report": lambda _line: None, **options}
    return TrainLoader(ClassComposer(split, recipe, size, how), batch, **told)  # type: ignore[arg-type]


def planned(loader: TrainLoader, epoch: int = 0) -> tuple[Plan, np.ndarray, np.ndarray, np.ndarray]:
    """The plan of an epoch's first batches, the tiles, their rows, and the epoch's sequence."""
    sequence = loader.sequence(epoch)
    plan = loader.planner.plan(epoch, 0, sequence).plan
    tiles, rows = loader.store.tiles_of(images_of(plan, sequence))
    return plan, np.asarray(tiles), rows, sequence


def test_padded_crops_are_slices_bit_for_bit() -> None:
    pixels = noise(16, 24, 24)
    loader = loader_of(held(pixels), ClassRecipe(scale_min=1, pad=3, fliplr=0.5), 24, 16)
    plan, tiles, rows, sequence = planned(loader)
    on_torch = render_torch(plan, torch.from_numpy(tiles), rows).numpy()
    mirrored = 0
    for row, picture in enumerate(loader.batch(0, 0).images.numpy()):
        bordered = np.pad(pixels[sequence[row]], ((3, 3), (3, 3), (0, 0))).transpose(2, 0, 1)
        (scale, _, shift), (_, _, down) = plan.matrices[row]
        left, top = round(3 - (24 - shift if scale < 0 else shift)), round(3 - down)
        if scale < 0:
            left, mirrored = round(3 - (24 - shift)), mirrored + 1
        expected = bordered[:, top : top + 24, left : left + 24]
        expected = expected[..., ::-1] if scale < 0 else expected
        assert np.array_equal(picture, expected) and np.array_equal(on_torch[row], expected)
    assert 2 < mirrored < 14 and len(np.unique(plan.matrices[:, :, 2], axis=0)) > 8


LONG = [(100, 1000), (1000, 100), (40, 100), (100, 300), (60, 90), (32, 32), (20, 50), (300, 7)]


def sharp(folder: Path, sizes_hw: list[tuple[int, int]], ending: str = "png") -> ClassSplit:
    """A split of pictures with edges everywhere."""
    split = files(folder, sizes_hw, ending)
    for path, (height, width) in zip(split.image_paths, sizes_hw, strict=True):
        blocks = np.random.default_rng(height).integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), np.uint8)
        cv2.imwrite(path, blocks.repeat(5, axis=0).repeat(5, axis=1)[:height, :width])
    return split


@pytest.mark.parametrize("how", ["center", "squash"])
def test_without_augmentation_training_sees_what_evaluation_does(tmp_path: Path, how: str) -> None:
    for split in (held(noise(8, 40, 56)), sharp(tmp_path, LONG)):
        train = loader_of(split, STILL, 32, how=how).batch(0, 0)
        (batch,) = ClassLoader(split, 32, how, Loading(8, report=lambda _line: None))
        order = np.argsort(train.indices)
        assert np.array_equal(train.images.numpy()[order], batch.images.numpy())
        assert np.array_equal(train.targets.numpy()[order][:, 1:], batch.targets.numpy()[:, 1:])
    square = held(noise(6, 32, 32))
    (batch,) = ClassLoader(square, 32, "center", Loading(8, report=lambda _line: None))
    train = loader_of(square, STILL, 32).batch(0, 0)
    assert square.pixels is not None
    assert np.array_equal(batch.images.numpy(), square.pixels.transpose(0, 3, 1, 2))
    assert np.array_equal(train.images.numpy(), batch.images.numpy()[train.indices])


@pytest.mark.parametrize("recipe", [ClassRecipe(), ClassRecipe(scale_min=1, pad=4)])
@pytest.mark.parametrize(("how", "ending"), [("center", "png"), ("center", "jpg"), ("squash", "png")])
def test_tiles_are_as_fine_as_what_evaluation_shows(tmp_path: Path, recipe: ClassRecipe, how: str, ending: str) -> None:
    """Of those that crops are taken from; a long picture does not enlarge them all."""
    split = sharp(tmp_path, [*LONG, (400, 4000)], ending)
    composer = ClassComposer(split, recipe, 32, how)
    assert composer.decoder.size <= 72
    for item, (height, width) in enumerate(composer.tile_sizes_hw.tolist()):
        tile = np.zeros((72, 72, 3), np.uint8)
        assert composer.decoder.decode_into(item, tile) is None
        assert min(height, width) >= min(32, *split.sizes_hw[item]) and not tile[height:].any()
        expected = eval_crop(split.picture(item), 32, how).astype(int)
        # a pixel of a picture, by which the middles may differ, is seen where it is not made smaller
        most = 10 if min(split.sizes_hw[item]) > 32 else 20
        assert np.abs(eval_crop(tile[:height, :width], 32, how) - expected).mean() < most


def test_the_crop_is_that_of_the_network_unless_the_user_says(tmp_path: Path) -> None:
    task, split = task_named("classify"), sharp(tmp_path, [(40, 100)])
    for own, mode, how in (("squash", None, "squash"), ("center", "squash", "squash"), ("squash", "center", "center")):
        model, options = SimpleNamespace(crop=own, max_stride=4), TrainOptions(crop_mode=mode)
        composer = task.composer(split, STILL, 32, model, options)
        images = TrainLoader(composer, 1, report=lambda _line: None).batch(0, 0).images
        assert np.array_equal(images[0].permute(1, 2, 0), eval_crop(split.picture(0), 32, how))


def test_a_flip_mirrors() -> None:
    split = held(noise(8, 20, 20))
    mirrored = loader_of(split, replace(STILL, fliplr=1.0), 20).batch(0, 0)
    upside_down = loader_of(split, replace(STILL, flipud=1.0), 20).batch(0, 0)
    plain = loader_of(split, STILL, 20).batch(0, 0)
    assert torch.equal(mirrored.images, plain.images.flip(3))
    assert torch.equal(upside_down.images, plain.images.flip(2))


def test_random_crops_are_resized_slices() -> None:
    """Smooth pictures, as OpenCV's resize of the slice is the same but for its border."""
    split = held(np.stack([cv2.resize(one, (48, 48)) for one in noise(8, 6, 6)]))
    loader = loader_of(split, ClassRecipe(scale_min=0.5, fliplr=0), 32)
    plan, _, _, sequence = planned(loader)
    assert split.pixels is not None and plan.is_window.all()
    for row, picture in enumerate(loader.batch(0, 0).images.numpy()):
        left, top, right, bottom = plan.sources_xyxy[row]
        assert 0 <= left < right <= 48 and 0.45 * 48**2 < (right - left) * (bottom - top) <= 48**2
        part = split.pixels[sequence[row]][top:bottom, left:right]
        expected = cv2.resize(part, (32, 32), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(picture, expected.transpose(2, 0, 1))


def flat_pictures(count: int = 32) -> ClassSplit:
    """Pictures of one grey level each: 10, 17, 24, ..."""
    levels = 10 + 7 * np.arange(count, dtype=np.uint8)
    return held(np.broadcast_to(levels[:, None, None, None], (count, 16, 16, 3)).copy())


def test_mixup_blends_pixels_and_targets_by_one_share() -> None:
    split = flat_pictures()
    loader = loader_of(split, replace(STILL, mixup=0.5, mixup_alpha=1.0), 16, 32)
    plan, tiles, rows, sequence = planned(loader)
    batch = loader.batch(0, 0)
    on_torch = render_torch(plan, torch.from_numpy(tiles), rows)
    assert split.pixels is not None and 4 < len(plan.pictures) - 32 < 28
    items = sequence[plan.positions[:, 3]]
    for row in range(32):
        targets = batch.targets[batch.targets[:, 0] == row]
        layers = np.flatnonzero(plan.pictures == row)
        assert targets[:, 2].sum().item() == pytest.approx(1)
        assert targets[:, 1].tolist() == split.classes[items[layers]].tolist()
        assert targets[:, 2].numpy() == pytest.approx(plan.weights[layers])
        level = float((split.pixels[items[layers], 0, 0, 0] * plan.weights[layers]).sum())
        for images in (batch.images, on_torch):
            assert images[row].unique().numel() == 1
            assert abs(images[row, 0, 0, 0].item() - level) <= 0.51
    shares = plan.weights[32:]
    assert shares.std() > 0.1 and ((shares > 0) & (shares < 1)).all()


def test_cutmix_covers_a_rectangle_and_shares_by_its_area() -> None:
    split = flat_pictures()
    loader = loader_of(split, replace(STILL, cutmix=1.0), 16, 32)
    plan, tiles, rows, sequence = planned(loader)
    batch = loader.batch(0, 0)
    assert torch.equal(batch.images, render_torch(plan, torch.from_numpy(tiles), rows))
    assert split.pixels is not None and plan.regions is not None and len(plan.pictures) == 64
    levels = split.pixels[sequence[plan.positions[:, 3]], 0, 0, 0]
    sized = 0
    for row in range(32):
        left, top, right, bottom = plan.regions[32 + row]
        expected = np.full((3, 16, 16), levels[row])
        expected[:, top:bottom, left:right] = levels[32 + row]
        assert np.array_equal(batch.images[row].numpy(), expected)
        area = (right - left) * (bottom - top) / 256
        targets = batch.targets[batch.targets[:, 0] == row]
        wanted = [share for share in (1 - area, area) if share]
        assert targets[:, 2].tolist() == pytest.approx(wanted)
        sized += len(wanted) == 2
    assert sized > 20


EVERYTHING = ClassRecipe(scale_min=0.2, degrees=30, flipud=0.3, mixup=0.3, cutmix=0.4, hsv_h=0.1, hsv_s=0.5, hsv_v=0.4)


@pytest.mark.parametrize(
    "recipe", [EVERYTHING, replace(EVERYTHING, scale_min=1, pad=5), replace(EVERYTHING, degrees=0)]
)
def test_both_kernels_draw_the_same(tmp_path: Path, recipe: ClassRecipe) -> None:
    split = files(tmp_path, [(40, 60), (90, 40), (33, 33), (200, 150), (1, 30), (64, 64), (28, 28), (120, 100)])
    loader = loader_of(split, recipe, 32)
    for epoch in range(3):
        plan, tiles, rows, _ = planned(loader, epoch)
        drawn = Painter(plan, rows).draw(tiles, 0, plan.picture_count).numpy()
        on_torch = render_torch(plan, torch.from_numpy(tiles), rows).numpy()
        difference = np.abs(drawn.astype(int) - on_torch)
        assert difference.mean() < 1.0 and np.percentile(difference, 99.5) <= 12
        assert torch.equal(torch.from_numpy(drawn[:8]), loader.batch(epoch, 0).images)


def test_parts_of_a_plan_are_drawn_as_the_whole_is() -> None:
    loader = loader_of(held(noise(32, 24, 24)), EVERYTHING, 24, 4)
    plan, tiles, rows, _ = planned(loader)
    whole = Painter(plan, rows).draw(tiles, 0, plan.picture_count)
    on_torch = render_torch(plan, torch.from_numpy(tiles), rows)
    for first, stop in ((0, 5), (5, 6), (6, 32)):
        part, chosen = plan.part(first, stop), rows[plan.layers_of(first, stop)]
        assert torch.equal(Painter(part, chosen).draw(tiles, 0, stop - first), whole[first:stop])
        difference = (render_torch(part, torch.from_numpy(tiles), chosen).int() - on_torch[first:stop]).abs()
        assert difference.max() <= 1


def test_batches_are_a_function_of_seed_epoch_and_rank(tmp_path: Path) -> None:
    split = files(tmp_path, [(40, 50)] * 12)

    def images(epoch: int = 1, **options: object) -> torch.Tensor:
        return loader_of(split, EVERYTHING, 32, 3, **options).batch(epoch, 1).images

    first = images(seed=5)
    assert torch.equal(first, images(seed=5))
    for store in ("resident", "streamed"):  # which reach for different partners
        loader = loader_of(split, EVERYTHING, 32, 3, seed=5, store=store)
        in_order = list(loader.epoch(1))
        assert torch.equal(loader.batch(1, 1).images, in_order[1].images) and len(in_order) == 4
    others = [images(seed=6), images(2, seed=5), images(seed=5, rank=1, world_size=2)]
    assert not any(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("recipe", [EVERYTHING, replace(EVERYTHING, scale_min=1, pad=4), STILL])
def test_odd_pictures(tmp_path: Path, recipe: ClassRecipe) -> None:
    split = files(tmp_path, [(1, 1), (1, 500), (500, 1), (2, 3)])
    loader = loader_of(split, recipe, 32, 4)
    for batch in loader.epoch(0):
        assert batch.images.shape == (4, 3, 32, 32) and batch.images.any()
        assert torch.bincount(batch.targets[:, 0].long(), batch.targets[:, 2]).numpy() == pytest.approx(np.ones(4))


def test_an_unreadable_picture_is_black_without_a_class(tmp_path: Path) -> None:
    split = files(tmp_path, [(40, 40)] * 6)
    Path(split.image_paths[2]).write_bytes(b"no picture")
    told: list[str] = []
    batch = loader_of(split, STILL, 32, 6, report=told.append).batch(0, 0)
    row = batch.indices.tolist().index(2)
    assert not batch.images[row].any() and row not in batch.targets[:, 0] and len(batch.targets) == 5
    assert sum("2.png" in line for line in told) == 1
    mixed = loader_of(split, replace(STILL, cutmix=0.5, mixup=0.5), 32, 6).batch(0, 0)
    sums = torch.bincount(mixed.targets[:, 0].long(), mixed.targets[:, 2], minlength=6)
    assert ((sums - 1).abs() < 1e-6).logical_or(sums == 0).all() and (sums > 0).sum() >= 5
    told.clear()
    (batch,) = ClassLoader(split, 32, "center", Loading(8, report=told.append))
    assert batch.indices.tolist() == [0, 1, 3, 4, 5] and len(told) == 1 and "2.png" in told[0]
    assert batch.targets.tolist() == [[0, 0, 1], [1, 1, 1], [2, 0, 1], [3, 1, 1], [4, 2, 1]]
    with pytest.raises(ValueError, match=r"2\.png"):
        list(ClassLoader(split, 32, "center", Loading(8, strict=True)))


@pytest.mark.parametrize("how", ["center", "squash"])
def test_evaluation_crops_and_their_maps(tmp_path: Path, how: str) -> None:
    split = files(tmp_path, [(40, 70), (50, 30), (32, 32)])
    batches = list(ClassLoader(split, 32, how, Loading(2, workers=2, report=lambda _line: None)))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [2]]
    found = torch.cat([batch.images for batch in batches]).numpy()
    for row in range(3):
        assert np.array_equal(found[row], eval_crop(split.picture(row), 32, how).transpose(2, 0, 1))
    gains, pads = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("gains", "pads"))
    left_top = {"center": [[15, 0], [0, 10], [0, 0]], "squash": [[0, 0]] * 3}[how]
    sides = {"center": [[40, 40], [30, 30], [32, 32]], "squash": [[70, 40], [30, 50], [32, 32]]}[how]
    assert np.allclose(gains, 32 / np.array(sides)) and np.allclose(left_top * gains + pads, 0)


def test_crops_stay_in_memory_where_they_fit(tmp_path: Path) -> None:
    split = files(tmp_path, [(40, 40)] * 3)
    for budget, kept in ((3 * 3 * 32 * 32, True), (3 * 3 * 32 * 32 - 1, False)):
        loader = ClassLoader(split, 32, "center", Loading(4, memory_budget=budget, report=lambda _line: None))
        (first,) = loader
        moved = Path(split.image_paths[0]).rename(tmp_path / "aside.png")
        (second,) = loader
        moved.rename(split.image_paths[0])
        assert len(first.indices) == 3 and len(second.indices) == (3 if kept else 2)


def test_large_jpegs_at_reduced_scale_are_almost_the_same(tmp_path: Path) -> None:
    split = files(tmp_path, [(300, 420), (256, 256), (40, 40)], "jpg")
    plain, reduced = (
        next(iter(ClassLoader(split, 32, "center", Loading(4, reduced=choice, report=lambda _line: None)))).images.int()
        for choice in (False, True)
    )
    assert not torch.equal(plain[:2], reduced[:2]) and torch.equal(plain[2], reduced[2])
    assert (plain - reduced).abs().float().mean() < 1


def test_only_squares_and_known_crops() -> None:
    split = held(noise(2, 8, 8))
    with pytest.raises(ValueError, match="32x48 pixels; classification takes squares"):
        ClassLoader(split, 32, "center", Loading(2, shape_hw=(32, 48)))
    assert next(iter(ClassLoader(split, 32, "center", Loading(2, shape_hw=(16, 16))))).images.shape[2:] == (16, 16)
    with pytest.raises(ValueError, match="'middle'"):
        ClassLoader(split, 32, "middle", Loading(2))
