"""Latency of exported models at batch 1: PyTorch, ONNX Runtime and OpenVINO, before and after re-parameterisation.

    pip install -r requirements-export.txt
    python -m benchmarks.deploy
    python -m benchmarks.deploy --weights yolov5n-v7.0.pt --data coco128.yaml

The models are untrained, which changes nothing about their speed. With official weights, upstream's own export of them
is measured too; with a data set, INT8 files calibrated on it.

"plain" is the model as it was trained, written without any change; "deployed" is what export.py writes. All variants of
a size take turns, so that a slow moment of the machine falls on all of them; a turn is a few images in a row, as in a
stream, of which the first warms the caches and is not counted. Median and 95th percentile of all images. Upstream's
ONNX file runs in the same process and runtime as ours. On a GPU give --device 0: PyTorch and ONNX Runtime, and TensorRT
where it is installed. INT8 is measured in the formats that have it. What the time is spent on:
python -m benchmarks.deploy_profile.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.peers import FOLDER, peers_python
from benchmarks.side_by_side import OUTPUT, UPSTREAM, Row, Worker, plot_bars, show
from mgil.engine.cli import run_cli
from mgil.engine.devices import select_device
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.formats import FORMATS
from mgil.engine.export.run import Exported, run_export
from mgil.engine.runtimes.model import load_exported
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.networks.detector import build_model
from mgil.networks.network import Network
from mgil.tasks.base import Task

MODELS = ("yolov5n", "yolov5s", "yolov5n-spd", "yolov5n-mgil")
PLAIN, DEPLOYED, INT8, PEER = "plain", "deployed", "int8", "upstream's export"
MEASURED = ("onnx", "openvino", "engine", "torchscript")  # can be written as trained, and run here
IN_A_ROW = 5  # images of a turn
Variant = tuple[str, str, str]  # model, runtime, form
Forward = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def nothing_changed() -> Iterator[None]:
    """Exports inside write the model as it was trained."""

    def as_trained(_task: Task, model: Network, *_unused: object) -> Network:
        return copy.deepcopy(model).eval().requires_grad_(False)  # it goes to the device, the original stays

    with (
        patch("mgil.engine.export.onnx.deployed", as_trained),
        patch("mgil.engine.export.torchscript.deployed", as_trained),
    ):
        yield


def choose_formats(asked: Sequence[str] | None, device: torch.device) -> list[str]:
    """The formats to measure on a device; what was asked for, or by default all that matter there.

    Raises:
        ValueError: a format that cannot be measured there.
    """
    is_gpu = device.type == "cuda"
    if asked is None:
        if is_gpu:
            return ["onnx", "engine"] if find_spec("tensorrt") else ["onnx"]
        return ["onnx", "openvino"]
    able = [name for name in MEASURED if ("device" in FORMATS[name].options if is_gpu else name != "engine")]
    for name in asked:
        if name not in able:
            raise ValueError(f"--formats {name} cannot be measured on {device}; choose from {', '.join(able)}")
    return list(asked)


def prepare_weights(folder: Path, names: Sequence[str], official: str | None = None) -> dict[str, Path]:
    """A checkpoint of each model: official weights for yolov5n where given, else untrained."""
    paths = {}
    for name in names:
        paths[name] = folder / name / f"{name}.pt"
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        model: Network = build_model(f"{name}.yaml")
        if name == "yolov5n" and official:
            model = model_from_checkpoint(load_checkpoint(official), fuse=False)
        save_checkpoint(paths[name], model, {})
    return paths


def write(weights: Path, size: int, form: str, formats: Sequence[str], **options: Any) -> list[Exported]:
    """Export a copy of the weights in one form; `options` are those of `ExportConfig`."""
    folder = weights.parent / f"{form}{size}"
    folder.mkdir(exist_ok=True)
    beside = folder / weights.name
    beside.write_bytes(weights.read_bytes())
    config = ExportConfig(weights=str(beside), imgsz=(size,), include=tuple(formats), int8=form == INT8, **options)
    with nothing_changed() if form == PLAIN else nullcontext():
        return run_export(config, report=lambda _line: None)


def export_all(paths: dict[str, Path], size: int, options: argparse.Namespace) -> dict[Variant, Forward]:
    """Every variant at one size, opened."""
    device = select_device(options.device)
    found: dict[Variant, Forward] = {}
    for name, path in paths.items():
        checkpoint = load_checkpoint(path)
        found[name, "PyTorch", PLAIN] = model_from_checkpoint(checkpoint, device, fuse=False).eval()
        found[name, "PyTorch", DEPLOYED] = model_from_checkpoint(checkpoint, device)
        for form in (PLAIN, DEPLOYED, INT8)[: 3 if options.data else 2]:
            data = options.data if form == INT8 else None
            formats = [row for row in options.formats if form != INT8 or "int8" in FORMATS[row].options]
            for exported in write(path, size, form, formats, device=options.device, data=data) if formats else ():
                found[name, exported.format.name, form] = load_exported(exported.path, device)
    if options.weights and peers_python(options.peers):
        found["yolov5n", "ONNX", PEER] = export_upstream(options, size, device)
    return found


def export_upstream(options: argparse.Namespace, size: int, device: torch.device) -> Forward:
    """Upstream's own export of the same weights, opened by our runtime."""
    folder = OUTPUT / "deploy" / f"upstream{size}"
    folder.mkdir(parents=True, exist_ok=True)
    beside = (folder / "yolov5n.pt").absolute()
    beside.write_bytes(Path(options.weights).read_bytes())
    with Worker(UPSTREAM, options.peers, options.threads) as worker:
        path = worker.ask("export_onnx", weights=str(beside), size=size)
    return load_exported(path, device)


