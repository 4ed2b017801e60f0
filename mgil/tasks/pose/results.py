"""People found in one image, with their key points."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mgil.files.found import Found, box_labels, count_text, folder_name, with_tracks
from mgil.tasks.pose.label_lines import label_lines
from mgil.tasks.pose.oks_nms import person_scores
from mgil.tasks.pose.skeleton import Skeleton

if TYPE_CHECKING:
    import pandas

TABLE_COLUMNS = ("Prediction", "Confidence", "xmin", "ymin", "xmax", "ymax", "Key Points")
PERSON = "person"  # the only class
# What others' results have, and what takes its place here.
ELSEWHERE = {
    **dict.fromkeys(("boxes", "xyxy", "bbox"), "boxes_xyxy, scores and track_ids"),
    **dict.fromkeys(("key_points", "kpts", "pose"), "keypoints"),
    **dict.fromkeys(("render", "show", "display"), "plot()"),
    **dict.fromkeys(("ims", "imgs", "orig_img"), "image"),
    "pandas": "to_pandas()",
}


@dataclass(frozen=True)
class PoseResults(Found):
    """People of one image, best score first, in pixels of the image as it was given.

    Attributes:
        boxes_xyxy: (n, 4) float32: left, top, right, bottom, edges: the first pixel covers 0 to 1.
        box_scores: (n,) float32, 0..1, of the boxes; 1 where nobody gave a score.
        keypoints: (n, K, 3) float32: x, y of each joint, where the middle of the first pixel is 0, and its score, 0..1.
            Joints may lie beyond the box, and beyond the image.
        skeleton: What the K key points are: names, limbs.
        image: (H, W, 3) uint8 RGB, the image itself.
        joint_threshold: A joint whose score is not above this is not drawn, and does not count for the person's.
        path: The file it came from, or a made-up name for an image that came from memory.
        speed: Milliseconds spent on this image: `preprocess`, `inference`, `decode`, and `detector` where there is one.
        input_hw: Height and width in pixels of what the network saw of each person.
        names: Class names: people alone.
        track_ids: (n,) int64, from 1: who these are, where they are followed through a video; None elsewhere.
        trails: For each of them (k, 2) float32, the centres of the boxes in the last second, oldest first.
    """

    boxes_xyxy: np.ndarray
    box_scores: np.ndarray
    keypoints: np.ndarray
    skeleton: Skeleton
    image: np.ndarray
    joint_threshold: float = 0.0
    path: str = ""
    speed: dict[str, float] = field(default_factory=dict)
    input_hw: tuple[int, int] = (0, 0)
    names: tuple[str, ...] = (PERSON,)
    track_ids: np.ndarray | None = None
    trails: tuple[np.ndarray, ...] = ()

    def __str__(self) -> str:
        image, seen = (f"{height}x{width}" for height, width in (self.image.shape[:2], self.input_hw))
        return f"{self.path or 'image'}: {image} pixels, people seen at {seen}: {self.text()}"

    def __repr__(self) -> str:
        return f"<PoseResults {self}>"

    @property
    def scores(self) -> np.ndarray:
        """(n,) float32, 0..1: the box's score times the mean score of the joints that score above the threshold."""
        return person_scores(self.box_scores, self.keypoints[..., 2], self.joint_threshold).astype(np.float32)

    @property
    def classes(self) -> np.ndarray:
        """(n,) int64: all are people, 0."""
        return np.zeros(len(self), np.int64)

    def text(self) -> str:
        """How many people, with the numbers of those that are followed."""
        return count_text(self.classes, self.names, self.track_ids) or "(nobody)"

    def followed(self, rows: np.ndarray, track_ids: np.ndarray, trails: tuple[np.ndarray, ...]) -> PoseResults:
        """Those rows alone, as people who are followed; see `mgil.tasks.abilities.Followable`."""
        own: dict[str, Any] = {name: getattr(self, name)[rows] for name in ("boxes_xyxy", "box_scores", "keypoints")}
        return replace(self, track_ids=track_ids, trails=tuple(trails), **own)

    def plot(self, line_width: int | None = None, labels: bool = True, confidences: bool = True) -> np.ndarray:
        """Draw the people.

        Args:
            line_width: Of boxes and limbs in pixels of the drawn picture, most; None chooses by its size.
            labels: Write what they are, and before that the numbers of those that are followed.
            confidences: Write scores after that.

        Returns:
            (H', W', 3) uint8 RGB; an image whose long side is below 480 pixels is enlarged a whole number of times.
        """
        from mgil.tasks.pose.draw import draw_people

        return draw_people(
            self.image,
            self.keypoints,
            self.skeleton,
            line_width,
            self.joint_threshold,
            None if _is_whole_image(self) else self.boxes_xyxy,
            box_labels([self.names[0]] * len(self), self.scores, confidences, self.track_ids) if labels else None,
            colours=self.classes if self.track_ids is None else self.track_ids,
            trails=self.trails,
        )

    def named_crops(self) -> list[tuple[str, np.ndarray]]:
        """`crop()` with a folder's name for each."""
        return [(folder_name(self.names[0]), crop) for crop in self.crop()]

    def label_lines(self, with_scores: bool) -> str:
        """YOLO-pose's lines, see `mgil.tasks.pose.label_lines`."""
        scores = self.scores if with_scores else None
        return label_lines(self.boxes_xyxy, self.keypoints, self.image.shape[:2], scores, self.track_ids)

    def table_rows(self) -> list[list[Any]]:
        """Under `TABLE_COLUMNS`: class, score, corners, `x y score` of all joints in one cell; then the track."""
        joints = [" ".join(f"{x:.2f} {y:.2f} {sure:.3f}" for x, y, sure in person) for person in self.keypoints]
        rows = [
            [self.names[0], f"{score:.2f}", *(f"{value:.2f}" for value in box), cell]
            for box, score, cell in zip(self.boxes_xyxy, self.scores, joints, strict=True)
        ]
        return with_tracks(rows, self.track_ids)

    def to_pandas(self) -> pandas.DataFrame:
        """A row a person: xmin, ymin, xmax, ymax, confidence, class, name, then {joint}_x, _y and _score [, track]."""
        from mgil.tasks.pose.conversions import as_pandas

        return as_pandas(self)

    def to_supervision(self) -> Any:
        """The people as `supervision.KeyPoints`; see `mgil.tasks.pose.conversions.as_supervision`."""
        from mgil.tasks.pose.conversions import as_supervision

        return as_supervision(self)

    if not TYPE_CHECKING:  # which shall go on to know what there is

        def __getattr__(self, name: str) -> Any:
            """Say what takes the place of a name of others' results; AttributeError always."""
            hint = f": {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"results have no {name}{hint}")


def _is_whole_image(results: PoseResults) -> bool:
    height, width = results.image.shape[:2]
    return results.track_ids is None and results.boxes_xyxy.tolist() == [[0, 0, width, height]]
