"""Training batches: images decoded once, augmented as a batch, made in the background."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from weakref import WeakSet

import numpy as np
import torch

from mgil.datasets.batches.batch import TrainBatch
from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.kernel_opencv import Painter
from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.left_out import LeftOut
from mgil.datasets.batches.prefetch import prefetched
from mgil.datasets.batches.stores import StoreName, TileReader, Tiles, TileStore, make_store

# Separates the streams of random numbers that are drawn from one seed.
ORDER_STREAM, PLAN_STREAM = 0, 1
# Batches are planned together up to this many pictures: drawing numbers and moving boxes costs little more for many
# pictures than for few. The draws depend on it.
PLANNED_AT_ONCE = 512


@dataclass(frozen=True)
class PlannedBatches:
    """Consecutive batches before their pixels are drawn.

    Attributes:
        plan: of all of them.
        targets: (T, 6) targets of all pictures, sorted by picture.
    """

    plan: Plan
    targets: np.ndarray

    def targets_of(self, first: int, stop: int) -> torch.Tensor:
        """(t, 6) targets of pictures `first` to `stop` - 1, numbered from 0."""
        begin, end = np.searchsorted(self.targets[:, 0], [first, stop])
        targets = self.targets[begin:end].copy()
        targets[:, 0] -= first
        return torch.from_numpy(targets)


class TrainLoader:
    """Augmented training batches of one process.

    Batch i of epoch e is a function of (seed, e, i), this rank and the arguments alone: not of the number of workers,
    nor of what was drawn before. `batch` makes any one of them by itself. Making the loader decodes the images, unless
    they are streamed.

    An image that cannot be read any more, though its header was good when the labels were read, becomes a grey tile
    without labels, and is reported once. Several processes should tell each other of theirs between epochs: see
    `LeftOut.take_new`.

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
        report: told which store was chosen and why, and which images are left out.

    Raises:
        ValueError: no images, an impossible argument, or see `LeftOut.add`.
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
        report: Callable[[str], None] = print,
    ) -> None:
        if composer.size < 1 or batch_size < 1 or not 0 <= rank < world_size:
            sizes = f"size {composer.size}, batch size {batch_size}"
            raise ValueError(f"{sizes}, rank {rank} of {world_size}: out of range")
        if not len(composer):
            raise ValueError("no training images")
        if store not in ("auto", "resident", "streamed"):
            raise ValueError(f"store {store!r}: choose auto, resident or streamed")
        self.composer = composer
        self.size = composer.size
        self.batch_size = batch_size
        self.seed = seed
        self.rect = composer.rect
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.device = torch.device(device)
        self.image_weights: np.ndarray | None = None
        self.left_out = LeftOut(len(composer), strict=strict, report=report)
        self.store: TileStore = make_store(
            composer.decoder,
            name=store,
            batch_size=batch_size,
            workers=workers,
            memory_budget=memory_budget,
            device=self.device,
            ranks=world_size,
            agree=agree,
            left_out=self.left_out,
            report=report,
        )
        self._epochs: WeakSet[Generator[TrainBatch, None, None]] = WeakSet()  # those that may still run

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(len(self.composer), self.batch_size * self.world_size)
        return whole + bool(rest and (whole == 0 or not self.drop_last))

    def __enter__(self) -> TrainLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs in the background; epochs that were not used up end."""
        for batches in list(self._epochs):
            batches.close()

    def set_image_weights(self, weights: np.ndarray | None) -> None:
        """Draw the images of later epochs with these probabilities (they need not sum to one); None: each image once.

        Raises:
            ValueError: not one finite number >= 0 per image, or all zero.
        """
        if weights is not None:
            weights = np.asarray(weights, np.float64)
            bad = weights.shape != (len(self.composer),) or not np.isfinite(weights).all() or (weights < 0).any()
            if bad or not weights.sum() > 0:
                raise ValueError(f"image weights: need {len(self.composer)} numbers >= 0, not all 0; got {weights!r}")
            weights = weights / weights.sum()
        self.image_weights = weights

    def epoch(self, epoch: int, *, first_batch: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch, in order; the next ones are made in the background.

        Args:
            epoch: number of the epoch.
            first_batch: batch to begin with, to go on within an epoch.

        Raises:
            ValueError: see `LeftOut.add`.
        """
        batches = self._run_epoch(epoch, first_batch)
        self._epochs.add(batches)
        return batches

    def batch(self, epoch: int, index: int) -> TrainBatch:
        """One batch of an epoch, made alone: equal to the one that `epoch` gives at this place."""
        sequence = self.sequence(epoch)
        planned = self._plan(epoch, index // self._at_once, sequence)
        first, stop = self._pictures(planned, index)
        part = planned.plan.part(first, stop)
        tiles, rows = self.store.tiles_of(_images_of(part, sequence))
        planned = self._with_targets(planned.plan, sequence)  # now that it is known which images are left out
        if isinstance(tiles, np.ndarray) and self.device.type != "cuda":
            images = Painter(part, rows).draw(tiles, 0, stop - first)
        else:
            images = self._draw_on_device(part, tiles, rows)
        targets = planned.targets_of(first, stop).to(images.device)
        return TrainBatch(images, targets, sequence[part.primaries])

    def files_in(self, epoch: int, index: int) -> list[str]:
        """Paths of the images in a batch: those that its pictures are drawn for, then their partners in mosaics."""
        sequence = self.sequence(epoch)
        planned = self._plan(epoch, index // self._at_once, sequence)
        part = planned.plan.part(*self._pictures(planned, index))
        shown = np.concatenate((sequence[part.primaries], _images_of(part, sequence).ravel()))
        return [self.composer.image_paths[image] for image in dict.fromkeys(shown[shown >= 0].tolist())]

    def _run_epoch(self, epoch: int, first_batch: int) -> Generator[TrainBatch, None, None]:
        sequence = self.sequence(epoch)
        reader = self.store.open(sequence, self._window(sequence, np.array(first_batch))[0].item())
        make = BatchMaker(self, epoch, sequence, reader)
        try:
            for batch, finished in prefetched(make, range(first_batch, len(self))):
                if finished is not None:  # the GPU waits for the batch before it goes on, this process does not
                    stream = torch.cuda.current_stream(self.device)
                    stream.wait_event(finished)
                    for tensor in (batch.images, batch.targets):
                        tensor.record_stream(stream)  # its memory is not used anew before that stream is done with it
                yield batch
        finally:
            reader.close()

    def sequence(self, epoch: int) -> np.ndarray:
        """Data set indices in the order in which this rank visits them in an epoch: (len(self) batches,)."""
        rng = np.random.default_rng([self.seed, ORDER_STREAM, epoch])
        count = len(self.composer)
        order = rng.permutation(count)
        if self.image_weights is not None:
            order = rng.choice(count, count, p=self.image_weights)
        share = self.batch_size * self.world_size
        used = len(self) * share if len(self) * share <= count else -(-count // self.world_size) * self.world_size
        order = np.resize(order, used)  # cut, or filled up from its start so that every rank gets as many
        if self.rect:
            order = order[np.argsort(self.composer.aspects[order], kind="stable")]
        parts = [order[start : start + share] for start in range(0, used, share)]
        if self.rect:  # a smaller last batch stays last
            whole = used // share
            parts = [parts[place] for place in (*rng.permutation(whole), *range(whole, len(parts)))]
        return np.concatenate([np.array_split(part, self.world_size)[self.rank] for part in parts])

    @property
    def _at_once(self) -> int:
        """Batches that are planned together; rectangles differ in size, so each is planned alone."""
        return 1 if self.rect else max(1, PLANNED_AT_ONCE // self.batch_size)

    def _span(self, sequence: np.ndarray, index: int) -> tuple[int, int]:
        """First and last + 1 position of a batch."""
        return index * self.batch_size, min((index + 1) * self.batch_size, len(sequence))

    def _pictures(self, planned: PlannedBatches, index: int) -> tuple[int, int]:
        """First and last + 1 picture of a batch among those planned with it."""
        first = index % self._at_once * self.batch_size
        return first, min(first + self.batch_size, planned.plan.picture_count)

    def _window(self, sequence: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions that batches may draw from: those that the store holds when it has the whole batch."""
        if self.store.window is None:
            return np.zeros_like(indices), np.full_like(indices, len(sequence))
        stops = np.minimum((indices + 1) * self.batch_size, len(sequence))
        return np.maximum(0, stops - self.store.window), stops

    def _plan(self, epoch: int, number: int, sequence: np.ndarray) -> PlannedBatches:
        """Plan the batches from number * _at_once on."""
        rng = np.random.default_rng([self.seed, PLAN_STREAM, epoch, number, self.rank])
        first = number * self._at_once * self.batch_size
        primaries = np.arange(first, min(first + self._at_once * self.batch_size, len(sequence)))
        output_hw = self.composer.output_hw(sequence[primaries])
        window = self._window(sequence, primaries // self.batch_size)
        plan = self.composer.plan(rng, primaries, window, self.composer.tile_sizes_hw[sequence], output_hw)
        return self._with_targets(plan, sequence)

    def _with_targets(self, plan: Plan, sequence: np.ndarray) -> PlannedBatches:
        """Add the targets, without those of images that could not be read."""
        return PlannedBatches(plan, self.composer.targets(plan, _images_of(plan, sequence), list(self.left_out)))

    def _draw_on_device(self, plan: Plan, tiles: Tiles, rows: np.ndarray) -> torch.Tensor:
        if isinstance(tiles, np.ndarray):
            used, places = np.unique(rows[plan.positions >= 0], return_inverse=True)
            rows = np.zeros_like(rows)
            rows[plan.positions >= 0] = places
            tiles = torch.from_numpy(tiles[used]).pin_memory().to(self.device, non_blocking=True)
        return render_torch(plan, tiles, rows)


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
        loader = self.loader
        if index // loader._at_once != self.number:
            self.number = index // loader._at_once
            self.known_left_out = len(loader.left_out)
            self.planned = loader._plan(self.epoch, self.number, self.sequence)
            self.rows = self.reader.rows(self.planned.plan.positions)
            self.painter: Painter | None = None
        tiles = self.reader.tiles(loader._span(self.sequence, index)[1])
        plan = self.planned.plan
        if len(loader.left_out) > self.known_left_out:
            self.known_left_out = len(loader.left_out)
            self.planned = loader._with_targets(plan, self.sequence)
        first, stop = loader._pictures(self.planned, index)
        targets = self.planned.targets_of(first, stop)
        primaries = self.sequence[plan.primaries[first:stop]]
        if isinstance(tiles, np.ndarray) and self.stream is None:
            self.painter = self.painter or Painter(plan, self.rows)
            return TrainBatch(self.painter.draw(tiles, first, stop), targets, primaries), None
        with torch.cuda.stream(self.stream):  # None changes nothing
            images = loader._draw_on_device(plan.part(first, stop), tiles, self.rows[plan.layers_of(first, stop)])
            if self.stream is not None:
                targets = targets.pin_memory().to(loader.device, non_blocking=True)
        finished = self.stream.record_event() if self.stream is not None else None
        return TrainBatch(images, targets, primaries), finished


def _images_of(plan: Plan, sequence: np.ndarray) -> np.ndarray:
    """(L, 4) data set index in each slot of a plan, -1 where it is empty."""
    return np.where(plan.positions >= 0, sequence[plan.positions], -1)
