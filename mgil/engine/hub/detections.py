"""What was found in a batch of images, as YOLOv5's models from torch.hub give it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageShow
from torch import Tensor

from mgil.engine.devices import lacks_display
from mgil.engine.runs import new_run_folder
from mgil.files.image_file import save_image
from mgil.files.names import distinct, hint_for
from mgil.files.packages import import_package
from mgil.files.written_files import WrittenFiles
from mgil.tasks.abilities import Followable

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("preprocess", "inference", "nms")
CORNERS, CENTRE = ("xmin", "ymin", "xmax", "ymax"), ("xcenter", "ycenter", "width", "height")
COLUMNS = {"xyxy": CORNERS, "xyxyn": CORNERS, "xywh": CENTRE, "xywhn": CENTRE}
# What others have, and what takes its place.
ELSEWHERE = {
    "imgs": "its name is ims",
    "boxes": "xyxy, or results[i].boxes_xyxy",
    "probs": "boxes are found here; pred has their scores",
    "masks": "boxes are found here, no masks",
    "keypoints": "boxes are found here, no key points",
    "display": "print(), show(), save() or render()",
    "plot": "render()",
    "to_csv": "pandas().xyxy[i].to_csv(path)",
    "to_df": "pandas().xyxy[i]",
    "to_json": "pandas().xyxy[i].to_json(orient='records')",
    "to_supervision": "results[i].to_supervision()",
}


class BoxResult(Followable, Protocol):
    """What was found in one image."""

    @property
    def path(self) -> str:
        """The file that the image is from, or a made-up name."""


@dataclass(frozen=True)
class Tables:
    """The detections as pandas tables, one an image: four columns of the box, then confidence, class and name."""

    xyxy: list[pd.DataFrame]
    xyxyn: list[pd.DataFrame]
    xywh: list[pd.DataFrame]
    xywhn: list[pd.DataFrame]


class Detections:
    """Detections of one or several images.

    Args:
        results: Of each image.
        names: Class names by index.

    Attributes:
        results: The same, as `mgil.load_model` gives them.
        names: Class names by index.
        ims: (H, W, 3) uint8 RGB arrays; after `render` the drawn ones.
        files: Names for the images, no two alike, ending in .jpg.
        pred, xyxy: (n, 6) float32 tensors on the CPU, best score first: left, top, right, bottom in pixels of the image
            as it was given, score, class index.
        xywh: Centre x, y, width, height in place of the corners.
        xyxyn, xywhn: The same as fractions of the image's size.
        n: Number of images.
        times: Seconds of all images together: pre-process, inference, NMS.
        t: Milliseconds an image.
        s: Shape of what the network saw: images, 3, and the largest height and width.
    """

    def __init__(self, results: Sequence[BoxResult], names: Sequence[str]) -> None:
        self.results = list(results)
        self.names = dict(enumerate(names))
        self.n = len(self.results)
        self.ims = [result.image for result in self.results]
        self.files = _file_names(self.results)
        self.pred = self.xyxy = [_rows(result) for result in self.results]
        self.xywh = [_centred(rows) for rows in self.xyxy]
        self.xyxyn = [_as_fractions(rows, im) for rows, im in zip(self.xyxy, self.ims, strict=True)]
        self.xywhn = [_as_fractions(rows, im) for rows, im in zip(self.xywh, self.ims, strict=True)]
        spent_ms = [sum(result.speed[stage] for result in self.results) for stage in STAGES]
        self.times = tuple(ms / 1e3 for ms in spent_ms)
        self.t = tuple(ms / max(self.n, 1) for ms in spent_ms)
        seen = [result.input_hw for result in self.results] or [(0, 0)]
        self.s = (self.n, 3, max(height for height, _ in seen), max(width for _, width in seen))

    def __len__(self) -> int:
        """Number of images."""
        return self.n

    def __getitem__(self, index: int) -> BoxResult:
        """The result of one image."""
        return self.results[index]

    def __str__(self) -> str:
        lines = [
            f"image {number}/{self.n}: {result.image.shape[0]}x{result.image.shape[1]} {result.text()}"
            for number, result in enumerate(self.results, start=1)
        ]
        spent = ", ".join(
            f"{ms:.1f}ms {stage}" for ms, stage in zip(self.t, ("pre-process", "inference", "NMS"), strict=True)
        )
        return "\n".join([*lines, f"Speed: {spent} per image at shape {self.s}"])

    __repr__ = __str__

    def __getattr__(self, name: str) -> Any:
        """Say what takes the place of a name that is not here.

        Raises:
            AttributeError: Always.
        """
        known = [key for key in (*vars(self), *vars(Detections)) if not key.startswith("_")]
        hint = ELSEWHERE.get(name) or hint_for(name, known, quoted=False) or f"there is {', '.join(known)}"
        raise AttributeError(f"no {name} on the results of a torch.hub model: {hint}")

    def print(self) -> None:
        """Print what was found, a line an image, and the times."""
        print(self)

    def render(self, labels: bool = True) -> list[np.ndarray]:
        """Draw the detections; small images are enlarged, see `plot` of one of the results.

        Returns:
            (H', W', 3) uint8 RGB arrays, which are in `ims` from then on.
        """
        self.ims = list(self._drawn(labels))
        return self.ims

    def show(self, labels: bool = True) -> None:
        """Show the drawn images, in a notebook or by the system's viewer.

        Raises:
            ValueError: There is no display here.
        """
        _show(zip(self.files, self._drawn(labels), strict=True))

    def save(
        self, labels: bool = True, save_dir: str | os.PathLike[str] = "runs/detect/exp", exist_ok: bool = False
    ) -> Path:
        """Write the drawn images, under the names in `files`.

        Args:
            labels: Write class names and scores.
            save_dir: The folder; where it exists, exp2, exp3, ...
            exist_ok: Use it even then; only what earlier runs wrote there is overwritten.

        Returns:
            The folder.

        Raises:
            ValueError: A file is in the way that no run wrote, or a folder without a name of its own, as ".".
            OSError: The folder or a file cannot be written.
        """
        return _write(zip(self.files, self._drawn(labels), strict=True), save_dir, exist_ok, "image")

    def crop(
        self, save: bool = True, save_dir: str | os.PathLike[str] = "runs/detect/exp", exist_ok: bool = False
    ) -> list[dict[str, Any]]:
        """Cut out what was found: the pixels that a box touches, with no border.

        Args:
            save: Write them too, as crops/{class}/{image}.jpg, the second of a class in an image with -2, and so on.
            save_dir, exist_ok: As for `save`.

        Returns:
            For each detection a dict of `box` (4,), `conf` and `cls` (tensors), `label`, and `im`, (h, w, 3) uint8 RGB.

        Raises:
            ValueError, OSError: As `save`.
        """
        crops, paths = [], []
        for file, result, rows in zip(self.files, self.results, self.pred, strict=True):
            for row, (kind, im) in zip(rows, result.named_crops(), strict=True):
                label = f"{self.names[int(row[5])]} {row[4]:.2f}"
                crops.append({"box": row[:4], "conf": row[4], "cls": row[5], "label": label, "im": im})
                paths.append(f"crops/{kind}/{file}")
        if save:
            _write(zip(_unique(paths), (crop["im"] for crop in crops), strict=True), save_dir, exist_ok, "crop")
        return crops

    def pandas(self) -> Tables:
        """The detections as tables: `results.pandas().xyxy[0]` is the first image's.

        Raises:
            MissingPackage: The package pandas is not installed; a ValueError.
        """
        return Tables(
            **{kind: [_table(rows, box, self.names) for rows in getattr(self, kind)] for kind, box in COLUMNS.items()}
        )

    def tolist(self) -> list[Detections]:
        """The same for each image by itself."""
        return [Detections([result], tuple(self.names.values())) for result in self.results]

    def _drawn(self, labels: bool) -> Iterator[np.ndarray]:
        return (result.draw(None, labels, True) for result in self.results)


def _table(rows: Tensor, box: Sequence[str], names: Mapping[int, str]) -> pd.DataFrame:
    columns: dict[str, Any] = dict(zip((*box, "confidence"), rows[:, :5].double().numpy().T, strict=True))
    classes = rows[:, 5].long().tolist()
    columns |= {"class": classes, "name": [names[index] for index in classes]}
    frame: pd.DataFrame = import_package("pandas").DataFrame(columns)
    return frame


def _write(
    pictures: Iterable[tuple[str, np.ndarray]], save_dir: str | os.PathLike[str], exist_ok: bool, what: str
) -> Path:
    """Write pictures to their paths in a run folder, and say how many; the folder is returned."""
    place, count = Path(save_dir), 0
    if place.name in ("", "..") and not exist_ok:  # which has no exp2 beside it
        raise ValueError(f"save_dir={os.fspath(save_dir)!r} exists; give exist_ok=True, or the name of a new folder")
    folder = new_run_folder(place.parent, place.name, exist_ok)
    with closing(WrittenFiles(folder)) as written:
        for file, picture in pictures:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with written.writing(path):
                save_image(path, picture)
            count += 1
    print(f"Saved {count} {what}{'s' * (count != 1)} to {folder}")
    return folder


def _show(pictures: Iterable[tuple[str, np.ndarray]]) -> None:
    in_notebook = "ipykernel" in sys.modules
    if not in_notebook and lacks_display():
        raise ValueError("show(): there is no display here (DISPLAY is not set); save() writes the pictures")
    for file, picture in pictures:
        image = Image.fromarray(picture)
        if in_notebook:
            import_package("IPython.display", "ipython").display(image)
        elif not ImageShow.show(image, file):
            raise ValueError("show(): this system has no program for it; save() writes the pictures")


def _rows(result: BoxResult) -> Tensor:
    columns = (result.boxes_xyxy, result.scores[:, None], result.classes[:, None])
    return torch.from_numpy(np.concatenate(columns, axis=1, dtype=np.float32))


def _centred(rows: Tensor) -> Tensor:
    corner, opposite = rows[:, :2], rows[:, 2:4]
    return torch.cat(((corner + opposite) / 2, opposite - corner, rows[:, 4:]), dim=1)


def _as_fractions(rows: Tensor, image: np.ndarray) -> Tensor:
    height, width = image.shape[:2]
    return rows / torch.tensor([width, height, width, height, 1, 1], dtype=torch.float32)


def _file_names(results: Sequence[BoxResult]) -> list[str]:
    return _unique([f"{Path(result.path or 'image').stem}.jpg" for result in results])


def _unique(files: Sequence[str]) -> list[str]:
    """The same .jpg files; the second of a name gets -2 behind its stem, and so on."""
    return [f"{stem}.jpg" for stem in distinct([file.removesuffix(".jpg") for file in files])]
