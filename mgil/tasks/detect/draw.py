"""Pictures of detections, enlarged where they are small, so that a person can see boxes and labels on 64 pixels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from mgil.files.fonts import drawable_names, tell_missing_letters
from mgil.files.found import box_labels
from mgil.files.paint import default_line_width, enlarged, label_px, paint_boxes, paint_trails


def draw_detections(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    *,
    line_width: int | None = None,
    labels: bool = True,
    confidences: bool = True,
    track_ids: np.ndarray | None = None,
    trails: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Draw boxes with their class names and scores; a small image is enlarged first.

    Objects that are followed have a colour each, a trail and a number before the name.

    Args:
        image: (H, W, 3) uint8 RGB; it is left as it is.
        boxes_xyxy: (n, 4) pixels of `image`.
        classes: (n,) class indices.
        scores: (n,) 0..1, best first.
        names: class names by index.
        line_width: in pixels of the drawn picture; None chooses by its size.
        labels: write class names.
        confidences: write scores after them.
        track_ids: (n,) numbers of objects that are followed.
        trails: n arrays (k, 2), where they were, pixels of `image`.

    Returns:
        (H * e, W * e, 3) uint8 RGB with e = `mgil.files.paint.enlargement(H, W)`.
    """
    picture, factor = enlarged(image)
    if labels:
        tell_missing_letters(names, lambda line: warnings.warn(line, stacklevel=4), again=False)
    names = drawable_names(tuple(names))
    texts = box_labels([names[int(index)] for index in classes], scores, confidences, track_ids)
    colours = classes if track_ids is None else track_ids
    line_width = line_width or default_line_width(picture)
    paint_trails(picture, [trail * factor for trail in trails], colours, line_width)
    paint_boxes(
        picture,
        boxes_xyxy * factor,
        colours,
        texts if labels else None,
        line_width=line_width,
        font_px=label_px(picture),
    )
    return picture
