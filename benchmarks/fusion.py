"""MGAF's weights over a validation set: does the fusion depend on the image at all?

    python -m benchmarks.fusion --weights runs/train/exp/weights/best.pt --data digits.yaml

Of the two weights of a block, which sum to 1, the fine one is written: for every block and image to a csv, for every
block as mean, standard deviation over the images, smallest and largest, and as a histogram. A block whose weight
varies by less than a thousandth adds its branches with constants, which could as well be part of their convolutions.
What the variation is worth: AP as it is, and AP with every block's weight held at its mean.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from benchmarks.side_by_side import Row, show
from mgil.block.mgaf import MGAF
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine.cli import run_cli
from mgil.engine.devices import select_device
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.input_size import input_size_hw
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.files.atomic import write_text_atomic
from mgil.files.flags import fraction, natural_int, positive_int
from mgil.files.matplotlib_import import own_settings
from mgil.tasks.detect.batches import detect_eval_loader
from mgil.tasks.detect.judge import DetectJudge
from mgil.tasks.detect.options import ValOptions

OUTPUT = Path("runs/fusion")
CONSTANT_BELOW = 1e-3  # standard deviation of a weight near 1/2: a change of 0.2 % in what a branch adds
BINS = 100
PANEL_WH = (3.0, 2.3)  # inches
MOST_COLUMNS = 4


@torch.inference_mode()
def fine_weights(model: nn.Module, batches: Iterable[Any], device: torch.device) -> dict[str, np.ndarray]:
    """The weight of the fine feature for each image, by the name of the MGAF module, (images,) each.

    Args:
        model: any network with MGAF modules, in evaluation mode.
        batches: with `images` (B, 3, H, W) uint8 and `indices`, their places in the result.
        device: where the model is.

    Raises:
        ValueError: a model without MGAF.
    """
    found: dict[str, list[torch.Tensor]] = {}
    hooks = []

    def logger(name: str) -> Callable[..., None]:
        def log(module: MGAF, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
            found.setdefault(name, []).append(module.weights(*inputs)[:, 0].float().cpu())

        return log

    for name, module in model.named_modules():
        if isinstance(module, MGAF):
            hooks.append(module.register_forward_pre_hook(logger(name)))
    if not hooks:
        raise ValueError("the model has no MGAF to look at: its architecture has no MGIL row, or other fusion there")
    places = []
    try:
        for batch in batches:
            model(batch.images.to(device).float() / 255)
            places.append(batch.indices)
    finally:
        for hook in hooks:
            hook.remove()
    order = np.argsort(np.concatenate(places))
    return {name: torch.cat(values).numpy()[order] for name, values in found.items()}


def summary(weights: Mapping[str, np.ndarray]) -> list[Row]:
    """A line for each block."""
    return [
        {
            "block": name,
            "images": len(values),
            "mean": float(values.mean(dtype=np.float64)),
            "standard deviation": float(values.std(dtype=np.float64)),
            "min": float(values.min()),
            "max": float(values.max()),
            "depends on the image": "yes" if values.std(dtype=np.float64) > CONSTANT_BELOW else "no",
        }
        for name, values in weights.items()
    ]


@contextmanager
def held(model: nn.Module, weights: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Inside, every MGAF weighs its features by the mean of its weights, whatever the image."""

    def constant(mean: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda fine, coarse: fine.new_tensor([mean, 1 - mean]).expand(len(fine), 2)

    with ExitStack() as stack:
        for name, values in weights.items():
            mean = float(values.mean(dtype=np.float64))
            stack.enter_context(patch.object(model.get_submodule(name), "weights", constant(mean)))
        yield


@own_settings()
def plot_histograms(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """A histogram of the images for each block, all on one axis from 0 to 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(weights), MOST_COLUMNS)
    rows = -(-len(weights) // columns)
    figure = Figure(figsize=(columns * PANEL_WH[0], rows * PANEL_WH[1] + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (line, values) in enumerate(zip(summary(weights), weights.values(), strict=True), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.hist(values, bins=BINS, range=(0, 1))
        axes.axvline(0.5, color="grey", linewidth=0.8, linestyle=":")
        axes.set_title(f"{line['block']}\n{line['mean']:.3f} ± {line['standard deviation']:.4f}", fontsize=9)
        axes.set_xlim(0, 1)
    figure.supxlabel("weight of the fine feature (dotted: where training starts)", fontsize=9)
    figure.supylabel("images", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def write_images(path: Path, images: Iterable[str], weights: Mapping[str, np.ndarray]) -> None:
    """A row for each image, a column for each block."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *weights])
    for image, values in zip(images, zip(*weights.values(), strict=True), strict=True):
        writer.writerow([Path(image).name, *(f"{value:.6f}" for value in values)])
    write_text_atomic(path, text.getvalue())


def main() -> None:
    """Look at weights on a data set; print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a .pt file with MGIL blocks")
    parser.add_argument("--data", help="data set YAML; default: the one that the weights were trained on")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--imgsz", type=positive_int, help="default: the size that the weights were trained at")
    parser.add_argument("--pad", type=fraction, default=0.0, help="as for val.py; the committed tables have 0.5")
    parser.add_argument("--batch-size", type=positive_int, default=32)
    parser.add_argument("--workers", type=natural_int, default=0, help="decoding threads")
    parser.add_argument("--device", default="", help="as for val.py")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where csv and plot go")
    options = parser.parse_args()
    device = select_device(options.device)
    checkpoint = load_checkpoint(options.weights)
    data = load_data_config(options.data or str(checkpoint.info.get("data") or "digits.yaml"))
    model = model_from_checkpoint(checkpoint, device)
    samples = load_samples(data, options.split)
    stride = model.max_stride
    size, _ = input_size_hw((options.imgsz or checkpoint.imgsz,), stride, print)
    loader = detect_eval_loader(
        samples, size, options.batch_size, stride=stride, pad=options.pad, workers=options.workers
    )
    weights = fine_weights(model, loader, device)
    options.output.mkdir(parents=True, exist_ok=True)
    write_images(options.output / "fusion_images.csv", samples.image_paths, weights)
    plot_histograms(options.output / "fusion.png", weights)

    def scores() -> Row:
        found = evaluate(model, loader, DetectJudge(model, samples, data, ValOptions()), device=device).scores.row()
        return {"AP": found["AP"], "AP50": found["AP50"]}

    rows = [{"fusion": "as it is", **scores()}]
    with held(model, weights):
        rows.append({"fusion": "weights held at their means", **scores()})
    show("what it is worth", rows, options.output / "fusion_ap.csv")
    title = f"weight of the fine feature, {options.weights} on {data.yaml_path.name}, {options.split}, {size} px"
    show(title, summary(weights), options.output / "fusion.csv")


if __name__ == "__main__":
    run_cli(main)
