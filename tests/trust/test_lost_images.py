"""Images that were good when the labels were read and are not any more: the run goes on without them."""

from __future__ import annotations

import csv
import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.training.run import run_train
from mgil.tasks.detect.batches import detect_eval_loader
from tests.engine.tiny import Playground
from tests.tasks.detect.judging import evaluate, train_loader
from tests.trust.odd_images import damaged_within, encoded, pixels, png_of

SIZE, COUNT, LOST = 32, 12, 5
STRONG = AugmentConfig(mixup=0.5, degrees=10, mosaic=0.8)


def vanish(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def damage(path: Path) -> None:
    path.write_bytes(damaged_within(path.read_bytes()))


def resize(path: Path) -> None:
    path.write_bytes(png_of(9, 40, (b"\0" + b"\7" * 9) * 40))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


LOSSES = {
    vanish: "image not found",
    empty: "image is empty (0 bytes)",
    damage: "image cannot be decoded",
    resize: "image is 40x9, but was 32x32 (height x width) when the labels were read",
    make_folder: "image cannot be decoded (Is a directory)",
}
STORES = [("resident", 0), ("streamed", 0), ("streamed", 2)]


class Squares:
    """A data set of equal squares, each labelled with a box in its middle."""

    def __init__(self, root: Path, grey: int | None = None) -> None:
        for kind in ("images", "labels"):
            (root / kind).mkdir(parents=True)
        for number in range(COUNT):
            image = np.full((SIZE, SIZE, 3), 114, np.uint8) if number == grey else pixels(number, SIZE, SIZE)
            (root / "images" / f"{number:02}.png").write_bytes(encoded(Image.fromarray(image), "PNG"))
            (root / "labels" / f"{number:02}.txt").write_text("" if number == grey else "0 0.5 0.5 0.5 0.5\n")
        (root / "set.yaml").write_text("train: images\nval: images\nnames: [object]\n")
        self.config: DataConfig = load_data_config(root / "set.yaml")
        self.samples: Samples = load_samples(self.config, "train", cache_dir=root / "cache", report=lambda line: None)
        self.lines: list[str] = []

    def path(self, number: int = LOST) -> Path:
        return Path(self.samples.image_paths[number])

    def train_loader(self, store: str, workers: int = 0, **options: int) -> TrainLoader:
        return train_loader(
            self.samples, SIZE, 4, STRONG, store=store, workers=workers, report=self.lines.append, **options
        )  # type: ignore[arg-type]

    def told(self) -> list[str]:
        return [line for line in self.lines if not line.startswith("images: ")]


@pytest.fixture
def squares(tmp_path: Path) -> Squares:
    return Squares(tmp_path / "set")


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    """The same set with a grey image without labels in the place of the one that will be lost."""
    return Squares(tmp_path_factory.mktemp("grey") / "set", grey=LOST)


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize(("store", "workers"), STORES)
def test_training_goes_on_as_if_the_image_were_grey_and_empty(
    squares: Squares, without: Squares, store: str, workers: int, lose: Callable[[Path], None]
) -> None:
    content = squares.path().read_bytes()
    lose(squares.path())
    loader, reference = squares.train_loader(store, workers), without.train_loader(store)
    for epoch in range(2):
        for index, (ours, theirs) in enumerate(zip(loader.epoch(epoch), reference.epoch(epoch), strict=True)):
            assert torch.equal(ours.images, theirs.images) and torch.equal(ours.targets, theirs.targets)
            alone = loader.batch(epoch, index)
            assert torch.equal(ours.images, alone.images) and torch.equal(ours.targets, alone.targets)
        if lose is vanish:
            squares.path().write_bytes(content)  # it comes back, and stays out: its labels are gone
    (line,) = squares.told()
    assert line.startswith(f"{squares.path()}: {LOSSES[lose]}") and line.endswith("; skipped")
    assert list(loader.unreadable) == [LOST]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("store", "workers"), STORES)
def test_an_image_lost_between_two_epochs(squares: Squares, without: Squares, store: str, workers: int) -> None:
    loader = squares.train_loader(store, workers)
    before = [batch.targets for batch in loader.epoch(0)]
    vanish(squares.path())
    after = list(loader.epoch(0))
    if store == "resident":  # it was decoded before the first epoch and is not asked for again
        assert squares.told() == [] and all(map(torch.equal, before, (batch.targets for batch in after)))
        return
    for ours, theirs in zip(after, without.train_loader(store).epoch(0), strict=True):
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.targets, theirs.targets)
    assert len(squares.told()) == 1


