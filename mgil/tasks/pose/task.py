"""Pose, as the engine sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.reading.config import DataConfig
from mgil.files.recipe import Recipe
from mgil.files.text import Report
from mgil.networks.host_weights import Taken
from mgil.tasks.abilities import Finder, Followable
from mgil.tasks.base import Average, Loading, Task, options_for
from mgil.tasks.pose.batches import PersonLoader, PoseComposer
from mgil.tasks.pose.config import guessed_skeleton, load_architecture
from mgil.tasks.pose.exporting import PoseExport
from mgil.tasks.pose.finding import finder_of, paths_of, with_found
from mgil.tasks.pose.judge import PoseJudge, notes_on_flip_test
from mgil.tasks.pose.network import PoseNetwork, build_pose
from mgil.tasks.pose.options import PredictOptions, TrainOptions, ValOptions
from mgil.tasks.pose.people import People, trainable
from mgil.tasks.pose.pictures import draw_crops, draw_people_labels
from mgil.tasks.pose.predictor import PosePredictor
from mgil.tasks.pose.reading.boxes import with_boxes
from mgil.tasks.pose.reading.load import read_people
from mgil.tasks.pose.reading.skeleton import as_key_points
from mgil.tasks.pose.recipe import FINETUNE, SMALL, PoseRecipe
from mgil.tasks.pose.report import FINAL_TABLE
from mgil.tasks.pose.results import TABLE_COLUMNS
from mgil.tasks.pose.saving import evaluation_files
from mgil.tasks.pose.scores import METRICS
from mgil.tasks.pose.simcc import SimCCLoss
from mgil.tasks.pose.weights import load_host_weights


class PoseTask(PoseExport):
    """See `mgil.tasks.base.Task`."""

    name = "pose"
    recipe: type[Recipe] = PoseRecipe
    default_cfg = "simcc-small.yaml"
    default_imgsz, named = 64, ("key point", "key points")
    metrics: tuple[str, ...] = METRICS
    plotted: tuple[str, ...] = ("AP", "AP50", "AP75", "AR", "PCK", "AP_detector")
    last_stage = "decode"
    speed_options: Mapping[str, Any] = {"no_flip_test": True}
    table_columns: tuple[str, ...] = TABLE_COLUMNS
    final_table = FINAL_TABLE

    def adapted(self, data: DataConfig, options: TrainOptions | ValOptions) -> DataConfig:
        """What has names here are the key points."""
        return as_key_points(data)

    def read(self, data: DataConfig, split: str, *, strict: bool, report: Report) -> People:
        """People with key points."""
        return read_people(data, split, strict=strict, report=report)

    def composer(
        self, split: People, recipe: PoseRecipe, imgsz: int, model: Any, options: TrainOptions
    ) -> PoseComposer:
        """Augmented crops of everybody who has a labelled joint."""
        return PoseComposer(split.rows(trainable(split)), recipe, imgsz, options.crop)

    def eval_loader(
        self, split: People, imgsz: int, model: Any, options: TrainOptions | ValOptions, loading: Loading
    ) -> PersonLoader:
        """Crops of people, as the network was trained on them unless --crop says otherwise."""
        if loading.reduced:
            raise ValueError("--reduced-jpeg: people are cut out of whole pictures; leave it out")
        return PersonLoader(split, imgsz, options.crop or model.crop, loading)

    def default_recipe(self, imgsz: int, finetune: bool = False, known: bool = True) -> str:
        """Ours for small sets, and for weights that are trained on."""
        return FINETUNE if finetune else SMALL

    def build(self, architecture: Any, names: Sequence[str], imgsz: int) -> PoseNetwork:
        """A SimCC network."""
        return build_pose(architecture, names, imgsz)

    def take(self, model: PoseNetwork, tensors: Mapping[str, Tensor]) -> Taken:
        """Weights of timm's hosts and of SimCC."""
        return load_host_weights(model, tensors)

    def check_architecture(self, name: str) -> None:
        """Read a YAML of models/."""
        load_architecture(name)

    def prepare(
        self,
        model: PoseNetwork,
        split: People,
        recipe: PoseRecipe,
        imgsz: int,
        seed: int,
        options: TrainOptions,
        loaded: bool,
        report: Report,
    ) -> None:
        """The network keeps what its key points are and how its crops were taken."""
        model.skeleton = split.skeleton
        model.crop = options.crop

    def loss(
        self,
        model: PoseNetwork,
        recipe: PoseRecipe,
        imgsz: int,
        options: TrainOptions,
        average: Average | None = None,
    ) -> SimCCLoss:
        """Distance of distributions over bins; the batches of a step, of all processes, add up to the mean."""
        sigma = recipe.sigma if model.gaussian else None
        nominal = recipe.images_of_step(getattr(options, "batch_size", recipe.nbs))
        return SimCCLoss(model.split, smoothing=recipe.smoothing, sigma=sigma, bins=model.bins, nominal=nominal)

    def item_weights(self, split: People, scores: Any, options: TrainOptions) -> np.ndarray | None:
        """Each person once."""
        return None

    def draw_labels(self, split: People, names: Sequence[str], path: Path) -> None:
        """How often each key point is labelled, how large people are, and where their joints lie."""
        draw_people_labels(split, path)

    def draw_batch(self, images: Tensor, targets: Tensor, names: Sequence[str], path: Path) -> None:
        """A grid of crops with their key points."""
        draw_crops(images, targets, guessed_skeleton(names), path)

    def judge(
        self,
        model: nn.Module,
        split: People,
        data: DataConfig,
        options: TrainOptions | ValOptions,
        pictures: Path | None = None,
    ) -> PoseJudge:
        """OKS AP and PCK; training judges by val.py's defaults."""
        return PoseJudge(model, split, data, options_for(ValOptions, options), pictures)

    def outputs(self, split: People, options: TrainOptions | ValOptions, stem: str) -> list[str]:
        """Tables, pictures, and what --save-txt and --save-json ask for, which training does not have."""
        return evaluation_files(split, options_for(ValOptions, options), stem)

    def evaluation_notes(self, model: nn.Module, source: str) -> list[str]:
        """An exported file has no flip test."""
        return notes_on_flip_test(model, source)

    def pooled(self, models: Sequence[nn.Module], sources: Sequence[str]) -> nn.Module:
        """Not of poses."""
        raise ValueError(f"--weights {' '.join(sources)}: poses are found by one network; give one file")

    def finder(self, options: ValOptions | PredictOptions) -> Finder | None:
        """The detector of --detector."""
        return finder_of(options)

    def with_filed(self, split: People, options: ValOptions, report: Report) -> People:
        """The boxes of --boxes."""
        return split if options.boxes is None else with_boxes(split, options.boxes, report)

    def pictures(self, split: People) -> Sequence[str]:
        """Those without people too."""
        return paths_of(split)

    def with_found(self, split: People, found: Iterable[tuple[str, Followable]], source: str, report: Report) -> People:
        """Labelled people and found boxes."""
        return with_found(split, found, source, report)

    def predictor(
        self,
        model: nn.Module,
        options: PredictOptions,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        half: bool = False,
    ) -> PosePredictor:
        """People in pictures."""
        return PosePredictor(model, options, device=device, size_hw=size_hw, half=half)


TASK: Task = PoseTask()
