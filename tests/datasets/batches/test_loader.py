from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mgil.datasets.batches.loader
import mgil.datasets.batches.planner
from mgil.datasets.batches import stores
from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.batch import TrainBatch
from mgil.datasets.batches.decode import decode_image
from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.batches.stores import ResidentStore, TileDecoder
from mgil.datasets.reading.samples import Samples
from tests.datasets.scenes import make_samples, smooth_image, write_image, write_split
from tests.tasks.detect.judging import train_loader

SIZE = 32
STRONG = AugmentConfig(mixup=0.5, degrees=20, mosaic=0.8, flipud=0.5)


def quiet(line: str) -> None:
    """Take what the loader reports."""


def make_loader(
    samples: Samples, batch_size: int = 4, augment: AugmentConfig = STRONG, **options: object
) -> TrainLoader:
    return train_loader(samples, SIZE, batch_size, augment, report=quiet, **options)  # type: ignore[arg-type]


def background_threads() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


def assert_equal(ours: TrainBatch, theirs: TrainBatch) -> None:
    assert torch.equal(ours.images, theirs.images)
    assert torch.equal(ours.targets, theirs.targets)
    assert (ours.indices == theirs.indices).all()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return write_split(tmp_path_factory.mktemp("split"), 23)


@pytest.fixture
def small_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of two batches of four, so that it wraps around."""
    monkeypatch.setattr(stores, "RING_TILES", 8)
    monkeypatch.setattr(stores, "RING_BATCHES", 2)


def test_batches_have_the_promised_form(split: Samples) -> None:
    loader = make_loader(split)
    batches = list(loader.epoch(0))
    assert len(loader) == len(batches) == 5
    for batch in batches:
        assert batch.images.shape == (4, 3, SIZE, SIZE) and batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous()
        assert batch.targets.shape[1] == 6 and batch.targets.dtype == torch.float32
        assert (batch.targets[:, 0].diff() >= 0).all() and batch.targets[:, 0].max() < 4
        low = batch.targets[:, 2:4] - batch.targets[:, 4:] / 2
        high = batch.targets[:, 2:4] + batch.targets[:, 4:] / 2
        assert low.min() >= -1e-4 and high.max() <= SIZE + 1e-4
    seen = np.concatenate([batch.indices for batch in batches])
    assert len(set(seen.tolist())) == 20


@pytest.mark.parametrize("planned_at_once", [1, 8, 512])
@pytest.mark.parametrize("store", ["resident", "streamed"])
def test_batches_depend_on_seed_epoch_and_index_alone(
    split: Samples, small_ring: None, store: str, planned_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mgil.datasets.batches.planner, "PLANNED_AT_ONCE", planned_at_once)
    first, second = make_loader(split, store=store), make_loader(split, store=store)
    list(second.epoch(3))
    batches = list(first.epoch(1))
    for index, (ours, theirs) in enumerate(zip(batches, second.epoch(1), strict=True)):
        assert_equal(ours, theirs)
        assert_equal(ours, second.batch(1, index))
    for ours, theirs in zip(batches[2:], first.epoch(1, first_batch=2), strict=True):
        assert_equal(ours, theirs)
    assert not torch.equal(batches[0].images, first.batch(2, 0).images)
    assert not torch.equal(batches[0].images, make_loader(split, store=store, seed=1).batch(1, 0).images)


def test_the_number_of_workers_changes_nothing(split: Samples, small_ring: None) -> None:
    torch.manual_seed(5)
    alone = list(make_loader(split, store="streamed").epoch(0))
    state = torch.get_rng_state()
    torch.manual_seed(5)
    for ours, theirs in zip(alone, make_loader(split, store="streamed", workers=2).epoch(0), strict=True):
        assert_equal(ours, theirs)
    assert torch.equal(torch.get_rng_state(), state)
    assert multiprocessing.active_children() == []


def test_stores_hold_the_same_pixels(split: Samples) -> None:
    still = AugmentConfig.none()
    resident, streamed = make_loader(split, augment=still), make_loader(split, augment=still, store="streamed")
    for ours, theirs in zip(resident.epoch(0), streamed.epoch(0), strict=True):
        assert_equal(ours, theirs)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_streamed_epoch_decodes_each_file_once(
    split: Samples, small_ring: None, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if workers and multiprocessing.get_start_method() != "fork":
        pytest.skip("worker processes would not see the watched function")
    decode, log = TileDecoder.decode_into, tmp_path / "decoded"

    def watched(self: TileDecoder, index: int, tile: np.ndarray) -> str | None:
        with open(log, "a") as file:
            file.write(f"{index}\n")
        return decode(self, index, tile)

    monkeypatch.setattr(TileDecoder, "decode_into", watched)
    loader = make_loader(split, store="streamed", workers=workers, drop_last=False)
    assert not log.exists()
    assert sum(len(batch.images) for batch in loader.epoch(0)) == 23
    assert sorted(map(int, log.read_text().split())) == list(range(23))


def test_partners_come_from_a_window_of_the_stream(split: Samples, small_ring: None) -> None:
    loader = make_loader(split, store="streamed", augment=AugmentConfig())
    sequence = loader.sequence(0)
    for index in range(len(loader)):
        planned = loader.planner.plan(0, 0, sequence)
        plan = planned.plan.part(*loader.planner.pictures(planned, index))
        assert plan.positions.max() < 4 * (index + 1)
        assert plan.positions.min() >= max(0, 4 * (index + 1) - 8)
        assert plan.primaries.tolist() == list(range(4 * index, 4 * index + 4))


@pytest.mark.parametrize("rect", [False, True])
@pytest.mark.parametrize(("drop_last", "batches", "images"), [(True, 3, 18), (False, 4, 24)])
def test_ranks_share_an_epoch(split: Samples, rect: bool, drop_last: bool, batches: int, images: int) -> None:
    ranks = [make_loader(split, 3, rank=rank, world_size=2, rect=rect, drop_last=drop_last) for rank in range(2)]
    sequences = [loader.sequence(4) for loader in ranks]
    assert [len(loader) for loader in ranks] == [batches, batches]
    assert [len(sequence) for sequence in sequences] == [images // 2, images // 2]
    together = np.concatenate(sequences)
    assert len(set(together.tolist())) == min(images, 23)  # 24 is 23 and one image twice
    assert [len(list(loader.epoch(4))) for loader in ranks] == [batches, batches]


def test_orders_differ_between_epochs_and_cover_everything(split: Samples) -> None:
    loader = make_loader(split, 1)
    first, second = loader.sequence(0), loader.sequence(1)
    assert sorted(first) == sorted(second) == list(range(23))
    assert (first != second).any()


def test_image_weights(split: Samples) -> None:
    loader = make_loader(split)
    weights = np.zeros(23)
    weights[[4, 7]] = [1, 3]
    loader.set_image_weights(weights)
    drawn = np.concatenate([loader.sequence(epoch) for epoch in range(20)])
    assert set(drawn.tolist()) == {4, 7}
    assert abs((drawn == 7).mean() - 0.75) < 0.08
    assert len(list(loader.epoch(0))) == 5
    loader.set_image_weights(None)
    assert len(set(loader.sequence(0).tolist())) == 20
    for bad in (np.zeros(23), np.ones(22), np.full(23, np.nan), -np.ones(23)):
        with pytest.raises(ValueError, match="image weights"):
            loader.set_image_weights(bad)


@pytest.mark.parametrize("store", ["resident", "streamed"])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_one_image(tmp_path: Path, store: str, batch_size: int) -> None:
    image = smooth_image(np.random.default_rng(0), SIZE, SIZE)
    samples = make_samples([write_image(tmp_path / "a.png", image)], [(SIZE, SIZE)], [[[2, 0.5, 0.5, 0.5, 0.5]]])
    (batch,) = make_loader(samples, batch_size, AugmentConfig.none(), store=store).epoch(0)
    np.testing.assert_array_equal(batch.images[0].numpy(), image.transpose(2, 0, 1))
    assert batch.targets.tolist() == [[0, 2, 16, 16, 16, 16]]
    (batch,) = make_loader(samples, batch_size, store=store).epoch(0)
    assert batch.images.shape == (1, 3, SIZE, SIZE)


def test_sets_smaller_than_a_batch(split: Samples) -> None:
    (batch,) = make_loader(split, 64).epoch(0)
    assert sorted(batch.indices) == list(range(23))
    ranks = [make_loader(split, 64, rank=rank, world_size=2) for rank in range(2)]
    assert [len(next(loader.epoch(0)).images) for loader in ranks] == [12, 12]


def test_no_labels_and_crowds(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{i}.png", smooth_image(np.random.default_rng(i), 32, 32)) for i in range(2)]
    sizes = [(32, 32)] * 2
    (batch,) = make_loader(make_samples(paths, sizes), 2).epoch(0)
    assert batch.targets.shape == (0, 6)
    boxes = [[[0, 0.5, 0.5, 1, 1], [1, 0.5, 0.5, 1, 1]], [[2, 0.5, 0.5, 1, 1]]]
    samples = make_samples(paths, sizes, boxes, [True, False, False])
    (batch,) = make_loader(samples, 2, AugmentConfig.none()).epoch(0)
    assert sorted(batch.targets[:, 1].tolist()) == [1, 2]


def test_rectangles_hold_plain_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [(32, 64)] * 4 + [(64, 32)] * 4
    paths = [write_image(tmp_path / f"{i}.png", smooth_image(rng, *size)) for i, size in enumerate(sizes)]
    samples = make_samples(paths, sizes, [[[0, 0.5, 0.5, 0.5, 0.5]]] * 8)
    loader = train_loader(samples, 64, 4, AugmentConfig.none(), rect=True, report=quiet)
    shapes = set()
    for batch in loader.epoch(0):
        shapes.add(tuple(batch.images.shape[2:]))
        for image, index in zip(batch.images, batch.indices, strict=True):
            np.testing.assert_array_equal(image.numpy(), decode_image(paths[index]).transpose(2, 0, 1))
        assert len(batch.targets) == 4
    assert shapes == {(32, 64), (64, 32)}


@pytest.mark.parametrize(("store", "workers"), [("resident", 0), ("streamed", 0), ("streamed", 2)])
@pytest.mark.parametrize("kind", ["gone", "corrupt", "changed"])
def test_a_lost_image_is_named_when_strict(tmp_path: Path, store: str, workers: int, kind: str) -> None:
    samples = write_split(tmp_path, 9)
    lost = Path(samples.image_paths[5])
    if kind == "gone":
        lost.unlink()
    elif kind == "corrupt":
        lost.write_bytes(b"no image")
    else:
        write_image(lost, np.zeros((99, 98, 3), np.uint8))
    with pytest.raises(ValueError, match=rf"{lost.name}: image") as caught:
        list(make_loader(samples, 3, store=store, workers=workers, strict=True).epoch(0))
    assert "\n" not in str(caught.value)
    assert background_threads() == 0
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("how", ["close the epoch", "close the loader", "forget"])
def test_an_epoch_that_is_not_used_up_leaves_nothing_behind(split: Samples, how: str) -> None:
    loader = make_loader(split, store="streamed", workers=2)
    batches = loader.epoch(0)
    next(batches)
    if how == "close the epoch":
        batches.close()  # type: ignore[attr-defined]
    elif how == "close the loader":
        loader.close()
    del batches
    assert background_threads() == 0
    assert multiprocessing.active_children() == []


def test_leaving_the_program_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    program = """
from pathlib import Path
import sys
from mgil.datasets.batches.augment import AugmentConfig
from tests.datasets.scenes import write_split
from tests.tasks.detect.judging import train_loader
if __name__ == "__main__":
    loader = train_loader(write_split(Path(sys.argv[1]), 64), 32, 4, AugmentConfig(), store="streamed", workers=2)
    batches = loader.epoch(0)
    next(batches)
    raise SystemExit(7)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert "Error" not in done.stderr and "terminate" not in done.stderr


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [(23 * SIZE * SIZE * 3, "resident"), (23 * SIZE * SIZE * 3 - 1, "streamed"), (None, "resident")],
)
def test_auto_takes_what_fits_and_says_so(split: Samples, budget: int | None, chosen: str) -> None:
    lines: list[str] = []
    loader = train_loader(split, SIZE, 4, STRONG, memory_budget=budget, report=lines.append)
    assert len(lines) == 1 and chosen in lines[0] and "23 images at 32 px" in lines[0]
    assert next(loader.epoch(0)).images.shape == (4, 3, SIZE, SIZE)


