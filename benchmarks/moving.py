"""Clips of small objects that move, cross and hide, with the truth; and detections of them as a network makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

SCENES = ("apart", "crossing", "hiding", "shaking")
NAMES = ("red", "green", "blue")
COLOURS = np.array([[230, 40, 40], [40, 220, 40], [50, 60, 240]])
SEEN = 0.4  # an object of which less than this share is visible is not expected to be found


@dataclass(frozen=True)
class Clip:
    """Squares on a grey texture.

    Attributes:
        size: Height and width in pixels.
        boxes: (F, K, 4) left, top, right, bottom of each object in each frame, pixels.
        visible: (F, K) share of each box that is in the frame and not hidden, 0..1.
        classes: (K,) class indices.
        wall: Left and right edge of a wall from top to bottom, or nothing.
        camera: (F, 2) by how much the picture moved in x and y, whole pixels.
        seed: Of texture and noise.
    """

    size: int
    boxes: np.ndarray
    visible: np.ndarray
    classes: np.ndarray
    wall: tuple[float, float] | None
    camera: np.ndarray
    seed: int

    def __len__(self) -> int:
        return len(self.boxes)

    def images(self) -> Iterator[np.ndarray]:
        """(size, size, 3) uint8 RGB; of two objects in one place the later one is in front."""
        random = np.random.default_rng(self.seed)
        texture = cv2.resize(
            random.integers(70, 160, (self.size // 4, self.size // 4)).astype(np.float32), (self.size,) * 2
        )
        for boxes, (x, y) in zip(self.boxes, self.camera.tolist(), strict=True):
            ground = np.roll(texture, (y, x), axis=(0, 1)) + random.normal(0, 4, texture.shape)
            image = ground[..., None].repeat(3, axis=2).astype(np.uint8)
            for (left, top, right, bottom), kind in zip(np.rint(boxes).astype(int).clip(0), self.classes, strict=True):
                image[top:bottom, left:right] = COLOURS[kind % len(COLOURS)]
            if self.wall is not None:
                image[:, round(self.wall[0]) : round(self.wall[1])] = 30
            yield image


def make_clip(scene: str, size: int, side: float, speed: float, frames: int = 150, seed: int = 0) -> Clip:
    """Objects that go across the picture in lanes, to the right in even ones and to the left in odd ones.

    Args:
        scene: "apart": one object in a lane after the other, so that no two touch. "crossing": two in each lane, which
            meet. "hiding": as "apart", behind a wall in the middle that is 2.5 objects wide. "shaking": as "apart",
            while the camera moves to and fro by up to 0.4 objects a frame.
        size: Of the picture, pixels.
        side: Of an object, pixels; each has another one, by up to a tenth.
        speed: Pixels a frame; each object has another one, by up to a quarter.
        frames: How many.
        seed: Of sizes, speeds, places and noise.
    """
    if scene not in SCENES:
        raise ValueError(f"scene {scene!r}: there is {', '.join(SCENES)}")
    random = np.random.default_rng(seed)
    ways: list[np.ndarray] = []  # (F, 4) of each object; NaN where it is not in the clip
    pitch = 1.6 * side
    for lane in range(max(int(size / pitch), 1)):
        middle = (lane + 0.5) * size / max(int(size / pitch), 1)
        for direction in (1, -1) if scene == "crossing" else ((1, -1)[lane % 2],):
            start = int(random.integers(0, 10))
            while start < frames:
                pace = speed * random.uniform(0.75, 1.25)
                way, end = _crossing(
                    random, size, side * random.uniform(0.9, 1.1), middle, direction * pace, start, frames
                )
                ways.append(way)
                start = end + int(random.integers(3, 12))
    camera = np.zeros((frames, 2), int)
    if scene == "shaking":
        camera[:] = np.rint(1.2 * side * np.sin(np.arange(frames) / 3))[:, None]
    boxes = np.stack(ways, axis=1) + np.tile(camera, 2)[:, None]
    wall = (size / 2 - 1.25 * side, size / 2 + 1.25 * side) if scene == "hiding" else None
    return Clip(
        size,
        np.nan_to_num(boxes, nan=0.0),
        _visible(boxes, size, wall),
        random.integers(0, 3, len(ways)),
        wall,
        camera,
        seed,
    )


def _crossing(
    random: np.random.Generator, size: int, side: float, middle: float, pace: float, start: int, frames: int
) -> tuple[np.ndarray, int]:
    """One object's way from edge to edge, and the frame in which it is gone."""
    end = start + int(np.ceil((size + side) / abs(pace)))
    steps = np.arange(frames) - start
    x = (-side / 2 if pace > 0 else size + side / 2) + pace * steps
    y = middle + 0.1 * side * np.sin(steps / 7 + random.uniform(0, 6))
    way = np.stack((x - side / 2, y - side / 2, x + side / 2, y + side / 2), axis=1)
    way[(steps < 0) | (np.arange(frames) >= end)] = np.nan
    return way.astype(np.float32), end


def _visible(boxes: np.ndarray, size: int, wall: tuple[float, float] | None) -> np.ndarray:
    """(F, K) share of each box that is seen; objects and the wall hide by their width, as lanes are rows."""
    left, right = boxes[..., 0], boxes[..., 2]
    width = right - left
    seen = np.clip(right, 0, size) - np.clip(left, 0, size)
    if wall is not None:
        seen = seen - np.clip(np.minimum(right, wall[1]) - np.maximum(left, wall[0]), 0, None)
    for index in range(boxes.shape[1]):
        front = boxes[:, index + 1 :]
        beside = np.abs(front[..., 1] - boxes[:, index : index + 1, 1]) < width[:, index : index + 1] / 2
        shared = np.minimum(front[..., 2], right[:, index : index + 1]) - np.maximum(
            front[..., 0], left[:, index : index + 1]
        )
        seen[:, index] -= np.nan_to_num(np.where(beside, np.clip(shared, 0, None), 0)).sum(axis=1)
    return np.clip(np.nan_to_num(seen / width), 0, 1)


def detections(
    clip: Clip, jitter: float = 0.06, missed: float = 0.05, seed: int = 0
) -> Iterator[tuple[np.ndarray, ...]]:
    """What a network finds: (n, 4) boxes, (n,) scores and classes of each frame, best score first.

    Args:
        clip: Where.
        jitter: Standard deviation of each edge, in sizes of the object.
        missed: Probability that a visible object is not found.
        seed: Of all of it.
    """
    random = np.random.default_rng(seed)
    for boxes, visible in zip(clip.boxes, clip.visible, strict=True):
        chosen = np.flatnonzero((visible >= SEEN) & (random.uniform(size=len(visible)) >= missed))
        found = boxes[chosen] + random.normal(0, jitter, (len(chosen), 4)) * (boxes[chosen, 2:3] - boxes[chosen, :1])
        scores = np.clip(0.9 * visible[chosen] - np.abs(random.normal(0, 0.15, len(chosen))), 0.02, 1)
        kinds = clip.classes[chosen]
        if random.uniform() < 0.1:  # something that is none
            corner = random.uniform(0, clip.size * 0.8, 2)
            found = np.concatenate((found, [[*corner, *(corner + clip.size / 6)]]))
            scores, kinds = np.append(scores, random.uniform(0.1, 0.4)), np.append(kinds, 0)
        order = np.argsort(-scores)
        edges = np.clip(found[order].reshape(-1, 4), 0, clip.size)
        yield edges.astype(np.float32), scores[order].astype(np.float32), kinds[order].astype(np.int64)
