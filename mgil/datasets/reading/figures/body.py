"""A person of sticks in space: how it stands, and where that puts its joints in a picture. Whole numbers throughout.

Lengths are shares of the body's height, of `UNIT`. Seen from before, x goes right, y down, z to the viewer; a person
who faces the viewer has its left at the right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mgil.datasets.reading.generated import Draws

UNIT = 1024  # the height of a body
ONE = 1 << 14  # sines and cosines are whole numbers of this
SINES = tuple(round(math.sin(math.radians(angle)) * ONE) for angle in range(360))
SIDES = (("left", 1), ("right", -1))
# Half widths and lengths of a grown person.
SHOULDER, HIP, SPINE, NECK, HEAD = 112, 62, 300, 66, 62
UPPER_ARM, FOREARM, THIGH, SHIN, FOOT = 175, 150, 240, 235, 70
HEAD_RADII = (58, 76, 66)  # across, up, to the front
# Where the face has its points, as x (to the person's left), y, z shares of 256 of the head's radii.
FACE = {
    "nose": (0, 30, 254),
    "left_eye": (92, -30, 237),
    "right_eye": (-92, -30, 237),
    "left_ear": (240, 0, -16),
    "right_ear": (-240, 0, -16),
}

Vector = tuple[int, int, int]


def sine(angle: int) -> int:
    """The sine of an angle in degrees, of `ONE`."""
    return SINES[angle % 360]


def cosine(angle: int) -> int:
    """The cosine of an angle in degrees, of `ONE`."""
    return SINES[(angle + 90) % 360]


def turned(vector: Vector, yaw: int = 0, pitch: int = 0, roll: int = 0) -> Vector:
    """A vector turned by degrees: `yaw` to its left, `pitch` to the viewer, `roll` clockwise as seen; in this order."""
    x, y, z = vector
    x, z = (x * cosine(yaw) + z * sine(yaw)) // ONE, (z * cosine(yaw) - x * sine(yaw)) // ONE
    y, z = (y * cosine(pitch) + z * sine(pitch)) // ONE, (z * cosine(pitch) - y * sine(pitch)) // ONE
    x, y = (x * cosine(roll) - y * sine(roll)) // ONE, (y * cosine(roll) + x * sine(roll)) // ONE
    return x, y, z


def _plus(first: Vector, second: Vector) -> Vector:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _limb(length: int, forward: int, aside: int) -> Vector:
    """A limb that hangs down, raised forwards and to the person's left by degrees."""
    down = length * cosine(aside) // ONE
    return length * sine(aside) // ONE, down * cosine(forward) // ONE, down * sine(forward) // ONE


@dataclass(frozen=True)
class Limbs:
    """Angles of the arm and the leg of one side, in degrees."""

    arm_forward: int
    arm_aside: int
    elbow: int
    twist: int  # of the forearm, to the side
    leg_forward: int
    leg_aside: int
    knee: int


@dataclass(frozen=True)
class Stance:
    """How a body stands."""

    yaw: int  # 0 faces the viewer, 90 looks to the right of the picture, 180 shows the back
    camera: int  # degrees from which the camera looks down
    roll: int
    bend: int  # of the upper body, forwards
    sway: int  # and to the side
    twist: int  # of the shoulders against the hips
    head_yaw: int
    head_pitch: int
    limbs: tuple[Limbs, Limbs]  # left, right


def draw_stance(draws: Draws) -> Stance:
    """A random stance: standing, walking, working with the hands, waving, crouching or sitting."""
    kind = draws.below(10)
    legs = _sitting(draws) if kind == 0 else _walking(draws) if kind < 6 else _standing(draws)
    limbs = tuple(Limbs(*_arm(draws, kind), *leg) for leg in legs)
    roll = draws.between(-60, 60) if draws.below(12) == 0 else draws.between(-10, 10)
    return Stance(
        yaw=_yaw(draws),
        camera=draws.between(-5, 20),
        roll=roll,
        bend=draws.between(20, 75) if draws.below(8) == 0 else draws.between(-8, 15),
        sway=draws.between(-12, 12),
        twist=draws.between(-20, 20),
        head_yaw=draws.between(-35, 35),
        head_pitch=draws.between(-15, 25),
        limbs=(limbs[0], limbs[1]),
    )


def _yaw(draws: Draws) -> int:
    """Four of five face the camera, as in most photographs; the others show their back, or stand anyhow."""
    choice = draws.below(10)
    if choice < 8:
        return draws.between(-60, 60)
    return 180 + draws.between(-50, 50) if choice == 8 else draws.below(360)


