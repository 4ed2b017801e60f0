"""What --save-json and --save-txt write: COCO key point results, and label files as YOLO's pose data sets have them."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgil.files.atomic import write_text_atomic
from mgil.files.names import distinct
from mgil.files.text import Report
from mgil.tasks.pose.label_lines import label_lines
from mgil.tasks.pose.oks import MOST_RESULTS, as_coco, indexed, labels_of
from mgil.tasks.pose.report import TABLES
from mgil.tasks.pose.skeleton import COCO_PERSON

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
    """COCO result entries: x, y of pixels' middles and the score of each joint, and the score of the person.

    Each has the picture's `file_name` too, from the folder on that holds all of the split, which readers of COCO
    results pass over.
    """
    paths = [people.image_paths[item] for item in poses.items.tolist()]
    start = os.path.join(os.path.commonpath({os.path.dirname(path) for path in paths}), "") if paths else ""
    columns = zip(
        people.image_ids[poses.items].tolist(),
        [json.dumps(path.removeprefix(start).replace(os.sep, "/")) for path in paths],
        poses.flat().round(4).tolist(),
        poses.scores.round(6).tolist(),
        strict=True,
    )
    entry = f'{{"image_id": %d, "file_name": %s, "category_id": {COCO_PERSON}, "keypoints": %s, "score": %r}}'
    return f"[{', '.join([entry % row for row in columns])}]"


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
    """Write a label file of each picture with anybody: in a detector's boxes where there are such, else in labels.

    Lines are `class x y w h`, then `x y score` of each joint and, with --save-conf, the score of the person, as those
    of detect.py; best score first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    people, poses = scores.people, (scores.detected or scores.labelled).poses
    paths = label_paths(folder, people)
    images, owners = np.unique(people.image_ids[poses.items], return_inverse=True)
    for index in range(len(images)):
        rows = np.flatnonzero(owners == index)
        own = poses.rows(rows[np.argsort(-poses.scores[rows], kind="stable")])
        boxes, first = people.boxes[own.items], int(own.items[0])
        corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)
        size_hw = tuple(people.sizes_hw[first].tolist())
        text = label_lines(corners, own.key_points, size_hw, own.scores if scores.options.save_conf else None)
        write_text_atomic(paths[people.image_paths[first]], text, durable=False)


def evaluation_files(people: People, options: ValOptions, stem: str) -> list[str]:
    """Paths in the run's folder of the tables, the pictures, and what --save-txt and --save-json ask for."""
    from mgil.files.picture_grid import BATCH_PICTURES
    from mgil.tasks.pose.plots import PCK_PICTURE

    names = [*TABLES, PCK_PICTURE, *BATCH_PICTURES]
    if options.save_json:
        names += json_names(stem, bool(people.found.any()))
    labels = label_paths(Path("labels"), people).values() if options.save_txt else ()
    return [*names, *map(str, labels)]
