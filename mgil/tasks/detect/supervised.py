"""Results for the library supervision: its slicer, zones, lines and annotators."""

from __future__ import annotations

from typing import Any

import numpy as np

from mgil.files.packages import import_package
from mgil.tasks.detect.results import Results


def as_supervision(results: Results) -> Any:
    """Turn the detections of one image into `supervision.Detections`.

    Returns:
        With `xyxy`, `confidence`, `class_id`, `data["class_name"]`, and `tracker_id` where objects are followed.

    Raises:
        MissingPackage: The package supervision is not installed; a ValueError.
    """
    return import_package("supervision").Detections(
        xyxy=results.boxes_xyxy.copy(),
        confidence=results.scores.copy(),
        class_id=results.classes.copy(),
        tracker_id=results.track_ids,
        data={"class_name": np.array([results.names[index] for index in results.classes], dtype=str)},
    )
