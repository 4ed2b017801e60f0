"""What the key points of a data set are: names, mirror images, how exactly people can place them, limbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COCO_PERSON = 1  # the category of people
COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)


@dataclass(frozen=True)
class Skeleton:
    """K key points.

    Attributes:
        names: K names.
        flip: (K,) index of the key point that each becomes in a mirrored picture: left and right change places.
        sigmas: (K,) standard deviation of people's labels, as a share of the square root of the person's area: what
            OKS divides distances by, twice over, as in COCO.
        limbs: Pairs of key points that a drawing connects.
    """

    names: tuple[str, ...]
    flip: tuple[int, ...]
    sigmas: tuple[float, ...]
    limbs: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        """K."""
        return len(self.names)

    def plain(self) -> dict[str, Any]:
        """Plain values for a checkpoint; `skeleton_from` reads them."""
        return {
            "names": list(self.names),
            "flip": list(self.flip),
            "sigmas": list(self.sigmas),
            "limbs": [list(pair) for pair in self.limbs],
        }


def skeleton_from(content: Mapping[str, Any]) -> Skeleton:
    """The skeleton of plain values.

    Raises:
        ValueError: They are of different lengths, or an index is none of a key point.
    """
    return checked(
        content["names"], content["flip"], content["sigmas"], [(first, second) for first, second in content["limbs"]]
    )


def checked(
    names: Sequence[str], flip: Sequence[int], sigmas: Sequence[float], limbs: Sequence[tuple[int, int]]
) -> Skeleton:
    """A skeleton whose parts fit together.

    Raises:
        ValueError: They do not; says which.
    """
    count = len(names)
    if len(set(names)) != count:
        raise ValueError(f"key points {', '.join(names)}: two have the same name")
    if sorted(flip) != list(range(count)) or any(flip[other] != index for index, other in enumerate(flip)):
        raise ValueError(f"flip_idx {list(flip)}: each of the {count} key points must change places with one, or none")
    if len(sigmas) != count or not all(0 < sigma <= 1 for sigma in sigmas):
        raise ValueError(f"sigmas {list(sigmas)}: must be {count} numbers above 0, at most 1")
    for pair in limbs:
        if not all(0 <= end < count for end in pair):
            raise ValueError(f"limb {list(pair)}: the key points are 0 to {count - 1}")
    return Skeleton(tuple(names), tuple(flip), tuple(map(float, sigmas)), tuple(limbs))
