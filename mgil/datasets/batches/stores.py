"""Where decoded training images live: all of them in memory, or a ring of those decoded last.

Both stores bring an image's longer side to the training size once. A training epoch visits the images in a sequence;
positions are indices into that sequence, and a reader, opened per epoch, gives the tiles for positions.
"""

from __future__ import annotations

import os
import signal
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mgil.datasets.batches.decode import decode_scanned
from mgil.datasets.batches.interrupts import interrupts_held
from mgil.datasets.batches.letterbox import FILL, fitted_size_hw
from mgil.datasets.batches.memory import free_ram_bytes
from mgil.datasets.batches.unreadable import Unreadable
from mgil.datasets.reading.depths import DepthTally
from mgil.files.text import Report

Tiles = np.ndarray | torch.Tensor
Problems = list[tuple[int, str]]  # data set index, what is wrong with the image
Arrival = tuple[torch.Tensor, Problems, array]  # tiles, and what `DepthTally.take` gives of them
StoreName = Literal["auto", "resident", "streamed"]

RING_BYTES = 256 << 20  # the ring holds at most this much, and at most RING_TILES images
RING_TILES = 4096
RING_BATCHES = 4  # but at least as many images as this many batches
UPLOAD_BYTES = 1 << 30  # the resident store is filled in parts of this size
CHUNK_BYTES = 4 << 20  # what a worker process hands over at once; small, as containers have little shared memory


class TileReader(Protocol):
    """Gives the tiles of one epoch."""

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """The (...) rows of the tiles where (...) positions of the sequence lie; meaningless for -1, which is none."""
        ...

    def tiles(self, stop: int) -> Tiles:
        """The tiles, (K, S, S, 3) uint8, each image in the top-left corner.

        Args:
            stop: end of the batch in the sequence, which never decreases; the positions below it and within the
                store's window before it are there.

        Raises:
            ValueError: see `Unreadable.add`.
        """
        ...

    def close(self) -> None:
        """Free what the reader holds, worker processes first of all."""
        ...


class TileStore(Protocol):
    """Decoded images under one interface; an image that cannot be read is a grey tile, and told to `Unreadable`."""

    @property
    def window(self) -> int | None:
        """How many positions, up to the end of a batch, can be asked for; None: all of the sequence."""
        ...

    def tiles_of(self, images: np.ndarray) -> tuple[Tiles, np.ndarray]:
        """Tiles of any images, outside of an epoch.

        Args:
            images: (...) data set indices, -1 for none.

        Returns:
            (K, S, S, 3) uint8 tiles and the (...) row of each image.
        """
        ...

    def open(self, sequence: np.ndarray, first: int) -> TileReader:
        """Start an epoch that visits the images in `sequence`, of which positions below `first` will not be used."""
        ...


class TileDecoder:
    """Decodes images of a split at the training size."""

    def __init__(self, image_paths: Sequence[str], sizes_hw: np.ndarray, size: int) -> None:
        self.image_paths = image_paths
        self.image_sizes_hw = np.asarray(sizes_hw, np.int64).reshape(-1, 2)
        self.sizes_hw = fitted_size_hw(self.image_sizes_hw, size) if len(self.image_sizes_hw) else self.image_sizes_hw
        self.size = size
        self.skipped: frozenset[int] = frozenset()  # images that are grey without a look at the file
        self.depths = DepthTally()  # says what values of more than 8 bits mean, and counts such images

    def __len__(self) -> int:
        return len(self.image_paths)

    @property
    def tile_bytes(self) -> int:
        """Bytes that one image takes in a store."""
        return self.size * self.size * 3

    def decode_into(self, index: int, tile: np.ndarray) -> str | None:
        """Decode image `index` into the top-left corner of `tile`, (S, S, 3) uint8.

        Returns:
            None, or what is wrong where the image is gone, cannot be decoded, or is not the one that was scanned; the
            tile is grey then.
        """
        if index in self.skipped:
            tile[...] = FILL
            return None
        try:
            path, size_hw = self.image_paths[index], self.image_sizes_hw[index]
            image, _ = decode_scanned(path, self.size, size_hw, values=self.depths.values, seen=self.depths.add)
        except ValueError as error:
            tile[...] = FILL
            return str(error)
        tile[: image.shape[0], : image.shape[1]] = image
        return None

    def decode_many(self, indices: np.ndarray) -> tuple[np.ndarray, Problems]:
        """Decode images one after another: (K, S, S, 3) uint8, and what is wrong with which."""
        tiles = np.empty((len(indices), self.size, self.size, 3), np.uint8)
        problems = []
        for tile, index in zip(tiles, indices.tolist(), strict=True):
            problem = self.decode_into(index, tile)
            if problem is not None:
                problems.append((index, problem))
        return tiles, problems


