"""Classification, as the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.reading.config import DataConfig
from mgil.files.recipe import Recipe
from mgil.files.text import Report
from mgil.tasks.abilities import Taken
from mgil.tasks.base import Average, Loading, Task, options_for
from mgil.tasks.classify.batches import ClassComposer, ClassLoader
from mgil.tasks.classify.config import load_architecture
from mgil.tasks.classify.ensemble import Ensemble
from mgil.tasks.classify.exporting import ClassExport
from mgil.tasks.classify.judge import ClassJudge
from mgil.tasks.classify.loss import ClassLoss
from mgil.tasks.classify.network import ClassNetwork, build_class_network
from mgil.tasks.classify.options import PredictOptions, TrainOptions, ValOptions
from mgil.tasks.classify.predictor import ClassPredictor
from mgil.tasks.classify.reading.config import class_data, class_place
from mgil.tasks.classify.reading.load import read_classes
from mgil.tasks.classify.recipe import FINETUNE, SMALL, ClassRecipe
from mgil.tasks.classify.report import FINAL_TABLE
from mgil.tasks.classify.results import TABLE_COLUMNS
from mgil.tasks.classify.saving import evaluation_files
from mgil.tasks.classify.scores import METRICS
from mgil.tasks.classify.split import ClassSplit
from mgil.tasks.classify.weights import take_class_weights


class ClassTask(ClassExport):
    """See `mgil.tasks.base.Task`."""

    name = "classify"
    recipe: type[Recipe] = ClassRecipe
    default_cfg = "cls-small.yaml"
    default_imgsz, named = 32, ("class", "classes")
    metrics: tuple[str, ...] = METRICS
    plotted: tuple[str, ...] = ("top1", "top5")
    last_stage = "softmax"
    speed_options: Mapping[str, Any] = {}
    table_columns: tuple[str, ...] = TABLE_COLUMNS
    final_table = FINAL_TABLE

    def data(self, path: str) -> DataConfig:
        """A folder of folders, a csv, or a YAML."""
        return class_data(path)

    def data_place(self, path: str) -> Path:
        """Of the folder, the csv, or the YAML."""
        return class_place(path)

    def adapted(self, data: DataConfig, options: TrainOptions | ValOptions) -> DataConfig:
        """As it is."""
        return data

    def read(self, data: DataConfig, split: str, *, strict: bool, report: Report) -> ClassSplit:
        """Pictures with a class each."""
        return read_classes(data, split, strict=strict, report=report)

    def composer(
        self, split: ClassSplit, recipe: ClassRecipe, imgsz: int, model: Any, options: TrainOptions
    ) -> ClassComposer:
        """Augmented crops of every picture, of what the network looks at in evaluation."""
        return ClassComposer(split, recipe, imgsz, options.crop_mode or model.crop)

    def eval_loader(
        self, split: ClassSplit, imgsz: int, model: Any, options: TrainOptions | ValOptions, loading: Loading
    ) -> ClassLoader:
        """The middle of every picture, or all of it: the network's way unless --crop-mode says more."""
        return ClassLoader(split, imgsz, options.crop_mode or model.crop, loading)

    def default_recipe(self, imgsz: int, finetune: bool = False, known: bool = True) -> str:
        """Ours for small sets, and for weights that are trained on."""
        return FINETUNE if finetune else SMALL

    def build(self, architecture: Any, names: Sequence[str], imgsz: int) -> ClassNetwork:
        """A host with a linear layer behind its mean features."""
        return build_class_network(architecture, names, imgsz)

    def take(self, model: ClassNetwork, tensors: Mapping[str, Tensor]) -> Taken:
        """Weights of timm's hosts."""
        return take_class_weights(model, tensors)

    def check_architecture(self, name: str) -> None:
        """Read a YAML of models/, or look a name of timm up."""
        load_architecture(name)

    def prepare(
        self,
        model: ClassNetwork,
        split: ClassSplit,
        recipe: ClassRecipe,
        imgsz: int,
        seed: int,
        options: TrainOptions,
        loaded: bool,
        report: Report,
    ) -> None:
        """The network keeps which part of a picture it looks at, and drops features as the recipe says.

        Raises:
            ValueError: Several input sizes for a network that takes one.
        """
        if getattr(options, "multi_scale", False) and not model.any_size:
            source = model.architecture["source"]
            raise ValueError(f"--multi-scale: {source} takes inputs of {model.imgsz} px alone; leave it out")
        model.crop = options.crop_mode or model.crop
        model.dropout = recipe.dropout or model.dropout

    def loss(
        self,
        model: ClassNetwork,
        recipe: ClassRecipe,
        imgsz: int,
        options: TrainOptions,
        average: Average | None = None,
    ) -> ClassLoss:
        """Cross entropy; the batches of a step, of all processes, add up to the mean over their pictures."""
        return ClassLoss(recipe.smoothing, recipe.images_of_step(getattr(options, "batch_size", recipe.nbs)))

    def item_weights(self, split: ClassSplit, scores: Any, options: TrainOptions) -> np.ndarray | None:
        """Each picture once."""
        return None

    def draw_labels(self, split: ClassSplit, names: Sequence[str], path: Path) -> None:
        """Pictures of each class, and how large they are."""
        from mgil.tasks.classify.plots import plot_labels

        plot_labels(split, path)

    def draw_batch(self, images: Tensor, targets: Tensor, names: Sequence[str], path: Path) -> None:
        """A grid of crops with their classes."""
        from mgil.tasks.classify.plots import draw_classes

        draw_classes(images, targets, names, path)

    def judge(
        self,
        model: nn.Module,
        split: ClassSplit,
        data: DataConfig,
        options: TrainOptions | ValOptions,
        pictures: Path | None = None,
    ) -> ClassJudge:
        """Accuracy, by class too; training judges by val.py's defaults."""
        return ClassJudge(model, split, data, options_for(ValOptions, options), pictures)

    def outputs(self, split: ClassSplit, options: TrainOptions | ValOptions, stem: str) -> list[str]:
        """Tables, pictures, and what --save-txt and --save-json ask for, which training does not have."""
        return evaluation_files(split, options_for(ValOptions, options), stem)

    def evaluation_notes(self, model: nn.Module, source: str) -> list[str]:
        """All files are judged alike."""
        return []

    def pooled(self, models: Sequence[nn.Module], sources: Sequence[str]) -> nn.Module:
        """The mean of their probabilities."""
        return Ensemble(models, sources)

    def predictor(
        self,
        model: nn.Module,
        options: PredictOptions,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        half: bool = False,
    ) -> ClassPredictor:
        """What pictures show."""
        return ClassPredictor(model, options, device=device, size_hw=size_hw, half=half)


TASK: Task = ClassTask()
