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
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from benchmarks.deploy import DEPLOYED, PLAIN, prepare_weights, write
from benchmarks.side_by_side import OUTPUT, Row, show
from models import build_model
from models.profile import profile

GROUPS = {
    "convolutions": {"Conv"},
    "activations": {"Sigmoid", "Mul", "HardSwish", "QuickGelu"},
    "moving data": {
        *("SpaceToDepth", "Slice", "Concat", "Transpose", "Reshape", "Pad", "Resize", "Split", "Cast", "Gather"),
        *("ReorderInput", "ReorderOutput", "Unsqueeze", "Squeeze", "Shape", "Upsample"),
    },
}
OTHER = "other"
WARM_UP = 5


def operators(path: Path, size: int, runs: int) -> dict[str, float]:
    """Milliseconds of one image by group of operators."""
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
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    each = len(kernels) // (WARM_UP + runs)
    totals: Counter[str] = Counter()
    for event in kernels[each * WARM_UP :]:
        kind = event["args"]["op_name"]
        group = next((group for group, kinds in GROUPS.items() if kind in kinds), OTHER)
        totals[group] += event["dur"] / 1000 / runs
    return {group: totals[group] for group in (*GROUPS, OTHER)}


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
    for size in options.sizes:
        for name, weights in prepare_weights(OUTPUT / "deploy_profile", options.models).items():
            macs = profile(build_model(f"{name}.yaml"), (size, size)).gflops / 2
            for form in (PLAIN, DEPLOYED):
                (written,) = write(weights, size, form, ["onnx"])
                spent = operators(written.path, size, options.runs)
                row: Row = {"size": size, "model": name, "form": form, "GMAC": macs, "ms": sum(spent.values())}
                rows.append(row | spent | {"GMAC/s of the convolutions": 1000 * macs / spent["convolutions"]})
    show("milliseconds of ONNX Runtime's operators, one thread, batch 1", rows, options.output / "deploy_profile.csv")


if __name__ == "__main__":
    main()
