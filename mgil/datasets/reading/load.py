"""Reading a split of a data set: its images and labels are checked, and what was found is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from mgil.datasets.reading.categories import is_json, match_categories
from mgil.datasets.reading.coco_json import find_image_folder, image_paths_of, read_json, scan_coco
from mgil.datasets.reading.config import GENERATED, DataConfig
from mgil.datasets.reading.image_list import list_images
from mgil.datasets.reading.label_cache import LabelCache, sign_files
from mgil.datasets.reading.labels import instead_of_labels, label_path_of, near_labels, scan_yolo
from mgil.datasets.reading.path_list import PathList
from mgil.datasets.reading.samples import Findings, JsonKeys, NoImages, Samples
from mgil.datasets.reading.set_faults import fault_of_json, fault_of_labels
from mgil.files.paths import is_there, path_hint
from mgil.files.text import Report, printable

PROBLEMS_SHOWN = 10


def make_generated(config: DataConfig) -> None:
    """Make the data set if its YAML says `generate` and it is not there yet: whatever reads a split calls this first.

    Raises:
        OSError: it cannot be written.
        ValueError: its folder holds files of others.
    """
    if config.generate:
        GENERATED[config.generate].make(config.root)


def load_samples(
    config: DataConfig,
    split: str,
    *,
    cache_dir: Path | None = None,
    strict: bool = False,
    report: Report = print,
) -> Samples:
    """Read a split's images and labels, or take them from the cache when no file has changed.

    A set that the YAML says to generate is made here, where it is not there yet.

    Image ids are a COCO json's; else the numbers that files are named by; other files have the ids that are left.

    Args:
        config: from `load_data_config`; after `as_one_class` every class id is taken and becomes 0.
        split: 'train', 'val' or 'test'.
        cache_dir: where label caches are kept; None is the user's cache folder.
        strict: make any bad line or bad image an error.
        report: takes the lines for people: problems (the first 10) and a summary.

    Raises:
        FileNotFoundError: the split's files are not there; says how to fetch them where the YAML tells.
        ValueError: the split is not given or has no images, 'train' has no boxes, its labels have a mistake that costs
            more than stray lines (`mgil.datasets.reading.set_faults`), or `strict` and a problem.
    """
    sources = config.split(split)
    if not sources:
        raise ValueError(f"{config.yaml_path}: gives no {split} split; add '{split}: <folder of images>'")
    make_generated(config)
    check_presence(config, split)
    cache = LabelCache(cache_dir, report)
    if is_json(sources[0]):
        samples, found = _read_json(config, split, cache)
    else:
        samples, found = _read_folders(config, split, cache)
    _tell(samples, found, split, report)
    _tell_other_ids(samples, config, report)
    _tell_no_labels(samples, found, config, split, report)
    _refuse(samples, found, config, split, strict, report)
    classes = np.zeros_like(samples.classes) if config.one_class else samples.classes
    return replace(samples, classes=classes, image_paths=PathList(samples.image_paths))


def _read_folders(config: DataConfig, split: str, cache: LabelCache) -> tuple[Samples, Findings]:
    sources = config.split(split)
    paths, problems = list_images(sources, config.bases)
    if not paths:
        why = f"no images found; the first problem: {problems[0]}" if problems else "no images found"
        raise NoImages(f"{', '.join(map(printable, sources))}: {why} ({split} of {config.yaml_path})")
    num_classes = None if config.one_class else len(config.names)
    key = f"yolo {num_classes} {config.kpt_shape} {config.root} {sources}"
    signature = sign_files(chain(paths, map(label_path_of, paths)))
    cached = cache.load(key, signature, num_classes)
    samples, found = cached or scan_yolo(paths, num_classes, config.kpt_shape)
    if cached is None:
        cache.save(key, signature, samples, found)
    found.problems[:0] = problems
    found.counts.dropped += len(problems)
    return samples, found


def _read_json(config: DataConfig, split: str, cache: LabelCache) -> tuple[Samples, Findings]:
    json_path = config.split(split)[0]
    classes = tuple(zip(config.names, config.category_ids, strict=True))
    key = f"coco {classes} {config.one_class} {config.root} {split} {json_path}"
    cached = cache.load(key, None, len(classes))
    if cached is not None:
        return cached
    content = read_json(json_path)
    matched = match_categories(content, json_path, config)
    folder = find_image_folder(content, json_path, str(config.root), split)
    watched = [json_path, *image_paths_of(content, folder)]
    signature = sign_files(watched)
    samples, found = scan_coco(content, json_path, folder, matched.class_of_category)
    samples = replace(samples, json=JsonKeys(json_path, folder, matched.category_ids, matched.lacking))
    cache.save(key, signature, samples, found, watched)
    return samples, found


def check_presence(config: DataConfig, split: str) -> None:
    """Raise FileNotFoundError where a source of a split is not there; says how to fetch it where the YAML tells."""
    absent = [source for source in config.split(split) if not is_there(source)]
    if not absent:
        return
    message = f"data set not found: {printable(absent[0])} ({split} of {config.yaml_path})"
    if config.download is None:
        bases = {config.root, Path.cwd()} if config.root == config.yaml_path.parent else {config.root}
        looked_in = " and ".join(sorted(printable(str(base)) for base in bases))
        raise FileNotFoundError(f"{message}; a relative path is looked for in {looked_in}{path_hint(absent[0])}")
    entry = " ".join(config.download.split())[:400]
    raise FileNotFoundError(f"{message}; its download entry is: {entry}; pass --download to fetch it")


def _tell(samples: Samples, found: Findings, split: str, report: Report) -> None:
    for problem in found.problems[:PROBLEMS_SHOWN]:
        report(problem)
    if len(found.problems) > PROBLEMS_SHOWN:
        report(f"... and {len(found.problems) - PROBLEMS_SHOWN} more problems")
    sums = found.faults.sums() if len(found.problems) > PROBLEMS_SHOWN else ""
    counts = {
        "images without a label file": found.counts.missing,
        "images without labels": found.counts.empty,
        f"lines or entries dropped{f' ({sums})' if sums else ''}": found.counts.dropped,
        "images skipped": found.counts.bad_images,
        "boxes cut at the image's edge": found.counts.clipped,
        "boxes around polygons": found.counts.polygons,
        "boxes with key points": found.counts.key_points,
    }
    parts = [f"{len(samples)} images", f"{len(samples.classes)} boxes"]
    report(f"{split}: {', '.join(parts + [f'{count} {what}' for what, count in counts.items() if count])}")


def _tell_other_ids(samples: Samples, config: DataConfig, report: Report) -> None:
    if not samples.json or config.one_class:
        return
    for index, number in enumerate(samples.json.category_ids):
        if number != config.category_ids[index] and index not in samples.json.lacking:
            report(
                f"{printable(samples.json.path)}: category {number} is {config.names[index]!r}, elsewhere in "
                f"{config.yaml_path} that is {config.category_ids[index]}; categories are matched by name"
            )
            return


def _tell_no_labels(samples: Samples, found: Findings, config: DataConfig, split: str, report: Report) -> None:
    if not found.counts.missing:
        return
    if found.counts.labelled + found.counts.empty:
        unlabelled = np.flatnonzero(np.diff(samples.offsets) == 0).tolist()
        near = near_labels(samples.image_paths[index] for index in unlabelled)
        if near:
            report(f"warning: {split}: {len(near)} label files are not read for their names, e.g. {printable(near[0])}")
        return
    first = samples.image_paths[0]
    sources = ", ".join(map(printable, config.split(split)))
    expected = f"expected e.g. {printable(label_path_of(first))}{printable(instead_of_labels(first))}"
    if split == "train":
        raise ValueError(f"{sources}: no image has a label file; {expected}")
    report(f"warning: {split}: no image has a label file, so there is no accuracy to measure; {expected}")


def _refuse(samples: Samples, found: Findings, config: DataConfig, split: str, strict: bool, report: Report) -> None:
    if not len(samples):
        sources = ", ".join(map(printable, config.split(split)))
        why = f"none of the images can be used; the first: {found.problems[0]}" if found.problems else "no images found"
        raise ValueError(f"{sources}: {why} ({split} of {config.yaml_path})")
    if is_json(config.split(split)[0]):
        fault = fault_of_json(samples, found)
    else:
        fault = fault_of_labels(samples, found, None if config.one_class else len(config.names), config.yaml_path)
    if fault is not None:
        report(f"{split}: {fault.reason}")
        raise ValueError(f"{split}: {fault.reason}; {fault.evidence}")
    if split == "train" and not len(samples.classes):
        why = f"the first of {len(found.problems)} problems: {found.problems[0]}" if found.problems else "all are empty"
        raise ValueError(f"train: no box to learn from in {len(samples)} images; {why} ({config.yaml_path})")
    if strict and found.problems:
        count = "1 problem" if len(found.problems) == 1 else f"{len(found.problems)} problems"
        raise ValueError(f"{split}: {count}, errors with --strict; the first: {found.problems[0]}")