@pytest.mark.parametrize(("mine", "others"), [(True, True), (True, False), (False, True), (False, False)])
def test_auto_takes_what_fits_all_processes(split: Samples, mine: bool, others: bool) -> None:
    """Each process tells what it found, and all get the same answer."""
    asked: list[bool] = []

    def agree(fits: bool) -> bool:
        asked.append(fits)
        return fits and others

    lines: list[str] = []
    budget = 10**9 if mine else 1
    loader = train_loader(split, SIZE, 4, STRONG, memory_budget=budget, agree=agree, report=lines.append)
    assert asked == [mine]
    assert (loader.store.window is None) == (mine and others)
    assert ("another process" in lines[0]) == (mine and not others)
    make_loader(split, store="resident", agree=agree), make_loader(split, store="streamed", agree=agree)
    assert asked == [mine]  # what was asked for is not a matter of memory


def test_impossible_arguments(split: Samples) -> None:
    with pytest.raises(ValueError, match="batch size 0"):
        make_loader(split, 0)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        make_loader(split, rank=2, world_size=2)
    with pytest.raises(ValueError, match="'disk'"):
        make_loader(split, store="disk")
    with pytest.raises(ValueError, match="no training images"):
        make_loader(make_samples([], []))


@pytest.mark.cuda
@pytest.mark.parametrize(("store", "budget"), [("auto", None), ("resident", 0), ("streamed", None)])
def test_batches_on_the_gpu(split: Samples, store: str, budget: int | None) -> None:
    on_gpu = make_loader(split, store=store, memory_budget=budget, device="cuda")
    on_cpu = make_loader(split, store="streamed" if store == "streamed" else "resident")
    for ours, theirs in zip(on_gpu.epoch(0), on_cpu.epoch(0), strict=True):
        assert ours.images.is_cuda
        assert torch.equal(ours.targets, theirs.targets)
        assert (ours.images.cpu().int() - theirs.images.int()).abs().float().mean() < 1.0