def _arm(draws: Draws, kind: int) -> tuple[int, int, int, int]:
    choice = draws.below(8)
    if choice == 0:  # raised
        return draws.between(100, 175), draws.between(0, 40), draws.between(0, 70), draws.between(-40, 30)
    if choice == 1:  # stretched to the side
        return draws.between(-10, 30), draws.between(50, 130), draws.between(0, 90), draws.between(-30, 40)
    if choice <= 3:  # at work before the body
        return draws.between(10, 80), draws.between(0, 30), draws.between(20, 120), draws.between(-45, 10)
    if choice == 4:  # a hand on the hip
        return draws.between(-40, -10), draws.between(30, 50), draws.between(40, 70), draws.between(-95, -70)
    return draws.between(-35, 35), draws.between(3, 20), draws.between(0, 45), draws.between(-15, 5)


def _walking(draws: Draws) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    stride = draws.between(8, 45)
    front = (stride, draws.between(0, 6), draws.between(0, stride))
    back = (-stride * 2 // 3, draws.between(0, 6), draws.between(0, 2 * stride))
    return (front, back) if draws.below(2) else (back, front)


def _standing(draws: Draws) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    left, right = ((draws.between(-4, 12), draws.between(0, 22), draws.between(0, 18)) for _ in range(2))
    return left, right


def _sitting(draws: Draws) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    raised = draws.between(55, 100)
    left, right = (
        (raised + draws.between(-12, 12), draws.between(0, 22), raised + draws.between(-15, 25)) for _ in range(2)
    )
    return left, right


@dataclass(frozen=True)
class Body:
    """A body in space, from the middle between its hips.

    Attributes:
        joints: COCO's 17 key points, `neck`, `head` (its middle), `left_toes` and `right_toes`.
        head_axes: Where the head's own x (to its left), y (down) and z (to the front) point, each `ONE` long.
    """

    joints: dict[str, Vector]
    head_axes: tuple[Vector, Vector, Vector]


def body_of(stance: Stance) -> Body:
    """Where a stance puts the joints."""

    def upper(vector: Vector) -> Vector:
        return turned(turned(vector, yaw=stance.twist), pitch=stance.bend, roll=stance.sway)

    def seen(vector: Vector) -> Vector:
        return turned(vector, stance.yaw, stance.camera, stance.roll)

    neck = upper((0, -SPINE, 0))
    joints = {"neck": seen(neck), "head": seen(_plus(neck, upper((0, -NECK - HEAD, 12))))}
    for (side, sign), limbs in zip(SIDES, stance.limbs, strict=True):
        shoulder = upper((sign * SHOULDER, 24 - SPINE, 0))
        elbow = _plus(shoulder, upper(_limb(UPPER_ARM, limbs.arm_forward, sign * limbs.arm_aside)))
        forward, aside = limbs.arm_forward + limbs.elbow, sign * (limbs.arm_aside + limbs.twist)
        wrist = _plus(elbow, upper(_limb(FOREARM, forward, aside)))
        hip = (sign * HIP, 0, 0)
        knee = _plus(hip, _limb(THIGH, limbs.leg_forward, sign * limbs.leg_aside))
        shin = limbs.leg_forward - limbs.knee
        ankle = _plus(knee, _limb(SHIN, shin, sign * limbs.leg_aside // 2))
        toes = _plus(ankle, _limb(FOOT, shin + 75, sign * 12))
        found = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist}
        found |= {"hip": hip, "knee": knee, "ankle": ankle, "toes": toes}
        joints |= {f"{side}_{name}": seen(vector) for name, vector in found.items()}

    def looking(axis: Vector) -> Vector:
        nodded = turned(axis, pitch=stance.head_pitch - stance.bend // 2)
        return seen(upper(turned(nodded, yaw=stance.head_yaw)))

    axes = (looking((ONE, 0, 0)), looking((0, ONE, 0)), looking((0, 0, ONE)))
    for name, shares in FACE.items():
        offsets = [share * radius // 256 for share, radius in zip(shares, HEAD_RADII, strict=True)]
        moved = [sum(offset * axis[i] for offset, axis in zip(offsets, axes, strict=True)) // ONE for i in range(3)]
        joints[name] = _plus(joints["head"], (moved[0], moved[1], moved[2]))
    return Body(joints, axes)
