"""People of MPII Human Pose: the json files of train and valid, and the file that MPII releases."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mgil.datasets.reading.coco_json import is_number
from mgil.datasets.reading.image_probe import probe_images
from mgil.files.text import printable
from mgil.tasks.pose.reading.gathered import Gathered, box_around
from mgil.tasks.pose.reading.known_points import MPII_NAMES
from mgil.tasks.pose.reading.mat_file import read_mat

POINTS = len(MPII_NAMES)
PERSON_PIXELS = 200  # a scale of 1 is a person of so many
DOWN = 15  # pixels at a scale of 1 that the middle is moved down, so that feet are seen less closely
HEAD_SHARE = 0.6  # of the diagonal of the head's box: PCKh's unit


def is_mpii(content: Any) -> bool:
    """Whether the content of a JSON file is in the layout of MPII's train.json and valid.json."""
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "joints_vis" in content[0]


def read_mpii(content: list[Any], json_path: str, root: str) -> Gathered:
    """People of train.json or valid.json; the heads' sizes are in gt_valid.mat beside valid.json.

    Its numbers begin at 1. A person's box is the square of 200 * scale pixels around the given middle, moved down by
    15 * scale as everybody does; it may reach out of the picture.

    Raises:
        FileNotFoundError: the pictures are not found.
        ValueError: gt_valid.mat does not belong to the json.
    """
    names = [entry.get("image") if isinstance(entry, dict) else None for entry in content]
    gathered, index_of_name = _pictures([name for name in names if isinstance(name, str)], json_path, root)
    truth = _truth_of(json_path, len(content))
    for number, (entry, name) in enumerate(zip(content, names, strict=True)):
        if isinstance(name, str) and name not in index_of_name:
            continue  # its picture was told
        problem = _problem_of(entry)
        if not problem:
            points = np.zeros((POINTS, 3))
            points[:, :2] = np.array(entry["joints"], np.float64) - 1
            points[:, 2] = np.where(np.array(entry["joints_vis"]) > 0, 2, 0)
            head = np.nan
            if truth is not None:
                points, head = truth[0][number], float(truth[1][number])
            box = _square(entry["center"], entry["scale"])
            problem = _add(gathered, index_of_name[str(name)], box, points, head)
        if problem:
            gathered.drop_person(f"{printable(json_path)}: person {number}", problem)
    return gathered


def read_release(mat_path: str, root: str) -> Gathered:
    """People of mpii_human_pose_v1_u12_1.mat: those of the training pictures, which alone have joints.

    Raises:
        FileNotFoundError: the pictures are not found.
        ValueError: it is another file.
    """
    release = read_mat(mat_path, ("RELEASE",))["RELEASE"]
    entries, is_train = _listed(getattr(release, "annolist", None)), np.atleast_1d(getattr(release, "img_train", ()))
    if not entries or len(entries) != len(is_train):
        raise ValueError(f"{printable(mat_path)}: RELEASE has no annolist and img_train, or of different lengths")
    chosen = [entry for entry, train in zip(entries, is_train.tolist(), strict=True) if train == 1]
    names = [str(getattr(getattr(entry, "image", None), "name", "")) for entry in chosen]
    gathered, index_of_name = _pictures(names, mat_path, root)
    for name, entry in zip(names, chosen, strict=True):
        for rectangle in _listed(getattr(entry, "annorect", None)) if name in index_of_name else []:
            joints = _listed(getattr(getattr(rectangle, "annopoints", None), "point", None))
            if not joints:
                continue  # others of the picture whom nobody labelled
            problem = _add_rectangle(gathered, index_of_name[name], rectangle, joints)
            if problem:
                gathered.drop_person(f"{printable(mat_path)}: {printable(name)}", problem)
    return gathered


def _add_rectangle(gathered: Gathered, image: int, rectangle: Any, joints: list[Any]) -> str:
    points = np.zeros((POINTS, 3))
    for joint in joints:
        place = _values(joint, "x", "y", "id")
        if place is None or int(place[2]) not in range(POINTS):
            return "a joint has no place or no number from 0 to 15"
        hidden = getattr(joint, "is_visible", 1) in (0, "0")
        points[int(place[2])] = place[0] - 1, place[1] - 1, 1 if hidden else 2
    centre, scale = _values(getattr(rectangle, "objpos", None), "x", "y"), _values(rectangle, "scale")
    if centre is None or scale is None or scale[0] <= 0:
        return "has no objpos or no scale"
    corners = _values(rectangle, "x1", "y1", "x2", "y2")
    size = 0.0 if corners is None else float(np.hypot(corners[2] - corners[0], corners[3] - corners[1]))
    return _add(gathered, image, _square(centre, scale[0]), points, HEAD_SHARE * size if size else np.nan)


