"""What a detector found in one image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mgil.files.found import Found, box_columns, box_table, count_text, folder_name, label_text, with_tracks

if TYPE_CHECKING:
    import pandas

# What YOLOv5's results have, and what takes its place here; those of hubconf.py have all of it.
OF_YOLOV5 = {
    **dict.fromkeys(("xyxy", "pred", "xywh", "xyxyn", "xywhn"), "boxes_xyxy, scores and classes"),
    **dict.fromkeys(("render", "show", "display"), "plot()"),
    **dict.fromkeys(("ims", "imgs"), "image"),
    **dict.fromkeys(("t", "times"), "speed"),
    "pandas": "to_pandas()",
    "print": "print(results)",
    "tolist": "of several images the model gives a list",
    "files": "path",
}


@dataclass(frozen=True)
class Results(Found):
    """Detections of one image, best score first, in pixels of the image as it was given.

    Attributes:
        boxes_xyxy: (n, 4) float32: left, top, right, bottom.
        scores: (n,) float32, 0..1.
        classes: (n,) int64 class indices.
        names: class names by index.
        image: (H, W, 3) uint8 RGB, the image itself.
        path: the file it came from, or a made-up name for an image that came from memory.
        speed: milliseconds spent on this image: `preprocess`, `inference`, `nms`.
        input_hw: height and width in pixels of what the network saw.
        track_ids: (n,) int64, from 1: which objects these are, where they are followed through a video; None elsewhere.
        trails: for each of them (k, 2) float32, the centres of its boxes in the last second, oldest first.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    image: np.ndarray
    path: str = ""
    speed: dict[str, float] = field(default_factory=dict)
    input_hw: tuple[int, int] = (0, 0)
    track_ids: np.ndarray | None = None
    trails: tuple[np.ndarray, ...] = ()

    def __str__(self) -> str:
        image, seen = (f"{height}x{width}" for height, width in (self.image.shape[:2], self.input_hw))
        return f"{self.path or 'image'}: {image} pixels seen at {seen}: {self.text()}"

    def __repr__(self) -> str:
        return f"<Results {self}>"

    @property
    def box_scores(self) -> np.ndarray:
        """(n,) what a tracker goes by: `scores`."""
        return self.scores

    def text(self) -> str:
        """How many of each class, with the numbers of those that are followed."""
        return count_text(self.classes, self.names, self.track_ids) or "(no detections)"

    def followed(self, rows: np.ndarray, track_ids: np.ndarray, trails: tuple[np.ndarray, ...]) -> Results:
        """Those rows alone, as objects that are followed; see `mgil.tasks.abilities.Followable`."""
        boxes, scores, classes = self.boxes_xyxy[rows], self.scores[rows], self.classes[rows]
        return replace(
            self, boxes_xyxy=boxes, scores=scores, classes=classes, track_ids=track_ids, trails=tuple(trails)
        )

    def plot(self, line_width: int | None = None, labels: bool = True, confidences: bool = True) -> np.ndarray:
        """Draw the detections.

        Args:
            line_width: in pixels of the drawn picture; None chooses by its size.
            labels: write class names, and before them the numbers of objects that are followed.
            confidences: write scores after them.

        Returns:
            (H', W', 3) uint8 RGB; an image whose long side is below 480 pixels is enlarged a whole number of times.
        """
        from mgil.tasks.detect.draw import draw_detections

        return draw_detections(
            self.image,
            self.boxes_xyxy,
            self.classes,
            self.scores,
            self.names,
            line_width=line_width,
            labels=labels,
            confidences=confidences,
            track_ids=self.track_ids,
            trails=self.trails,
        )

    def named_crops(self) -> list[tuple[str, np.ndarray]]:
        """`crop()` with a folder's name for each: that of the class."""
        return [(folder_name(self.names[index]), crop) for index, crop in zip(self.classes, self.crop(), strict=True)]

    def label_lines(self, with_scores: bool) -> str:
        """Label lines `class x y w h [score] [track]`: centre and size are fractions of the image, of six digits."""
        columns = [self.classes, *box_columns(self.boxes_xyxy, self.image.shape[:2])]
        return label_text([*columns, self.scores] if with_scores else columns, self.track_ids)

    def table_rows(self) -> list[list[Any]]:
        """Class name, score and corners of each box, and the number of an object that is followed."""
        rows = [
            [self.names[index], f"{score:.2f}", *(f"{value:.2f}" for value in box)]
            for box, score, index in zip(self.boxes_xyxy, self.scores, self.classes, strict=True)
        ]
        return with_tracks(rows, self.track_ids)

    def to_pandas(self) -> pandas.DataFrame:
        """The detections as a table with YOLOv5's columns: xmin, ymin, xmax, ymax, confidence, class, name [, track].

        Raises:
            ValueError: the package pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ValueError("to_pandas() needs the package pandas (pip install pandas)") from error
        columns = box_table(self.boxes_xyxy, self.scores, self.classes, self.names)
        return pandas.DataFrame(columns | ({} if self.track_ids is None else {"track": self.track_ids}))

    def to_supervision(self) -> Any:
        """The detections as `supervision.Detections`; see `mgil.tasks.detect.supervised.as_supervision`."""
        from mgil.tasks.detect.supervised import as_supervision

        return as_supervision(self)

    if not TYPE_CHECKING:  # which shall go on to know what there is

        def __getattr__(self, name: str) -> Any:
            """Say what takes the place of a name of YOLOv5's results; AttributeError always."""
            hint = f": {OF_YOLOV5[name]} (YOLOv5's results are hubconf.py's)" if name in OF_YOLOV5 else ""
            raise AttributeError(f"results have no {name}{hint}")
