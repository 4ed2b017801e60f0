"""Drawing a body: limbs with width in clothes, a head with face and hair, the farther parts first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mgil.datasets.reading.figures.body import FACE, HEAD_RADII, ONE, SIDES, UNIT, Body
from mgil.datasets.reading.figures.raster import PIXEL, POINT, Canvas

# The shapes of one person, by name; a person's numbers are these and a multiple of `NUMBERS`.
PARTS = (
    *("torso", "pelvis", "neck", "skin", "hair", "eye", "mouth", "edge"),
    *(f"{side}_{part}" for side, _ in SIDES for part in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")),
)
NUMBERS = 32
HEAD_PARTS = ("skin", "hair", "eye", "mouth")
# Which shapes a joint is seen on; the joints in COCO's order.
SEEN_ON = {
    **dict.fromkeys(FACE, HEAD_PARTS),
    **{
        f"{side}_{joint}": tuple(part if part in ("torso", "pelvis") else f"{side}_{part}" for part in parts)
        for joint, parts in {
            "shoulder": ("torso", "upper_arm"),
            "elbow": ("upper_arm", "forearm"),
            "wrist": ("forearm", "hand"),
            "hip": ("torso", "pelvis", "thigh"),
            "knee": ("thigh", "shin"),
            "ankle": ("shin", "foot"),
        }.items()
        for side, _ in SIDES
    },
}
LEAST_FRONT = {"nose": -30, "left_eye": 40, "right_eye": 40, "left_ear": -40, "right_ear": -40}  # of 256, to the viewer
FAR = {"shoulder": -60, "hip": -34}  # how far behind the spine the body hides a joint
EDGE = 9  # how far a limb's dark edge goes beyond it, where it lies on the same body


@dataclass(frozen=True)
class Placed:
    """A body in a picture.

    Attributes:
        body: The body.
        origin: x, y steps of the middle between its hips.
        height: Steps of a body of full height.
        build: Width of the limbs, per cent.
        first: Number of its first shape.
    """

    body: Body
    origin: tuple[int, int]
    height: int
    build: int
    first: int

    def at(self, joint: str) -> tuple[int, int]:
        """x, y steps."""
        x, y, _ = self.body.joints[joint]
        return self.origin[0] + x * self.height // UNIT, self.origin[1] + y * self.height // UNIT

    def depth(self, *joints: str) -> int:
        """How far before the hips joints are in the mean, of `UNIT`."""
        return sum(self.body.joints[joint][2] for joint in joints) // len(joints)

    def width(self, radius: int) -> int:
        """Steps of half a limb's width, given of `UNIT`; never thinner than half a pixel."""
        return max(radius * self.height * self.build // (100 * UNIT), PIXEL // 4)

    def number(self, part: str) -> int:
        """Of a shape of this person."""
        return self.first + PARTS.index(part)


def draw_person(canvas: Canvas, person: Placed, long_hair: bool, bald: bool) -> None:
    """Draw all parts, the farther ones first."""
    parts: list[tuple[int, Callable[[], None]]] = [
        (person.depth("neck") // 2, lambda: _draw_torso(canvas, person)),
        (person.depth("neck", "head") + 5, lambda: _limb(canvas, person, "neck", "neck", "head", (34, 30))),
        (person.depth("head") + 30, lambda: _draw_head(canvas, person, long_hair, bald)),
    ]
    for side, _ in SIDES:
        for part, start, end, radii, nearer in (
            ("upper_arm", "shoulder", "elbow", (38, 30), 25),
            ("forearm", "elbow", "wrist", (29, 21), 27),
            ("hand", "wrist", "wrist", (27, 27), 28),
            ("thigh", "hip", "knee", (62, 42), -15),
            ("shin", "knee", "ankle", (41, 27), -18),
            ("foot", "ankle", "toes", (30, 20), -19),
        ):
            first, last = f"{side}_{start}", f"{side}_{end}"
            depth = person.depth(first, last) + nearer
            parts.append((depth, _drawing(canvas, person, f"{side}_{part}", (first, last), radii)))
    for _, draw in sorted(parts, key=lambda pair: pair[0]):
        draw()


def _drawing(
    canvas: Canvas, person: Placed, part: str, ends: tuple[str, str], radii: tuple[int, int]
) -> Callable[[], None]:
    return lambda: _limb(canvas, person, part, *ends, radii)


def _limb(canvas: Canvas, person: Placed, part: str, start: str, end: str, radii: tuple[int, int]) -> None:
    ends = person.at(start), person.at(end)
    wide = person.width(radii[0] + EDGE), person.width(radii[1] + EDGE)
    canvas.capsule(person.number("edge"), *ends, wide, over=person.first)
    canvas.capsule(person.number(part), *ends, (person.width(radii[0]), person.width(radii[1])))


def _draw_torso(canvas: Canvas, person: Placed) -> None:
    """The shirt between shoulders and hips, thick enough to be seen from the side, and the trousers' upper end."""
    hips, shoulders = ((person.at(f"left_{joint}"), person.at(f"right_{joint}")) for joint in ("hip", "shoulder"))
    middle = person.origin
    canvas.capsule(person.number("pelvis"), *hips, (person.width(64), person.width(64)))
    torso = person.number("torso")
    low = [((9 * x + x1) // 10, (9 * y + y1) // 10) for (x, y), (x1, y1) in zip(hips, shoulders, strict=True)]
    canvas.polygon(torso, [shoulders[0], shoulders[1], low[1], low[0]])
    canvas.capsule(torso, *shoulders, (person.width(40), person.width(40)))
    for shoulder, hip in zip(shoulders, low, strict=True):
        canvas.capsule(torso, shoulder, hip, (person.width(38), person.width(44)))
    canvas.capsule(torso, person.at("neck"), middle, (person.width(52), person.width(60)))


def _draw_head(canvas: Canvas, person: Placed, long_hair: bool, bald: bool) -> None:
    radii = tuple(max(radius * person.height // UNIT, PIXEL) for radius in HEAD_RADII)
    wide = radii[0] + person.width(8), radii[1] + person.width(8)
    canvas.ellipsoid(person.number("edge"), person.at("head"), wide, over=person.first)
    found = canvas.ellipsoid(person.number("skin"), person.at("head"), (radii[0], radii[1]))
    if found is None:
        return
    (rows, columns), places = found[0].T, found[1]
    across, down, front = (places @ np.array(axis) // ONE for axis in person.body.head_axes)
    hair = ((front < 10) & (down < (250 if long_hair else 110)) | (down < -130)) & (not bald)
    canvas.shown[rows[hair], columns[hair]] = person.number("hair")
    if _front(person, "nose") > LEAST_FRONT["nose"]:
        nose = person.at("nose")
        canvas.capsule(person.number("skin"), nose, nose, (person.width(13), person.width(13)))
    for part, wide_part, high, where in (
        ("eye", 38, 42, (92, -30)),
        ("eye", 38, 42, (-92, -30)),
        ("mouth", 70, 22, (0, 120)),
        ("mouth", 26, 50, (0, 40)),
    ):
        spot = (front > 30) & (abs(across - where[0]) < wide_part) & (abs(down - where[1]) < high) & ~hair
        canvas.shown[rows[spot], columns[spot]] = person.number(part)


def looks_away(person: Placed, joint: str) -> bool:
    """Whether a joint is one of the face, on the far side of the head."""
    return joint in FACE and _front(person, joint) <= LEAST_FRONT[joint]


def _front(person: Placed, point: str) -> int:
    """How much a point of the face looks to the viewer, of 256."""
    return sum(share * axis[2] for share, axis in zip(FACE[point], person.body.head_axes, strict=True)) // ONE


def is_seen(canvas: Canvas, person: Placed, joint: str) -> bool:
    """Whether a joint is neither behind other shapes nor on the far side of its own body."""
    x, y, z = person.body.joints[joint]
    column, row = (steps // POINT for steps in person.at(joint))
    height, width = canvas.shown.shape
    if not (0 <= row < height and 0 <= column < width):
        return False
    own = {person.number(part) for part in SEEN_ON[joint]}
    around = set(canvas.shown[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].ravel().tolist())
    if joint in FACE:
        return not looks_away(person, joint) and not own.isdisjoint(around)
    kind = joint.partition("_")[2]
    spine = person.depth("neck") if kind == "shoulder" else 0
    if z - spine < FAR.get(kind, -UNIT):
        own = {person.number(SEEN_ON[joint][-1])}  # its limb alone, should it swing into view
    return not own.isdisjoint(around)
