"""What detect.py leaves behind: annotated pictures and videos, labels, crops and a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mgil.engine.sources.sources import Frame
from mgil.engine.sources.video import is_utf8
from mgil.files.atomic import check_room, write_text_atomic
from mgil.files.image_file import save_image
from mgil.files.text import printable
from mgil.files.written_files import WrittenFiles
from mgil.tasks.base import Result

_WRITABLE = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
CROPS = "crops"
LEAST_FPS = 0.01  # of a video that is written
HELD_S = 120.0  # a live video stops at the picture after which so long nothing came
VIDEO_RESERVE_BYTES = 16 << 20  # a video ends when the disk has less room than that, so that it can be finished


class ResultWriter:
    """Writes the outputs of one run. Boxes, crops and the table are in the original pixels; pictures may be enlarged.

    Files in the folder that no run wrote are never overwritten or deleted: see `WrittenFiles`.

    Args:
        folder: the run's folder.
        columns: of the task's rows in the table.
        media: annotated pictures and videos, `{stem}{suffix}`; videos and streams become `{stem}.mp4`. Those of streams
            play at the speed of life, however many pictures were dropped.
        txt: `labels/{stem}[_{frame}].txt`, lines `class x y w h` in 0..1, for images with detections.
        conf: a sixth column of these with the score. The numbers of objects that are followed come last.
        table: `predictions.csv`; its first three columns are YOLOv5's.
        crops: `crops/{class}/{stem}[_{frame}]_det{n}.jpg`; n is the detection's place from 1 in labels and table.
        side_by_side: whether frames of several videos come in turn.
    """

    def __init__(
        self,
        folder: Path,
        columns: Sequence[str],
        *,
        media: bool = True,
        txt: bool = False,
        conf: bool = False,
        table: bool = False,
        crops: bool = False,
        side_by_side: bool = False,
    ) -> None:
        self.folder = folder
        self.written = WrittenFiles(folder)
        self.labels_written = 0
        self._media, self._txt, self._conf, self._crops = media, txt, conf, crops
        self._side_by_side = side_by_side
        self._videos: dict[str, VideoFile] = {}
        self._table: TableFile | None = None
        self._old_crops = self._crops_of_before() if crops else {}
        if txt:
            (folder / "labels").mkdir(exist_ok=True)
        if table:
            self.written.start(folder / "predictions.csv")
            self._table = TableFile(
                folder / "predictions.csv", ("Image Name", *columns[:2], "Frame", *columns[2:], "Path")
            )

    def write(self, frame: Frame, result: Result, picture: np.ndarray | None) -> None:
        """Write all that is asked for about one frame; `picture` is its drawing, needed for `media` only."""
        try:
            self._write(frame, result, picture)
            self.written.keep_up()
        except OSError as error:
            if error.strerror and error.filename is None:  # a full disk does not say which
                error.filename = str(self.folder)
            raise

    def _write(self, frame: Frame, result: Result, picture: np.ndarray | None) -> None:
        if self._txt:
            self._write_labels(frame.name, result)
        if self._table is not None:
            self._table.write(_table_rows(frame, result))
        if self._crops:
            self._write_crops(frame.name, result)
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
        if self._table is not None:
            self._table.close()
            self.written.finish(self._table.path)
        self.written.close()

    def _close_videos(self) -> None:
        for video in self._videos.values():
            video.close()
            self.written.finish(video.path)
        self._videos.clear()

    def _write_labels(self, name: str, result: Result) -> None:
        path = self.folder / "labels" / f"{name}.txt"
        if not len(result):
            self.written.check(path)
            path.unlink(missing_ok=True)  # of an earlier run into the same folder
            return
        with self.written.writing(path):
            write_text_atomic(path, result.label_lines(self._conf), durable=False)
        self.labels_written += 1

    def _write_crops(self, name: str, result: Result) -> None:
        old = self._old_crops.pop(name, set())
        for number, (kind, crop) in enumerate(result.named_crops(), start=1):
            path = self.folder / CROPS / kind / f"{name}_det{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.written.writing(path):
                save_image(path, crop)
            old.discard(path)
        for path in old:
            self.written.check(path)
            path.unlink(missing_ok=True)

    def _crops_of_before(self) -> dict[str, set[Path]]:
        """The crops that an earlier run wrote into this folder, by the name of their frame."""
        found: dict[str, set[Path]] = {}
        for path in (self.folder / CROPS).glob("*/*_det*.jpg"):
            if self.written.lists(path):
                found.setdefault(path.name.rpartition("_det")[0], set()).add(path)
        return found

    def _write_media(self, frame: Frame, picture: np.ndarray) -> None:
        if frame.fps is None:
            suffix = Path(frame.path).suffix
            path = self.folder / f"{frame.stem}{suffix if suffix.lower() in _WRITABLE else '.png'}"
            _check_not_source(path, frame)
            with self.written.writing(path):
                save_image(path, picture)
            return
        if frame.stem not in self._videos:
            if not self._side_by_side:
                self._close_videos()
            path = self.folder / f"{frame.stem}.mp4"
            _check_not_source(path, frame)
            self.written.start(path)
            self._videos[frame.stem] = VideoFile(path, frame.fps, picture.shape[:2])
        self._videos[frame.stem].write(picture, frame.arrived)


def _check_not_source(path: Path, frame: Frame) -> None:
    """Raise ValueError before a run that writes into the folder of its own source replaces a picture there."""
    if path.exists() and os.path.exists(frame.path) and path.samefile(frame.path):
        raise ValueError(f"{path} is the source itself, which is never changed; choose another --project or --name")


def _table_rows(frame: Frame, result: Result) -> list[list[Any]]:
    """Its rows with the picture's name in front, the frame's number after the first two columns, the path behind."""
    path = printable(frame.path)  # names may hold bytes that no UTF-8 file can
    number = "" if frame.number is None else frame.number
    return [[Path(path).name, *row[:2], number, *row[2:], path] for row in result.table_rows()]


class TableFile:
    """A csv that grows while it can be read: it always ends with a whole row, also on a full disk.

    Raises:
        OSError: it cannot be written; names the file.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        path.unlink(missing_ok=True)  # of an earlier run, or a link to somewhere else
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - until `close`
        self.write([columns])

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows; whatever happens later, they can be read."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        content, start, written = text.getvalue().encode(), self._file.tell(), 0
        try:
            while written < len(content):
                written += self._file.write(content[written:])
        except OSError as error:
            self._file.truncate(start)
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self.path)) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class VideoFile:
    """An .mp4 being written.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, size_hw: tuple[int, int]) -> None:
        self._size_wh = (size_hw[1], size_hw[0])
        self._fps = max(round(fps, 2), LEAST_FPS)  # MPEG-4 cannot hold a frame rate with many decimals
        self.path, self._written = path, 0
        if path.is_symlink():
            path.unlink()
        if not is_utf8(str(path)):
            raise OSError(f"{printable(str(path))}: OpenCV writes no video where a name is not UTF-8")
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size_wh)
        if not self._writer.isOpened():
            raise OSError(f"{path}: cannot write a video here at {fps:g} frames/s, {size_hw[0]}x{size_hw[1]} pixels")
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
        try:
            self._show_held(self._slot + 1)
        finally:
            self._held = None
            self._writer.release()
        found = cv2.VideoCapture(str(self.path))
        frames = found.get(cv2.CAP_PROP_FRAME_COUNT) if found.isOpened() else 0
        found.release()
        if frames < self._written:
            raise OSError(f"{self.path}: only {frames:g} of {self._written} pictures could be written")

    def _show_held(self, until: int) -> None:
        while self._held is not None and self._slot < until:
            self._append(self._held)
            self._slot += 1

    def _append(self, picture_bgr: np.ndarray) -> None:
        # OpenCV says nothing when a write fails, and a video whose end is missing cannot be played at all
        check_room(self.path, VIDEO_RESERVE_BYTES)
        self._writer.write(picture_bgr)
        self._written += 1
