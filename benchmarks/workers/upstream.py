"""Upstream YOLOv5 as packaged on PyPI (yolov5==7.0.14), answering the benchmarks' requests (see channel.py).

Only its public functions are called, with the defaults of its own scripts; its training runs in its own loop, which
waits at the start of every epoch until it is asked to go on.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml
from yolov5 import train as yolov5_train
from yolov5 import val as yolov5_val
from yolov5.models.common import DetectMultiBackend
from yolov5.models.experimental import attempt_load
from yolov5.models.yolo import DetectionModel
from yolov5.utils.callbacks import Callbacks
from yolov5.utils.dataloaders import LoadImagesAndLabels
from yolov5.utils.loss import ComputeLoss
from yolov5.utils.torch_utils import smart_optimizer

from channel import Channel, Shapes, handlers_of, use_one_core
from peer_model import Stopwatch, count

HYP = yolov5_train.ROOT / "data" / "hyps" / "hyp.scratch-low.yaml"


class Upstream:
    """State between requests."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.batches: Iterator[Any] | None = None
        self.stopwatches: dict[str, Stopwatch] = {}

    def info(self) -> dict[str, str]:
        """Versions."""
        return {"name": "yolov5", "version": "7.0.14", "torch": torch.__version__}

    def open_data(self, data: str, size: int, batch: int, cached: bool) -> None:
        """Training batches of a data set's train split, on one core."""
        use_one_core()
        cv2.setNumThreads(0)
        torch.set_num_threads(1)
        folder = _train_folder(data)
        hyp = yaml.safe_load(HYP.read_text())
        cache = "ram" if cached else False
        dataset = LoadImagesAndLabels(folder, size, batch, augment=True, hyp=hyp, cache_images=cache)
        loader = torch.utils.data.DataLoader(
            dataset, batch, shuffle=True, drop_last=True, collate_fn=LoadImagesAndLabels.collate_fn
        )
        self.batches = _endless(loader)
        next(self.batches)

    def run_data(self, batches: int) -> dict[str, float]:
        """Make batches; how long that takes."""
        assert self.batches is not None
        started = time.perf_counter()
        images = sum(len(next(self.batches)[0]) for _ in range(batches))
        return {"seconds": time.perf_counter() - started, "images": images}

    def open_training(
        self, data: str, cfg: str, size: int, batch: int, epochs: int, threads: int, folder: str, workers: int
    ) -> None:
        """A run of its train.py with --cache ram; answers when the first epoch is to begin, and serves from there."""
        torch.set_num_threads(threads)
        cfg = str(yolov5_train.ROOT / "models" / cfg)
        bare = _BareStep(data, cfg, size, batch)
        options = yolov5_train.parse_opt(known=True)
        changes = {
            "data": data, "cfg": cfg, "weights": "", "imgsz": size, "batch_size": batch, "epochs": epochs,
            "hyp": str(HYP), "cache": "ram", "nosave": True, "noplots": True, "noautoanchor": True,
            "workers": workers, "project": folder, "name": "yolov5", "exist_ok": True, "device": "cpu",
        }  # fmt: skip
        vars(options).update(changes)
        callbacks = Callbacks()
        epochs_run = _Epochs(self.channel, bare)
        callbacks.register_action("on_train_epoch_start", callback=epochs_run.start)
        callbacks.register_action("on_train_epoch_end", callback=epochs_run.end)
        yolov5_train.main(options, callbacks)

    def train(
        self, data: str, model: str, size: int, batch: int, epochs: int, patience: int, seed: int,
        recipe: dict[str, Any], folder: str, device: str, threads: int, workers: int,
    ) -> dict[str, Any]:  # fmt: skip
        """A whole run of its train.py from scratch, with changes to its default recipe: seconds and best weights."""
        torch.set_num_threads(threads)
        hyp = Path(folder) / "recipe.yaml"
        hyp.write_text(yaml.safe_dump({**yaml.safe_load(HYP.read_text()), **recipe}))
        options = yolov5_train.parse_opt(known=True)
        changes = {
            "data": data, "cfg": str(yolov5_train.ROOT / "models" / f"{model}.yaml"), "weights": "", "imgsz": size,
            "batch_size": batch, "epochs": epochs, "patience": patience, "seed": seed, "hyp": str(hyp),
            "cache": "ram", "noplots": True, "workers": workers, "device": device, "project": folder, "name": "run",
            "exist_ok": True,
        }  # fmt: skip
        vars(options).update(changes)
        started = time.perf_counter()
        yolov5_train.main(options, Callbacks())
        return {"seconds": time.perf_counter() - started, "weights": f"{folder}/run/weights/best.pt"}

    def detect(
        self, data: str, weights: str, size: int, batch: int, folder: str, device: str, workers: int,
        conf_thres: float, iou_thres: float, max_det: int,
    ) -> str:  # fmt: skip
        """Its detections on val, whose images are named by their place in the split: the path of a json list of
        [place, class, left, top, width, height, score]."""
        target = Path(folder) / "detections.json"
        written = Path(folder) / "detect" / f"{Path(weights).stem}_predictions.json"
        yolov5_val.run(
            data=data, weights=weights, batch_size=batch, imgsz=size, conf_thres=conf_thres, iou_thres=iou_thres,
            max_det=max_det, device=device, workers=workers, half=False, save_json=True, plots=False,
            project=folder, name="detect", exist_ok=True,
        )  # fmt: skip
        entries = json.loads(written.read_text()) if written.exists() else []  # it writes none without a detection
        rows = [[row["image_id"], row["category_id"], *row["bbox"], row["score"]] for row in entries]
        target.write_text(json.dumps(rows))
        return str(target)

    def untrained(self, model: str, classes: int, folder: str) -> str:
        """Untrained weights, to be timed and exported."""
        path = Path(folder) / f"{model}.pt"
        cfg = str(yolov5_train.ROOT / "models" / f"{model}.yaml")
        torch.save({"model": DetectionModel(cfg, nc=classes)}, path)
        return str(path)

    def cost(self, weights: str, sizes: list[int]) -> dict[str, Any]:
        """Parameters and operations."""
        return count(attempt_load(weights, device=torch.device("cpu"), fuse=False), sizes)

    def open_model(self, name: str, weights: str, size: int, device: str, threads: int) -> None:
        """Make ready to time weights."""
        torch.set_num_threads(threads)
        place = torch.device(device)
        self.stopwatches[name] = Stopwatch(attempt_load(weights, device=place, fuse=True), size, place)

    def time_model(self, name: str, images: int) -> list[float]:
        """Milliseconds of each forward pass of a few in a row."""
        return self.stopwatches[name].milliseconds(images)

    def export_onnx(self, weights: str, size: int) -> str:
        """Its own export of weights, beside them; the file's path."""
        from yolov5.export import run

        return str(run(weights=weights, imgsz=(size, size), include=("onnx",), device="cpu")[0])

    def evaluate(self, data: str, weights: str, size: int, batch: int, folder: str) -> dict[str, float]:
        """A whole run of its val.py: all of it, its forward pass as it says, the same alone, and its AP."""
        shapes = Shapes(torch.nn.modules.module.register_module_forward_pre_hook, DetectMultiBackend)
        started = time.perf_counter()
        results, _, _, speeds = yolov5_val.run(
            data=data, weights=weights, batch_size=batch, imgsz=size, project=folder, name="yolov5", exist_ok=True,
            half=False, device="cpu",
        )  # fmt: skip
        seconds = time.perf_counter() - started
        with torch.no_grad():
            alone = shapes.seconds_alone(torch.rand)
        ap = float(results[3])
        return {"seconds": seconds, "forward_ms": float(speeds[1]), "forward_alone": alone, "map50_95": ap}


