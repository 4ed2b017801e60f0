"""ultralytics, answering the benchmarks' requests (see channel.py), from the peers' environment."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
import ultralytics
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.pose import PoseTrainer, PoseValidator
from ultralytics.nn.tasks import DetectionModel

from channel import Channel, handlers_of, use_one_core
from peer_model import Stopwatch, count


class Ultralytics:
    """State between requests."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.batches: Iterator[Any] | None = None
        self.trainer: DetectionTrainer | None = None
        self.stopwatches: dict[str, Stopwatch] = {}

    def info(self) -> dict[str, str]:
        """Versions."""
        return {"name": "ultralytics", "version": ultralytics.__version__, "torch": torch.__version__}

    def open_data(self, data: str, size: int, batch: int, cached: bool) -> None:
        """Training batches of a data set's train split, on one core."""
        use_one_core()
        cv2.setNumThreads(0)
        torch.set_num_threads(1)
        options = get_cfg(overrides={"imgsz": size, "task": "detect", "cache": "ram" if cached else False})
        content = check_det_dataset(data, autodownload=False)
        dataset = build_yolo_dataset(options, content["train"], batch, content)
        loader = torch.utils.data.DataLoader(
            dataset, batch, shuffle=True, drop_last=True, collate_fn=dataset.collate_fn
        )
        self.batches = _endless(loader)
        next(self.batches)

    def run_data(self, batches: int) -> dict[str, float]:
        """Make batches; how long that takes."""
        assert self.batches is not None
        started = time.perf_counter()
        images = sum(len(next(self.batches)["img"]) for _ in range(batches))
        return {"seconds": time.perf_counter() - started, "images": images}

    def open_training(
        self, data: str, cfg: str, size: int, batch: int, epochs: int, threads: int, folder: str, workers: int
    ) -> None:
        """A training with cache="ram" in its own loop; answers when the first epoch is to begin, serves from there."""
        overrides = {
            "data": data, "model": cfg, "imgsz": size, "batch": batch, "epochs": epochs, "cache": "ram", "val": False,
            "save": False, "plots": False, "workers": workers, "project": folder, "name": "ultralytics",
            "exist_ok": True, "device": "cpu", "pretrained": False, "close_mosaic": 0, "optimizer": "SGD", "lr0": 0.01,
        }  # fmt: skip
        self.trainer = DetectionTrainer(overrides=overrides)
        epochs_run = _Epochs(self)
        self.trainer.add_callback("on_train_epoch_start", epochs_run.start)
        self.trainer.add_callback("on_train_epoch_end", epochs_run.end)
        torch.set_num_threads(threads)
        epochs_run.threads = threads
        self.trainer.train()

    def bare(self, steps: int) -> dict[str, float]:
        """Forward, loss, backward and optimizer step on one batch that is there, again and again: mean seconds."""
        assert self.trainer is not None
        trainer = self.trainer
        batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
        model = trainer.model.train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.937, nesterov=True)
        times = []
        for _ in range(steps + 2):
            started = time.perf_counter()
            model(batch)[0].sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            times.append(time.perf_counter() - started)
        model.load_state_dict(before)
        return {"seconds": statistics.mean(times[2:])}

    def train(
        self, data: str, model: str, size: int, batch: int, epochs: int, patience: int, seed: int,
        recipe: dict[str, Any], folder: str, device: str, threads: int, workers: int,
    ) -> dict[str, Any]:  # fmt: skip
        """A whole training from scratch, with changes to its default recipe: seconds and best weights."""
        overrides = {
            "data": data, "model": _cfg(model), "pretrained": False, "imgsz": size, "batch": batch, "epochs": epochs,
            "patience": patience, "seed": seed, "cache": "ram", "plots": False, "workers": workers,
            "device": device or None, "project": folder, "name": "run", "exist_ok": True,
            "amp": False,  # on a GPU it would fetch weights to try mixed precision with
            **recipe,
        }  # fmt: skip
        trainer = (PoseTrainer if model.endswith("-pose") else DetectionTrainer)(overrides=overrides)
        trainer.add_callback("on_train_start", lambda _trainer: torch.set_num_threads(threads))  # set-up changes it
        started = time.perf_counter()
        trainer.train()
        return {"seconds": time.perf_counter() - started, "weights": str(trainer.best)}

    def detect(
        self, data: str, weights: str, size: int, batch: int, folder: str, device: str, workers: int,
        conf_thres: float, iou_thres: float, max_det: int,
    ) -> str:  # fmt: skip
        """Its detections on val, whose images are named by their place in the split: the path of a json list of
        [place, class, left, top, width, height, score]."""
        overrides = _of_validation(data, weights, size, batch, folder, device, workers)
        overrides |= {"conf": conf_thres, "iou": iou_thres, "max_det": max_det}
        validator = DetectionValidator(args=overrides)
        validator(model=weights)
        class_of = {category: index for index, category in enumerate(validator.class_map)}
        rows = [[row["image_id"], class_of[row["category_id"]], *row["bbox"], row["score"]] for row in validator.jdict]
        target = Path(folder) / "detections.json"
        target.write_text(json.dumps(rows))
        return str(target)

    def find_people(
        self, data: str, weights: str, size: int, batch: int, folder: str, device: str, workers: int,
        conf_thres: float, iou_thres: float, max_det: int,
    ) -> str:  # fmt: skip
        """Its people on val, whose images are named by their place in the split: the path of a json list of
        [place, left, top, width, height, score, then x, y, score of each key point]."""
        overrides = _of_validation(data, weights, size, batch, folder, device, workers)
        overrides |= {"conf": conf_thres, "iou": iou_thres, "max_det": max_det}
        validator = PoseValidator(args=overrides)
        validator(model=weights)
        rows = [[row["image_id"], *row["bbox"], row["score"], *row["keypoints"]] for row in validator.jdict]
        target = Path(folder) / "people.json"
        target.write_text(json.dumps(rows))
        return str(target)

    def untrained(self, model: str, classes: int, folder: str) -> str:
        """Untrained weights, to be timed and exported."""
        path = Path(folder) / f"{model}.pt"
        network = DetectionModel(_cfg(model), nc=classes, verbose=False)
        torch.save({"model": network, "train_args": {}}, path)
        return str(path)

    def cost(self, weights: str, sizes: list[int]) -> dict[str, Any]:
        """Parameters and operations."""
        return count(ultralytics.YOLO(weights).model, sizes)

    def open_model(self, name: str, weights: str, size: int, device: str, threads: int) -> None:
        """Make ready to time weights."""
        torch.set_num_threads(threads)
        network = ultralytics.YOLO(weights).model.fuse(verbose=False)
        self.stopwatches[name] = Stopwatch(network, size, torch.device(device))

    def time_model(self, name: str, images: int) -> list[float]:
        """Milliseconds of each forward pass of a few in a row."""
        return self.stopwatches[name].milliseconds(images)

    def export_onnx(self, weights: str, size: int) -> str:
        """Its own export of weights, beside them; the file's path."""
        model = ultralytics.YOLO(weights)
        return str(model.export(format="onnx", imgsz=size, device="cpu", simplify=False))


