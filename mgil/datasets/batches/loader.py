"""Training batches: images decoded once, augmented as a batch, made in the background."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from weakref import WeakSet

import numpy as np
import torch

from mgil.datasets.batches.batch import TrainBatch
from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.kernel_opencv import Painter
from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.order import EpochOrder, probabilities
from mgil.datasets.batches.planner import BatchPlanner, images_of
from mgil.datasets.batches.prefetch import prefetched
from mgil.datasets.batches.random_degradation import RandomDegradation
from mgil.datasets.batches.stores import StoreName, TileReader, Tiles, TileStore, make_store
from mgil.datasets.batches.unreadable import Unreadable
from mgil.datasets.reading.depths import DepthTally
from mgil.datasets.reading.value_range import ValueRange
from mgil.files.text import Report


class TrainLoader:
    """Augmented training batches of one process.

    Batch i of epoch e is a function of (seed, e, i), this rank and the arguments alone: not of the number of workers,
    nor of what was drawn before. `batch` makes any one of them by itself. Making the loader decodes the images, unless
    they are streamed.

    An image that cannot be read any more, though its header was good when the labels were read, becomes a grey tile
    without labels, and is reported once. Several processes should tell each other of theirs between epochs: see
    `Unreadable.take_new`.

    Args:
        composer: how pictures are made of which images.
        batch_size: images per batch of this process.
        seed: of everything random.
        workers: decoding processes of the streamed store.
        store: 'resident' (all images in memory), 'streamed' (decoded every epoch) or 'auto' (what fits).
        memory_budget: bytes that 'auto' may fill; None is a third of what is free.
        rank: this process among `world_size`; each takes its part of every global batch.
        world_size: processes that train together.
        agree: how they agree whether the images fit their memory, see `make_store`.
        device: where batches are made; a CUDA device augments there.
        drop_last: leave out the incomplete last batch (a set smaller than one batch is one smaller batch).
        strict: make an image that cannot be read an error.
        values: what the values of images of more than 8 bits mean; None: all 16 bits.
        degradation: makes some of the finished pictures worse; None: none.
        report: told which store was chosen and why, which images are skipped, and of values that are not used well.

    Raises:
        ValueError: no images, an impossible argument, or see `Unreadable.add`.
    """

    def __init__(
        self,
        composer: Composer,
        batch_size: int,
        *,
        seed: int = 0,
        workers: int = 0,
        store: StoreName = "auto",
        memory_budget: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        agree: Callable[[bool], bool] = bool,
        device: torch.device | str = "cpu",
        drop_last: bool = True,
        strict: bool = False,
        values: ValueRange | None = None,
        degradation: RandomDegradation | None = None,
        report: Report = print,
    ) -> None:
        if composer.size < 1 or batch_size < 1 or not 0 <= rank < world_size:
            sizes = f"size {composer.size}, batch size {batch_size}"
            raise ValueError(f"{sizes}, rank {rank} of {world_size}: out of range")
        if not len(composer):
            raise ValueError("no training images")
        for note in composer.notes:
            report(note)
        self.composer = composer
        self.size = composer.size
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.seed, self.rank, self.degradation = seed, rank, degradation
        self.image_weights: np.ndarray | None = None
        self.unreadable = Unreadable(len(composer), strict=strict, report=report)
        composer.decoder.depths = DepthTally(values, chosen=True)
        self.store: TileStore = make_store(
            composer.decoder,
            name=store,
            batch_size=batch_size,
            workers=workers,
            memory_budget=memory_budget,
            device=self.device,
            ranks=world_size,
            agree=agree,
            unreadable=self.unreadable,
            report=report,
        )
        self.order = EpochOrder(composer, batch_size, seed, rank, world_size, drop_last)
        self.planner = BatchPlanner(
            composer, batch_size, seed=seed, rank=rank, window=self.store.window, unreadable=self.unreadable
        )
        self._epochs: WeakSet[Generator[TrainBatch, None, None]] = WeakSet()  # those that may still run

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def close(self) -> None:
        """Stop what runs in the background; epochs that were not used up end."""
        for batches in list(self._epochs):
            batches.close()

    def set_image_weights(self, weights: np.ndarray | None) -> None:
        """Draw the images of later epochs with these probabilities (they need not sum to one); None: each image once.

        Raises:
            ValueError: not one finite number >= 0 per image, or all zero.
        """
        self.image_weights = None if weights is None else probabilities(weights, len(self.composer))

    def sequence(self, epoch: int) -> np.ndarray:
        """Data set indices in the order in which this rank visits them in an epoch: (len(self) batches,)."""
        return self.order.sequence(epoch, self.image_weights)

    def epoch(self, epoch: int, *, first_batch: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch, in order; the next ones are made in the background.

        Args:
            epoch: number of the epoch.
            first_batch: batch to begin with, to go on within an epoch.

        Raises:
            ValueError: see `Unreadable.add`.
        """
        batches = self._run_epoch(epoch, first_batch)
        self._epochs.add(batches)
        return batches

    def batch(self, epoch: int, index: int) -> TrainBatch:
        """One batch of an epoch, made alone: equal to the one that `epoch` gives at this place."""
        sequence = self.sequence(epoch)
        planned = self.planner.plan(epoch, index // self.planner.at_once, sequence)
        first, stop = self.planner.pictures(planned, index)
        part = planned.plan.part(first, stop)
        tiles, rows = self.store.tiles_of(images_of(part, sequence))
        planned = self.planner.with_targets(planned.plan, sequence)  # now that it is known which images are skipped
        if isinstance(tiles, np.ndarray) and self.device.type != "cuda":
            images = Painter(part, rows).draw(tiles, 0, stop - first)
        else:
            images = _draw_by_torch(part, tiles, rows, self.device)
        targets = planned.targets_of(first, stop).to(images.device)
        return TrainBatch(_degraded(self, images, epoch, index), targets, sequence[part.primaries])

    def files_in(self, epoch: int, index: int) -> list[str]:
        """Paths of the images in a batch: those that its pictures are drawn for, then their partners in mosaics."""
        images = self.planner.images_in(epoch, index, self.sequence(epoch))
        return [self.composer.image_paths[image] for image in images]

    def _run_epoch(self, epoch: int, first_batch: int) -> Generator[TrainBatch, None, None]:
        sequence = self.sequence(epoch)
        reader = self.store.open(sequence, self.planner.reach(sequence, np.array(first_batch))[0].item())
        make = BatchMaker(self, epoch, sequence, reader)
        try:
            for batch, finished in prefetched(make, range(first_batch, len(self))):
                if finished is not None:
                    _await_on_gpu(batch, finished)
                yield batch
        finally:
            reader.close()


class BatchMaker:
    """Makes the batches of an epoch, one after another, in a background thread."""

    def __init__(self, loader: TrainLoader, epoch: int, sequence: np.ndarray, reader: TileReader) -> None:
        self.loader = loader
        self.epoch = epoch
        self.sequence = sequence
        self.reader = reader
        self.number = -1  # of the batches that are planned
        # A stream of its own, so that copies and augmentation run beside the training step.
        self.stream = None
        if loader.device.type == "cuda":
            self.stream = torch.cuda.Stream(loader.device)
            self.stream.wait_stream(torch.cuda.current_stream(loader.device))  # the store may still be being filled

    def __call__(self, index: int) -> tuple[TrainBatch, torch.cuda.Event | None]:
        """A batch, and on a GPU the event after which it is finished."""
        loader, planner = self.loader, self.loader.planner
        if index // planner.at_once != self.number:
            self.number = index // planner.at_once
            self.known_unreadable = len(loader.unreadable)
            self.planned = planner.plan(self.epoch, self.number, self.sequence)
            self.rows = self.reader.rows(self.planned.plan.positions)
            self.painter: Painter | None = None
        tiles = self.reader.tiles(min((index + 1) * loader.batch_size, len(self.sequence)))
        plan = self.planned.plan
        if len(loader.unreadable) > self.known_unreadable:
            self.known_unreadable = len(loader.unreadable)
            self.planned = planner.with_targets(plan, self.sequence)
        first, stop = planner.pictures(self.planned, index)
        targets = self.planned.targets_of(first, stop)
        primaries = self.sequence[plan.primaries[first:stop]]
        if isinstance(tiles, np.ndarray) and self.stream is None:
            self.painter = self.painter or Painter(plan, self.rows)
            images = _degraded(loader, self.painter.draw(tiles, first, stop), self.epoch, index)
            return TrainBatch(images, targets, primaries), None
        with torch.cuda.stream(self.stream):  # None changes nothing
            rows = self.rows[plan.layers_of(first, stop)]
            images = _draw_by_torch(plan.part(first, stop), tiles, rows, loader.device)
            images = _degraded(loader, images, self.epoch, index)
            if self.stream is not None:
                targets = targets.pin_memory().to(loader.device, non_blocking=True)
        finished = self.stream.record_event() if self.stream is not None else None
        return TrainBatch(images, targets, primaries), finished


def _degraded(loader: TrainLoader, images: torch.Tensor, epoch: int, index: int) -> torch.Tensor:
    if loader.degradation is None:
        return images
    return loader.degradation(images, (loader.seed, epoch, index, loader.rank))


def _draw_by_torch(plan: Plan, tiles: Tiles, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    if isinstance(tiles, np.ndarray):
        used, places = np.unique(rows[plan.positions >= 0], return_inverse=True)
        rows = np.zeros_like(rows)
        rows[plan.positions >= 0] = places
        tiles = torch.from_numpy(tiles[used]).pin_memory().to(device, non_blocking=True)
    return render_torch(plan, tiles, rows)


def _await_on_gpu(batch: TrainBatch, finished: torch.cuda.Event) -> None:
    """Let the GPU wait for a batch before it goes on; this process does not wait."""
    stream = torch.cuda.current_stream(batch.images.device)
    stream.wait_event(finished)
    for tensor in (batch.images, batch.targets):
        tensor.record_stream(stream)  # its memory is not used anew before that stream is done with it
