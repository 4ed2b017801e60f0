"""What the key points of a data set are, wherever that is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgil.datasets.reading.config import load_data_config
from mgil.tasks.pose.reading.known_points import flip_of, limbs_of, plain_name, sigmas_of, torso_of
from mgil.tasks.pose.reading.skeleton import as_key_points, skeleton_of
from mgil.tasks.pose.skeleton import COCO_NAMES
from tests.tasks.pose.reading.sets import NAMES, config, person, read, write_coco, write_picture, write_yaml

# From the COCO evaluation.
COCO_SIGMAS = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
COCO_FLIP = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
COCO_LIMBS = [
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11)),
    *((2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
]


@pytest.mark.parametrize("yaml", ["coco-pose.yaml", "figures.yaml"])
def test_cocos_seventeen(yaml: str) -> None:
    skeleton = skeleton_of(load_data_config(yaml))
    assert skeleton.names == COCO_NAMES and skeleton.flip == COCO_FLIP
    assert [round(1000 * sigma) for sigma in skeleton.sigmas] == COCO_SIGMAS
    assert {frozenset(pair) for pair in skeleton.limbs} == {frozenset((a - 1, b - 1)) for a, b in COCO_LIMBS}


@pytest.mark.parametrize(
    ("yaml", "count", "flip_pairs", "limbs"),
    [
        # MPII's pairs as everybody has them
        ("mpii.yaml", 16, [(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)], [(6, 7), (8, 9), (2, 6), (13, 7)]),
        ("lsp.yaml", 14, [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)], [(12, 13), (8, 12), (9, 3)]),
    ],
)
def test_shipped_sets(yaml: str, count: int, flip_pairs: list[tuple[int, int]], limbs: list[tuple[int, int]]) -> None:
    data = load_data_config(yaml)
    skeleton = skeleton_of(data)
    assert len(skeleton) == count and set(limbs) <= set(skeleton.limbs)
    assert {pair for pair in enumerate(skeleton.flip) if pair[0] < pair[1]} == set(flip_pairs)
    assert skeleton.flip == tuple(flip_of(skeleton.names))  # what the YAML says is what the names say
    reached = {end for pair in skeleton.limbs for end in pair}
    assert reached == set(range(count))
    assert as_key_points(data).names == skeleton.names
    assert skeleton_of(as_key_points(data)) == skeleton


@pytest.mark.parametrize(("count", "first"), [(17, "nose"), (16, "right_ankle"), (14, "right_ankle"), (5, "0")])
def test_a_number_of_points_alone(tmp_path: Path, count: int, first: str) -> None:
    skeleton = skeleton_of(config(tmp_path, f"kpt_shape: [{count}, 3]"))
    assert len(skeleton) == count and skeleton.names[0] == first
    if count == 5:
        assert skeleton.flip == tuple(range(5)) and skeleton.sigmas == (0.2,) * 5 and skeleton.limbs == ()


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        *(("kpt_names: [head, tail]", True), ("kpt_names: [l_eye, r_eye]", False), ("kpt_names: [head]", False)),
        ("kpt_names: [head, tail]\nflip_idx: [0, 1]", False),
    ],
)
def test_no_word_of_sides(tmp_path: Path, keys: str, warned: bool) -> None:
    count = keys.partition("]")[0].count(",") + 1
    write_picture(tmp_path / "images" / "1.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.5 0.5" + " 0.5 0.5 2" * count)
    path = write_yaml(tmp_path, f"train: images\nval: images\nnames: [person]\n{keys}\n")
    _, lines = read(path, "train")
    assert [line for line in lines if "no name says left or right" in line] == lines[1:]
    assert (len(lines) == 2) is warned and len(read(path, "val")[1]) == 1


def test_one_point(tmp_path: Path) -> None:
    assert skeleton_of(config(tmp_path, "kpt_shape: [1, 2]")).sigmas == (1.0,)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        *(("l_shoulder", "left_shoulder"), ("LShoulder", "left_shoulder"), ("Left Shoulder", "left_shoulder")),
        *(("right-eye", "right_eye"), ("rightEye", "right_eye"), ("eye.R", "right_eye"), ("lower_leg", "lower_leg")),
        *(("nose", "nose"), ("Lip", "lip"), ("left_right", "left_right")),
    ],
)
def test_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_points_by_name() -> None:
    names = ["RAnkle", "LAnkle", "tail", "left_wing"]
    assert flip_of(names) == [1, 0, 2, 3]  # a wing that has no right one
    assert sigmas_of(names) == [0.089, 0.089, 0.25, 0.25]
    assert limbs_of(["l_knee", "tail", "l_hip"]) == [(2, 0)]
    assert torso_of(names) is None and torso_of(COCO_NAMES) is None


def test_the_jsons_category(tmp_path: Path) -> None:
    skeleton = skeleton_of(load_data_config(write_coco(tmp_path, person())))
    assert skeleton.names == NAMES and skeleton.flip == (0, 2, 1)
    assert skeleton.sigmas == (0.026, 1 / 3, 1 / 3) and skeleton.limbs == ((0, 1), (0, 2))


def test_limbs_counted_from_0(tmp_path: Path) -> None:
    category = {"id": 1, "name": "person", "keypoints": list(NAMES), "skeleton": [[0, 1], [0, 2]]}
    assert skeleton_of(load_data_config(write_coco(tmp_path, categories=[category]))).limbs == ((0, 1), (0, 2))


def test_the_yaml_comes_first(tmp_path: Path) -> None:
    path = write_coco(tmp_path, person())
    own = "kpt_names: [a, b, c]\nflip_idx: [2, 1, 0]\nsigmas: [0.1, 0.2, 0.3]\nskeleton: [[0, 2]]\n"
    path.write_text(path.read_text() + own)
    skeleton = skeleton_of(load_data_config(path))
    assert (skeleton.names, skeleton.flip) == (("a", "b", "c"), (2, 1, 0))
    assert (skeleton.sigmas, skeleton.limbs) == ((0.1, 0.2, 0.3), ((0, 2),))


def test_names_of_each_class(tmp_path: Path) -> None:
    """As ultralytics writes them."""
    assert skeleton_of(config(tmp_path, "kpt_shape: [2, 3]\nkpt_names:\n  0: [head, tail]\n")).names == ("head", "tail")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not say what the key points are; add 'kpt_shape"),
        ("kpt_shape: [3, 3]\nkpt_names: [a, b]", "kpt_shape says 3 key points, kpt_names has 2"),
        ("kpt_names: [a, a]", "key points a, a: two have the same name"),
        ("kpt_names: {}", "kpt_names must be a list of names, found None"),
        ("kpt_names: [[a]]", "kpt_names must be a list of names"),
        ("kpt_names: [a, '']", "kpt_names must be a list of names"),
        ("kpt_shape: [3, 3]\nflip_idx: [0, 2]", "flip_idx must be 3 whole numbers, found [0, 2]"),
        ("kpt_shape: [3, 3]\nflip_idx: [0, 2, 3]", "flip_idx [0, 2, 3]: each of the 3"),
        ("kpt_shape: [3, 3]\nflip_idx: [1, 2, 0]", "flip_idx [1, 2, 0]: each of the 3"),
        ("kpt_shape: [3, 3]\nflip_idx: [0, 2, 2]", "flip_idx [0, 2, 2]: each of the 3"),
        ("kpt_shape: [3, 3]\nflip_idx: 5", "flip_idx must be 3 whole numbers, found 5"),
        ("kpt_shape: [2, 3]\nsigmas: [0.1]", "sigmas must be 2 numbers"),
        ("kpt_shape: [2, 3]\nsigmas: [0.1, 0]", "must be 2 numbers above 0, at most 1"),
        ("kpt_shape: [2, 3]\nsigmas: [0.1, .nan]", "sigmas must be 2 numbers"),
        ("kpt_shape: [2, 3]\nskeleton: [[1, 2]]", "skeleton must be pairs of key points from 0 to 1, found [[1, 2]]"),
        ("kpt_shape: [2, 3]\nskeleton: [1]", "skeleton must be pairs"),
    ],
)
def test_keys_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    data = config(tmp_path, text)  # detection reads it
    with pytest.raises(ValueError, match="set.yaml: ") as error:
        skeleton_of(data)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"id": 1, "name": "person", "keypoints": "nose"}], "keypoints of category 1 must be a list of names"),
        ([{"id": 1, "name": "person", "keypoints": ["a"], "skeleton": [[1, 2]]}], "has 2, there are 1 key points"),
        ([{"id": 1, "name": "person", "keypoints": ["a"], "skeleton": "x"}], "must be a list of pairs"),
        (
            [{"id": n, "name": name, "keypoints": ["a"]} for n, name in ((1, "dog"), (2, "cat"))],
            "2 categories have key points",
        ),
    ],
)
def test_categories_that_make_no_sense(tmp_path: Path, categories: list[object], message: str) -> None:
    data = load_data_config(write_coco(tmp_path, person(), categories=categories))
    with pytest.raises(ValueError, match="people.json: .*" + message):
        skeleton_of(data)