class SeesTheMiddle(nn.Module):
    """Finds in every picture the box that every picture of `Squares` is labelled with."""

    stride, max_stride = torch.tensor([32.0]), 32

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        box = torch.tensor([width / 2, height / 2, SIZE / 2, SIZE / 2, 0.9, 0.9])
        return box.expand(len(images), 1, 6)


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("lose", LOSSES)
def test_evaluation_counts_neither_the_image_nor_its_labels(
    squares: Squares, lose: Callable[[Path], None], ahead: bool
) -> None:
    lose(squares.path())
    report, budget = squares.lines.append, 1 << 20
    loader = detect_eval_loader(squares.samples, SIZE, 1, ahead=ahead, workers=2, memory_budget=budget, report=report)
    for _ in range(2):  # as after two epochs
        result = evaluate(SeesTheMiddle(), loader, squares.samples, squares.config)
        assert (result.images, result.instances, result.unreadable) == (COUNT - 1, COUNT - 1, (LOST,))
        assert result.map50_95 == pytest.approx(1.0) and result.recall == 1.0  # 11/12 if the label counted
    (line,) = squares.told()
    assert line.startswith(f"{squares.path()}: {LOSSES[lose]}") and line.endswith("; skipped")


def test_a_batch_of_several_images_holds_the_others(squares: Squares) -> None:
    whole = detect_eval_loader(squares.samples, SIZE, 8, report=squares.lines.append)
    before = list(whole)
    vanish(squares.path())
    first, second = detect_eval_loader(squares.samples, SIZE, 8, report=squares.lines.append)
    rest = [index for index in range(8) if index != LOST]
    assert first.indices.tolist() == rest and second.indices.tolist() == list(range(8, COUNT))
    assert torch.equal(first.images, before[0].images[rest])
    assert first.targets[:, 0].tolist() == list(range(7)) and len(first.gains) == len(first.pads) == 7


@pytest.mark.parametrize("strict", [True, False])
def test_strict_or_more_than_half_is_an_error(squares: Squares, strict: bool) -> None:
    for number in range(1 if strict else COUNT // 2 + 1):
        vanish(squares.path(number))
    reason = r"06.png: .* more than half of the images \(7\) cannot"
    if strict:
        reason = "00.png: image not found; an error with --strict"
    for store, workers in STORES:
        reason = reason.replace("06.png", r"\d\d.png")  # the order in which a stream meets them
        with pytest.raises(ValueError, match=reason) as caught:
            list(squares.train_loader(store, workers, strict=strict).epoch(0))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=reason):
        list(detect_eval_loader(squares.samples, SIZE, 4, strict=strict, report=squares.lines.append))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("store", "workers"), STORES)
def test_a_third_of_the_images_is_not_too_much_for_any_of_four_processes(
    squares: Squares, store: str, workers: int
) -> None:
    for number in range(COUNT // 3):
        vanish(squares.path(number))
    missing = set(range(COUNT // 3))
    found: set[int] = set()
    for rank in range(4):
        loader = squares.train_loader(store, workers, rank=rank, world_size=4)
        for epoch in range(3):
            list(loader.epoch(epoch))
        new = dict(loader.unreadable.take_new())
        assert set(new) == set(loader.unreadable) <= missing and loader.unreadable.take_new() == []
        assert all(problem.startswith(f"{squares.path(image)}: ") for image, problem in new.items())
        found |= set(new)
        assert store == "streamed" or set(new) == missing
    assert found == missing


def test_many_are_told_shortly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgil.datasets.batches.unreadable.SHOWN", 2)
    squares = Squares(tmp_path / "set")
    for number in range(5):
        vanish(squares.path(number))
    list(squares.train_loader("streamed").epoch(0))
    assert len(squares.told()) == 3
    assert squares.told()[2] == "further images cannot be read either; they are skipped without a line each"


@pytest.mark.parametrize("cache", ["ram", "none"])
def test_train_and_val_of_a_set_that_loses_images(tmp_path: Path, cache: str) -> None:
    playground = Playground(tmp_path / "playground")
    images = Path(playground.data).parent / "images"
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if line.startswith("images: "):  # the labels are read, the images are not
            vanish(images / "train" / "003.png")
            damage(images / "val" / "002.png")

    run = run_train(playground.config(tmp_path / "runs", cache=cache), report=report)
    unreadable = [line for line in lines if line.endswith("; skipped")]
    assert [line.partition(": ")[0] for line in unreadable] == [
        str(images / "train" / "003.png"),
        str(images / "val" / "002.png"),
    ]
    with open(run / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    assert len(rows) == 2 and all(math.isfinite(float(value)) for row in rows for value in row.values())
    lines.clear()
    options = {"weights": (str(run / "weights" / "last.pt"),), "data": playground.data, "imgsz": (32,), "workers": 0}
    result = run_val(ValConfig(**options, save_json=True, project=str(tmp_path / "val")), report=lines.append)[32]
    assert result.scores.images == 3 and len([line for line in lines if "002.png: image" in line]) == 1
    with pytest.raises(ValueError, match=r"002\.png: image cannot be decoded .*; an error with --strict"):
        run_val(ValConfig(**options, strict=True, project=str(tmp_path / "val")), report=lines.append)
