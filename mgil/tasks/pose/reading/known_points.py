"""Key points that are known by name: lists of well-known sets, mirror images, sigmas, limbs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mgil.tasks.pose.skeleton import COCO_NAMES

# MPII's 16 and LSP's 14 in the order of their files; left and right are the person's.
MPII_NAMES = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "thorax", "upper_neck", "head_top"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
)
LSP_NAMES = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck", "head_top"),
)
NAMES_BY_COUNT = {len(names): names for names in (COCO_NAMES, MPII_NAMES, LSP_NAMES)}

# COCO's, by what the point is on either side. For the points that COCO has not, whose labels nobody has measured, those
# of the point that is placed about as exactly: the shoulder for neck and head, the hip for the pelvis.
SIGMAS = {
    **{"nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062},
    **{"hip": 0.107, "knee": 0.087, "ankle": 0.089},
    **{"neck": 0.079, "upper_neck": 0.079, "thorax": 0.079, "head_top": 0.079, "pelvis": 0.107},
}
_FACE = (("nose", "eye"), ("eye", "ear"))
_ARMS_AND_LEGS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
_SIDES = ("left", "right")


def plain_name(name: str) -> str:
    """A name as COCO would write it: `l_shoulder`, `LShoulder` and `Left Shoulder` are `left_shoulder`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|^([LR])(?=[A-Z][a-z])", r"\1_", name.strip())
    words = [word for word in re.split(r"[\W_]+", spaced.casefold()) if word]
    words = [{"l": "left", "r": "right"}.get(word, word) for word in words]
    sides = [word for word in words if word in _SIDES]
    if len(sides) == 1:  # the side comes first
        words = sides + [word for word in words if word not in _SIDES]
    return "_".join(words)


def side_and_part(name: str) -> tuple[str, str]:
    """`left` or `right`, or nothing, and the rest of the name as COCO would write it."""
    plain = plain_name(name)
    side, _, rest = plain.partition("_")
    return (side, rest) if side in _SIDES else ("", plain)


def flip_of(names: Sequence[str]) -> list[int]:
    """(K,) index of each point's mirror image: left and right of the same name; others are their own."""
    places = {plain_name(name): index for index, name in enumerate(names)}
    flip = []
    for index, name in enumerate(names):
        side, part = side_and_part(name)
        other = {"left": f"right_{part}", "right": f"left_{part}"}.get(side, "")
        flip.append(places.get(other, index))
    return flip


def sigmas_of(names: Sequence[str]) -> list[float]:
    """(K,) COCO's sigma of each point that is known by name, 1/K for others."""
    return [SIGMAS.get(side_and_part(name)[1], 1 / len(names)) for name in names]


def limbs_of(names: Sequence[str]) -> list[tuple[int, int]]:
    """The limbs between those points that are known by name."""
    places = {plain_name(name): index for index, name in enumerate(names)}
    pairs = [(f"{side}_{first}", f"{side}_{second}") for first, second in _ARMS_AND_LEGS for side in _SIDES]
    pairs += [("left_eye", "right_eye")]
    pairs += [
        ("nose" if first == "nose" else f"{side}_{first}", f"{side}_{second}")
        for first, second in _FACE
        for side in _SIDES
    ]
    if "pelvis" in places and "thorax" in places:
        pairs += [(f"{side}_hip", "pelvis") for side in _SIDES] + [(f"{side}_shoulder", "thorax") for side in _SIDES]
        pairs += [("pelvis", "thorax"), ("thorax", "upper_neck"), ("upper_neck", "head_top")]
    else:
        pairs += [(f"{side}_shoulder", f"{side}_hip") for side in _SIDES] + [("left_hip", "right_hip")]
        neck = [(f"{side}_shoulder", "neck") for side in _SIDES] + [("neck", "head_top")]
        pairs += neck if "neck" in places else [("left_shoulder", "right_shoulder")]
    pairs += [] if "neck" in places or "thorax" in places else [(f"{side}_ear", f"{side}_shoulder") for side in _SIDES]
    return [(places[first], places[second]) for first, second in pairs if first in places and second in places]


def torso_of(names: Sequence[str]) -> tuple[int, int] | None:
    """Left shoulder and right hip where the points are LSP's, whose PCK divides by their distance."""
    plain = [plain_name(name) for name in names]
    if sorted(plain) != sorted(LSP_NAMES):
        return None
    return plain.index("left_shoulder"), plain.index("right_hip")