class _Epochs:
    """Callbacks that let the training wait between epochs. An epoch is answered for when the next one could begin, so
    that what comes in between, such as a validation, is over before another project is measured."""

    def __init__(self, worker: Ultralytics) -> None:
        self.worker = worker
        self.started = 0.0
        self.seconds: float | None = None
        self.threads = 1

    def start(self, _trainer: DetectionTrainer) -> None:
        """Answer the last request, serve others, begin when asked to."""
        if self.seconds is None:
            torch.set_num_threads(self.threads)  # its set-up chooses another number
            self.worker.channel.answer({})
        else:
            self.worker.channel.answer({"seconds": self.seconds})
        self.worker.channel.serve({"bare": self.worker.bare}, until="epoch")
        self.started = time.perf_counter()

    def end(self, _trainer: DetectionTrainer) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.started


def _of_validation(
    data: str, weights: str, size: int, batch: int, folder: str, device: str, workers: int
) -> dict[str, Any]:
    return {
        "data": data, "model": weights, "imgsz": size, "batch": batch, "device": device or None, "half": False,
        "workers": workers, "plots": False, "rect": True, "save_json": True, "project": folder, "name": "detect",
        "exist_ok": True, "mode": "val",
    }  # fmt: skip


def _cfg(model: str) -> str:
    """The YAML of a model: that of yolov5nu is called yolov5n.yaml there."""
    return f"{model.removesuffix('u') if model.startswith('yolov5') else model}.yaml"


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


if __name__ == "__main__":
    channel = Channel()
    worker = Ultralytics(channel)
    channel.serve(handlers_of(worker))
