"""Following objects from picture to picture: one tracker for each video, stream or sequence of pictures."""

from __future__ import annotations

import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mgil.datasets.reading.depths import DepthTally
from mgil.engine.prediction.config import TRACKERS
from mgil.engine.prediction.inputs import as_images
from mgil.engine.prediction.trackers import Association, ObjectTracker
from mgil.engine.sources.files import is_video
from mgil.engine.sources.sources import FileSource, Frame, Source
from mgil.engine.sources.video import FALLBACK_FPS
from mgil.files.text import Report
from mgil.tasks.abilities import Followable, FollowingPredictor
from mgil.tasks.base import Predictor

Read = Callable[[Any], Iterable[tuple[np.ndarray, str]]]
LOST_S = 1.0  # after which a track that is not seen ends; 30 pictures at 30 a second, as ByteTrack has it
TRAIL_S = 1.0
LEAST_LOST, MOST_TRAIL = 5, 90  # pictures, whatever the frame rate


@dataclass
class _Track:
    """What is shown of a track."""

    track_id: int
    seen: int = 0  # when, in pictures of the sequence
    trail: deque[tuple[float, float]] = field(default_factory=deque)


def plain_images(images: Any) -> Iterator[tuple[np.ndarray, str]]:
    """As for `load_model`, where all 16 bits of a deep picture count."""
    return as_images(images, DepthTally())


class Tracker:
    """Follows the objects of one video or stream, picture by picture.

        tracker = model.tracker(fps=25)
        for image in images:
            results = tracker(image)
            results.track_ids, results.trails

    A picture's result holds what is followed. An object gets its number when it is seen for the second time, in the
    first picture at once; numbers count from 1. A detection below `conf` is kept where it goes on a track. A track ends
    when its object was not seen for a second.

    Args:
        predictor: Of a task whose objects can be followed.
        kind: "bytetrack", which goes by boxes alone, or "botsort", which also measures how the camera moves.
        fps: Pictures a second.
        read: From what a user calls an image to (H, W, 3) arrays and names, for the call.
        association: When a detection is taken for the object of a track.

    Raises:
        ValueError: No such tracker, a task without objects that can be followed, a frame rate that is none, or a
            package that is not installed.
    """

    def __init__(
        self,
        predictor: Predictor,
        kind: str = TRACKERS[0],
        fps: float = FALLBACK_FPS,
        read: Read = plain_images,
        association: Association = Association(),  # noqa: B008 - frozen
    ) -> None:
        check_kind(kind)
        if not 0 < fps < float("inf"):
            raise ValueError(f"fps {fps}: give the pictures a second, more than 0")
        self._predictor, self._read = following(predictor), read
        self._fps = fps
        self._lost = max(round(LOST_S * fps), LEAST_LOST)
        self._trail = min(max(round(TRAIL_S * fps), 2), MOST_TRAIL)
        self._tracker = ObjectTracker(kind, self._predictor.sure_score, self._lost, association)
        self._tracks: dict[int, _Track] = {}  # by the tracker's own numbers
        self._now, self._arrived = 0, 0.0
        self.count = 0  # objects so far

    def __call__(self, image: Any) -> Any:
        """Detect and follow in the next picture.

        Args:
            image: One image, as a model takes it.

        Returns:
            The task's result, with `track_ids` (n,) and `trails`, n arrays (k, 2).
        """
        images = list(self._read(image))
        if len(images) != 1:
            raise ValueError(f"{len(images)} images: a tracker takes them one by one, in their order")
        picture, path = images[0]
        return self.follow(self._predictor.candidates([picture], [path])[0])

    def follow(self, result: Followable, arrived: float | None = None) -> Followable:
        """Number the objects of the next picture.

        Args:
            result: Its detections, weak ones too.
            arrived: `time.monotonic()` of a live picture; what was dropped since the last one is counted by the time.
        """
        steps = 1
        if arrived is not None:
            if self._now:
                steps = max(round((arrived - self._arrived) * self._fps), 1)
            self._arrived = arrived
        if steps > self._lost:
            self.reset()
        self._now += steps
        rows, numbers = self._tracker.update(result.boxes_xyxy, result.box_scores, result.classes, result.image, steps)
        order = np.argsort(rows)  # best score first, as it was
        rows, numbers = rows[order], numbers[order]
        tracks = [self._seen(int(number), result.boxes_xyxy[row]) for row, number in zip(rows, numbers, strict=True)]
        for number in [number for number, track in self._tracks.items() if self._now - track.seen > 2 * self._lost]:
            del self._tracks[number]
        trails = tuple(np.array(track.trail, np.float32) for track in tracks)
        return result.followed(rows, np.array([track.track_id for track in tracks], np.int64), trails)

    def reset(self) -> None:
        """End all tracks, as at a cut; numbers go on."""
        self._tracker.reset()
        self._tracks.clear()

    def _seen(self, number: int, box_xyxy: np.ndarray) -> _Track:
        if number not in self._tracks:
            self.count += 1
            self._tracks[number] = _Track(self.count, trail=deque(maxlen=self._trail))
        track = self._tracks[number]
        track.seen = self._now
        x1, y1, x2, y2 = box_xyxy.tolist()
        track.trail.append(((x1 + x2) / 2, (y1 + y2) / 2))
        return track


