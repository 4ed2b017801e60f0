"""Real people of COCO, where its pictures are at hand: OKS AP against pycocotools on COCO's own file."""

from __future__ import annotations

import contextlib
import io
import zipfile
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from mgil.datasets.reading.config import load_data_config
from mgil.tasks.pose.oks import Poses
from mgil.tasks.pose.options import ValOptions
from mgil.tasks.pose.reading.load import read_people
from mgil.tasks.pose.saving import poses_as_json
from mgil.tasks.pose.scores import summarise


def test_figures_are_those_of_pycocotools_on_the_file_itself(shared_data: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path = shared_data / "coco17.zip"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    yaml = tmp_path / "coco17" / "own.yaml"
    yaml.write_text("path: .\ntrain: keypoints_train.json\nval: keypoints_train.json\nnames: [person]\n")
    people = read_people(load_data_config(yaml), "val", strict=True, report=lambda _: None)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (len(people), 17, 2)) * people.boxes[:, None, 2:].max(axis=2, keepdims=True) * 0.02
    joints = np.concatenate((people.key_points[..., :2] + noise, rng.uniform(0, 1, (len(people), 17, 1))), axis=2)
    scores = summarise(people, Poses(np.arange(len(people)), joints, np.ones(len(people))), (), ValOptions())
    (tmp_path / "found.json").write_text(poses_as_json(people, scores.labelled.poses))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "coco17" / "keypoints_train.json"))
        evaluator = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    assert len(people) == 449 and scores.images == 167
    assert 0.3 < scores.fitness < 0.9
    np.testing.assert_allclose(astuple(scores.labelled.oks), evaluator.stats, atol=2e-4)  # the file rounds
