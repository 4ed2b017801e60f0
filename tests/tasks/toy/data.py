"""The toy's split, training pictures and evaluation."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.geometry import Plan
from mgil.datasets.reading.samples import digest_of
from tests.tasks.toy.network import ToyRecipe

FINAL_TABLE = "error.csv"


@dataclass(frozen=True)
class ToySplit:
    """Images and their mean colours, (N, 3) RGB in 0..1."""

    image_paths: Sequence[str]
    sizes_hw: np.ndarray
    colours: np.ndarray

    def __len__(self) -> int:
        return len(self.image_paths)

    def content(self) -> dict[str, Any]:
        return {"labels": digest_of(self.colours, self.sizes_hw)}


def read_split(sources: Sequence[str]) -> ToySplit:
    """Every PNG of the folders, measured."""
    paths = [str(path) for source in sources for path in sorted(Path(source).glob("*.png"))]
    if not paths:
        raise ValueError(f"{', '.join(sources)}: no images")
    images = [cv2.imread(path)[..., ::-1] for path in paths]
    return ToySplit(
        paths,
        np.array([image.shape[:2] for image in images]),
        np.array([image.mean(axis=(0, 1)) / 255 for image in images]),
    )


def write_colours(folder: Path, count: int, size: int = 32, seed: int = 0) -> Path:
    """Write pictures of a colour and some noise; returns their folder."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        colour = random.integers(20, 236, 3)
        image = (colour + random.integers(-20, 20, (size, size, 3))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.png"), image)
    return folder


def make_colours(folder: Path, train: int = 16, val: int = 4) -> str:
    """Write a data set of colours; returns its YAML."""
    write_colours(folder / "train", train, seed=1)
    write_colours(folder / "val", val, seed=2)
    path = folder / "colours.yaml"
    path.write_text("train: train\nval: val\nnames: [colour]\n")
    return str(path)


class ToyComposer(Composer):
    """Plain images, perhaps mirrored, with the mean colour of each."""

    def __init__(self, split: ToySplit, recipe: ToyRecipe, size: int, brightness: float) -> None:
        augment = AugmentConfig(
            translate=0.0, scale=0.0, fliplr=recipe.flip, mosaic=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0
        )
        super().__init__(split.image_paths, split.sizes_hw, size, augment, mosaic=False)
        self.colours = split.colours * brightness

    def targets(self, plan: Plan, items: np.ndarray, skipped: Collection[int]) -> np.ndarray:
        """(B, 4): picture, R, G, B; an image that could not be read is grey."""
        colours = self.colours[items[:, 3]]
        colours[np.isin(items[:, 3], list(skipped))] = 114 / 255
        return np.concatenate([plan.pictures[:, None], colours], axis=1, dtype=np.float32)


@dataclass(frozen=True)
class ToyScores:
    """How far the colours are off, on the mean."""

    error: float
    images: int

    @property
    def fitness(self) -> float:
        return 1 - self.error

    def columns(self) -> dict[str, float]:
        return {"metrics/error": self.error}

    def summary(self) -> str:
        return f"error {self.error:.4f}"

    def lines(self, imgsz: int, verbose: bool) -> list[str]:
        return [f"{self.images} images at {imgsz} px: error {self.error:.4f}"]

    def row(self) -> dict[str, float]:
        return {"error": self.error}

    def write(self, folder: Path, pictures: bool) -> None:
        with (folder / FINAL_TABLE).open("w", newline="") as file:
            csv.writer(file).writerows([["error"], [self.error]])

    def save(self, folder: Path, stem: str, report: Any) -> None:
        report(f"nothing to save of {stem}")


class ToyJudge:
    """Mean absolute error."""

    def __init__(self, model: nn.Module, split: ToySplit, brightness: float) -> None:
        self.model, self.colours = model, split.colours * brightness
        self.errors: list[float] = []

    def forward(self, images: Tensor, with_loss: bool) -> tuple[Tensor, Tensor | None]:
        found = self.model(images)
        return found, found if with_loss else None

    def finish(self, predictions: Tensor) -> np.ndarray:
        return predictions.float().cpu().numpy()

    def add(self, batch: EvalBatch, found: np.ndarray) -> None:
        self.errors += np.abs(found - self.colours[batch.indices]).mean(axis=1).tolist()

    def scores(self, skipped: Collection[int]) -> ToyScores:
        return ToyScores(float(np.mean(self.errors)), len(self.errors))


@dataclass
class ToyResult:
    """The colour of one picture."""

    colour: np.ndarray
    image: np.ndarray
    speed: dict[str, float]
    input_hw: tuple[int, int]

    def __len__(self) -> int:
        return 1

    def text(self) -> str:
        return "#" + "".join(f"{int(np.clip(value, 0, 1) * 255):02x}" for value in self.colour)

    def draw(self, line_width: int | None, labels: bool, confidences: bool) -> np.ndarray:
        return np.full_like(self.image, (np.clip(self.colour, 0, 1) * 255).astype(np.uint8))

    def label_lines(self, with_scores: bool) -> str:
        return " ".join(f"{value:.4f}" for value in self.colour) + "\n"

    def table_rows(self) -> list[list[Any]]:
        return [[self.text(), "1.00"]]

    def named_crops(self) -> list[tuple[str, np.ndarray]]:
        return [("all", self.image)]


class ToyPredictor:
    """Pictures of any size, each alone."""

    def __init__(self, model: Any, device: torch.device, size_hw: tuple[int, int]) -> None:
        self.model, self.device, self.size_hw, self.names = model, device, size_hw, tuple(model.names)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[ToyResult]:
        results = []
        for image in images:
            resized = cv2.resize(image, self.size_hw[::-1], interpolation=cv2.INTER_AREA)
            tensor = torch.from_numpy(resized).permute(2, 0, 1)[None].float().to(self.device) / 255
            colour = self.model(tensor)[0].cpu().numpy()
            results.append(ToyResult(colour, image, {"preprocess": 0.0, "inference": 0.0, "mean": 0.0}, self.size_hw))
        return results
