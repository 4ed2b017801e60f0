"""What exported models spend their time on: milliseconds of ONNX Runtime's operators, one CPU thread, batch 1.

    pip install -r requirements-export.txt
    python -m benchmarks.deploy_profile
    python -m benchmarks.deploy_profile --models yolov5n yolov5n-spd --sizes 64 640

"plain" is the model as it was trained, "deployed" what export.py writes. "moving data" is everything that computes
nothing: space-to-depth, slices, concatenations, transpositions, paddings and ONNX Runtime's own changes of layout.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.deploy import DEPLOYED, PLAIN, prepare_weights, write
from benchmarks.side_by_side import OUTPUT, Row, show
from mgil.engine.cli import run_cli
from mgil.networks.detector import build_model
from mgil.networks.profile import profile

GROUPS = {
    "convolutions": {"Conv"},
    "activations": {"Sigmoid", "Mul", "HardSwish", "QuickGelu"},
    "moving data": {
        *("SpaceToDepth", "Slice", "Concat", "Transpose", "Reshape", "Pad", "Resize", "Split", "Cast", "Gather"),
        *("ReorderInput", "ReorderOutput", "Unsqueeze", "Squeeze", "Shape", "Upsample"),
    },
}
OTHER = "other"
Event = dict[str, Any]
WARM_UP = 5


def kernels(path: Path, size: int, runs: int) -> list[Event]:
    """What ONNX Runtime notes about each operator of each image; the file of it is left beside the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    name = session.get_inputs()[0].name
    for _ in range(WARM_UP + runs):
        session.run(None, {name: image})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    return found[len(found) // (WARM_UP + runs) * WARM_UP :]


def by_group(events: Sequence[Event], runs: int) -> dict[str, float]:
    """Milliseconds of one image by group of operators."""
    totals: Counter[str] = Counter()
    for event in events:
        kind = event["args"]["op_name"]
        group = next((group for group, kinds in GROUPS.items() if kind in kinds), OTHER)
        totals[group] += event["dur"] / 1000 / runs
    return {group: totals[group] for group in (*GROUPS, OTHER)}


def by_convolution(events: Sequence[Event], runs: int) -> list[Row]:
    """The convolutions of one image by shape, those that take longest first.

    Their multiply-adds are those that ONNX Runtime does: it fills outputs up to whole vectors.
    """
    totals: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event["args"]["op_name"] == "Conv":
            weight = next(iter(event["args"]["input_type_shape"][1].values()))
            output = next(iter(event["args"]["output_type_shape"][0].values()))
            shape = "x".join(map(str, weight)) + " on {}x{}".format(*output[2:])
            entry = totals.setdefault((shape, "MRIE" if "/mrie/" in event["name"] else ""), [0, 0, 0])
            gmac = math.prod(output) * math.prod(weight[1:]) / 1e9
            for place, value in enumerate((1, event["dur"] / 1000, gmac)):
                entry[place] += value / runs
    rows: list[Row] = [
        {"convolution": shape, "of": of, "number": round(number), "ms": ms, "GMAC/s": 1000 * gmac / ms}
        for (shape, of), (number, ms, gmac) in totals.items()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def main() -> None:
    """Profile each model in both forms, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov5s", "yolov5n-mgil"], help="model names")
    parser.add_argument("--sizes", nargs="+", type=int, default=[160], help="input sizes in pixels")
    parser.add_argument("--runs", type=int, default=100, help="images of each")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    layers: list[Row] = []
    for size in options.sizes:
        for name, weights in prepare_weights(OUTPUT / "deploy_profile", options.models).items():
            macs = profile(build_model(f"{name}.yaml"), (size, size)).gflops / 2
            for form in (PLAIN, DEPLOYED):
                (written,) = write(weights, size, form, ["onnx"])
                events = kernels(written.path, size, options.runs)
                spent = by_group(events, options.runs)
                row: Row = {"size": size, "model": name, "form": form, "GMAC": macs, "ms": sum(spent.values())}
                rows.append(row | spent | {"GMAC/s of the convolutions": 1000 * macs / spent["convolutions"]})
                if form == DEPLOYED:
                    slowest = by_convolution(events, options.runs)
                    layers += [{"size": size, "model": name} | layer for layer in slowest]
    show("convolutions of the deployed models", layers, options.output / "deploy_convolutions.csv")
    show("milliseconds of ONNX Runtime's operators, one thread, batch 1", rows, options.output / "deploy_profile.csv")


if __name__ == "__main__":
    run_cli(main)
