"""What --save-json and --save-txt write: COCO key point results, and label files as YOLO's pose data sets have them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgil.files.atomic import write_text_atomic
from mgil.files.names import distinct
from mgil.files.text import Report
from mgil.tasks.pose.oks import MOST_RESULTS, PERSON_CATEGORY, as_coco, indexed, labels_of
from mgil.tasks.pose.report import TABLES

if TYPE_CHECKING:
    from mgil.tasks.pose.oks import Poses
    from mgil.tasks.pose.options import ValOptions
    from mgil.tasks.pose.people import People
    from mgil.tasks.pose.scores import PoseScores


def json_names(stem: str, detected: bool) -> list[str]:
    """The files of --save-json: of labelled boxes, and of a detector's where there are such."""
    return [f"{stem}_keypoints.json", *([f"{stem}_keypoints_detector.json"] if detected else [])]


def save_json(scores: PoseScores, folder: Path, stem: str, report: Report) -> None:
    """Write COCO results of each kind of boxes, read them back, and score them by pycocotools."""
    kinds = [scores.labelled, *([scores.detected] if scores.detected else [])]
    for name, kind in zip(json_names(stem, scores.detected is not None), kinds, strict=True):
        path = folder / name
        write_text_atomic(path, poses_as_json(scores.people, kind.poses))
        report(f"pycocotools on {path}, {kind.boxes}:")
        score_json(path, scores.people)


def poses_as_json(people: People, poses: Poses) -> str:
    """COCO result entries: x, y of pixels' middles and the score of each joint, and the score of the person."""
    columns = zip(
        people.image_ids[poses.items].tolist(),
        poses.flat().round(4).tolist(),
        poses.scores.round(6).tolist(),
        strict=True,
    )
    entry = '{"image_id": %d, "category_id": %d, "keypoints": %s, "score": %r}'
    return f"[{', '.join([entry % (image, PERSON_CATEGORY, points, score) for image, points, score in columns])}]"


def score_json(path: Path, people: People) -> np.ndarray:
    """Read a result json back, score it by pycocotools and print its table.

    Returns:
        (10,) pycocotools' statistics, in the order of `OksAverages`; -1 where there is nobody.
    """
    from pycocotools.cocoeval import COCOeval

    entries = json.loads(path.read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = indexed(as_coco(people, labels_of(people)))
        found = truth.loadRes(entries) if entries else indexed(as_coco(people, []))
        evaluator = COCOeval(truth, found, "keypoints")
        evaluator.params.kpt_oks_sigmas = np.array(people.skeleton.sigmas)
        evaluator.params.maxDets = [MOST_RESULTS]
        evaluator.evaluate()
        evaluator.accumulate()
    evaluator.summarize()
    return evaluator.stats


def label_paths(folder: Path, people: People) -> dict[str, Path]:
    """Where `save_txt` writes about each picture, by the path of the picture.

    Pictures of one name in different folders would overwrite each other; the later ones get a number that is free.
    """
    pictures = list(dict.fromkeys(people.image_paths))
    names = distinct([Path(picture).stem for picture in pictures])
    return {picture: folder / f"{name}.txt" for picture, name in zip(pictures, names, strict=True)}


def save_txt(scores: PoseScores, folder: Path) -> None:
    """Write a label file of each picture with anybody: in a detector's boxes where there are such, else in labels."""
    folder.mkdir(parents=True, exist_ok=True)
    people, poses = scores.people, (scores.detected or scores.labelled).poses
    paths = label_paths(folder, people)
    order = np.argsort(-poses.scores, kind="stable")
    lines: dict[str, list[str]] = {}
    for row in order.tolist():
        item = int(poses.items[row])
        score = float(poses.scores[row]) if scores.options.save_conf else None
        line = label_line(people.boxes[item], poses.key_points[row], people.sizes_hw[item], score)
        lines.setdefault(people.image_paths[item], []).append(line)
    for picture, texts in lines.items():
        write_text_atomic(paths[picture], "\n".join(texts) + "\n", durable=False)


def label_line(box: np.ndarray, key_points: np.ndarray, size_hw: Sequence[int], score: float | None) -> str:
    """`class cx cy w h`, then x, y and score of each joint, and last the score of the person; 0..1.

    Args:
        box: (4,) left, top, width, height in pixels.
        key_points: (K, 3) x, y in pixels, as COCO's files have them, and score.
        size_hw: Of the picture.
        score: None: it is left out.
    """
    size_wh = np.array(size_hw[::-1], np.float64)
    centre, sides = (box[:2] + box[2:] / 2) / size_wh, box[2:] / size_wh
    joints = np.concatenate((key_points[:, :2] / size_wh, key_points[:, 2:]), axis=1)
    values = [*centre, *sides, *joints.ravel(), *([] if score is None else [score])]
    return " ".join(["0", *(f"{value:.6g}" for value in values)])


def evaluation_files(people: People, options: ValOptions, stem: str) -> list[str]:
    """Paths in the run's folder of the tables, the pictures, and what --save-txt and --save-json ask for."""
    from mgil.tasks.pose.plots import BATCH_PICTURES, PCK_PICTURE

    names = [*TABLES, PCK_PICTURE, *BATCH_PICTURES]
    if options.save_json:
        names += json_names(stem, bool(people.found.any()))
    labels = label_paths(Path("labels"), people).values() if options.save_txt else ()
    return [*names, *map(str, labels)]
