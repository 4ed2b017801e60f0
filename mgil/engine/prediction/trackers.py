"""ultralytics' trackers; no other module imports that library, which changes much of a process and of the disk."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from mgil.engine.prediction.config import TRACKERS
from mgil.engine.prediction.shield import never_imported, process_put_back
from mgil.files.packages import MissingPackage, import_package

PIP = "pip install ultralytics-opencv-headless lap"
TESTED = "8.4.175 to 8.4.190"
_FLAG = "following objects (--track)"
_LOGGER = "ultralytics"
_NEEDED = ("update", "reset", "multi_predict", "tracked_stracks", "lost_stracks", "frame_id")
# No look-up of a host, no installation by itself, nothing on the console, settings in a folder that is deleted.
_ENVIRONMENT = {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "YOLO_CONFIG_DIR": "{}",
    "WORLD_SIZE": "1",
}


@dataclass(frozen=True)
class Association:
    """When a detection is taken for the object of a track.

    The defaults are for small objects, which move by half their size between two pictures: `benchmarks.tracking`
    measures them beside ultralytics' own, `Association(fuse=True, margin=0)`.

    Attributes:
        match: Highest cost, 1 - IoU, of detections that may begin a track.
        fuse: Multiply that IoU with the detection's score.
        margin: Boxes are compared after each side was moved outward by this share of the box's width or height, so that
            small boxes which moved by more than their size still overlap.
    """

    match: float = 0.8
    fuse: bool = False
    margin: float = 0.5


@dataclass(frozen=True)
class Detections:
    """What a tracker is given: boxes, in the attributes that it reads.

    Attributes:
        xyxy: (n, 4) float32 pixels.
        conf: (n,) float32, 0..1.
        cls: (n,) class indices.
    """

    xyxy: np.ndarray
    conf: np.ndarray
    cls: np.ndarray

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, chosen: np.ndarray) -> Detections:
        return Detections(self.xyxy[chosen], self.conf[chosen], self.cls[chosen])

    @property
    def xywh(self) -> np.ndarray:
        """(n, 4) centres and sizes."""
        return np.concatenate(((self.xyxy[:, :2] + self.xyxy[:, 2:]) / 2, self.xyxy[:, 2:] - self.xyxy[:, :2]), axis=1)


class ObjectTracker:
    """One of `TRACKERS` at work on one sequence of pictures.

    Args:
        kind: Its name.
        sure_score: A detection of at least this may begin a track; a weaker one may only go on one.
        lost_frames: A track that was not seen for longer ends.
        association: When a detection is taken for the object of a track.

    Raises:
        MissingPackage: ultralytics or lap is not installed, or of a version that does not fit.
    """

    def __init__(self, kind: str, sure_score: float, lost_frames: int, association: Association) -> None:
        self._margin = association.margin
        self._tracker = tracker_classes()[kind](_arguments(sure_score, lost_frames, association))

    def update(
        self, boxes_xyxy: np.ndarray, scores: np.ndarray, classes: np.ndarray, image: np.ndarray, steps: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the detections of the next picture.

        Args:
            boxes_xyxy: (n, 4) pixels.
            scores: (n,) 0..1.
            classes: (n,) class indices.
            image: (H, W, 3) uint8 RGB, by which "botsort" measures how the camera moved.
            steps: Pictures since the last call, more than 1 where some were dropped.

        Returns:
            (k,) Which of the detections belong to a track, and its (k,) number.
        """
        tracker = self._tracker
        if tracker.frame_id:
            for _ in range(steps - 1):  # objects move on through the pictures that are missing
                tracker.multi_predict([*tracker.tracked_stracks, *tracker.lost_stracks])
            tracker.frame_id += steps - 1
        around = self._margin * np.tile(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 2) * (-1, -1, 1, 1)
        given = Detections((boxes_xyxy + around).astype(np.float32), scores, classes)
        logger = logging.getLogger(_LOGGER)
        disabled, logger.disabled = logger.disabled, True  # "not enough matching points", for every plain picture
        try:
            rows = tracker.update(given, np.ascontiguousarray(image[..., ::-1]))
        finally:
            logger.disabled = disabled
        rows = np.asarray(rows).reshape(-1, 8)  # x1 y1 x2 y2 track score class detection
        return rows[:, 7].astype(np.int64), rows[:, 4].astype(np.int64)

    def reset(self) -> None:
        """Forget all tracks; numbers begin anew."""
        self._tracker.reset()


@cache
def tracker_classes() -> Mapping[str, type[Any]]:
    """The classes behind `TRACKERS`.

    Raises:
        MissingPackage: As in `ObjectTracker`; says what to install.
    """
    with ExitStack() as stack:
        try:
            lap = import_package("lap")
            if not hasattr(lap, "__version__"):  # ultralytics would install another one
                raise MissingPackage(f"the package lap at {list(lap.__path__)} is not the one of PyPI")
            if "ultralytics" not in sys.modules:
                stack.enter_context(process_put_back(_ENVIRONMENT, (_LOGGER, "coremltools", "sentry_sdk")))
                stack.enter_context(never_imported("ultralytics"))
            trackers = import_package("ultralytics.trackers", "ultralytics-opencv-headless")
        except MissingPackage as error:
            raise MissingPackage(f"{_FLAG}: {error}; both at once: {PIP}") from error
        version = getattr(sys.modules["ultralytics"], "__version__", "?")
    found = {name: getattr(trackers, of, None) for name, of in zip(TRACKERS, ("BYTETracker", "BOTSORT"), strict=True)}
    if problem := _problem(found):
        raise MissingPackage(f"{_FLAG}: ultralytics {version}: {problem}; tested are {TESTED}: {PIP}")
    return {name: tracker for name, tracker in found.items() if tracker is not None}


def _problem(classes: Mapping[str, type[Any] | None]) -> str:
    """Why the trackers of an installed version cannot be used, or nothing."""
    box, conf, cls = np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)
    for name, tracker in classes.items():
        if tracker is None:
            return f"it has no {name}"
        try:
            first, second = (tracker(_arguments(0.5, 1, Association())) for _ in range(2))
            if lacking := [word for word in _NEEDED if not hasattr(first, word)]:
                return f"its {name} has no {', '.join(lacking)}"
            rows = [one.update(Detections(box, conf, cls), np.zeros((9, 9, 3), np.uint8)) for one in (first, second)]
        except Exception as error:  # whatever another version's code does with these arguments
            return f"its {name} cannot be called ({type(error).__name__}: {error})"
        if np.shape(rows[0]) != (1, 8) or rows[0][0][7] != 0:
            return f"its {name} gives something else"
        if rows[0][0][4] != rows[1][0][4]:
            return f"numbers of its {name} are shared between streams"
    return ""


def _arguments(sure_score: float, lost_frames: int, association: Association) -> SimpleNamespace:
    """What its YAML files set; `track_low_thresh` is 0, as the task chooses what is given."""
    return SimpleNamespace(
        track_high_thresh=sure_score,
        track_low_thresh=0.0,
        new_track_thresh=sure_score,
        track_buffer=lost_frames,
        match_thresh=association.match,
        fuse_score=association.fuse,
        gmc_method="sparseOptFlow",
        proximity_thresh=0.5,
        appearance_thresh=0.8,
        with_reid=False,
        model="auto",
    )