class ResidentStore:
    """Every image of the split, decoded once, in RAM or on the GPU."""

    def __init__(
        self, decoder: TileDecoder, unreadable: Unreadable, *, device: torch.device | None = None, progress: bool = True
    ) -> None:
        """Decode all images with a thread per core (OpenCV and libjpeg work outside Python's lock).

        Args:
            decoder: of the split.
            unreadable: is told of the images that cannot be read.
            device: GPU to hold the images; None holds them in RAM.
            progress: show a progress bar.
        """
        self.window: int | None = None
        shape = (len(decoder), decoder.size, decoder.size, 3)
        self.pixels: Tiles = np.empty(shape, np.uint8)
        if device is not None:
            self.pixels = torch.empty(shape, dtype=torch.uint8, device=device)
        part = max(1, UPLOAD_BYTES // decoder.tile_bytes)
        hidden = None if progress else True  # None: hidden where the output is not a terminal
        with tqdm(total=len(decoder), desc="decoding", unit="image", leave=False, disable=hidden) as bar:
            for start in range(0, len(decoder), part):
                indices = np.arange(start, min(start + part, len(decoder)))
                if isinstance(self.pixels, np.ndarray):
                    _decode_in_threads(decoder, unreadable, indices, self.pixels[start : start + part], bar)
                else:
                    host = np.empty((len(indices), *shape[1:]), np.uint8)
                    _decode_in_threads(decoder, unreadable, indices, host, bar)
                    self.pixels[start : start + part] = torch.from_numpy(host).to(device)
        decoder.depths.close(unreadable.report)

    def tiles_of(self, images: np.ndarray) -> tuple[Tiles, np.ndarray]:
        """See `TileStore`."""
        return self.pixels, images

    def open(self, sequence: np.ndarray, first: int) -> TileReader:
        """See `TileStore`."""
        return _ResidentReader(self.pixels, sequence)


def _decode_in_threads(
    decoder: TileDecoder, unreadable: Unreadable, indices: np.ndarray, tiles: np.ndarray, bar: tqdm
) -> None:
    with ThreadPoolExecutor(os.cpu_count() or 1) as executor:
        futures = [executor.submit(decoder.decode_into, *job) for job in zip(indices.tolist(), tiles, strict=True)]
        try:
            for index, future in zip(indices.tolist(), futures, strict=True):
                problem = future.result()
                if problem is not None:
                    unreadable.add(index, problem)
                bar.update()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


class _ResidentReader:
    def __init__(self, pixels: Tiles, sequence: np.ndarray) -> None:
        self.pixels = pixels
        self.sequence = sequence

    def rows(self, positions: np.ndarray) -> np.ndarray:
        return self.sequence[positions]

    def tiles(self, stop: int) -> Tiles:
        return self.pixels

    def close(self) -> None:
        pass


class StreamedStore:
    """Only the images decoded last; each epoch decodes every image of its sequence once, in worker processes."""

    def __init__(self, decoder: TileDecoder, unreadable: Unreadable, *, batch_size: int, workers: int = 0) -> None:
        """Decode nothing yet.

        Args:
            decoder: of the split.
            unreadable: is told of the images that cannot be read.
            batch_size: images per batch; the ring holds several batches.
            workers: processes that decode; 0 decodes in this one.
        """
        self.decoder = decoder
        self.unreadable = unreadable
        self.workers = workers
        # The window decides which partners a mosaic can have, so it must not depend on the memory of the day.
        self.window = max(RING_BATCHES * batch_size, min(RING_BYTES // decoder.tile_bytes, RING_TILES))

    def tiles_of(self, images: np.ndarray) -> tuple[Tiles, np.ndarray]:
        """See `TileStore`."""
        used = np.unique(images[images >= 0])
        tiles, problems = self.decoder.decode_many(used)
        self.decoder.depths.take()  # an epoch counts them
        for problem in problems:
            self.unreadable.add(*problem)
        return tiles, np.searchsorted(used, images)

    def open(self, sequence: np.ndarray, first: int) -> TileReader:
        """See `TileStore`."""
        ring = min(self.window, max(len(sequence) - first, 1))
        self.decoder.skipped = frozenset(self.unreadable.images)
        arrivals = _arrivals(self.decoder, sequence[first:], self.workers)
        return _RingReader(arrivals, self.unreadable, ring, self.decoder, first)


class _RingReader:
    """Takes decoded images as they arrive, chunk by chunk, into a ring: position p lies in row p modulo the ring."""

    def __init__(
        self,
        arrivals: Iterator[Arrival],
        unreadable: Unreadable,
        ring: int,
        decoder: TileDecoder,
        first: int,
    ) -> None:
        self.arrivals = arrivals
        self.unreadable = unreadable
        self.depths = decoder.depths
        self.ring = np.empty((ring, decoder.size, decoder.size, 3), np.uint8)
        self.arrived = np.empty((0, decoder.size, decoder.size, 3), np.uint8)  # what has no place in the ring yet
        self.decoded = first  # positions below this are or were in the ring

    def rows(self, positions: np.ndarray) -> np.ndarray:
        return positions % len(self.ring)

    def tiles(self, stop: int) -> Tiles:
        while self.decoded < stop:
            if not len(self.arrived):
                chunk, problems, extents = self._next()
                self.depths.join(extents)
                for problem in problems:
                    self.unreadable.add(*problem)
                self.arrived = chunk.numpy()
            taken = min(stop - self.decoded, len(self.arrived))
            self.ring[np.arange(self.decoded, self.decoded + taken) % len(self.ring)] = self.arrived[:taken]
            self.arrived = self.arrived[taken:]
            self.decoded += taken
        return self.ring

    def _next(self) -> Arrival:
        try:
            return next(self.arrivals)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise ValueError(
                f"a process that decodes pictures died, perhaps for lack of memory; lower --workers (0: none), "
                f"or give a container more shared memory, e.g. --shm-size 2g ({error})"
            ) from error

    def close(self) -> None:
        self.arrivals = iter(())  # the worker processes end with their iterator
        self.depths.close(self.unreadable.report)


def _arrivals(decoder: TileDecoder, sequence: np.ndarray, workers: int) -> Iterator[Arrival]:
    """Chunks of decoded tiles of a sequence, in order."""
    chunk = max(1, min(16, CHUNK_BYTES // decoder.tile_bytes))
    chunks = [sequence[start : start + chunk] for start in range(0, len(sequence), chunk)]
    dataset = _TileDataset(decoder)
    if workers == 0:
        return map(dataset.__getitem__, chunks)
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=chunks,
        num_workers=min(workers, len(chunks)),
        prefetch_factor=2,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # otherwise the workers' seed is drawn from the global generator
    )
    # The processes start here and not when the first chunk is asked for, which may happen in a background thread.
    with interrupts_held():
        return iter(loader)


class _TileDataset(Dataset):
    def __init__(self, decoder: TileDecoder) -> None:
        self.decoder = decoder

    def __len__(self) -> int:
        return len(self.decoder)

    def __getitem__(self, indices: np.ndarray) -> Arrival:
        tiles, problems = self.decoder.decode_many(indices)
        return torch.from_numpy(tiles), problems, self.decoder.depths.take()


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when the process that started it does
    cv2.setNumThreads(0)  # one core per worker


def make_store(
    decoder: TileDecoder,
    *,
    name: StoreName,
    batch_size: int,
    workers: int,
    memory_budget: int | None,
    device: torch.device,
    ranks: int = 1,
    agree: Callable[[bool], bool] = bool,
    unreadable: Unreadable,
    report: Report,
) -> TileStore:
    """Choose and make the store of a split.

    Args:
        decoder: of the split.
        name: 'auto' takes the resident store when the split fits the budget: GPU memory first, then RAM.
        batch_size: images per batch.
        workers: decoding processes of the streamed store.
        memory_budget: bytes; None is a third of what is free.
        device: where batches are made.
        ranks: processes that share this machine's RAM, each with a store of its own.
        agree: with `auto` and several processes, whether the split fits the memory of all, from whether it fits that of
            this one: stores of two kinds would draw other mosaics.
        unreadable: is told of the images that cannot be read.
        report: told what was chosen and why.

    Raises:
        ValueError: no such store, or see `Unreadable.add`.
    """
    if name not in ("auto", "resident", "streamed"):
        raise ValueError(f"store {name!r}: choose auto, resident or streamed")
    needed = len(decoder) * decoder.tile_bytes
    ram = free_ram_bytes() // 3 // ranks if memory_budget is None else memory_budget
    fits_gpu = False
    if device.type == "cuda":
        fits_gpu = needed <= (torch.cuda.mem_get_info(device)[0] // 3 if memory_budget is None else memory_budget)
    what = f"{len(decoder)} images at {decoder.size} px are {_mebibytes(needed)}"
    fits = needed <= ram or fits_gpu
    if name == "streamed" or (name == "auto" and not agree(fits)):
        why = "more than another process has free" if fits else f"more than the budget of {_mebibytes(ram)}"
        why = "as asked" if name == "streamed" else why
        report(f"images: streamed ({what}, {why}); {workers} decoding processes")
        return StreamedStore(decoder, unreadable, batch_size=batch_size, workers=workers)
    report(f"images: resident in {'GPU memory' if fits_gpu else 'RAM'} ({what})")
    return ResidentStore(decoder, unreadable, device=device if fits_gpu else None)


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
