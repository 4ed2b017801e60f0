"""People of Leeds Sports Pose (LSP) and its extended training set: joints.mat and images/im0001.jpg beside it."""

from __future__ import annotations

import os

import numpy as np

from mgil.datasets.reading.image_probe import probe_images
from mgil.files.text import printable
from mgil.tasks.pose.reading.gathered import Gathered
from mgil.tasks.pose.reading.known_points import LSP_NAMES
from mgil.tasks.pose.reading.mat_file import read_mat

TRAIN, ALL = 1000, 2000  # LSP's own split: the first thousand pictures train, the others test
PATTERNS = ("im{:04d}.jpg", "im{:05d}.jpg", "im{:04d}.png", "im{:05d}.png")


def read_lsp(mat_paths: tuple[str, ...], split: str) -> Gathered:
    """People of one or more joints.mat, a picture each.

    LSP's own file, which has 2,000 people, gives its first 1,000 for `train` and the others for `val` and `test`; of
    others all are taken. The order of a file says what its third number means: in (3, 14, N), LSP's, every joint has a
    label, covered ones too; in (14, 3, N), the extended set's, 0 is a joint without one.

    Raises:
        FileNotFoundError: the pictures are not found.
        ValueError: a file holds no such joints.
    """
    gathered = Gathered(len(LSP_NAMES))
    paths: list[str] = []
    joints: list[np.ndarray] = []
    for mat_path in mat_paths:
        points = _joints_of(mat_path)
        numbers = np.arange(1, len(points) + 1)
        if len(points) == ALL:
            numbers = numbers[:TRAIN] if split == "train" else numbers[TRAIN:]
        paths += _image_paths(mat_path, numbers)
        joints += list(points[numbers - 1])
    usable: list[int] = []
    for index, size in enumerate(sizes := probe_images(paths)):
        if isinstance(size, str):
            gathered.skip_picture(paths[index], size)
        else:
            usable.append(index)
    gathered.image_paths = [paths[index] for index in usable]
    gathered.sizes_hw = [size for size in sizes if not isinstance(size, str)]
    gathered.image_ids = [index + 1 for index in usable]
    for image, index in enumerate(usable):
        problem = gathered.add(image, None, joints[index])
        if problem:
            gathered.drop_person(printable(paths[index]), problem)
    return gathered


def _joints_of(mat_path: str) -> np.ndarray:
    """(N, 14, 3) float64 x, y, visibility."""
    joints = read_mat(mat_path, ("joints",))["joints"]
    points = len(LSP_NAMES)
    if not isinstance(joints, np.ndarray) or joints.dtype.kind not in "iuf" or joints.ndim not in (2, 3):
        raise ValueError(f"{printable(mat_path)}: joints is no array of numbers")
    shape, joints = joints.shape, np.atleast_3d(joints).astype(np.float64)
    if joints.shape[:2] == (3, points):
        table = joints.transpose(2, 1, 0)
        table[:, :, 2] = 2
    elif joints.shape[:2] == (points, 3):
        table = joints.transpose(2, 0, 1)
        table[:, :, 2] = np.where(table[:, :, 2] > 0, 2, 0)
    else:
        raise ValueError(f"{printable(mat_path)}: joints is {shape}, must be (3, {points}, N) or ({points}, 3, N)")
    return table


def _image_paths(mat_path: str, numbers: np.ndarray) -> list[str]:
    """The pictures in images/ beside the file, or beside it: as the first is named, or the last should that be lost."""
    base = os.path.dirname(mat_path)
    looked_for = [int(numbers[index]) for index in (0, len(numbers) // 2, -1)] if len(numbers) else []
    for folder in (os.path.join(base, "images"), base):
        for pattern in PATTERNS:
            if any(os.path.isfile(os.path.join(folder, pattern.format(number))) for number in looked_for):
                return [os.path.join(folder, pattern.format(number)) for number in numbers.tolist()]
    raise FileNotFoundError(
        f"{printable(mat_path)}: its pictures, e.g. {PATTERNS[0].format(1)}, are neither in images/ beside it nor there"
    )
