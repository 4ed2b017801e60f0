"""bfloat16 beside float32 on a CPU: times of steps, epochs and validations, and the AP of weights.

    python -m benchmarks.amp --threads 1
    python -m benchmarks.amp --accuracy --weights yolov5n-v7.0.pt --data path/to/coco128.yaml --sizes 160 320 640

Three settings take turns in one run, so that a slow moment of the machine falls on all of them: float32 in PyTorch's
own memory layout, float32 channels last (what `--amp off` trains in) and bfloat16 channels last (`--amp bf16`). A step
is forward, loss, backward and optimizer on one batch; an epoch is train.py's, pictures included; a validation is
val.py's, of the fused network; a picture is that network's forward pass on one alone. What the ratios say holds for
CPUs of this capability, which is printed: without AMX and AVX512_BF16 bfloat16 is emulated. The AP does not depend on
that: the rounding is the same. Trainings with three seeds in both: `benchmarks.accuracy_cost --variants fast bf16`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.side_by_side import OUTPUT, Row, median, show
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.engine.cli import run_cli
from mgil.engine.devices import has_amx, has_bfloat16
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.training.precision import Precision
from mgil.engine.training.schedule import Schedule, build_optimizer, scaled_weight_decay
from mgil.engine.training.trainer import Trainer
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.files.recipe import load_recipe
from mgil.networks.detector import DetectionModel, build_model
from mgil.networks.network import Network
from mgil.networks.precision import as_float32
from mgil.tasks.detect.batches import DetectComposer, detect_eval_loader
from mgil.tasks.detect.criterion import make_loss
from mgil.tasks.detect.judge import DetectJudge
from mgil.tasks.detect.options import ValOptions
from mgil.tasks.detect.recipe import DetectRecipe

MODELS = ("yolov5n.yaml", "yolov5s.yaml", "yolov5n-mgil.yaml")
PARTS = ("step", "epoch", "val", "picture")
CPU = torch.device("cpu")


class ContiguousTrainer(Trainer):
    """Training in the layout that a fresh network has."""

    memory_format = torch.contiguous_format


@dataclass(frozen=True)
class Setting:
    """One way to compute."""

    trainer: type[Trainer]
    amp: str

    def prepared(self, model: DetectionModel) -> Network:
        """A copy for validation."""
        return deepcopy(model).to(memory_format=self.trainer.memory_format).computing_in(self.amp)


SETTINGS = {
    "contiguous float32": Setting(ContiguousTrainer, "off"),
    "channels last float32": Setting(Trainer, "off"),
    "channels last bfloat16": Setting(Trainer, "bf16"),
}


def capability() -> str:
    """What PyTorch uses of this CPU."""
    narrow = "AMX" if has_amx() else "AVX512_BF16" if has_bfloat16() else "emulated"
    return f"{torch.backends.cpu.get_cpu_capability()}, bfloat16: {narrow}"


def first(samples: Samples, images: int) -> Samples:
    """The first images of a split."""
    boxes = int(samples.offsets[: images + 1][-1])
    flat = {name: getattr(samples, name)[:boxes] for name in ("boxes_cxcywh", "classes", "areas", "iscrowd")}
    of_images = {name: getattr(samples, name)[:images] for name in ("image_paths", "sizes_hw", "image_ids")}
    return replace(samples, **flat, **of_images, offsets=samples.offsets[: images + 1])


def trainer_of(setting: Setting, model: DetectionModel, samples: Samples, batch: int, images: int) -> Trainer:
    """A training of some images, kept in memory."""
    recipe = load_recipe(DetectRecipe, "hyp.lowres.yaml")
    composer = DetectComposer(first(samples, images), model.imgsz, recipe.augment())
    loader = TrainLoader(composer, batch, store="resident", report=lambda _line: None)
    twin = deepcopy(model)
    optimizer = build_optimizer(twin, recipe.optimizer, recipe, scaled_weight_decay(recipe, batch))
    loss = make_loss(twin.head, recipe.loss_gains(model.imgsz, model.num_classes, model.head.num_levels))
    schedule = Schedule(optimizer, recipe, 100, len(loader), batch)
    return setting.trainer(twin, loader, loss, optimizer, schedule, Precision(setting.amp, CPU))


def step_of(trainer: Trainer) -> Callable[[], None]:
    """One step on one batch, again and again."""
    batch = trainer.loader.batch(0, 0)
    images = batch.images.float().div_(255).contiguous(memory_format=trainer.memory_format)

    def step() -> None:
        trainer.model.train()
        with trainer.precision.autocast():
            outputs = trainer.model(images)
        trainer.loss(as_float32(outputs), batch.targets)[0].backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    return step


def val_of(model: nn.Module, samples: Samples, data: DataConfig, size: int, batch: int) -> Callable[[], float]:
    """One validation; its AP."""
    loader = detect_eval_loader(samples, size, batch, stride=int(model.max_stride), memory_budget=1 << 30)

    def val() -> float:
        judge = DetectJudge(model, samples, data, ValOptions())
        return float(evaluate(model, loader, judge, device=CPU).scores.row()["AP"])

    return val


def picture_of(model: nn.Module, size: int, layout: torch.memory_format) -> Callable[[], None]:
    """The network on one picture."""
    image = torch.rand(1, 3, size, size).contiguous(memory_format=layout)

    def picture() -> None:
        with torch.inference_mode():
            model(image)

    return picture


def works(part: str, name: str, size: int, data: DataConfig, options: argparse.Namespace) -> dict[str, Callable]:
    """What is timed, by setting."""
    torch.manual_seed(0)
    model = build_model(name, names=data.names, imgsz=size)
    split = load_samples(data, "val" if part == "val" else "train", report=lambda _line: None)
    if part in ("val", "picture"):
        fused = model.eval().fused()
        prepared = {key: setting.prepared(fused) for key, setting in SETTINGS.items()}
        if part == "picture":
            return {key: picture_of(prepared[key], size, SETTINGS[key].trainer.memory_format) for key in SETTINGS}
        split = first(split, options.images)
        return {key: val_of(network, split, data, size, 2 * options.batch) for key, network in prepared.items()}
    trainers = {
        key: trainer_of(setting, model, split, options.batch, options.images) for key, setting in SETTINGS.items()
    }
    if part == "step":
        return {key: step_of(trainer) for key, trainer in trainers.items()}
    return {key: lambda trainer=trainer: trainer.train_epoch(0) for key, trainer in trainers.items()}


def measure(part: str, name: str, size: int, data: DataConfig, options: argparse.Namespace) -> Row:
    """A row of the table: median milliseconds of each setting, and what bfloat16 gains."""
    seconds: dict[str, list[float]] = {key: [] for key in SETTINGS}
    timed = works(part, name, size, data, options)
    for number in range(options.rounds + 1):
        for key, work in timed.items():
            started = time.perf_counter()
            work()
            if number:  # in the first round kernels are chosen and pictures are decoded
                seconds[key].append(time.perf_counter() - started)
    row: Row = {"part": part, "model": Path(name).stem, "size": size}
    row |= {f"{key} ms": 1000 * median(values) for key, values in seconds.items()}
    plain, last, narrow = seconds.values()
    row["channels last float32 / bfloat16"] = median(a / b for a, b in zip(last, narrow, strict=True))
    row["contiguous float32 / bfloat16"] = median(a / b for a, b in zip(plain, narrow, strict=True))
    return row


def accuracy(options: argparse.Namespace) -> list[Row]:
    """AP of weights in float32 and bfloat16, a row for each input size."""
    data = load_data_config(options.data)
    samples = load_samples(data, "val", report=lambda _line: None)
    rows: list[Row] = []
    for size in options.sizes:
        row: Row = {"weights": Path(options.weights).stem, "data": data.yaml_path.stem, "size": size}
        for column, amp in (("float32 AP", "off"), ("bfloat16 AP", "bf16")):
            model = model_from_checkpoint(options.weights).computing_in(amp)
            row[column] = val_of(model, samples, data, size, 2 * options.batch)()
        rows.append(row | {"difference": row["bfloat16 AP"] - row["float32 AP"]})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, print and write one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", action="store_true", help="AP of --weights on --data in place of times")
    parser.add_argument("--weights", default="yolov5n-v7.0.pt", help="of --accuracy")
    parser.add_argument("--data", default="digits.yaml", help="data set YAML")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what is timed")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 160, 320], help="input sizes in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images per batch; twice as many in validations")
    parser.add_argument("--images", type=int, default=128, help="of an epoch and of a validation")
    parser.add_argument("--rounds", type=int, default=5, help="turns that count; medians are taken")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the csv goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"CPU capability: {capability()}")
    if options.accuracy:
        rows = accuracy(options)
        show(f"AP ({capability()})", rows, options.output / f"amp_accuracy_{Path(options.data).stem}.csv")
        return
    data = load_data_config(options.data)
    rows = []
    for part in options.parts:
        for name in options.models:
            for size in options.sizes:
                rows.append(measure(part, name, size, data, options) | {"capability": capability()})
                print(rows[-1], flush=True)
    show(f"batch {options.batch}, {options.threads} threads", rows, options.output / "amp.csv")


if __name__ == "__main__":
    run_cli(main)
