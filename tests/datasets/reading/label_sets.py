"""A set of small pictures whose label files are written in whatever form a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples

FILES, BOXES, CLASSES = 30, 4, 3  # pictures, boxes in each, classes
WIDTH, HEIGHT = 100, 80  # pixels
Row = tuple[float, ...]


class LabelSet:
    """Pictures with random boxes; `rows` has the boxes of each as (class, cx, cy, w, h), to six decimals."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        for kind in ("images", "labels"):
            (root / kind).mkdir(parents=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "0.png")
        picture = (root / "0.png").read_bytes()
        rng = np.random.default_rng(0)
        self.rows: list[list[Row]] = []
        for index in range(FILES):
            (root / "images" / f"{index:02}.png").write_bytes(picture)
            sizes = rng.uniform(0.02, 0.3, (BOXES, 2))
            centres = rng.uniform(sizes / 2, 1 - sizes / 2)
            boxes = np.concatenate([centres, sizes], 1).round(6).tolist()
            self.rows.append([(int(rng.integers(CLASSES)), *box) for box in boxes])
        # One of each class in the first picture, so that no class is missing.
        self.rows[0] = [(place % CLASSES, *row[1:]) for place, row in enumerate(self.rows[0])]

    def texts(self, change: Callable[[Row], Sequence[float]] = lambda row: row) -> list[str]:
        """The text of each label file, with every row changed."""
        return ["".join(f"{text_of(change(row))}\n" for row in rows) for rows in self.rows]

    def write(self, texts: Sequence[str | bytes], *, names: int = CLASSES, more: str = "") -> None:
        """Write the label files and the YAML."""
        for index, text in enumerate(texts):
            (self.root / "labels" / f"{index:02}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        classes = [f"c{index}" for index in range(names)]
        (self.root / "set.yaml").write_text(f"train: images\nval: images\nnames: {classes}\n{more}")

    def read(self, split: str = "train", *, one_class: bool = False) -> Samples:
        """Read a split; `lines` has what is reported."""
        config = load_data_config(self.root / "set.yaml")
        config = config.as_one_class() if one_class else config
        self.lines.clear()
        return load_samples(config, split, cache_dir=self.root / "cache", report=self.lines.append)

    def load(self, texts: Sequence[str | bytes], *, names: int = CLASSES, more: str = "") -> Samples:
        """Write the label files and read them."""
        self.write(texts, names=names, more=more)
        return self.read()

    def check(self, samples: Samples, atol: float = 0.0) -> None:
        """Whether these are the boxes as they were made."""
        expected = np.array([row for rows in self.rows for row in rows])
        assert samples.classes.tolist() == expected[:, 0].tolist()
        np.testing.assert_allclose(samples.boxes_cxcywh, expected[:, 1:].astype(np.float32), rtol=0, atol=atol)


def text_of(row: Sequence[float]) -> str:
    """A line of a label file."""
    return " ".join(f"{value:g}" if float(value).is_integer() else f"{value:.6f}" for value in row)


def corners_of(row: Row) -> Row:
    """(class, x1, y1, x2, y2)."""
    number, cx, cy, w, h = row
    return number, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
