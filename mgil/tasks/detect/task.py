"""Detection, as the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.batches.eval_loader import EvalLoader
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.files.class_names import places_in
from mgil.files.picture_grid import draw_batch_grid
from mgil.files.recipe import Recipe
from mgil.files.text import Report
from mgil.networks.config import load_architecture
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.base import Average, Loading, Task, options_for
from mgil.tasks.detect.auto_anchor import check_anchors, keep_anchors, listed, put_in_order
from mgil.tasks.detect.batches import DetectComposer, eval_batches, train_composer
from mgil.tasks.detect.criterion import Criterion, detect_loss
from mgil.tasks.detect.exporting import DetectExport
from mgil.tasks.detect.image_weights import image_difficulty
from mgil.tasks.detect.judge import DetectJudge
from mgil.tasks.detect.options import (
    SPEED_OPTIONS,
    PredictOptions,
    TrainOptions,
    ValOptions,
)
from mgil.tasks.detect.predictor import Detector
from mgil.tasks.detect.recipe import FINETUNE, LOWRES, DetectRecipe, default_recipe
from mgil.tasks.detect.report import FINAL_TABLE, evaluation_files
from mgil.tasks.detect.scores import METRICS, DetectScores
from mgil.tasks.detect.suppression import notes_on_suppression
from mgil.tasks.detect.teaching import Gains, TaughtLoss, with_teacher


class DetectTask(DetectExport):
    """See `mgil.tasks.base.Task`."""

    name = "detect"
    recipe: type[Recipe] = DetectRecipe
    default_cfg = "yolov5n-mgil.yaml"
    default_imgsz, named = 640, ("class", "classes")
    metrics: tuple[str, ...] = METRICS
    plotted: tuple[str, ...] = ("AP", "AP50", "AP_S", "AP_M", "AP_L")
    last_stage = "NMS"
    speed_options: Mapping[str, Any] = SPEED_OPTIONS
    table_columns: tuple[str, ...] = ("Prediction", "Confidence", "xmin", "ymin", "xmax", "ymax")
    final_table = FINAL_TABLE

    def adapted(self, data: DataConfig, options: TrainOptions | ValOptions) -> DataConfig:
        """With --single-cls all objects are of one class."""
        return data.as_one_class() if options.single_cls else data

    def read(self, data: DataConfig, split: str, *, strict: bool, report: Report) -> Samples:
        """Boxes from YOLO label files or a COCO json."""
        return load_samples(data, split, strict=strict, report=report)

    def composer(
        self, split: Samples, recipe: DetectRecipe, imgsz: int, model: Any, options: TrainOptions
    ) -> DetectComposer:
        """Mosaics, or with --rect plain images; with --teacher at its size."""
        return train_composer(split, imgsz, recipe.augment(), model.max_stride, options)

    def eval_loader(self, split: Samples, imgsz: int, model: Any, options: Any, loading: Loading) -> EvalLoader:
        """Letterboxed images: the smallest rectangles, as detect.py sees them; whole squares where times are wanted."""
        return eval_batches(split, imgsz, model.max_stride, options, loading)

    def default_recipe(self, imgsz: int, finetune: bool = False, known: bool = True) -> str:
        """For loaded weights finetune, for mostly other classes lowres; from scratch lowres up to 320 px."""
        if finetune:
            return FINETUNE if known else LOWRES
        return default_recipe(imgsz)

    def build(self, architecture: Any, names: Sequence[str], imgsz: int) -> DetectionModel:
        """A YOLOv5-style detector."""
        return build_model(architecture, names=names, imgsz=imgsz)

    def check_architecture(self, name: str) -> None:
        """Read a YAML of models/."""
        load_architecture(name)

    def prepare(
        self,
        model: DetectionModel,
        split: Samples,
        recipe: DetectRecipe,
        imgsz: int,
        seed: int,
        options: TrainOptions,
        loaded: bool,
        report: Report,
    ) -> None:
        """AutoAnchor, unless --noautoanchor, or the head was trained with its anchors."""
        put_in_order(model, report)
        if loaded and not options.autoanchor:
            keep_anchors(model)
            report(f"the anchors that the weights were trained with stay: {listed(model.head.anchors_px)}")
        elif not options.noautoanchor:
            check_anchors(model, split, imgsz, recipe.anchor_t, seed, report)
        elif model.head.start_only:
            report(f"--noautoanchor: trains with anchors that no label was asked for: {listed(model.head.anchors_px)}")

    def loss(
        self,
        model: DetectionModel,
        recipe: DetectRecipe,
        imgsz: int,
        options: TrainOptions,
        average: Average | None = None,
    ) -> Criterion:
        """The loss whose assignment the recipe names."""
        return detect_loss(model, recipe, imgsz, options.label_smoothing, average)

    def teacher(self, options: TrainOptions) -> str:
        """See `mgil.tasks.abilities.TeachingTask`."""
        return options.teacher

    def with_teacher(self, options: Any, teacher: nn.Module, names: Sequence[str], recipe: Any, report: Report) -> Any:
        """See `mgil.tasks.abilities.TeachingTask`."""
        assert isinstance(teacher, DetectionModel)
        return with_teacher(options, teacher, names, recipe, report)

    def taught(
        self, loss: Criterion, model: Any, teacher: nn.Module, recipe: Any, options: Any, average: Average | None
    ) -> TaughtLoss:
        """See `mgil.tasks.abilities.TeachingTask`."""
        assert isinstance(teacher, DetectionModel)
        gains = Gains(recipe.teach_scores, recipe.teach_attention)
        order = places_in(teacher.names, model.names)
        return TaughtLoss(loss, model, teacher, order, gains, options.imgsz, options.teacher_img, average)

    def item_weights(self, split: Samples, scores: DetectScores | None, options: TrainOptions) -> np.ndarray | None:
        """With --image-weights, images with rare and hard classes more often; before any scores all are as hard."""
        if not options.image_weights:
            return None
        if scores is None:
            return image_difficulty(split, np.zeros(split.classes.max(initial=0) + 1))
        return image_difficulty(split, np.array([row.ap50_95 for row in scores.per_class]))

    def draw_labels(self, split: Samples, names: Sequence[str], path: Path) -> None:
        """Boxes per class, where they lie and how large they are."""
        from mgil.tasks.detect.plots import plot_labels

        plot_labels(split, tuple(names), path)

    def draw_batch(self, images: Tensor, targets: Tensor, names: Sequence[str], path: Path) -> None:
        """A grid of the images with their boxes."""
        draw_batch_grid(images, targets, names, path)

    def judge(
        self,
        model: nn.Module,
        split: Samples,
        data: DataConfig,
        options: TrainOptions | ValOptions,
        pictures: Path | None = None,
    ) -> DetectJudge:
        """COCO AP and what goes with it; training judges by val.py's defaults."""
        return DetectJudge(model, split, data, options_for(ValOptions, options), pictures)

    def outputs(self, split: Samples, options: TrainOptions | ValOptions, stem: str) -> list[str]:
        """Tables, pictures, and what --save-txt and --save-json ask for, which training does not have."""
        return evaluation_files(split, options_for(ValOptions, options), stem)

    def evaluation_notes(self, model: nn.Module, source: str) -> list[str]:
        """A file that suppresses boxes itself has a lower AP."""
        return notes_on_suppression(model, source)

    def pooled(self, models: Sequence[nn.Module], sources: Sequence[str]) -> nn.Module:
        """Predictions of all of them, before suppression."""
        from mgil.tasks.detect.ensemble import Ensemble

        return Ensemble(models, sources)

    def predictor(
        self,
        model: nn.Module,
        options: PredictOptions,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        half: bool = False,
    ) -> Detector:
        """Boxes in pictures."""
        return Detector(model, options, device=device, size_hw=size_hw, half=half)


TASK: Task = DetectTask()
