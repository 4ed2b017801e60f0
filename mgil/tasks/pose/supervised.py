"""Results for the library supervision: its annotators of key points."""

from __future__ import annotations

from typing import Any

import numpy as np

from mgil.files.packages import import_package
from mgil.tasks.pose.results import PoseResults


def as_supervision(results: PoseResults) -> Any:
    """Turn the people of one image into `supervision.KeyPoints`.

    Its annotators draw the limbs of a skeleton that they do not know where they are told them:
    `EdgeAnnotator(edges=[(first + 1, second + 1) for first, second in results.skeleton.limbs])`.

    Returns:
        With `xy`, the scores of joints and of people, `visible` (those above the threshold), `class_id`, and in `data`
        `class_name`, and `tracker_id` where people are followed.

    Raises:
        MissingPackage: The package supervision is not installed; a ValueError.
    """
    data: dict[str, Any] = {"class_name": np.array([results.names[0]] * len(results), dtype=str)}
    if results.track_ids is not None:
        data["tracker_id"] = results.track_ids.copy()
    return import_package("supervision").KeyPoints(
        xy=results.keypoints[..., :2].copy(),
        keypoint_confidence=results.keypoints[..., 2].copy(),
        detection_confidence=results.scores.copy(),
        visible=results.keypoints[..., 2] > results.joint_threshold,
        class_id=results.classes,
        data=data,
    )
