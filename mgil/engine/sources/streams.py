"""Several cameras and network streams at once: the newest picture of each, whatever happens to the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from mgil.engine.sources.reader import StreamReader
from mgil.engine.sources.stream_state import Patience, Picture
from mgil.engine.sources.video import quiet_opencv
from mgil.files.text import Report

TICK_S = 0.1  # how often a waiting user gets the chance to stop
_CLOSE_S = 2.0  # how long closing waits for the threads


class StreamsGone(ConnectionError):
    """No stream is left, and not all of them came to their end; the message names those that were given up."""


class Streams:
    """Reads streams side by side, each in its own thread.

    Args:
        addresses: webcam numbers, URLs or video files.
        names: what to call them on the console.
        vid_stride: take every n-th picture.
        patience: how long to wait for each.
        report: gets a line when a stream is lost, is back, ends or is given up.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        names: Sequence[str],
        *,
        vid_stride: int = 1,
        patience: Patience | None = None,
        report: Report = print,
    ) -> None:
        self._changed = threading.Condition()
        self._report = report
        self.readers = [
            StreamReader(address, name, vid_stride=vid_stride, patience=patience or Patience(), changed=self._changed)
            for address, name in zip(addresses, names, strict=True)
        ]
        self.states = [reader.state for reader in self.readers]

    def __iter__(self) -> Iterator[list[tuple[int, Picture]]]:
        """Yield, with the index of its stream, the newest picture of each stream that has one.

        The list is empty where none came for a tenth of a second. The iteration ends when every stream came to its end.

        Raises:
            ValueError: at the start no stream could be opened.
            StreamsGone: no stream is left, as the last ones were given up.
        """
        with quiet_opencv():  # which would print a stream's address, password and all
            for reader in self.readers:
                reader.start()
            opened = False
            while True:
                pictures = self._newest()
                if not opened:
                    opened = bool(pictures)
                    self._check_start()
                self._tell()
                if not pictures and all(state.over and not state.waiting for state in self.states):
                    break
                yield pictures
        self._tell()
        if gone := [f"{state.name} ({state.given_up})" for state in self.states if state.given_up]:
            raise StreamsGone(f"no stream is left; given up: {', '.join(gone)}")

    def close(self) -> None:
        """Stop the threads and release cameras and connections."""
        for reader in self.readers:
            reader.stop()
        deadline = time.monotonic() + _CLOSE_S
        for reader in self.readers:
            reader.join(deadline)

    def sums(self) -> list[str]:
        """A line for each stream: pictures that came, were dropped, and how often it was lost."""
        lines = []
        for state in self.states:
            with self._changed:
                seen, dropped, losses = state.seen, state.dropped, state.losses
            lost = f", lost {losses} times" if losses else ""
            kept_up = f"{dropped} of them dropped to keep up" if dropped else "none dropped"
            lines.append(f"stream {state.name}: {seen} pictures, {kept_up}{lost}")
        return lines

    def _newest(self) -> list[tuple[int, Picture]]:
        with self._changed:
            self._changed.wait_for(lambda: any(state.waiting for state in self.states), TICK_S)
            taken = [(index, state.take()) for index, state in enumerate(self.states)]
        return [(index, picture) for index, picture in taken if picture is not None]

    def _check_start(self) -> None:
        problems = [state.failed() for state in self.states]
        if all(problems):
            others = "" if len(problems) == 1 else f"; nor can the other {len(problems) - 1}"
            raise ValueError(f"stream {self.states[0].name}: cannot be opened ({problems[0]}){others}")

    def _tell(self) -> None:
        for state in self.states:
            state.watch()
            while state.news:
                self._report(state.news.popleft())