@torch.inference_mode()
def measure(variants: dict[Variant, Forward], size: int, options: argparse.Namespace) -> dict[Variant, np.ndarray]:
    """Milliseconds of each image of each variant: (rounds * (IN_A_ROW - 1),)."""
    device = select_device(options.device)
    image = torch.rand(1, 3, size, size, device=device)
    times: dict[Variant, list[float]] = {variant: [] for variant in variants}
    for number in range(options.rounds + 1):
        for variant, forward in variants.items():
            for place in range(IN_A_ROW):
                started = time.perf_counter()
                forward(image)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if number and place:  # the first round chooses kernels
                    times[variant].append(1000 * (time.perf_counter() - started))
    return {variant: np.array(values) for variant, values in times.items()}


def table(times: dict[Variant, np.ndarray], size: int) -> list[Row]:
    """One row per variant, with its ratios to others in the same runtime."""
    medians = {variant: float(np.median(values)) for variant, values in times.items()}
    rows: list[Row] = []
    for (name, runtime, form), values in times.items():
        here = medians[name, runtime, form]
        row: Row = {"size": size, "model": name, "runtime": runtime, "form": form, "median ms": here}
        row["p95 ms"] = float(np.percentile(values, 95))
        plain = medians.get((name, runtime, PLAIN))
        small = medians.get(("yolov5s", runtime, DEPLOYED))
        upstream = medians.get((name, runtime, PEER))
        row["plain / this"] = plain / here if plain else ""
        row["this / upstream's"] = here / upstream if upstream else ""
        row["this / yolov5s deployed"] = here / small if small else ""
        rows.append(row)
    return rows


def main() -> None:
    """Measure all sizes, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="model names")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 160, 320, 640], help="input sizes in pixels")
    formats = f"of {', '.join(MEASURED)}; default: onnx openvino, on a GPU onnx, and engine where TensorRT is installed"
    parser.add_argument("--formats", nargs="+", help=formats)
    parser.add_argument("--weights", help="official yolov5n weights, for upstream's export of them")
    parser.add_argument("--data", help="data set YAML to calibrate INT8 on; without it there is no INT8")
    parser.add_argument("--device", default="cpu", help="cpu or a GPU's number")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--rounds", type=int, default=15, help=f"turns of each variant, {IN_A_ROW} images each")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv and the plots go")
    options = parser.parse_args()
    try:
        options.formats = choose_formats(options.formats, select_device(options.device))
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(options.threads)
    paths = prepare_weights(OUTPUT / "deploy", options.models, options.weights)
    rows: list[Row] = []
    for size in options.sizes:
        times = measure(export_all(paths, size, options), size, options)
        rows += table(times, size)
        groups: dict[str, dict[str, float]] = {}
        for (name, runtime, form), values in times.items():
            groups.setdefault(f"{name}\n{runtime}", {})[form] = float(np.median(values))
        plot_bars(options.output / f"deploy_{size}.png", f"latency at {size} px, batch 1", "ms", groups)
    show(f"latency at batch 1, {options.threads} threads", rows, options.output / "deploy.csv")


if __name__ == "__main__":
    run_cli(main)
