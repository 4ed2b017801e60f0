"""People of MPII's and LSP's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from mgil.tasks.pose.reading.mat_file import read_mat
from tests.tasks.pose.reading.sets import read, same, write_picture, write_yaml


def write_lsp(folder: Path, joints: np.ndarray, pattern: str = "im{:04d}.jpg", pictures: range = range(1, 3)) -> Path:
    for number in pictures:
        write_picture(folder / "images" / pattern.format(number), 60, 50)
    savemat(folder / "joints.mat", {"joints": joints})
    return write_yaml(folder, "train: joints.mat\nval: joints.mat\nnames: [person]\nkpt_shape: [14, 3]\n")


def test_the_extended_set(tmp_path: Path) -> None:
    """(14, 3, N): joints without a label have junk for a place."""
    joints = np.zeros((14, 3, 2))
    joints[2, :, 0], joints[9, :, 0], joints[13, :, 0] = (10, 20, 1), (30, 44, 1), (1e5, -7, 0)
    joints[0, :, 1] = 70, 5, 1  # outside the picture
    joints[1, :, 1] = 40, 5, 1
    people, lines = read(write_lsp(tmp_path, joints, "im{:05d}.jpg"))
    assert people.key_points.shape == (2, 14, 3)
    same(people.key_points[0, [2, 9, 13]], [[10, 20, 2], [30, 44, 2], [0, 0, 0]])
    same(people.key_points[1, 0], [70, 5, 2])
    # 21 x 25 pixels with 12 % of the longer side around; cut at the edges
    same(people.boxes[0], [10 - 3 - 1, 20 - 4, 21 + 8, 25 + 8])
    assert people.torso == (9, 2) and people.skeleton.names[13] == "head_top"
    assert people.image_ids.tolist() == [1, 2] and people.head_sizes is None
    assert lines == ["val: 2 people in 2 images, 4 of 28 key points labelled"]


def test_lsp_itself(tmp_path: Path) -> None:
    """(3, 14, N): every joint has a label. The last thousand of two thousand are the test set."""
    joints = np.zeros((3, 14, 2000))
    joints[0], joints[1] = np.arange(2000) % 50, 20
    joints[2, 3] = 1
    path = write_lsp(tmp_path, joints, pictures=range(1, 1))
    for number in (1, 1000, 1001, 1002):
        write_picture(tmp_path / "images" / f"im{number:04d}.jpg", 60, 50)
    train, lines = read(path, "train")
    assert [Path(name).name for name in train.image_paths] == ["im0001.jpg", "im1000.jpg"]
    assert "998 pictures skipped" in lines[-1]
    test, _ = read(path)
    assert [Path(name).name for name in test.image_paths] == ["im1001.jpg", "im1002.jpg"]
    same(test.key_points[:, :, 0], [[0] * 14, [1] * 14])
    assert (test.key_points[:, :, 2] == 2).all() and test.image_ids.tolist() == [1, 2]


def test_both_files_train(tmp_path: Path) -> None:
    for name in ("lsp", "lspet"):
        (tmp_path / name).mkdir()
        write_lsp(tmp_path / name, np.ones((14, 3, 2)))
    text = "train: [lsp/joints.mat, lspet/joints.mat]\nnames: [person]\nkpt_shape: [14, 3]\n"
    people, _ = read(write_yaml(tmp_path, text), "train")
    assert len(people) == 4 and people.image_ids.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("joint", "message"), [((np.nan, 1, 1), "a key point has no place"), ((0, 0, 0), "has neither a box nor labelled")]
)
def test_what_costs_one_person(tmp_path: Path, joint: tuple[float, ...], message: str) -> None:
    joints = np.zeros((14, 3, 2))
    joints[0, :, 0], joints[0, :, 1] = (5, 5, 1), joint
    people, lines = read(write_lsp(tmp_path, joints))
    assert len(people) == 1 and people.image_count == 2
    assert f"im0002.jpg: {message}" in lines[0] and "1 people dropped" in lines[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"joints": np.zeros((14, 2, 3))}, r"joints is \(14, 2, 3\), must be \(3, 14, N\) or \(14, 3, N\)"),
        ({"joints": np.zeros((2, 2))}, r"joints is \(2, 2\), must be"),
        ({"joints": "text"}, "joints is no array of numbers"),
        ({"others": np.zeros(3)}, "has no variable 'joints'"),
        (b"no mat", "not a MATLAB file that can be read"),
        (b"", "not a MATLAB file that can be read"),
        (b"MATLAB 7.3 MAT-file".ljust(600), "a MATLAB 7.3 .HDF5. file, which is not read; in MATLAB, save it with -v7"),
        (b"\x89HDF\r\n\x1a\n".ljust(600), "a MATLAB 7.3 .HDF5. file"),
    ],
)
def test_other_files(tmp_path: Path, content: Any, message: str) -> None:
    path = write_lsp(tmp_path, np.ones((14, 3, 2)))
    if isinstance(content, bytes):
        (tmp_path / "joints.mat").write_bytes(content)
    else:
        savemat(tmp_path / "joints.mat", content)
    with pytest.raises(ValueError, match=f"joints.mat: {message}"):
        read(path)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    path = write_lsp(tmp_path, np.ones((14, 3, 20)))
    whole = (tmp_path / "joints.mat").read_bytes()
    for length in range(0, len(whole) - 1, 97):
        (tmp_path / "joints.mat").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"joints.mat: (not a MATLAB file|has no variable|joints is)"):
            read(path)


def test_pictures_elsewhere(tmp_path: Path) -> None:
    path = write_lsp(tmp_path, np.ones((14, 3, 2)), pictures=range(5, 6))
    with pytest.raises(FileNotFoundError, match=r"joints.mat: its pictures, e.g. im0001.jpg, are neither in images/"):
        read(path)


def test_another_number_of_points(tmp_path: Path) -> None:
    path = write_lsp(tmp_path, np.ones((14, 3, 2)))
    path.write_text(path.read_text().replace("14", "16"))
    with pytest.raises(ValueError, match="joints.mat: people have 14 key points, .*set.yaml says 16"):
        read(path)


def mpii_person(**changes: Any) -> dict[str, Any]:
    joints = [[11.0 + joint, 21.0] for joint in range(16)]
    entry = {"image": "a.jpg", "center": [30, 25], "scale": 0.1, "joints": joints, "joints_vis": [1] * 15 + [0]}
    return {**entry, **changes}


def write_mpii(folder: Path, *people: Any, name: str = "valid") -> Path:
    for picture in "ab":
        write_picture(folder / "images" / f"{picture}.jpg", 60, 50)
    (folder / "annot").mkdir(exist_ok=True)
    (folder / "annot" / f"{name}.json").write_text(json.dumps(people))
    keys = "names: [person]\nkpt_shape: [16, 3]\n"
    return write_yaml(folder, f"val: annot/{name}.json\n{keys}")


def test_mpii(tmp_path: Path) -> None:
    people, lines = read(write_mpii(tmp_path, mpii_person(image="b.jpg"), mpii_person(), mpii_person(scale=1.0)))
    assert [Path(name).name for name in people.image_paths] == ["b.jpg", "a.jpg", "a.jpg"]
    same(people.key_points[0, [0, 14, 15]], [[10, 20, 2], [24, 20, 2], [0, 0, 0]])
    # 20 px around (30, 26.5), of which the first pixel's middle is 1; and 200 px around (30, 40), beyond the picture
    same(people.boxes[[0, 2]], [[19.5, 16, 20, 20], [-70.5, -60.5, 200, 200]])
    assert people.head_sizes is None and len(people.skeleton) == 16
    assert lines == ["val: 3 people in 2 images, 45 of 48 key points labelled"]


def test_mpiis_crop_is_the_usual_one(tmp_path: Path) -> None:
    """The middle, moved down by 15 * scale, less 1, is the middle of the crop; its side is 200 * scale * 1.25."""
    from mgil.tasks.pose.crops import crop_maps

    people, _ = read(write_mpii(tmp_path, mpii_person(center=[33, 21], scale=0.3)))
    maps = crop_maps(people.boxes, 64)
    same(maps.to_picture(np.array([[[32.0, 32.0]]])), [[[33 - 1, 21 + 15 * 0.3 - 1]]])
    same(maps.gains, [64 / (200 * 0.3 * 1.25)])


def test_sizes_of_heads(tmp_path: Path) -> None:
    path = write_mpii(tmp_path, mpii_person(image="b.jpg"), mpii_person())
    missing = np.zeros((16, 2))
    missing[3, 1] = 1
    truth = {
        "pos_gt_src": np.full((16, 2, 2), 8.0),
        "jnt_missing": missing,
        "headboxes_src": np.array([[[1.0, 5], [2, 5]], [[4, 11], [6, 13]]]),  # corners, x and y, people
    }
    savemat(tmp_path / "annot" / "gt_valid.mat", truth)
    people, _ = read(path)
    same(people.head_sizes, [0.6 * 5, 0.6 * 10])
    same(people.key_points[0], [[7, 7, 2]] * 16)
    assert people.key_points[1, :, 2].tolist() == [2, 2, 2, 0, *[2] * 12]
    savemat(tmp_path / "annot" / "gt_valid.mat", {**truth, "jnt_missing": np.zeros((16, 3))})
    with pytest.raises(ValueError, match=r"gt_valid.mat: does not belong to .*valid.json, which has 2 people"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": [[1, 2]] * 15}, "joints are not 16 pairs of numbers"),
        ({"joints": [[1, "x"]] * 16}, "joints are not 16 pairs of numbers"),
        ({"joints_vis": [1] * 15}, "joints_vis are not 16 numbers"),
        ({"center": [1]}, "center is not two numbers"),
        ({"center": [float("nan"), 1]}, "center is not two numbers"),
        ({"scale": 0}, "scale 0 is not a number above 0"),
        ({"image": 5}, "names no image"),
    ],
)
def test_what_costs_one_person_of_mpii(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    people, lines = read(write_mpii(tmp_path, mpii_person(), mpii_person(**changes)))
    assert len(people) == 1 and f"valid.json: person 1: {message}; person dropped" in lines[0]


def test_somebody_without_joints_is_ignored(tmp_path: Path) -> None:
    people, _ = read(write_mpii(tmp_path, mpii_person(), mpii_person(joints_vis=[0] * 16)))
    assert people.ignored.tolist() == [False, True] and np.isfinite(people.areas).all()


@pytest.mark.parametrize("name", ["c.jpg", "../images/a.jpg"])
def test_a_picture_of_mpii_that_is_not_there(tmp_path: Path, name: str) -> None:
    people, lines = read(write_mpii(tmp_path, mpii_person(), mpii_person(image=name)))
    assert len(people) == 1 and people.image_count == 1 and "image skipped" in lines[0]


def test_no_picture_of_mpii(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"valid.json: its pictures, e.g. c.jpg, are not in"):
        read(write_mpii(tmp_path, mpii_person(image="c.jpg")))


def test_mpiis_release(tmp_path: Path) -> None:
    path = write_mpii(tmp_path, mpii_person())
    point = {"x": 11.0, "y": 21.0, "id": 9, "is_visible": 1}
    full = {
        **{"x1": 1.0, "y1": 2.0, "x2": 4.0, "y2": 6.0, "scale": 0.1, "objpos": {"x": 30.0, "y": 25.0}},
        "annopoints": {"point": [point, {"x": 13.0, "y": 23.0, "id": 0, "is_visible": 0}]},
    }
    annolist = [
        {"image": {"name": "a.jpg"}, "annorect": [full, {**full, "annopoints": []}]},
        {"image": {"name": "b.jpg"}, "annorect": full},  # a picture of the test
        {"image": {"name": "a.jpg"}, "annorect": {"scale": 0.1}},  # people whom nobody labelled
        {"image": {"name": "b.jpg"}, "annorect": {**full, "annopoints": {"point": {**point, "id": 16}}}},
    ]
    release = {"annolist": annolist, "img_train": np.array([1, 0, 1, 1])}
    savemat(tmp_path / "annot" / "mpii_v1.mat", {"RELEASE": release})
    path.write_text(path.read_text().replace("valid.json", "mpii_v1.mat"))
    people, lines = read(path)
    assert len(people) == 1 and Path(people.image_paths[0]).name == "a.jpg"
    same(people.key_points[0, [0, 9]], [[12, 22, 1], [10, 20, 2]])
    assert (people.key_points[0, :, 2] > 0).sum() == 2
    same(people.boxes, [[19.5, 16, 20, 20]])
    same(people.head_sizes, [0.6 * 5])
    assert "mpii_v1.mat: b.jpg: a joint has no place or no number from 0 to 15" in lines[0]
    savemat(tmp_path / "annot" / "mpii_v1.mat", {"RELEASE": {"annolist": annolist, "img_train": np.array([1])}})
    with pytest.raises(ValueError, match="RELEASE has no annolist and img_train, or of different lengths"):
        read(path)


def test_no_objects_come_out_of_a_mat_file(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"joints": np.array(["text", 5], dtype=object)})
    content = read_mat(str(tmp_path / "a.mat"), ("joints",))
    assert type(content["joints"]) is np.ndarray
