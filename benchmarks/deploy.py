"""Latency of exported models at batch 1: PyTorch, ONNX Runtime and OpenVINO, before and after re-parameterisation.

    pip install -r requirements-export.txt
    python -m benchmarks.deploy
    python -m benchmarks.deploy --weights yolov5n-v7.0.pt --data coco128.yaml

The models are untrained, which changes nothing about their speed. With official weights, upstream's own export of them
is measured too; with a data set, INT8 files calibrated on it.

"plain" is the model as it was trained, written without any change; "deployed" is what export.py writes. All variants of
a size take turns, so that a slow moment of the machine falls on all of them; median and 95th percentile of the rounds.
Upstream's ONNX file runs in the same process and runtime as ours. On a GPU give --device 0: PyTorch and ONNX Runtime,
and TensorRT where it is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.peers import FOLDER, peers_python
from benchmarks.side_by_side import OUTPUT, UPSTREAM, Row, Worker, plot_bars, show
from engine.checkpoints import load_checkpoint, model_from_checkpoint, save_checkpoint
from engine.devices import select_device
from engine.export import ExportConfig, run_export
from engine.runtimes import load_exported
from models import DetectionModel, build_model

MODELS = ("yolov5n", "yolov5s", "yolov5n-spd", "yolov5n-mgil")
PLAIN, DEPLOYED, INT8, PEER = "plain", "deployed", "int8", "upstream's export"
Variant = tuple[str, str, str]  # model, runtime, form
Forward = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def nothing_changed() -> Iterator[None]:
    """Exports inside write the model as it was trained."""

    def as_trained(model: DetectionModel, *_unused: object) -> DetectionModel:
        return model.eval().requires_grad_(False)

    with patch("engine.export_onnx.deployed", as_trained):
        yield


def prepare_weights(folder: Path, options: argparse.Namespace) -> dict[str, Path]:
    """A checkpoint of each model: official weights for yolov5n where given, else untrained."""
    paths = {}
    for name in options.models:
        paths[name] = folder / name / f"{name}.pt"
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        model = build_model(f"{name}.yaml")
        if name == "yolov5n" and options.weights:
            model = model_from_checkpoint(load_checkpoint(options.weights), fuse=False)
        save_checkpoint(paths[name], model, {})
    return paths


def export_all(paths: dict[str, Path], size: int, options: argparse.Namespace) -> dict[Variant, Forward]:
    """Every variant at one size, opened."""
    device = select_device(options.device)
    found: dict[Variant, Forward] = {}
    for name, path in paths.items():
        checkpoint = load_checkpoint(path)
        found[name, "PyTorch", PLAIN] = model_from_checkpoint(checkpoint, device, fuse=False).eval()
        found[name, "PyTorch", DEPLOYED] = model_from_checkpoint(checkpoint, device)
        for form in (PLAIN, DEPLOYED, INT8)[: 3 if options.data else 2]:
            folder = path.parent / f"{form}{size}"
            folder.mkdir(exist_ok=True)
            copy = folder / path.name
            copy.write_bytes(path.read_bytes())
            config = ExportConfig(
                weights=str(copy),
                imgsz=(size,),
                include=tuple(options.formats),
                device=options.device,
                int8=form == INT8,
                data=options.data if form == INT8 else None,
            )
            if form == PLAIN:
                with nothing_changed():
                    written = run_export(config, report=_silent)
            else:
                written = run_export(config, report=_silent)
            for exported in written:
                found[name, exported.format.name, form] = load_exported(exported.path, device)
    if options.weights and peers_python(options.peers):
        found["yolov5n", "ONNX", PEER] = export_upstream(options, size, device)
    return found


def export_upstream(options: argparse.Namespace, size: int, device: torch.device) -> Forward:
    """Upstream's own export of the same weights, opened by our runtime."""
    folder = OUTPUT / "deploy" / f"upstream{size}"
    folder.mkdir(parents=True, exist_ok=True)
    copy = (folder / "yolov5n.pt").absolute()
    copy.write_bytes(Path(options.weights).read_bytes())
    with Worker(UPSTREAM, options.peers, options.threads) as worker:
        path = worker.ask("export_onnx", weights=str(copy), size=size)
    return load_exported(path, device)


@torch.inference_mode()
def measure(variants: dict[Variant, Forward], size: int, options: argparse.Namespace) -> dict[Variant, np.ndarray]:
    """Milliseconds of each round of each variant: (rounds,)."""
    device = select_device(options.device)
    image = torch.rand(1, 3, size, size, device=device)
    times: dict[Variant, list[float]] = {variant: [] for variant in variants}
    for number in range(options.rounds + 3):
        for variant, forward in variants.items():
            started = time.perf_counter()
            forward(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number >= 3:  # the first rounds choose kernels and fill caches
                times[variant].append(1000 * (time.perf_counter() - started))
    return {variant: np.array(values) for variant, values in times.items()}


def table(times: dict[Variant, np.ndarray], size: int) -> list[Row]:
    """One row per variant, with its ratio to the plain form in the same runtime and to yolov5s deployed there."""
    medians = {variant: float(np.median(values)) for variant, values in times.items()}
    rows: list[Row] = []
    for (name, runtime, form), values in times.items():
        here = medians[name, runtime, form]
        row: Row = {"size": size, "model": name, "runtime": runtime, "form": form, "median ms": here}
        row["p95 ms"] = float(np.percentile(values, 95))
        plain = medians.get((name, runtime, PLAIN))
        small = medians.get(("yolov5s", runtime, DEPLOYED))
        row["plain / this"] = plain / here if plain else ""
        row["this / yolov5s deployed"] = here / small if small else ""
        rows.append(row)
    return rows


def main() -> None:
    """Measure all sizes, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="model names")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 160, 320, 640], help="input sizes in pixels")
    parser.add_argument("--formats", nargs="+", default=["onnx", "openvino"], help="what export.py --include takes")
    parser.add_argument("--weights", help="official yolov5n weights, for upstream's export of them")
    parser.add_argument("--data", help="data set YAML to calibrate INT8 on; without it there is no INT8")
    parser.add_argument("--device", default="cpu", help="cpu or a GPU's number")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--rounds", type=int, default=50, help="timed runs of each variant")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv and the plots go")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    paths = prepare_weights(OUTPUT / "deploy", options)
    rows: list[Row] = []
    for size in options.sizes:
        times = measure(export_all(paths, size, options), size, options)
        rows += table(times, size)
        groups: dict[str, dict[str, float]] = {}
        for (name, runtime, form), values in times.items():
            groups.setdefault(f"{name}\n{runtime}", {})[form] = float(np.median(values))
        plot_bars(options.output / f"deploy_{size}.png", f"latency at {size} px, batch 1", "ms", groups)
    show(f"latency at batch 1, {options.threads} threads", rows, options.output / "deploy.csv")


def _silent(_line: str) -> None:
    pass


if __name__ == "__main__":
    main()
