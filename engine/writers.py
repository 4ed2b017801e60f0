"""What detect.py leaves behind: annotated pictures and videos, labels, crops and a table."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from engine.draw import save_image
from engine.results import Results
from engine.runs import check_space
from engine.sources import Frame

_WRITABLE = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
HELD_S = 120.0  # a live video stops at the picture after which so long nothing came
_CSV_COLUMNS = ("Image Name", "Prediction", "Confidence", "Frame", "xmin", "ymin", "xmax", "ymax", "Path")


class DetectionWriter:
    """Writes the outputs of one run. Boxes, crops and the table are in the original pixels; pictures may be enlarged.

    Args:
        folder: the run's folder.
        media: annotated pictures and videos, `{stem}{suffix}`; videos and streams become `{stem}.mp4`. Those of streams
            play at the speed of life, however many pictures were dropped.
        txt: `labels/{stem}[_{frame}].txt`, lines `class x y w h` in 0..1, for images with detections.
        conf: a sixth column of these with the score.
        table: `predictions.csv`; its first three columns are YOLOv5's.
        crops: `crops/{class}/{stem}[_{frame}].jpg`, the second of a class on an image ending in `-2`, and so on.
        side_by_side: whether frames of several videos come in turn.
    """

    def __init__(
        self,
        folder: Path,
        *,
        media: bool = True,
        txt: bool = False,
        conf: bool = False,
        table: bool = False,
        crops: bool = False,
        side_by_side: bool = False,
    ) -> None:
        self.folder = folder
        self.labels_written = 0
        self._media, self._txt, self._conf, self._crops = media, txt, conf, crops
        self._side_by_side = side_by_side
        self._videos: dict[str, VideoFile] = {}
        self._crop_paths: set[Path] = set()
        self._table_file: TextIO | None = None
        self._table: Any = None
        if txt:
            (folder / "labels").mkdir(exist_ok=True)
        if table:
            self._table_file = (folder / "predictions.csv").open("w", encoding="utf-8", newline="")
            self._table = csv.writer(self._table_file)
            self._table.writerow(_CSV_COLUMNS)

    def write(self, frame: Frame, results: Results, picture: np.ndarray | None) -> None:
        """Write all that is asked for about one frame; `picture` is its drawing, needed for `media` only."""
        try:
            self._write(frame, results, picture)
        except OSError as error:
            if error.strerror and error.filename is None:  # a full disk does not say which
                error.filename = str(self.folder)
            raise

    def _write(self, frame: Frame, results: Results, picture: np.ndarray | None) -> None:
        name = frame.stem if frame.number is None else f"{frame.stem}_{frame.number}"
        if self._txt:
            self._write_labels(name, results)
        if self._table is not None:
            self._write_rows(frame, results)
        if self._crops:
            self._write_crops(name, results)
        if self._media and picture is not None:
            self._write_media(frame, picture)

    def pass_time(self, now_s: float) -> None:
        """Let live videos that got no picture go on, so that a lost stream's return does not find a minute to fill.

        Args:
            now_s: `time.monotonic()` before which no further picture came.
        """
        for video in self._videos.values():
            video.pass_time(now_s)

    def close(self) -> None:
        """Finish the videos and the table."""
        self._close_videos()
        if self._table_file is not None:
            self._table_file.close()

    def _close_videos(self) -> None:
        for video in self._videos.values():
            video.close()
        self._videos.clear()

    def _write_labels(self, name: str, results: Results) -> None:
        path = self.folder / "labels" / f"{name}.txt"
        if not len(results):
            path.unlink(missing_ok=True)  # of an earlier run into the same folder
            return
        path.write_text(yolo_lines(results, self._conf), encoding="utf-8")
        self.labels_written += 1

    def _write_rows(self, frame: Frame, results: Results) -> None:
        for box, score, index in zip(results.boxes_xyxy, results.scores, results.classes, strict=True):
            edges = [f"{value:.2f}" for value in box]
            number = "" if frame.number is None else frame.number
            name = Path(frame.path).name
            self._table.writerow([name, results.names[index], f"{score:.2f}", number, *edges, frame.path])
        if self._table_file is not None:
            self._table_file.flush()  # whatever happens later, what was found so far can be read

    def _write_crops(self, name: str, results: Results) -> None:
        for crop, index in zip(results.crop(), results.classes, strict=True):
            folder = self.folder / "crops" / folder_name(results.names[index])
            folder.mkdir(parents=True, exist_ok=True)
            path, count = folder / f"{name}.jpg", 1
            while path in self._crop_paths:
                count += 1
                path = folder / f"{name}-{count}.jpg"
            self._crop_paths.add(path)
            save_image(path, crop)

    def _write_media(self, frame: Frame, picture: np.ndarray) -> None:
        if frame.fps is None:
            suffix = Path(frame.path).suffix
            save_image(self.folder / f"{frame.stem}{suffix if suffix.lower() in _WRITABLE else '.png'}", picture)
            return
        if frame.stem not in self._videos:
            if not self._side_by_side:
                self._close_videos()
            self._videos[frame.stem] = VideoFile(self.folder / f"{frame.stem}.mp4", frame.fps, picture.shape[:2])
        self._videos[frame.stem].write(picture, frame.arrived)


def yolo_lines(results: Results, with_scores: bool) -> str:
    """Label lines `class x y w h [score]`: centre and size as fractions of the image, six significant digits."""
    height, width = results.image.shape[:2]
    x1, y1, x2, y2 = (results.boxes_xyxy.astype(np.float64) / (width, height, width, height)).T
    columns = [results.classes, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    if with_scores:
        columns.append(results.scores)
    return "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in zip(*columns, strict=True))


def folder_name(class_name: str) -> str:
    """A class name that is safe as the name of a folder: no separators, no leading dots."""
    return re.sub(r"[^\w .+-]+", "_", class_name).strip(" .") or "class"


class VideoFile:
    """An .mp4 being written.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, size_hw: tuple[int, int]) -> None:
        self._folder, self._size_wh = path.parent, (size_hw[1], size_hw[0])
        self._fps = round(fps, 2)  # MPEG-4 cannot hold a frame rate with many decimals
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size_wh)
        if not self._writer.isOpened():
            raise OSError(f"{path}: cannot write a video here at {fps:g} frames/s, {size_hw[1]}x{size_hw[0]} pixels")
        self._start = self._last = 0.0  # times of the first and the newest live picture
        self._held: np.ndarray | None = None  # a live picture whose time on the screen is not known yet
        self._slot = 0  # the video's frame at which that begins

    def write(self, picture: np.ndarray, at_s: float | None = None) -> None:
        """Append an (H, W, 3) uint8 RGB picture; one of another size is resized to the first one's.

        Args:
            picture: the next frame.
            at_s: when it was seen, on any clock that runs forward; None appends just one frame. Live pictures do not
                come at the video's rate: each is repeated until the next one's time, or left out where that comes
                within the same frame, so that the video plays at the speed of what it shows.
        """
        if (picture.shape[1], picture.shape[0]) != self._size_wh:
            picture = cv2.resize(picture, self._size_wh)
        picture_bgr = np.ascontiguousarray(picture[..., ::-1])
        if at_s is None:
            self._append(picture_bgr)
            return
        if self._held is None:
            self._start = at_s
        self._show_held(round((at_s - self._start) * self._fps))
        self._held, self._last = picture_bgr, at_s

    def pass_time(self, now_s: float) -> None:
        """Go on showing the last live picture until a time, though not for longer than `HELD_S`."""
        self._show_held(int((min(now_s, self._last + HELD_S) - self._start) * self._fps))

    def close(self) -> None:
        """Finish the file, without which it cannot be played."""
        if self._held is not None:
            self._writer.write(self._held)
        self._held = None
        self._writer.release()

    def _show_held(self, until: int) -> None:
        while self._held is not None and self._slot < until:
            self._append(self._held)
            self._slot += 1

    def _append(self, picture_bgr: np.ndarray) -> None:
        check_space(self._folder)  # OpenCV goes on in silence
        self._writer.write(picture_bgr)