def _add(gathered: Gathered, image: int, box: tuple[float, ...], points: np.ndarray, head: float) -> str:
    labelled = points[:, 2] > 0
    _, _, width, height = box_around(points[labelled, :2]) if labelled.any() else box
    area = 0.53 * width * height
    return gathered.add(image, box, points, area if np.isfinite(area) else None, whole=True, head=head)


def _square(centre: Any, scale: Any) -> tuple[float, float, float, float]:
    """Left, top, width, height between edges of pixels, from numbers that begin at 1 in the middle of the first."""
    side = float(PERSON_PIXELS * scale)
    return (
        float(centre[0] - 0.5 - side / 2),
        float(centre[1] + DOWN * scale - 0.5 - side / 2),
        side,
        side,
    )


def _pictures(names: list[str], label_path: str, root: str) -> tuple[Gathered, dict[str, int]]:
    """The pictures of a set, each once, and the index of each name among those that can be used."""
    base = os.path.dirname(label_path)
    some = list(dict.fromkeys(names))
    folders = [os.path.join(folder, "images") for folder in (root, base, os.path.dirname(base))] + [root, base]
    looked_for = some[:: max(1, len(some) // 20)]
    there = {folder: sum(os.path.isfile(os.path.join(folder, name)) for name in looked_for) for folder in folders}
    folder = max(folders, key=lambda each: there[each])
    if not there[folder]:
        named = f", e.g. {printable(some[0])}," if some else ""
        raise FileNotFoundError(f"{printable(label_path)}: its pictures{named} are not in {printable(folders[0])}")
    paths = [os.path.join(folder, name) for name in some]
    gathered = Gathered(POINTS)
    index_of_name: dict[str, int] = {}
    usable: list[str] = []
    sizes: list[tuple[int, int]] = []
    ids: list[int] = []
    for number, (name, path, size) in enumerate(zip(some, paths, probe_images(paths), strict=True), start=1):
        if os.path.basename(name) != name:
            size = "is not the name of a file in the image folder"
        if isinstance(size, str):
            gathered.skip_picture(path, size)
        else:
            index_of_name[name] = len(usable)
            usable.append(path)
            sizes.append(size)
            ids.append(number)
    gathered.image_paths, gathered.sizes_hw, gathered.image_ids = usable, sizes, ids
    return gathered, index_of_name


def _truth_of(json_path: str, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(N, 16, 3) key points and (N,) sizes of heads from gt_{name of the json}.mat beside it; None: there is none."""
    stem = os.path.splitext(os.path.basename(json_path))[0]
    path = os.path.join(os.path.dirname(json_path), f"gt_{stem}.mat")
    if not os.path.isfile(path):
        return None
    content = read_mat(path, ("pos_gt_src", "jnt_missing", "headboxes_src"))
    places, missing, heads = (_as_3d(content[name]) for name in ("pos_gt_src", "jnt_missing", "headboxes_src"))
    wanted = ((POINTS, 2, count), (POINTS, count, 1), (2, 2, count))
    if places.shape != wanted[0] or missing.shape not in (wanted[1], (POINTS, 1, count)) or heads.shape != wanted[2]:
        raise ValueError(f"{printable(path)}: does not belong to {printable(json_path)}, which has {count} people")
    points = np.zeros((count, POINTS, 3))
    points[:, :, :2] = places.transpose(2, 0, 1) - 1
    points[:, :, 2] = np.where(missing.reshape(POINTS, count).T > 0, 0, 2)
    return points, HEAD_SHARE * np.hypot(*(heads[1] - heads[0]))


def _as_3d(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return np.zeros(0)
    return np.atleast_3d(array).astype(np.float64)


def _problem_of(entry: Any) -> str:
    """What is wrong with a person of the json, or nothing."""
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        return "names no image"
    joints, seen, centre = entry.get("joints"), entry.get("joints_vis"), entry.get("center")
    pairs = isinstance(joints, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in joints)
    if not pairs or len(joints or []) != POINTS or not all(is_number(value) for pair in joints or [] for value in pair):
        return f"joints are not {POINTS} pairs of numbers"
    if not isinstance(seen, list) or len(seen) != POINTS or not all(map(is_number, seen)):
        return f"joints_vis are not {POINTS} numbers"
    if not isinstance(centre, list) or len(centre) != 2 or not all(map(is_number, centre)):
        return "center is not two numbers"
    if not is_number(entry.get("scale")) or entry["scale"] <= 0:
        return f"scale {repr(entry.get('scale'))[:80]} is not a number above 0"
    return ""


def _listed(value: Any) -> list[Any]:
    """The elements of a structure's field, which is left out, one or several."""
    if value is None:
        return []
    return [each for each in np.atleast_1d(value).ravel().tolist() if hasattr(each, "_fieldnames")]


def _values(structure: Any, *fields: str) -> list[float] | None:
    """Fields of a structure as numbers; None: one is none."""
    values = [getattr(structure, name, None) for name in fields]
    if not all(isinstance(value, int | float | np.number) and np.isfinite(value) for value in values):
        return None
    return [float(value) for value in values if value is not None]
