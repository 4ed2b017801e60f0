"""One split of a data set as flat arrays: `load_samples` reads it, checks it and says what it found."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from data.coco_json import find_image_folder, image_paths_of, read_json, scan_coco
from data.config import DataConfig
from data.image_list import list_images, printable
from data.label_cache import LabelCache, sign_files
from data.labels import label_path_of, scan_yolo
from data.path_list import PathList
from data.scan import Scan

PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class Samples:
    """A split with N images and M boxes. Flat arrays, so that worker processes share instead of copy."""

    image_paths: Sequence[str]  # N; `load_samples` gives a PathList
    sizes_hw: np.ndarray  # (N, 2) int32 pixels, after EXIF rotation
    boxes_cxcywh: np.ndarray  # (M, 4) float32, normalised to 0..1 of the image
    classes: np.ndarray  # (M,) int32
    areas: np.ndarray  # (M,) float32, original pixels^2: a COCO json's `area`, else width * height of the box
    iscrowd: np.ndarray  # (M,) bool; such boxes are for evaluation, never trained on
    offsets: np.ndarray  # (N+1,) int64: the labels of image i are [offsets[i]:offsets[i+1]]
    image_ids: np.ndarray  # (N,) int64

    def __len__(self) -> int:
        return len(self.image_paths)

    def without_labels_of(self, images: Collection[int]) -> Samples:
        """The same images, of which some (by index) have no labels."""
        kept = np.ones(len(self.classes), bool)
        for image in images:
            kept[self.offsets[image] : self.offsets[image + 1]] = False
        flat = {name: getattr(self, name)[kept] for name in ("boxes_cxcywh", "classes", "areas", "iscrowd")}
        return replace(self, **flat, offsets=np.concatenate([[0], np.cumsum(kept)])[self.offsets])


def load_samples(
    config: DataConfig,
    split: str,
    *,
    cache_dir: Path | None = None,
    strict: bool = False,
    single_cls: bool = False,
    report: Callable[[str], None] = print,
) -> Samples:
    """Read a split's images and labels, or take them from the cache when no file has changed.

    Image ids are a COCO json's; else the file names where all are different whole numbers; else 1 to N.

    Args:
        config: from `load_data_config`.
        split: 'train', 'val' or 'test'.
        cache_dir: where label caches are kept; None is the user's cache folder.
        strict: make any bad line or bad image an error.
        single_cls: every object is of class 0; class ids are then not checked against the names.
        report: takes the lines for people: problems (the first 10) and a summary.

    Raises:
        FileNotFoundError: the split's files are not there; says how to fetch them where the YAML tells.
        ValueError: the split is not given or has no images, 'train' has no boxes, all class ids are unknown, or
            `strict` and a problem.
    """
    sources = config.split(split)
    if not sources:
        raise ValueError(f"{config.yaml_path}: gives no {split} split; add '{split}: <folder of images>'")
    _check_presence(config, split)
    cache = LabelCache(cache_dir, report)
    if sources[0].lower().endswith(".json"):
        scan = _scan_json(config, split, cache)
    else:
        scan = _scan_folders(config, split, cache, None if single_cls else len(config.names))
    _tell(scan, split, report)
    _refuse(scan, config, split, strict)
    return _to_samples(scan, single_cls)


def _scan_folders(config: DataConfig, split: str, cache: LabelCache, num_classes: int | None) -> Scan:
    sources = config.split(split)
    paths, problems = list_images(sources, str(config.root))
    if not paths:
        why = f"no images found; the first problem: {problems[0]}" if problems else "no images found"
        raise ValueError(f"{', '.join(map(printable, sources))}: {why} ({split} of {config.yaml_path})")
    key = f"yolo {num_classes} {config.root} {sources}"
    signature = sign_files(chain(paths, map(label_path_of, paths)))
    scan = cache.load(key, signature, num_classes)
    if scan is None:
        scan = scan_yolo(paths, num_classes)
        scan.image_ids = _ids_of(scan.image_paths)
        cache.save(key, signature, scan)
    scan.problems = problems + scan.problems
    scan.counts.dropped += len(problems)
    if split == "train" and scan.counts.labelled + scan.counts.empty == 0 and scan.image_paths:
        example = printable(label_path_of(scan.image_paths[0]))
        raise ValueError(f"{', '.join(map(printable, sources))}: no image has a label file; expected e.g. {example}")
    return scan


def _scan_json(config: DataConfig, split: str, cache: LabelCache) -> Scan:
    json_path = config.split(split)[0]
    key = f"coco {config.category_ids} {config.root} {split} {json_path}"
    scan = cache.load(key, None, len(config.category_ids))
    if scan is None:
        content = read_json(json_path)
        folder = find_image_folder(content, json_path, str(config.root), split)
        watched = [json_path, *image_paths_of(content, folder)]
        signature = sign_files(watched)
        scan = scan_coco(content, json_path, folder, config.category_ids)
        cache.save(key, signature, scan, watched)
    return scan


def _check_presence(config: DataConfig, split: str) -> None:
    absent = [source for source in config.split(split) if not os.path.exists(source)]
    if not absent:
        return
    message = f"data set not found: {printable(absent[0])} ({split} of {config.yaml_path})"
    if config.download is None:
        raise FileNotFoundError(f"{message}; paths are relative to the YAML's folder")
    entry = " ".join(config.download.split())[:400]
    raise FileNotFoundError(f"{message}; its download entry is: {entry}; pass --download to fetch it")


def _tell(scan: Scan, split: str, report: Callable[[str], None]) -> None:
    for problem in scan.problems[:PROBLEMS_SHOWN]:
        report(problem)
    if len(scan.problems) > PROBLEMS_SHOWN:
        report(f"... and {len(scan.problems) - PROBLEMS_SHOWN} more problems")
    counts = {
        "images without a label file": scan.counts.missing,
        "images without labels": scan.counts.empty,
        "lines or entries dropped": scan.counts.dropped,
        "images skipped": scan.counts.bad_images,
        "boxes cut at the image's edge": scan.counts.clipped,
    }
    parts = [f"{len(scan.image_paths)} images", f"{len(scan.classes)} boxes"]
    report(f"{split}: {', '.join(parts + [f'{count} {what}' for what, count in counts.items() if count])}")


def _refuse(scan: Scan, config: DataConfig, split: str, strict: bool) -> None:
    if not scan.image_paths:
        sources = ", ".join(map(printable, config.split(split)))
        why = f"none of the images can be used; the first: {scan.problems[0]}" if scan.problems else "no images found"
        raise ValueError(f"{sources}: {why} ({split} of {config.yaml_path})")
    if scan.counts.unknown_class and not len(scan.classes):
        raise ValueError(
            f"no label has a class that {config.yaml_path} names ({len(config.names)} names); "
            f"the first: {scan.unknown_classes[0]}"
        )
    if split == "train" and not len(scan.classes):
        why = f"the first of {len(scan.problems)} problems: {scan.problems[0]}" if scan.problems else "all are empty"
        raise ValueError(f"train: no box to learn from in {len(scan.image_paths)} images; {why} ({config.yaml_path})")
    if strict and scan.problems:
        raise ValueError(f"{split}: {len(scan.problems)} problems and strict reading; the first: {scan.problems[0]}")


def _to_samples(scan: Scan, single_cls: bool) -> Samples:
    return Samples(
        image_paths=PathList(scan.image_paths),
        sizes_hw=scan.sizes_hw,
        boxes_cxcywh=scan.boxes_cxcywh,
        classes=np.zeros_like(scan.classes) if single_cls else scan.classes,
        areas=scan.areas,
        iscrowd=scan.iscrowd,
        offsets=scan.offsets,
        image_ids=scan.image_ids,
    )


def _ids_of(image_paths: list[str]) -> np.ndarray:
    stems = [os.path.splitext(os.path.basename(path))[0] for path in image_paths]
    if all(stem.isascii() and stem.isdigit() and len(stem) <= 18 for stem in stems):
        ids = np.array(list(map(int, stems)), np.int64)
        if len(np.unique(ids)) == len(ids):
            return ids
    return np.arange(1, len(stems) + 1, dtype=np.int64)
