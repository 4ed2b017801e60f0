"""A pose network at work on pictures: people's boxes, crops, forward pass, joints back in the picture's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mgil.files.text import Report, printable
from mgil.networks.stopwatch import Stopwatch
from mgil.tasks.abilities import FollowingPredictor
from mgil.tasks.pose.box_files import FiledBoxes
from mgil.tasks.pose.boxes import Boxes, BoxSource, DetectedBoxes, WholePictures
from mgil.tasks.pose.config import guessed_skeleton
from mgil.tasks.pose.crops import crop_people
from mgil.tasks.pose.options import CROPS, PredictOptions
from mgil.tasks.pose.results import PERSON, PoseResults, person_scores
from mgil.tasks.pose.skeleton import Skeleton

AT_ONCE = 64  # people who go through the network together
STAGES = ("preprocess", "inference", "decode")


class PosePredictor:
    """Finds the joints of people in pictures; see `mgil.tasks.abilities.BoxPredictor`.

    Args:
        model: In evaluation mode, on `device`: a `PoseNetwork`, or an exported file, which maps (B, 3, S, S) in 0..1 to
            joints (B, K, 3): X and Y in edge coordinates of the input, score.
        options: Where people are, and which joints count.
        device: Where to compute.
        size_hw: Height and width of its input, which are equal.
        half: float16 arithmetic; the model's weights are float16.

    Raises:
        FileNotFoundError: There is no such file of boxes.
        ValueError: An input size that the network does not have, a flip test that an exported file cannot do, or a file
            of boxes that cannot be read.
    """

    def __init__(
        self,
        model: Any,
        options: PredictOptions,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        half: bool = False,
    ) -> None:
        self.model, self.options, self.device, self.half = model, options, device, half
        self.size_hw = check_size(model, size_hw)
        self.names: tuple[str, ...] = (PERSON,)
        self.skeleton: Skeleton = getattr(model, "skeleton", None) or guessed_skeleton(model.names)
        self.crop: str = getattr(model, "crop", CROPS[0])
        if options.flip_test and not hasattr(model, "with_mirrored"):
            raise ValueError("--flip-test needs the PyTorch weights (.pt): an exported file gives joints, not logits")
        self._source: BoxSource = WholePictures()
        self._report: Report = lambda _line: None
        self._has_detector = self._told_outside = False

    @property
    def sure_score(self) -> float:
        """A box of at least this may begin a track."""
        return self.options.conf_thres

    def use(self, finder: FollowingPredictor | None, source: str, report: Report) -> None:
        """See `mgil.tasks.abilities.BoxPredictor`."""
        options, self._report, self._has_detector = self.options, report, finder is not None
        if finder is not None:
            self._source = DetectedBoxes(finder, source, options.classes is not None, report)
        elif options.boxes is not None:
            joints = len(self.skeleton)
            self._source = FiledBoxes(options.boxes, joints, options.conf_thres, options.classes, report)
        else:
            report("people: each picture is taken for one person; --detector or --boxes says where several are")

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[PoseResults]:
        """Look at the people of (H, W, 3) uint8 RGB pictures; those of all pictures go through the network together."""
        return self._look(images, paths, weak=False)

    def candidates(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[PoseResults]:
        """As the call, with people in boxes of low scores too, for a tracker."""
        return self._look(images, paths, weak=True)

    def _look(self, images: Sequence[np.ndarray], paths: Sequence[str], weak: bool) -> list[PoseResults]:
        watch = Stopwatch(self.device, STAGES)
        boxes = [
            self._usable(found, image, path)
            for found, image, path in zip(self._source(images, paths, weak), images, paths, strict=True)
        ]
        if self._has_detector:
            watch.done("detector")
        watch.start()
        cut = [
            crop_people(image, found.ltwh, self.size_hw[0], self.crop)
            for image, found in zip(images, boxes, strict=True)
        ]
        pixels = np.concatenate([crops for crops, _ in cut]) if cut else np.zeros((0, 3, *self.size_hw), np.uint8)
        watch.done("preprocess")
        joints = self._joints(pixels, watch)
        speed = watch.milliseconds(len(images))
        results, first = [], 0
        for image, path, found, (_, maps) in zip(images, paths, boxes, cut, strict=True):
            own = joints[first : first + len(found)]
            first += len(found)
            points = np.concatenate((maps.to_picture(own[..., :2]), own[..., 2:]), axis=-1)
            results.append(self._result(found, points, image, path, speed))
        return results

    def _usable(self, boxes: Boxes, image: np.ndarray, path: str) -> Boxes:
        """The best of those that show something of the picture; told once where some do not."""
        kept = boxes.within(*image.shape[:2])
        lost = len(boxes) - len(kept)
        if lost and not self._told_outside:
            self._report(
                f"{printable(path)}: {lost} of {len(boxes)} boxes {'lies' if lost == 1 else 'lie'} outside of the "
                "picture or without width or height; such boxes are left out"
            )
            self._told_outside = True
        return kept.best(self.options.max_det)

    @torch.inference_mode()
    def _joints(self, pixels: np.ndarray, watch: Stopwatch) -> np.ndarray:
        """(n, 3, S, S) uint8 -> (n, K, 3) float64 edge coordinates of the crops and scores."""
        parts = [np.zeros((0, len(self.skeleton), 3))]
        for start in range(0, len(pixels), AT_ONCE):
            watch.start()
            batch = torch.from_numpy(pixels[start : start + AT_ONCE]).to(self.device)
            batch = (batch.half() if self.half else batch.float()).div_(255)
            watch.done("preprocess")
            found = self._forward(batch)
            watch.done("inference")
            joints = self.model.decode(found) if found.ndim == 4 else found
            parts.append(joints.double().cpu().numpy())
            watch.done("decode")
        return np.concatenate(parts)

    def _forward(self, batch: Tensor) -> Tensor:
        """Logits, those of both looks with the flip test, or joints."""
        found: Tensor = self.model(batch)
        if not self.options.flip_test:
            return found
        both: Tensor = self.model.with_mirrored(found.float(), self.model(batch.flip(3)).float())
        return both

    def _result(
        self, boxes: Boxes, points: np.ndarray, image: np.ndarray, path: str, speed: dict[str, float]
    ) -> PoseResults:
        whole = np.isfinite(points).all(axis=(1, 2))  # of a damaged network they may not be
        boxes, points = boxes.rows(whole), points[whole]
        threshold = self.options.joint_thres
        order = np.argsort(-person_scores(boxes.scores, points[..., 2], threshold), kind="stable")
        return PoseResults(
            boxes_xyxy=boxes.xyxy[order].astype(np.float32),
            box_scores=boxes.scores[order].astype(np.float32),
            keypoints=points[order].astype(np.float32),
            skeleton=self.skeleton,
            image=image,
            joint_threshold=threshold,
            path=path,
            speed=dict(speed),
            input_hw=self.size_hw,
            names=self.names,
        )


def check_size(model: Any, size_hw: tuple[int, int]) -> tuple[int, int]:
    """The input size.

    Raises:
        ValueError: It is not the one that the network was made for.
    """
    made_for = getattr(model, "size_hw", None) or (model.imgsz, model.imgsz)
    if size_hw != tuple(made_for):
        raise ValueError(
            f"--imgsz {size_hw[0]} {size_hw[1]}: the network sees each person at {made_for[0]}x{made_for[1]} pixels "
            "alone; leave --imgsz out"
        )
    return size_hw