def check_kind(kind: str) -> None:
    """Raise ValueError for a tracker that is none of `TRACKERS`."""
    if kind not in TRACKERS:
        raise ValueError(f"tracker {kind!r}: there is {' and '.join(TRACKERS)}")


class Trackers:
    """A tracker for each video, stream or folder of pictures of a run.

    Numbers count from 1 in each. The pictures of a folder are one sequence, in the order in which they come.
    """

    def __init__(self, predictor: Predictor, kind: str, source: Source) -> None:
        check_kind(kind)
        self._predictor, self._kind = following(predictor), kind
        self._side_by_side = source.endless
        self._trackers: dict[str, tuple[str, Tracker]] = {}
        self._ended: list[str] = []

    def __call__(self, frames: Sequence[Frame]) -> list[Followable]:
        """Detect and follow in the frames of one moment, each of another video, stream or folder."""
        found = self._predictor.candidates([frame.image for frame in frames], [frame.path for frame in frames])
        return [self._tracker(frame).follow(result, frame.arrived) for frame, result in zip(frames, found, strict=True)]

    def sums(self) -> list[str]:
        """A line for each sequence: how many objects were followed."""
        return [*self._ended, *(_sum(name, tracker) for name, tracker in self._trackers.values())]

    def _tracker(self, frame: Frame) -> Tracker:
        is_still = frame.number is None
        name = (os.path.dirname(frame.path) or ".") if is_still else frame.path
        key = name if is_still else frame.stem  # two streams may be shown by one name
        if key not in self._trackers:
            if not self._side_by_side and not is_still:  # a video comes after another one's end
                self._ended = self.sums()
                self._trackers.clear()
            self._trackers[key] = name, Tracker(self._predictor, self._kind, frame.fps or FALLBACK_FPS)
        return self._trackers[key][1]


def _sum(name: str, tracker: Tracker) -> str:
    return f"{name}: {tracker.count} object{'s' if tracker.count != 1 else ''} followed"


def following(predictor: Predictor) -> FollowingPredictor:
    """The predictor, of a task whose objects can be followed.

    Raises:
        ValueError: It is of another task.
    """
    if not isinstance(predictor, FollowingPredictor):
        raise ValueError("--track: these weights are of a task that has no objects to follow")
    return predictor


def check_sequence(source: Source, report: Report) -> None:
    """Tell how still pictures are followed.

    Raises:
        ValueError: The source is one picture.
    """
    if not isinstance(source, FileSource):
        return
    stills = [path for path in source.paths if not is_video(path)]
    if stills and len(source.paths) == 1:
        raise ValueError(
            f"--track follows objects through a video or a folder of its frames; {stills[0]} is one picture"
        )
    if stills:
        report(
            f"--track: the {len(stills)} pictures are taken for frames of a video, one for each folder, in this order: "
            f"{', '.join(os.path.basename(path) for path in stills[:3])}{', ...' if len(stills) > 3 else ''}"
        )
    if pair := _first_swapped(stills):
        report(
            f"--track: {pair[0]} comes before {pair[1]}; write their numbers with as many digits, or give a .txt list "
            "of the files in their order"
        )


def _first_swapped(paths: Sequence[str]) -> tuple[str, str] | None:
    """Names of two neighbours in a folder that differ by their numbers alone, the higher one first; or nothing."""
    for pair in itertools.pairwise(paths):
        one, other = map(os.path.basename, pair)
        before, after = re.split(r"(\d+)", one), re.split(r"(\d+)", other)
        same = os.path.dirname(pair[0]) == os.path.dirname(pair[1]) and before[::2] == after[::2]
        if same and list(map(int, before[1::2])) > list(map(int, after[1::2])):
            return one, other
    return None
