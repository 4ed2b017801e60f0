"""The data of a study: finding it, splits as lists beside the results, copies that the peers may write caches into."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mgil.datasets.reading.config import DataConfig, find_data_yaml, load_data_config
from mgil.datasets.reading.image_list import list_images
from mgil.datasets.reading.load import load_samples, make_generated
from mgil.datasets.reading.samples import Samples
from mgil.files.atomic import write_text_atomic

SPLIT_SEED = 0  # of the images that are held out: the same for every study


def find_data(name: str, roots: Sequence[Path]) -> Path:
    """The YAML of a data set.

    Args:
        name: a path, or a name such as helmet320.yaml, with or without .yaml.
        roots: folders of data sets, searched first: root/name.yaml and root/name/name.yaml. Then come the working
            folder and the shipped sets.

    Raises:
        FileNotFoundError: nowhere; the message says where to name its folder.
    """
    named = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    places = [place for root in roots for place in (root / named, root / named.stem / named)]
    for place in places:
        if place.is_file():
            return place.resolve()
    try:
        return find_data_yaml(named)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; name the folder that holds it with --data-root") from error


def find_weights(name: str, roots: Sequence[Path]) -> Path:
    """Weights to start from.

    Args:
        name: a path, or the name of a file.
        roots: folders of data sets; weights lie there too, or in a folder `weights` beside one.

    Raises:
        FileNotFoundError: nowhere.
    """
    places = [Path(name), *(place / name for root in roots for place in (root, root.parent / "weights"))]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise FileNotFoundError(f"weights {name} do not exist; put them into the folder that --data-root names")


def split_yaml(data_yaml: Path, name: str, holdout: float, images: int, folder: Path) -> Path:
    """The data set as a cell sees it.

    Args:
        data_yaml: the data set.
        name: of the set within the study.
        holdout: share of train that stands for val, the same images every time; 0: the set's own splits.
        images: at most so many of either split; 0: all.
        folder: where lists of images and their YAML go; nothing is written to the data's own folder.

    Raises:
        ValueError: labels in a COCO .json, which lists of images cannot divide.
    """
    if not holdout and not images:
        return data_yaml
    config = load_data_config(data_yaml)
    train = listed(config, "train")
    if holdout:
        chosen = held_out(len(train), holdout)
        lists = {
            "train": [path for index, path in enumerate(train) if index not in chosen],
            "val": [path for index, path in enumerate(train) if index in chosen],
        }
    else:
        lists = {"train": train, "val": listed(config, "val")}
    target = part_folder(folder, name, holdout, images)
    target.mkdir(parents=True, exist_ok=True)
    content = {"path": str(config.root), "names": list(config.names), "category_ids": list(config.category_ids)}
    for part, paths in lists.items():
        write_text_atomic(target / f"{part}.txt", "".join(f"{path}\n" for path in paths[: images or None]))
        content[part] = str((target / f"{part}.txt").absolute())
    write_text_atomic(target / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    return target / f"{name}.yaml"


def held_out(count: int, share: float) -> set[int]:
    """Which of so many images of train stand for val, the same ones every time."""
    return set(np.random.default_rng(SPLIT_SEED).permutation(count)[: round(share * count)].tolist())


def part_folder(folder: Path, name: str, holdout: float, images: int) -> Path:
    """Where the lists of a part of a data set go."""
    parts = [name, *([f"holdout{holdout:g}"] if holdout else []), *([f"{images}images"] if images else [])]
    return folder / "-".join(parts)


def listed(config: DataConfig, split: str) -> list[str]:
    """The images of a split whose labels are text files."""
    sources = config.split(split)
    if any(source.lower().endswith(".json") for source in sources):
        raise ValueError(f"{config.yaml_path}: {split} is a COCO .json; holdout and images need text labels")
    make_generated(config)
    return list_images(sources, config.bases)[0]


def peer_copy(data_yaml: Path, folder: Path) -> Path:
    """A set as the peers read it: links to the images, numbered by their place in the split, and text labels.

    Made once for images and labels as they are, as this project reads them; crowds, which nobody trains on, are left
    out.

    Args:
        data_yaml: from `split_yaml`.
        folder: where the copy goes.

    Returns:
        The copy's YAML.
    """
    config = load_data_config(data_yaml)
    splits = {split: load_samples(config, split, report=lambda _line: None) for split in ("train", "val")}
    content = {"train": "images/train", "val": "images/val", "names": dict(enumerate(config.names))}

    def write(target: Path) -> None:
        for split, samples in splits.items():
            write_yolo(samples, target, split)

    return made_once(data_yaml, folder, digest(config, splits.values()), content, write)


def made_once(
    data_yaml: Path, folder: Path, content_known_by: str, description: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """A copy of a data set that several cells may ask for at once: the first to be done wins.

    Args:
        data_yaml: the data set.
        folder: where the copy goes.
        content_known_by: changes with the content.
        description: of the copy's YAML, all but its path.
        write: puts images and labels into a folder.

    Returns:
        The copy's YAML.
    """
    mark = hashlib.sha256(content_known_by.encode()).hexdigest()[:10]
    target = folder / f"{data_yaml.stem}-{mark}"
    made = target / data_yaml.name
    if made.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder))
    write(building)
    content = {"path": str(target.absolute()), **description}
    (building / data_yaml.name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    try:
        building.rename(target)
    except OSError:
        shutil.rmtree(building)
        if not made.exists():
            raise
    return made


def digest(config: DataConfig, splits: Iterable[Samples]) -> str:
    """Changes with the classes, the images and the labels."""
    found = hashlib.sha256(repr(config.names).encode())
    for samples in splits:
        found.update("\n".join(map(str, samples.image_paths)).encode())
        for values in (samples.offsets, samples.classes, samples.boxes_cxcywh, samples.iscrowd):
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def write_yolo(samples: Samples, folder: Path, split: str) -> None:
    """Links to a split's images, and its labels as text."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for index, image in enumerate(samples.image_paths):
        link = folder / "images" / split / f"{index:06d}{Path(image).suffix}"
        link_image(image, link)
        labels = slice(*samples.offsets[index : index + 2])
        rows = zip(samples.classes[labels], samples.boxes_cxcywh[labels], samples.iscrowd[labels], strict=True)
        lines = [f"{kind} {' '.join(f'{value:.8f}' for value in box)}\n" for kind, box, crowd in rows if not crowd]
        (folder / "labels" / split / f"{index:06d}.txt").write_text("".join(lines), encoding="utf-8")


def link_image(image: str, link: Path) -> None:
    """A link to an image, a copy where links are not allowed."""
    try:
        link.symlink_to(os.path.abspath(image))
    except OSError:  # Windows allows links to some users only
        shutil.copyfile(image, link)
