"""What detect.py can look at: pictures, videos, lists, cameras, network streams and the screen.

Still pictures go through the project's own decoder, as in training; videos through OpenCV; streams likewise, in threads
that drop what is old and connect anew; the screen through mss.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from mgil.datasets.batches.decode import decode_image
from mgil.datasets.reading.depths import DepthTally
from mgil.engine.sources.files import find_files, is_video
from mgil.engine.sources.names import shown_name, stream_stem
from mgil.engine.sources.screen import parse_screen, read_screen
from mgil.engine.sources.stream_state import Patience, Picture
from mgil.engine.sources.streams import Streams
from mgil.engine.sources.video import FALLBACK_FPS, is_utf8, read_video
from mgil.files.names import distinct
from mgil.files.paths import find, suffix_of
from mgil.files.text import Report, printable, to_utf8

MOST_STEM_BYTES = 200  # file systems take 255 for a name, and numbers and suffixes are added
_URL_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "tcp", "udp")
_VIDEO_SITES = ("youtube.com", "youtu.be")  # their pages are no streams
LAST_CAMERA = 99  # OpenCV takes the hundreds for the kind of driver


@dataclass(frozen=True)
class Frame:
    """One picture to look at.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        path: the file or stream it came from, as given.
        stem: names the output files; no two files of one source share it.
        title: how the console line about it starts.
        number: place from 1 among all frames of a video, or all pictures that a stream sent; None for a still picture.
        fps: frames per second after `vid_stride`; None for a still picture.
        arrived: `time.monotonic()` at which a live picture came; None where nothing is live.
    """

    image: np.ndarray
    path: str
    stem: str
    title: str
    number: int | None = None
    fps: float | None = None
    arrived: float | None = None

    @property
    def name(self) -> str:
        """What its own files are called: `stem`, or `stem_number` in a video or stream."""
        return self.stem if self.number is None else f"{self.stem}_{self.number}"


class Source(Protocol):
    """Yields lists of frames that belong to one moment: one frame, or one of each stream that has a new one.

    A list is empty where nothing came for a moment, so that whoever waits can look round.

    Attributes:
        endless: whether it is live, so that stopping it is its regular end.
        skipped: a line for each file that could not be read, filled while iterating.
    """

    endless: bool
    skipped: list[str]

    def __iter__(self) -> Iterator[list[Frame]]: ...

    def close(self) -> None:
        """Release files, cameras and connections."""

    def sums(self) -> list[str]:
        """Lines to say at the end."""


def open_source(
    source: str,
    *,
    vid_stride: int = 1,
    report: Report = print,
    patience: Patience | None = None,
    depths: DepthTally | None = None,
) -> Source:
    """Open whatever `--source` names (YOLOv5's kinds).

    Args:
        source: a picture, a video, a folder of them (not its sub-folders), a glob, a .txt list of files, a webcam's
            number, an rtsp/rtmp/http/tcp/udp URL, a .streams list of these, or
            "screen [number] [left top width height]".
        vid_stride: take every n-th frame of a video or stream.
        report: gets a line for each file that is skipped, and for each stream that is lost, back, or given up.
        patience: how long to wait for streams; see there for what is usual.
        depths: says what the values of pictures of more than 8 bits mean, and counts these. Videos and streams have 8.

    Raises:
        FileNotFoundError: there is no such file, or no picture or video in the folder, glob or list.
        ValueError: the source cannot be understood, opened or read. Of streams only the first frame tells, as they are
            opened for it.
    """
    if vid_stride < 1:
        raise ValueError(f"--vid-stride {vid_stride} must be 1 or more")
    source = source.strip()
    if not source:
        raise ValueError("--source is empty; give a file, folder, glob, list, webcam number, URL or screen")
    if source == "screen" or source.startswith("screen "):
        return ScreenSource(source)
    if source.isdecimal() or source.lower().endswith(".streams") or _is_url(source):
        return StreamSource(source, vid_stride=vid_stride, patience=patience, report=report)
    source = find(source) or source
    paths, problems = find_files(source)
    must_read = os.path.isfile(source) and suffix_of(source) != ".txt"
    return FileSource(
        paths, vid_stride=vid_stride, report=report, problems=problems, must_read=must_read, depths=depths
    )


# Files ---------------------------------------------------------------------------------------------------------------
def unique_stems(paths: Sequence[str]) -> list[str]:
    """Give every file a stem of its own: the second `cat` becomes `cat-2`, so that no output overwrites another.

    A video needs more room: its frames are named stem_1, stem_2, ..., which no picture may be called.
    """
    stems = [_short_stem(path) for path in paths]
    pictures = {stem.lower() for stem, path in zip(stems, paths, strict=True) if not is_video(path)}

    def clashes(index: int, name: str) -> bool:
        numbered = re.compile(re.escape(name.lower()) + r"_\d+")
        return is_video(paths[index]) and any(map(numbered.fullmatch, pictures))

    return distinct(stems, clashes)


def _short_stem(path: str) -> str:
    stem = printable(Path(path).stem)
    while len(os.fsencode(stem)) > MOST_STEM_BYTES:
        stem = stem[:-1]
    return stem


class FileSource:
    """Pictures and videos in files. A file that cannot be read is reported and skipped, unless it is the only one."""

    endless = False

    def __init__(
        self,
        paths: Sequence[str],
        *,
        vid_stride: int = 1,
        report: Report = print,
        problems: Sequence[str] = (),
        must_read: bool = False,
        depths: DepthTally | None = None,
    ) -> None:
        self.paths = list(paths)
        self.stems = unique_stems(self.paths)
        self.skipped: list[str] = []
        self._told: list[str] = []
        self._vid_stride = vid_stride
        self._report = report
        self._must_read = must_read
        self._depths = depths or DepthTally()
        for problem in problems:
            self._skip(problem)

    def __iter__(self) -> Iterator[list[Frame]]:
        for index, (path, stem) in enumerate(zip(self.paths, self.stems, strict=True), start=1):
            place = f"{index}/{len(self.paths)}"
            try:
                if is_video(path):
                    yield from self._video(path, stem, place)
                else:
                    image = self._picture(path)
                    yield [Frame(image, path, stem, f"image {place} {_shown(path, stem)}: ")]
            except UnreadableFile as error:
                if self._must_read:
                    raise
                self._skip(str(error))

    def close(self) -> None:
        """Nothing stays open between frames of different files."""

    def sums(self) -> list[str]:
        """How many files were skipped, if any, and which videos were damaged."""
        skipped = [f"{len(self.skipped)} files could not be read and were skipped"] if self.skipped else []
        return skipped + self._told

    def _skip(self, problem: str) -> None:
        self.skipped.append(problem)
        self._report(f"skipped: {problem}")

    def _tell(self, problem: str) -> None:
        self._report(problem)
        self._told.append(problem)  # again at the end, below the lines of many frames

    def _picture(self, path: str) -> np.ndarray:
        try:
            return decode_image(path, self._depths.values, self._depths.add)
        except ValueError as error:
            raise UnreadableFile(str(error)) from error

    def _video(self, path: str, stem: str, place: str) -> Iterator[list[Frame]]:
        frames = read_video(path, self._vid_stride, self._tell)
        while True:
            try:  # only the reading: what the user of a frame raises is not the file's fault
                image, number, count, fps = next(frames)
            except StopIteration:
                return
            except ValueError as error:
                raise UnreadableFile(str(error)) from error
            title = f"video {place} ({number}/{count or '?'}) {_shown(path, stem)}: "
            yield [Frame(image, path, stem, title, number, fps / self._vid_stride)]


def _shown(path: str, stem: str) -> str:
    """A path, with the name of its outputs where they have another."""
    return printable(path) if Path(path).stem == stem else f"{printable(path)} (as {stem})"


class UnreadableFile(ValueError):
    """A file that cannot be decoded; the message names it."""


# Streams and the screen ----------------------------------------------------------------------------------------------
def _is_url(source: str) -> bool:
    return urlsplit(source).scheme.lower() in _URL_SCHEMES and "://" in source


class StreamSource:
    """Webcams and network streams, several side by side; each moment holds the newest picture of some of them."""

    endless = True

    def __init__(
        self,
        source: str,
        *,
        vid_stride: int = 1,
        patience: Patience | None = None,
        report: Report = print,
    ) -> None:
        self.skipped: list[str] = []
        entries = _read_streams(source) if source.lower().endswith(".streams") else [_checked_stream(source)]
        names = [shown_name(entry) for entry in entries]
        self.names = [name if names.count(name) == 1 else f"{name} [{index}]" for index, name in enumerate(names)]
        self.stems = unique_stems([stream_stem(entry) for entry in entries])
        self._streams = Streams(entries, self.names, vid_stride=vid_stride, patience=patience, report=report)

    def __iter__(self) -> Iterator[list[Frame]]:
        for pictures in self._streams:
            yield [self._frame(index, picture) for index, picture in pictures]

    def close(self) -> None:
        """Stop the readers and release cameras and connections."""
        self._streams.close()

    def sums(self) -> list[str]:
        """A line for each stream."""
        return self._streams.sums()

    def _frame(self, index: int, picture: Picture) -> Frame:
        name, number = self.names[index], picture.number
        image = np.ascontiguousarray(picture.image_bgr[..., ::-1])
        title = f"{index}: {name} ({number}): "
        return Frame(image, name, self.stems[index], title, number, picture.fps, picture.arrived)


def _read_streams(path: str) -> list[str]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{printable(path)}: no such list of streams")
    lines = to_utf8(Path(path).read_bytes()).decode(errors="surrogateescape").replace("\r", "\n").split("\n")
    entries = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        try:  # blanks divide addresses, as in YOLOv5, but not the name of a file
            entries += [_checked_stream(entry) for entry in ([line] if os.path.isfile(line) else line.split())]
        except ValueError as error:
            raise ValueError(f"{printable(path)}, line {number}: {error}") from error
    if not entries:
        raise ValueError(f"{printable(path)}: the list names no stream")
    return entries


def _checked_stream(entry: str) -> str:
    if not is_utf8(entry):
        raise ValueError(f"stream '{printable(entry)}': OpenCV opens no stream whose name is not UTF-8")
    if not (entry.isdecimal() or _is_url(entry) or os.path.isfile(entry)):
        raise ValueError(
            f"stream '{shown_name(entry)}' is neither a webcam's number, nor a URL ({', '.join(_URL_SCHEMES)}), "
            "nor a video file"
        )
    host = urlsplit(entry).hostname or ""
    if any(host == site or host.endswith("." + site) for site in _VIDEO_SITES):
        raise ValueError(f"stream '{shown_name(entry)}' is a web page; give the URL of the video stream itself")
    if entry.isdecimal() and (len(entry) > 9 or int(entry) > LAST_CAMERA):
        raise ValueError(
            f"stream '{entry:.20}': webcams are numbered from 0 to {LAST_CAMERA}; for a folder of that name write "
            f"./{entry:.20}"
        )
    return entry


class ScreenSource:
    """The screen, or a part of it."""

    endless = True
    fps = FALLBACK_FPS

    def __init__(self, source: str) -> None:
        parse_screen(source)
        self.skipped: list[str] = []
        self._source = source

    def __iter__(self) -> Iterator[list[Frame]]:
        for number, image in enumerate(read_screen(self._source), start=1):
            title, arrived = f"{self._source} ({number}): ", time.monotonic()
            yield [Frame(image, self._source, "screen", title, number, self.fps, arrived)]

    def close(self) -> None:
        """Nothing stays open."""

    def sums(self) -> list[str]:
        """Nothing."""
        return []
