"""Parameters, operations and latency of the shipped models, side by side.

    python -m benchmarks.models --sizes 64 160 320 640 --threads 2

Every round times each model once, in turn, so that a slow moment of the machine falls on all of them; medians are
printed, with the ratio to the first model. Models are fused, float32, batch 1, as val.py and detect.py run them.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import time
from pathlib import Path

import torch

from mgil.engine.cli import run_cli
from mgil.networks.detector import DetectionModel, build_model
from mgil.networks.profile import profile

MODELS = ("yolov5n.yaml", "yolov5s.yaml", "yolov5n-spd.yaml", "yolov5n-mgil.yaml", "yolov5n-mgil-lite.yaml")


@torch.no_grad()
def measure(models: dict[str, DetectionModel], size: int, rounds: int) -> dict[str, float]:
    """Median milliseconds per image of each model at one input size in pixels."""
    image = torch.rand(1, 3, size, size)
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 2):
        for name, model in models.items():
            started = time.perf_counter()
            model(image)
            if number >= 2:  # the first rounds choose kernels and fill caches
                times[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure and print one table; write it as csv too."""
    parser = argparse.ArgumentParser(description="Cost of the shipped models.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="model names; the first is the baseline")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 160, 320, 640], help="input sizes in pixels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--rounds", type=int, default=30, help="timed runs of each model")
    parser.add_argument("--csv", type=Path, default=Path("runs/benchmarks/models.csv"), help="where the table goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    built = {name: build_model(name).eval() for name in arguments.models}
    costs = {name: profile(model) for name, model in built.items()}
    fused = {name: model.fused() for name, model in built.items()}
    latency = {size: measure(fused, size, arguments.rounds) for size in arguments.sizes}
    header = ["model", "parameters", "GFLOPs at 640", *(f"ms at {size}" for size in arguments.sizes)]
    header += [f"ratio at {size}" for size in arguments.sizes]
    rows = []
    for name in arguments.models:
        ratios = [latency[size][name] / latency[size][arguments.models[0]] for size in arguments.sizes]
        row = [name.removesuffix(".yaml"), f"{costs[name].parameters / 1e6:.2f} M", f"{costs[name].gflops:.1f}"]
        rows.append([*row, *(f"{latency[s][name]:.1f}" for s in arguments.sizes), *(f"{r:.2f}" for r in ratios)])
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, {platform.machine()}, medians of {arguments.rounds}"
    )
    for row in [header, *rows]:
        print("  ".join(f"{cell:>{max(len(h), 8)}}" for cell, h in zip(row, header, strict=True)))
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    with arguments.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    run_cli(main)
