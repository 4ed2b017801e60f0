"""What it saves that dilated convolutions leave out the taps which meet nothing but padding, on small maps.

    python -m benchmarks.dilations

Forward + backward of a batch in training mode, one image through PyTorch and through exported files of one size, with
all nine taps and with those that meet the map. Both take turns, so that a slow moment of the machine falls on both, and
the clock is the processor's, which stands while others have their turn. Where every rate fits into its map, as in
squares from 160 px on, the two are the same and the ratio is the noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.deploy import prepare_weights, write
from benchmarks.side_by_side import OUTPUT, Row, median, show
from mgil.block.mrie import DilatedConv2d
from mgil.engine.cli import run_cli
from mgil.engine.devices import select_device
from mgil.engine.runtimes.model import load_exported
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.files.flags import positive_int
from mgil.networks.profile import profile

FORMATS = ("onnx", "openvino", "torchscript")
Run = Callable[[], object]


@contextmanager
def all_taps() -> Iterator[None]:
    """Inside, dilated convolutions have all their taps, in PyTorch and in exports."""
    with (
        patch.object(DilatedConv2d, "forward", nn.Conv2d.forward),
        patch.object(DilatedConv2d, "at_size", lambda self, *_size: self),
    ):
        yield


def with_all_taps(run: Run) -> Run:
    """The same run with all taps."""

    def whole() -> object:
        with all_taps():
            return run()

    return whole


def training_step(path: Path, size: int, batch: int) -> Run:
    """Forward and backward, in the memory format of training; the loss is none, which changes nothing about it."""
    model = model_from_checkpoint(load_checkpoint(path), torch.device("cpu"), fuse=False).train()
    model.requires_grad_(True).to(memory_format=torch.channels_last)
    images = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)

    def step() -> None:
        model.zero_grad()
        sum(found.square().mean() for found in model(images)).backward()

    return step


def one_image(path: Path, size: int) -> Run:
    """The fused network, as val.py and detect.py run it."""
    model, image = model_from_checkpoint(load_checkpoint(path), torch.device("cpu")), torch.rand(1, 3, size, size)
    return torch.inference_mode()(lambda: model(image))


def exported(path: Path, size: int, name: str, form: str) -> Run:
    """A file of one size, opened."""
    (file,) = write(path, size, form, [name])
    model, image = load_exported(file.path, select_device("cpu")), torch.rand(1, 3, size, size)
    return torch.inference_mode()(lambda: model(image))


def in_turns(whole: Run, live: Run, rounds: int) -> Row:
    """Median milliseconds of both, all threads together; they take turns in being first."""
    times: tuple[list[float], list[float]] = ([], [])
    pairs = [(whole, times[0]), (live, times[1])]
    for number in range(rounds + 2):
        for run, found in reversed(pairs) if number % 2 else pairs:
            started = time.process_time()
            run()
            if number >= 2:  # the first rounds choose kernels and take memory
                found.append(1000 * (time.process_time() - started))
    return compared(*map(median, times))


def compared(whole: float, live: float) -> Row:
    """The columns of a row."""
    return {"all taps": whole, "live taps": live, "all / live": whole / live}


def measure(path: Path, size: int, options: argparse.Namespace) -> Iterator[Row]:
    """Rows of one size."""
    model = model_from_checkpoint(load_checkpoint(path), torch.device("cpu"), fuse=False)
    with all_taps():
        whole = profile(model, (size, size)).gflops
    yield {"size": size, "what": "MFLOPs", **compared(1000 * whole, 1000 * profile(model, (size, size)).gflops)}
    step = training_step(path, size, options.batch)
    what = f"ms of forward + backward, batch {options.batch}"
    yield {"size": size, "what": what, **in_turns(with_all_taps(step), step, options.rounds)}
    image = one_image(path, size)
    yield {"size": size, "what": "ms of an image, PyTorch", **in_turns(with_all_taps(image), image, options.rounds)}
    for name in options.formats:
        with all_taps():
            before = exported(path, size, name, "all-taps")
        after = exported(path, size, name, "live-taps")
        yield {"size": size, "what": f"ms of an image, {name}", **in_turns(before, after, 5 * options.rounds)}


def main() -> None:
    """Measure all sizes, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov5n-mgil", help="a shipped model with MGIL blocks")
    parser.add_argument("--sizes", nargs="+", type=positive_int, default=[32, 64, 160], help="input sizes in pixels")
    parser.add_argument("--batch", type=positive_int, default=16, help="images of a training step, at least 2")
    parser.add_argument("--formats", nargs="*", choices=FORMATS, default=["onnx"], help="exported files to measure")
    parser.add_argument("--threads", type=positive_int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=positive_int, default=30, help="timed runs of each; of files 5 times as many")
    parser.add_argument("--csv", type=Path, default=OUTPUT / "dilations.csv", help="where the table goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = prepare_weights(OUTPUT / "dilations", [options.model])[options.model]
    rows = [row for size in options.sizes for row in measure(path, size, options)]
    show(f"dilated convolutions of {options.model}, {options.threads} threads", rows, options.csv)


if __name__ == "__main__":
    run_cli(main)
