"""Reading a split of people: which form its files have, what was found, and what is refused."""

from __future__ import annotations

import os

import numpy as np

from mgil.datasets.reading.categories import is_json
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.image_list import list_images
from mgil.datasets.reading.json_file import is_coco, read_json_file
from mgil.datasets.reading.load import PROBLEMS_SHOWN, check_presence, make_generated
from mgil.datasets.reading.samples import NoImages
from mgil.files.text import Report, printable
from mgil.tasks.pose.people import People
from mgil.tasks.pose.reading.coco import read_coco
from mgil.tasks.pose.reading.gathered import Gathered
from mgil.tasks.pose.reading.known_points import LSP_NAMES, MPII_NAMES, torso_of
from mgil.tasks.pose.reading.lsp import read_lsp
from mgil.tasks.pose.reading.mat_file import is_mat
from mgil.tasks.pose.reading.mpii import is_mpii, read_mpii, read_release
from mgil.tasks.pose.reading.skeleton import skeleton_of
from mgil.tasks.pose.reading.yolo import read_yolo
from mgil.tasks.pose.skeleton import Skeleton


def read_people(data: DataConfig, split: str, *, strict: bool, report: Report) -> People:
    """Read a split's people.

    From a COCO json with key points, folders or lists of pictures with ultralytics' label files, MPII's train.json and
    valid.json or the .mat that it releases, or LSP's joints.mat.

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
    if split == "train" and len(skeleton) > 1 and "flip_idx" not in data.key_points and not _has_sides(skeleton):
        report(
            f"warning: {data.yaml_path} has no flip_idx, and no name says left or right: in a mirrored image each key "
            "point stays what it is; add flip_idx, or train with fliplr: 0"
        )
    _refuse(people, gathered, data, split, strict)
    return people


def _has_sides(skeleton: Skeleton) -> bool:
    return skeleton.flip != tuple(range(len(skeleton)))


def _gather(data: DataConfig, split: str, count: int) -> Gathered:
    sources = data.split(split)
    source, root = sources[0], str(data.root)
    if is_json(source):
        content = read_json_file(source)
        if is_mpii(content):
            _check_count(len(MPII_NAMES), count, source, data)
            return read_mpii(content, source, root)
        if not is_coco(content):
            raise ValueError(f"{printable(source)}: neither a COCO json nor MPII's train.json or valid.json")
        return read_coco(content, source, root, split, count)
    if is_mat(source):
        return _read_mat_files(data, split, count)
    paths, problems = list_images(sources, data.bases)
    if not paths:
        raise NoImages(f"{', '.join(map(printable, sources))}: no images found ({split} of {data.yaml_path})")
    gathered = read_yolo(paths, count, None if data.kpt_shape is None else data.kpt_shape[1])
    gathered.problems[:0] = problems
    return gathered


def _read_mat_files(data: DataConfig, split: str, count: int) -> Gathered:
    """MPII's own file, or LSP's: told by their names, as MPII's takes a minute to look into."""
    sources = data.split(split)
    others = [source for source in sources if not is_mat(source)]
    if others:
        raise ValueError(f"{printable(others[0])}: not a .mat, as others of {split} in {data.yaml_path} are")
    if "mpii" in os.path.basename(sources[0]).casefold():
        if len(sources) > 1:
            raise ValueError(f"{printable(sources[0])}: must be the only entry of {split} in {data.yaml_path}")
        _check_count(len(MPII_NAMES), count, sources[0], data)
        return read_release(sources[0], str(data.root))
    _check_count(len(LSP_NAMES), count, sources[0], data)
    return read_lsp(sources, split)


def _check_count(found: int, count: int, source: str, data: DataConfig) -> None:
    if found != count:
        raise ValueError(f"{printable(source)}: people have {found} key points, {data.yaml_path} says {count}")


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
