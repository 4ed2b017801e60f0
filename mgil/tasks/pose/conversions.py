"""Results as other libraries have them: pandas' tables, supervision's key points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mgil.files.found import box_table
from mgil.files.packages import import_package
from mgil.tasks.pose.results import PoseResults

if TYPE_CHECKING:
    import pandas


def as_pandas(results: PoseResults) -> pandas.DataFrame:
    """A row a person: see `PoseResults.to_pandas`."""
    frame = import_package("pandas").DataFrame
    columns = box_table(results.boxes_xyxy, results.scores, results.classes, results.names)
    for index, joint in enumerate(results.skeleton.names):
        values = results.keypoints[:, index].T.astype(np.float64)
        columns |= dict(zip((f"{joint}_x", f"{joint}_y", f"{joint}_score"), values, strict=True))
    table: pandas.DataFrame = frame(columns | ({} if results.track_ids is None else {"track": results.track_ids}))
    return table


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
