"""ultralytics with yolov5nu, answering the benchmarks' requests (see channel.py), from the peers' environment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import cv2
import torch
import ultralytics
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.models.yolo.detect import DetectionTrainer

from channel import Channel, handlers_of, use_one_core


class Ultralytics:
    """State between requests."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.batches: Iterator[Any] | None = None
        self.trainer: DetectionTrainer | None = None

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


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


if __name__ == "__main__":
    channel = Channel()
    worker = Ultralytics(channel)
    channel.serve(handlers_of(worker))
