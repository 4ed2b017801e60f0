"""Reading a split of people: which form its files have, what was found, and what is refused."""

from __future__ import annotations

import numpy as np

from mgil.datasets.reading.categories import is_json
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.json_file import is_coco, read_json_file
from mgil.datasets.reading.load import PROBLEMS_SHOWN, check_presence, make_generated
from mgil.files.text import Report, printable
from mgil.tasks.pose.people import People
from mgil.tasks.pose.reading.coco import read_coco
from mgil.tasks.pose.reading.gathered import Gathered
from mgil.tasks.pose.reading.known_points import torso_of
from mgil.tasks.pose.reading.skeleton import skeleton_of


def read_people(data: DataConfig, split: str, *, strict: bool, report: Report) -> People:
    """Read a split's people: COCO's json with key points.

    A set that the YAML says to generate is made here, where it is not there yet.

    Args:
        data: from `load_data_config`, or `as_key_points` of it.
        split: 'train', 'val' or 'test'.
        strict: make any problem an error.
        report: takes the lines for people: problems (the first 10) and a summary.

    Raises:
        FileNotFoundError: The split's files are not there.
        ValueError: They cannot be used, or `strict` and a problem.
    """
    sources = data.split(split)
    if not sources:
        raise ValueError(f"{data.yaml_path}: gives no {split} split; add '{split}: <folder of images>'")
    make_generated(data)
    check_presence(data, split)
    skeleton = skeleton_of(data)
    gathered = _gather(data, split, len(skeleton))
    people = gathered.people(skeleton, torso_of(skeleton.names))
    _tell(people, gathered, split, report)
    _refuse(people, gathered, data, split, strict)
    return people


def _gather(data: DataConfig, split: str, count: int) -> Gathered:
    source = data.split(split)[0]
    if is_json(source):
        content = read_json_file(source)
        if is_coco(content):
            return read_coco(content, source, str(data.root), split, count)
        raise ValueError(f"{printable(source)}: not a COCO json with key points")
    raise ValueError(f"{printable(source)}: people are read from a COCO json with key points")


def _tell(people: People, gathered: Gathered, split: str, report: Report) -> None:
    for problem in gathered.problems[:PROBLEMS_SHOWN]:
        report(problem)
    if len(gathered.problems) > PROBLEMS_SHOWN:
        report(f"... and {len(gathered.problems) - PROBLEMS_SHOWN:,} more problems")
    labelled = ~people.ignored
    points = int((people.key_points[labelled, :, 2] > 0).sum())
    parts = [
        f"{np.count_nonzero(labelled):,} people in {people.image_count:,} images",
        f"{points:,} of {np.count_nonzero(labelled) * len(people.skeleton):,} key points labelled",
        *(f"{count:,} {what}" for what, count in gathered.notes.items() if count),
    ]
    report(f"{split}: {', '.join(parts)}")


def _refuse(people: People, gathered: Gathered, data: DataConfig, split: str, strict: bool) -> None:
    source = printable(data.split(split)[0])
    first = f"; the first problem: {gathered.problems[0]}" if gathered.problems else ""
    if not people.image_count:
        raise ValueError(f"{source}: none of the images can be used{first} ({split} of {data.yaml_path})")
    if people.ignored.all():
        raise ValueError(f"{source}: nobody has labelled key points{first} ({split} of {data.yaml_path})")
    if strict and gathered.problems:
        count = "1 problem" if len(gathered.problems) == 1 else f"{len(gathered.problems)} problems"
        raise ValueError(f"{split}: {count}, errors with --strict{first}")