def test_tiles_held_as_a_tensor_are_drawn_by_the_torch_kernel(split: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        mgil.datasets.batches.loader, "render_torch", lambda *plan: drawn.append(1) or render_torch(*plan)
    )
    loader, reference = make_loader(split), make_loader(split)
    decoder, device = TileDecoder(split.image_paths, split.sizes_hw, SIZE), torch.device("cpu")
    loader.store = ResidentStore(decoder, loader.unreadable, device=device, progress=False)
    assert isinstance(loader.store.pixels, torch.Tensor)
    for ours, theirs in zip(loader.epoch(0), reference.epoch(0), strict=True):
        assert torch.equal(ours.targets, theirs.targets)
        assert (ours.images.int() - theirs.images.int()).abs().float().mean() < 1.0
    assert len(drawn) == len(loader)
    assert torch.equal(loader.batch(0, 1).images, list(loader.epoch(0))[1].images)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed.",
            ValueError,
            "pictures died.*--workers.*pid 7",
        ),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", ValueError, "decodes pictures died.*--shm-size"),
        ("a fault of ours", RuntimeError, "^a fault of ours$"),
    ],
)
def test_a_decoding_process_that_died_ends_in_one_line(
    said: str, kind: type[Exception], words: str, split: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a system that runs out of memory."""

    def arrivals(*_: object) -> Iterator[Any]:
        raise RuntimeError(said)
        yield

    monkeypatch.setattr("mgil.datasets.batches.stores._arrivals", arrivals)
    with pytest.raises(kind, match=words):
        list(make_loader(split, store="streamed", workers=1).epoch(0))
