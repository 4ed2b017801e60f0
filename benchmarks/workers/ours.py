"""This project, answering the benchmarks' requests (see channel.py)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import cv2
import torch
import torchvision.ops  # noqa: F401  imports are not timed, on either side

from benchmarks.workers.channel import Channel, Shapes, handlers_of, use_one_core
from mgil.datasets.batches.loader import BatchMaker, TrainLoader
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.training.precision import Precision
from mgil.engine.training.schedule import Schedule, build_optimizer, scaled_weight_decay
from mgil.engine.training.trainer import Trainer
from mgil.files.figures import new_figure
from mgil.files.recipe import load_recipe
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.detect.batches import DetectComposer
from mgil.tasks.detect.criterion import make_loss
from mgil.tasks.detect.recipe import DetectRecipe
from mgil.tasks.detect.scores import DetectScores


class Ours:
    """State between requests."""

    def __init__(self) -> None:
        self.batches: Iterator[Any] | None = None
        self.trainer: Trainer | None = None
        self.recipe = DetectRecipe()
        self.epochs = 0

    def info(self) -> dict[str, str]:
        """Versions."""
        return {"name": "ours", "version": "this checkout", "torch": torch.__version__}

    def open_data(self, data: str, size: int, batch: int, cached: bool) -> None:
        """Training batches of a data set's train split, on one core."""
        use_one_core()
        cv2.setNumThreads(0)
        torch.set_num_threads(1)
        samples = load_samples(load_data_config(data), "train", report=_silent)
        composer = DetectComposer(samples, size, load_recipe(DetectRecipe, "hyp.scratch-low.yaml").augment())
        loader = TrainLoader(composer, batch, store="resident" if cached else "streamed", report=_silent)
        self.batches = _endless(loader)
        next(self.batches)

    def run_data(self, batches: int) -> dict[str, float]:
        """Make batches; how long that takes."""
        assert self.batches is not None
        started = time.perf_counter()
        images = sum(len(next(self.batches).images) for _ in range(batches))
        return {"seconds": time.perf_counter() - started, "images": images}

    def open_training(
        self, data: str, cfg: str, size: int, batch: int, epochs: int, threads: int, hyp: str, compiled: bool = False
    ) -> None:
        """A training with the resident store, as train.py sets it up; its first epoch is next."""
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        config = load_data_config(data)
        samples = load_samples(config, "train", report=_silent)
        self.recipe = recipe = load_recipe(DetectRecipe, hyp)
        model = build_model(cfg, names=config.names, imgsz=size)
        composer = DetectComposer(samples, size, recipe.augment())
        loader = TrainLoader(composer, batch, store="resident", report=_silent)
        optimizer = build_optimizer(model, recipe.optimizer, recipe, scaled_weight_decay(recipe, batch))
        gains = recipe.loss_gains(size, model.num_classes, model.head.num_levels)
        self.trainer = Trainer(
            model,
            loader,
            make_loss(model.head, gains),
            optimizer,
            Schedule(optimizer, recipe, epochs, len(loader), batch),
            Precision("off", torch.device("cpu")),  # as the peers, whatever this CPU has
            compiled=compiled,
        )
        self.epochs = 0

    def epoch(self) -> dict[str, float]:
        """Train one epoch."""
        assert self.trainer is not None
        started = time.perf_counter()
        self.trainer.train_epoch(self.epochs)
        self.epochs += 1
        return {"seconds": time.perf_counter() - started, "batches": len(self.trainer.loader)}

    def bare(self, steps: int) -> dict[str, float]:
        """Forward, loss, backward and optimizer step on one batch that is there, again and again: mean seconds."""
        assert self.trainer is not None
        trainer = self.trainer
        batch = trainer.loader.batch(0, 0)
        images = batch.images.float().div_(255).contiguous(memory_format=trainer.memory_format)
        model, forward = trainer.model, trainer.forward
        before = {key: value.clone() for key, value in model.state_dict().items()}
        optimizer = build_optimizer(model, self.recipe.optimizer, self.recipe, 0.0)
        model.train()
        times = []
        for _ in range(steps + 2):
            started = time.perf_counter()
            trainer.loss(forward(images), batch.targets)[0].backward()
            optimizer.step()
            optimizer.zero_grad()
            times.append(time.perf_counter() - started)
        model.load_state_dict(before)
        return {"seconds": statistics.mean(times[2:])}

    def evaluate(self, data: str, weights: str, size: int, batch: int, folder: str) -> dict[str, float]:
        """A whole run of val.py: all of it, its forward pass as it says, the same alone, and AP."""
        shapes = Shapes(torch.nn.modules.module.register_module_forward_pre_hook, DetectionModel)
        started = time.perf_counter()
        options: dict[str, Any] = {"project": folder, "name": "ours", "exist_ok": True}
        options |= {"pad": 0.5, "amp": "off"}  # as the peer pads and computes
        config = ValConfig(weights=(weights,), data=data, imgsz=(size,), batch_size=batch, **options)
        result = run_val(config, report=_silent)[size]
        assert isinstance(result.scores, DetectScores)
        seconds = time.perf_counter() - started
        with torch.inference_mode():
            alone = shapes.seconds_alone(torch.rand)
        return {
            "seconds": seconds,
            "forward_ms": result.speeds_ms[1],
            "forward_alone": alone,
            "map50_95": result.scores.map50_95,
        }


def _endless(loader: TrainLoader) -> Iterator[Any]:
    """Batches made when they are asked for: none is under way while a peer has its turn on this core."""
    epoch = 0
    while True:
        sequence = loader.sequence(epoch)
        make = BatchMaker(loader, epoch, sequence, loader.store.open(sequence, 0))
        for index in range(len(loader)):
            yield make(index)[0]
        epoch += 1


def _silent(_line: str) -> None:
    pass


if __name__ == "__main__":
    new_figure(1, 1)  # imports what draws
    Channel().serve(handlers_of(Ours()))
