"""Drawing shapes in whole numbers: which shape each point of a grid finer than the pixels shows.

Lengths are in steps: a pixel has `FINE` points along each side, a point `POINT` steps.
"""

from __future__ import annotations

import numpy as np

FINE = 2  # points along the side of a pixel
POINT = 24  # steps along the side of a point
PIXEL = FINE * POINT  # steps


class Canvas:
    """Which shape is seen at each point; later shapes cover earlier ones.

    Attributes:
        shown: (FINE * height, FINE * width) int32 number of the shape at each point, 0 for none.
    """

    def __init__(self, height: int, width: int) -> None:
        self.shown = np.zeros((FINE * height, FINE * width), np.int32)

    def capsule(
        self, number: int, start: tuple[int, int], end: tuple[int, int], radii: tuple[int, int], over: int = 0
    ) -> None:
        """A line with round ends.

        Args:
            number: of the shape.
            start: x, y in steps.
            end: x, y in steps.
            radii: Half its width at either end, in steps.
            over: It covers shapes of this number and above alone.
        """
        reach = max(radii)
        (x0, y0), (x1, y1) = start, end
        window = self._window(min(x0, x1) - reach, min(y0, y1) - reach, max(x0, x1) + reach, max(y0, y1) + reach)
        if window is None:
            return
        region, xs, ys = window
        across, down = xs - x0, ys - y0
        length2 = (x1 - x0) ** 2 + (y1 - y0) ** 2
        inside = across**2 + down**2 <= radii[0] ** 2
        inside |= (xs - x1) ** 2 + (ys - y1) ** 2 <= radii[1] ** 2
        if length2:
            along = across * (x1 - x0) + down * (y1 - y0)
            beside = across * (y1 - y0) - down * (x1 - x0)
            radius = radii[0] + (radii[1] - radii[0]) * along // length2
            inside |= (along >= 0) & (along <= length2) & (beside**2 <= radius**2 * length2)
        if over:
            inside &= region >= over
        region[inside] = number

    def polygon(self, number: int, corners: list[tuple[int, int]]) -> None:
        """A convex polygon, its corners in either order."""
        columns, rows = zip(*corners, strict=True)
        window = self._window(min(columns), min(rows), max(columns), max(rows))
        if window is None:
            return
        region, xs, ys = window
        sides = []
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            sides.append((xs - x0) * (y1 - y0) - (ys - y0) * (x1 - x0))
        region[(np.array(sides) >= 0).all(0) | (np.array(sides) <= 0).all(0)] = number

    def ellipsoid(
        self, number: int, centre: tuple[int, int], radii: tuple[int, int], over: int = 0
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """An upright ellipse; see `capsule`.

        Returns:
            (n, 2) rows and columns of its points, and (n, 3) int64 how far each point of the ball that is seen as the
            ellipse lies right of, below and before the middle, of 256; None where it is outside.
        """
        window = self._window(
            *(c - r for c, r in zip(centre, radii, strict=True)), *(c + r for c, r in zip(centre, radii, strict=True))
        )
        if window is None:
            return None
        region, xs, ys = window
        across, down = np.broadcast_arrays((xs - centre[0]) * 256 // radii[0], (ys - centre[1]) * 256 // radii[1])
        depth2 = 256**2 - across**2 - down**2
        inside = depth2 >= 0
        region[inside & (region >= over)] = number
        before = np.sqrt(depth2[inside].astype(np.float64)).astype(np.int64)  # the root is exact to the last bit
        rows, columns = np.nonzero(inside)
        first = (int(ys[0, 0]) // POINT, int(xs[0, 0]) // POINT)
        return np.stack([rows, columns], 1) + first, np.stack([across[inside], down[inside], before], 1)

    def _window(self, left: int, top: int, right: int, bottom: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The part of the canvas around steps; (1, w) and (h, 1) int64 steps of the middles of its points."""
        height, width = self.shown.shape
        x0, x1 = max(left // POINT, 0), min(right // POINT + 1, width)
        y0, y1 = max(top // POINT, 0), min(bottom // POINT + 1, height)
        if x0 >= x1 or y0 >= y1:
            return None
        xs, ys = np.arange(x0, x1, dtype=np.int64), np.arange(y0, y1, dtype=np.int64)
        half = POINT // 2
        return self.shown[y0:y1, x0:x1], xs[None, :] * POINT + half, ys[:, None] * POINT + half
