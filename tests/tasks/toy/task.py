"""The toy, as the engine sees it: all that it takes to add a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.batches.eval_loader import EvalLoader
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.load import make_generated
from mgil.files.text import Report
from mgil.tasks.base import Average, Loading, Task
from mgil.tasks.exported import ExportFacts, Exporting
from tests.tasks.toy.data import FINAL_TABLE, ToyComposer, ToyJudge, ToyPredictor, ToySplit, read_split
from tests.tasks.toy.network import ARCHITECTURES, ToyLoss, ToyNetwork, ToyRecipe
from tests.tasks.toy.options import ToyOptions


class ToyTask:
    """See `mgil.tasks.base.Task`."""

    name = "toy"
    recipe = ToyRecipe
    default_cfg = "toy"
    default_imgsz, named = 32, ("class", "classes")
    metrics = ("metrics/error",)
    plotted = ("error",)
    speed_options: dict[str, Any] = {}
    last_stage = "mean"
    table_columns = ("Prediction", "Confidence")
    final_table = FINAL_TABLE

    def adapted(self, data: DataConfig, options: ToyOptions) -> DataConfig:
        return data

    def read(self, data: DataConfig, split: str, *, strict: bool, report: Report) -> ToySplit:
        make_generated(data)
        found = read_split(data.split(split))
        report(f"{split}: {len(found)} images")
        return found

    def composer(self, split: ToySplit, recipe: ToyRecipe, imgsz: int, model: Any, options: ToyOptions) -> ToyComposer:
        return ToyComposer(split, recipe, imgsz, options.brightness)

    def eval_loader(self, split: ToySplit, imgsz: int, model: Any, options: ToyOptions, loading: Loading) -> EvalLoader:
        def targets(indices: np.ndarray, inputs_wh: np.ndarray, pads: np.ndarray) -> np.ndarray:
            colours = split.colours[indices] * options.brightness
            return np.concatenate([np.arange(len(indices))[:, None], colours], axis=1, dtype=np.float32)

        return EvalLoader(
            split,
            imgsz,
            targets=targets,
            stride=model.max_stride,
            rect=False,
            **loading.of_any_task,
        )

    def default_recipe(self, imgsz: int, finetune: bool = False, known: bool = True) -> str:
        return ""

    def build(self, architecture: Any, names: Sequence[str], imgsz: int) -> ToyNetwork:
        return ToyNetwork(architecture, names, imgsz)

    def check_architecture(self, name: str) -> None:
        if name not in ARCHITECTURES:
            raise FileNotFoundError(f"model {name} does not exist; the toy knows {', '.join(ARCHITECTURES)}")

    def prepare(
        self, model: Any, split: Any, recipe: Any, imgsz: int, seed: int, options: Any, loaded: bool, report: Report
    ) -> None:
        report("nothing to prepare")

    def loss(
        self, model: ToyNetwork, recipe: ToyRecipe, imgsz: int, options: ToyOptions, average: Average | None = None
    ) -> ToyLoss:
        return ToyLoss()

    def item_weights(self, split: Any, scores: Any, options: Any) -> np.ndarray | None:
        return None

    def draw_labels(self, split: ToySplit, names: Sequence[str], path: Path) -> None:
        cv2.imwrite(str(path), np.full((8, 8, 3), split.colours.mean(axis=0)[::-1] * 255).astype(np.uint8))

    def draw_batch(self, images: Tensor, targets: Tensor, names: Sequence[str], path: Path) -> None:
        cv2.imwrite(str(path), np.ascontiguousarray(images[0].permute(1, 2, 0).numpy()[..., ::-1]))

    def judge(
        self, model: nn.Module, split: ToySplit, data: DataConfig, options: ToyOptions, pictures: Path | None = None
    ) -> ToyJudge:
        return ToyJudge(model, split, options.brightness)

    def outputs(self, split: ToySplit, options: ToyOptions, stem: str) -> list[str]:
        return [FINAL_TABLE]

    def evaluation_notes(self, model: nn.Module, source: str) -> list[str]:
        return []

    def pooled(self, models: Sequence[nn.Module], sources: Sequence[str]) -> nn.Module:
        raise ValueError(f"{', '.join(sources)}: the toy has no ensembles")

    def predictor(
        self,
        model: nn.Module,
        options: ToyOptions,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        half: bool = False,
    ) -> ToyPredictor:
        return ToyPredictor(model, device, size_hw)

    def inside(self, options: ToyOptions) -> None:
        return None

    def deploy_head(self, model: Any, twin: Any, size_hw: tuple[int, int] | None) -> None:
        pass

    def export_notes(self, model: Any) -> dict[str, str]:
        return {}

    def export_facts(self, metadata: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        return {}

    def compare(self, found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> str:
        largest = max(float((mine - true).abs().max()) for mine, true in zip(found, expected, strict=True))
        if not largest < 1e-3:
            raise ValueError(f"the colours differ by {largest:.2g}")
        return f"largest difference {largest:.2g}"

    def output_problem(self, shape: Sequence[int | None], facts: ExportFacts) -> str:
        return "" if len(shape) == 2 and shape[1] in (3, None) else f"gives {tuple(shape)}, not (batch, 3)"

    def cleaned(self, found: Tensor, facts: ExportFacts) -> Tensor:
        return found


TASK: Task = ToyTask()
