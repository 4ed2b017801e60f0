"""What `load_model` returns: a trained network that takes whatever a Python user calls an image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mgil.datasets.reading.depths import Advice, DepthTally
from mgil.datasets.reading.value_range import ValueRange
from mgil.engine.input_size import warn
from mgil.engine.prediction.inputs import as_images, is_many
from mgil.engine.prediction.trackers import tracker_classes
from mgil.engine.prediction.tracking import Tracker, Trackers
from mgil.engine.sources.sources import Source, open_source
from mgil.files.text import Report, check_class_names
from mgil.tasks.base import Predictor

UNLESS = "to load_model, unless the weights learned from the like"
BY_KEYWORD = Advice(f"give bits={{}} {UNLESS}", f"give range=({{}}, {{}}) {UNLESS}")
BATCH_SIZE = 16  # images of one list that go through the network together


class Model:
    """A network at work.

    Args:
        predictor: The task's own part; its attributes (`names`, `size_hw`, `device`, `model`) are at hand here.
        values: What the values of pictures of more than 8 bits mean; None: all 16 bits.
        report: Told once where pictures use few of their values.
    """

    def __init__(self, predictor: Predictor, values: ValueRange | None = None, report: Report = warn) -> None:
        self.predictor = predictor
        self.depths = DepthTally(values, BY_KEYWORD)
        self.report = report

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index; assigning others renames the classes. ValueError: not as many, or not to be shown."""
        return self.predictor.names

    @names.setter
    def names(self, names: Sequence[str] | Mapping[int, str]) -> None:
        self.predictor.names = _class_names(names, len(self.names))

    def __setattr__(self, name: str, value: Any) -> None:
        """Take `names` alone: who sets `conf`, as with YOLOv5's hub models, should not wait for an effect.

        Raises:
            AttributeError: Any other name.
        """
        if name not in ("names", "predictor", "depths", "report"):
            raise AttributeError(
                f"{name} cannot be set on a loaded model; options are keywords of load_model: "
                f"load_model(weights, {name}={value!r})"
            )
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "predictor":  # not there yet: asked for by copy or pickle
            raise AttributeError(name)
        return getattr(self.predictor, name)

    def __call__(self, images: Any) -> Any:
        """Look at one image or several.

        Args:
            images: a path; a (H, W, 3) or (H, W) NumPy array, **RGB** as everywhere in this project (an array of
                cv2.imread must be turned round: `image[..., ::-1]`), of uint8, uint16 or bool; a PIL image; a (3, H, W)
                tensor, RGB, float 0..1, uint8 or uint16; or a list or tuple of these, or a (B, 3, H, W) tensor. Alpha
                as a fourth channel is left out. `mgil.datasets.reading.pixels.rgb_of` says what values mean.

        Returns:
            The task's result for one image (detection: `Results`), a list of them in the same order for several.

        Raises:
            ValueError: an array, tensor or file that is no such image.
            FileNotFoundError: no such file.
        """
        stream = as_images(images, self.depths)
        results: list[Any] = []
        while chunk := list(islice(stream, BATCH_SIZE)):
            results += self.predictor([image for image, _ in chunk], [path for _, path in chunk])
        self.depths.tell(self.report)
        return results if is_many(images) else results[0]

    def tracker(self, kind: str = "bytetrack", fps: float = 30.0) -> Tracker:
        """What follows objects through the pictures of one video or stream: call it with one after the other.

        Args:
            kind: "bytetrack", or "botsort" for a moving camera.
            fps: Pictures a second that it will get.

        Raises:
            ValueError: As `Tracker` says; among these, a package that is not installed.
        """
        return Tracker(self.predictor, kind, fps, self._read)

    def track(self, frames: Iterable[Any] | str | Path, kind: str = "bytetrack", fps: float = 30.0) -> Iterator[Any]:
        """Follow objects through a video.

            for results in model.track("video.mp4"):
                results.track_ids, results.boxes_xyxy

        Args:
            frames: A source as detect.py has it, of which each video or stream is followed on its own; or the images of
                one video, each as for the call.
            kind: "bytetrack", or "botsort" for a moving camera.
            fps: Of images, pictures a second; a source says it itself.

        Returns:
            The results, one at a time.

        Raises:
            ValueError: As `Tracker` and `open_source` say.
            FileNotFoundError: No such source.
        """
        if not isinstance(frames, str | os.PathLike):
            return map(self.tracker(kind, fps), frames)
        tracker_classes()  # before anything is opened
        source = open_source(os.fspath(frames), report=self.report, depths=self.depths)
        return self._followed(source, Trackers(self.predictor, kind, source))

    def _read(self, images: Any) -> Iterator[tuple[np.ndarray, str]]:
        yield from as_images(images, self.depths)
        self.depths.tell(self.report)

    def _followed(self, source: Source, trackers: Trackers) -> Iterator[Any]:
        with closing(source):
            for frames in source:
                yield from trackers(frames)
        self.depths.tell(self.report)


def _class_names(names: Any, count: int) -> tuple[str, ...]:
    """Names that a model's classes can have; a mapping from 0 upwards is YOLOv5's way to write them."""
    if isinstance(names, Mapping) and list(names) == list(range(len(names))):
        names = tuple(names.values())
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names {names!r}: give the name of each class, as ('cat', 'dog')")
    if len(names) != count:
        raise ValueError(f"names {names!r}: {len(names)} for the model's {count} classes")
    check_class_names(names)
    return tuple(names)
