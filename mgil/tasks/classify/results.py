"""What one picture shows: a probability for each class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgil.files.fonts import drawable_names, tell_missing_letters
from mgil.files.found import Drawn, folder_name
from mgil.files.packages import import_package
from mgil.files.paint import class_colour, enlarged, label_px, paint_texts
from mgil.tasks.classify.judge import best_classes
from mgil.tasks.classify.saving import label_lines

if TYPE_CHECKING:
    import pandas

TABLE_COLUMNS = ("Prediction", "Confidence", "Top 5")
NOTHING = "(no class: the network gave no numbers)"
# What others' results have, and what takes its place here.
ELSEWHERE = {
    **dict.fromkeys(("boxes", "xyxy", "boxes_xyxy", "keypoints", "masks"), "a picture as a whole has a class: probs"),
    **dict.fromkeys(("scores", "logits"), "probs"),
    **dict.fromkeys(("render", "show", "display"), "plot()"),
    **dict.fromkeys(("ims", "imgs", "orig_img"), "image"),
    "pandas": "to_pandas()",
    "crop": "the whole picture has a class: image",
}


@dataclass(frozen=True)
class ClassResults(Drawn):
    """The classes of one picture.

    Attributes:
        probs: (C,) float32, 0..1, their sum is 1; NaN, all of them, where a damaged network gave no numbers.
        image: (H, W, 3) uint8 RGB, the picture itself, of which the network saw the middle or all.
        names: Class names by index.
        path: The file it came from, or a made-up name for an image that came from memory.
        speed: Milliseconds spent on this image: `preprocess`, `inference`, `softmax`.
        input_hw: Height and width in pixels of what the network saw.
    """

    probs: np.ndarray
    image: np.ndarray
    names: tuple[str, ...]
    path: str = ""
    speed: dict[str, float] = field(default_factory=dict)
    input_hw: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        """1, or 0 where the network gave no numbers."""
        return int(np.isfinite(self.probs).all())

    def __str__(self) -> str:
        image, seen = (f"{height}x{width}" for height, width in (self.image.shape[:2], self.input_hw))
        return f"{self.path or 'image'}: {image} pixels, seen at {seen}: {self.text()}"

    def __repr__(self) -> str:
        return f"<ClassResults {self}>"

    @property
    def top5(self) -> list[int]:
        """Indices of the five likeliest classes, or of all of fewer, best first; none where there are no numbers."""
        return [int(index) for index in best_classes(self.probs[None])[0]] if len(self) else []

    @property
    def top5conf(self) -> np.ndarray:
        """Their probabilities, float32."""
        return self.probs[self.top5]

    @property
    def top1(self) -> int:
        """Index of the likeliest class.

        Raises:
            ValueError: The network gave no numbers.
        """
        if not len(self):
            raise ValueError(f"{self.path or 'image'}: {NOTHING}")
        return self.top5[0]

    @property
    def top1conf(self) -> float:
        """Its probability; ValueError as `top1`."""
        return float(self.probs[self.top1])

    def text(self) -> str:
        """The five likeliest with their probabilities, YOLOv5's words: "8 0.98, 3 0.01, ..."."""
        return ", ".join(f"{self.names[index]} {self.probs[index]:.2f}" for index in self.top5) or NOTHING

    def plot(self, line_width: int | None = None, labels: bool = True, confidences: bool = True) -> np.ndarray:
        """Write the five likeliest classes into a corner of the picture.

        Args:
            line_width: There are no lines: None.
            labels: Write them at all.
            confidences: With their probabilities.

        Returns:
            (H', W', 3) uint8 RGB; an image whose long side is below 480 pixels is enlarged a whole number of times.

        Raises:
            ValueError: A line width.
        """
        if line_width is not None:
            raise ValueError(f"line_width={line_width}: classes are written, there are no lines; leave it out")
        return self.draw(None, labels, confidences)

    def draw(self, line_width: int | None, labels: bool, confidences: bool) -> np.ndarray:
        """See `plot`; a width for the lines of other tasks changes nothing."""
        picture, _ = enlarged(self.image)
        if not labels:
            return picture
        tell_missing_letters(self.names, lambda line: warnings.warn(line, stacklevel=4), again=False)
        names = drawable_names(self.names)
        texts = [f"{names[index]} {self.probs[index]:.2f}" if confidences else names[index] for index in self.top5]
        paint_texts(picture, texts, list(map(class_colour, self.top5)), label_px(picture))
        return picture

    def label_lines(self, with_scores: bool) -> str:
        """A line for each of the five likeliest, YOLOv5's, always with the score: "0.93 name"."""
        return label_lines([self.names[index] for index in self.top5], self.top5conf)

    def table_rows(self) -> list[list[Any]]:
        """Under `TABLE_COLUMNS`: the likeliest class, its probability, and the five likeliest in one cell."""
        return [[self.names[self.top1], f"{self.top1conf:.2f}", self.text()]] if len(self) else []

    def named_crops(self) -> list[tuple[str, np.ndarray]]:
        """The whole picture, with the folder of its likeliest class."""
        return [(folder_name(self.names[self.top1]), self.image)] if len(self) else []

    def to_pandas(self) -> pandas.DataFrame:
        """A row a class, likeliest first: class, name, confidence.

        Raises:
            MissingPackage: The package pandas is not installed; a ValueError.
        """
        order = np.argsort(-self.probs, kind="stable") if len(self) else np.zeros(0, np.int64)
        columns = {
            "class": order,
            "name": [self.names[index] for index in order],
            "confidence": self.probs[order].astype(np.float64),
        }
        frame: pandas.DataFrame = import_package("pandas").DataFrame(columns)
        return frame

    if not TYPE_CHECKING:  # which shall go on to know what there is

        def __getattr__(self, name: str) -> Any:
            """Say what takes the place of a name of others' results; AttributeError always."""
            hint = f": {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"results have no {name}{hint}")