class _BareStep:
    """A model, a loss, an optimizer and a batch outside of the training."""

    def __init__(self, data: str, cfg: str, size: int, batch: int) -> None:
        hyp = yaml.safe_load(HYP.read_text())
        with open(data, encoding="utf-8") as file:
            classes = len(yaml.safe_load(file)["names"])
        dataset = LoadImagesAndLabels(_train_folder(data), size, batch, augment=True, hyp=hyp)
        images, self.targets, *_ = LoadImagesAndLabels.collate_fn([dataset[i] for i in range(batch)])
        self.images = images.float() / 255
        self.model = DetectionModel(cfg, nc=classes).train()
        hyp["obj"] *= (size / 640) ** 2
        hyp["cls"] *= classes / 80
        self.model.hyp = {**hyp, "label_smoothing": 0.0}
        self.optimizer = smart_optimizer(self.model, "SGD", hyp["lr0"], hyp["momentum"], hyp["weight_decay"])
        self.loss = ComputeLoss(self.model)

    def measure(self, steps: int) -> dict[str, float]:
        """Forward, loss, backward and optimizer step on one batch that is there, again and again: mean seconds."""
        times = []
        for _ in range(steps + 2):
            started = time.perf_counter()
            self.loss(self.model(self.images), self.targets)[0].backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            times.append(time.perf_counter() - started)
        return {"seconds": statistics.mean(times[2:])}


class _Epochs:
    """Callbacks that let the training wait between epochs. An epoch is answered for when the next one could begin, so
    that what comes in between, such as a validation, is over before another project is measured."""

    def __init__(self, channel: Channel, bare: _BareStep) -> None:
        self.channel = channel
        self.bare = bare
        self.started = 0.0
        self.seconds: float | None = None

    def start(self) -> None:
        """Answer the last request, serve others, begin when asked to."""
        if self.seconds is None:
            self.channel.answer({})
        else:
            self.channel.answer({"seconds": self.seconds})
        self.channel.serve({"bare": self.bare.measure}, until="epoch")
        self.started = time.perf_counter()

    def end(self, epoch: int) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.started


def _train_folder(data: str) -> str:
    with open(data, encoding="utf-8") as file:
        content = yaml.safe_load(file)
    return f"{content['path']}/{content['train']}"


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


if __name__ == "__main__":
    channel = Channel()
    worker = Upstream(channel)
    channel.serve(handlers_of(worker))
