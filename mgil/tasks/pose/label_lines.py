"""Label files of people who were found, as detect.py and val.py write them."""

from __future__ import annotations

import numpy as np

from mgil.files.found import box_columns, label_text


def label_lines(
    boxes_xyxy: np.ndarray,
    key_points: np.ndarray,
    size_hw: tuple[int, ...],
    scores: np.ndarray | None = None,
    track_ids: np.ndarray | None = None,
) -> str:
    """YOLO-pose's lines `class x y w h`, then `x y score` of each joint, then `[score] [track]`.

    Places and sizes are fractions of the image; a joint beyond it is moved to its border.

    Args:
        boxes_xyxy: (n, 4) pixels, edges.
        key_points: (n, K, 3) x, y in pixels, where the middle of the first one is 0, and score.
        size_hw: Of the image.
        scores: (n,) of people; None: they are left out.
        track_ids: (n,) numbers of tracks; None: there are none.
    """
    height, width = size_hw
    count, joint_count, _ = key_points.shape
    joints = key_points.astype(np.float64) / (width, height, 1)
    joints[..., :2] = joints[..., :2].clip(0, 1)
    people = np.zeros(count, np.int64)  # the only class
    columns = [people, *box_columns(boxes_xyxy, (height, width)), *joints.reshape(count, 3 * joint_count).T]
    return label_text(columns if scores is None else [*columns, scores], track_ids)
