"""What is known of one stream: its newest picture, and whether it is lost, back, over or given up."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Patience:
    """How long to wait for a stream, in seconds."""

    open_s: float = 20.0  # for a connection and its first picture
    silence_s: float = 10.0  # for the next picture; a connection that is silent for longer is lost
    gone_s: float = 60.0  # for a lost stream to come back; then it is given up
    first_pause_s: float = 0.5  # before connecting anew; every further attempt waits twice as long as the last one ...
    longest_pause_s: float = 8.0  # ... but no longer than this


@dataclass(frozen=True)
class Picture:
    """A picture of a stream.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        number: from 1, counted over all that the stream sent; a gap shows what was passed over or dropped.
        fps: pictures per second after `vid_stride`, as the stream says.
        arrived: `time.monotonic()` at which it came; None for a stream with an end, where that says nothing.
    """

    image_bgr: np.ndarray
    number: int
    fps: float
    arrived: float | None


class StreamState:
    """The state of a stream, shared by the thread that reads it and the one that takes its pictures.

    It has a slot for one picture. Of a live stream the slot holds the newest picture; one that nobody took in time is
    dropped and counted, so that a slow reader sees fewer pictures and no old ones. A stream with an end (a file, also
    over HTTP) waits until its picture is taken: none is dropped.

    Args:
        name: what to call it on the console.
        patience: how long to wait for it.
        changed: notified at every picture; its lock guards what is below.

    Attributes:
        seen: pictures that came, after `vid_stride`.
        dropped: how many of them were replaced by a newer one before they were taken.
        losses: how often it broke off.
        problem: why the last attempt to get pictures failed; None while they come.
        over: it will send no more: it came to its end or was given up.
        given_up: why it is over, if not by its end.
        news: lines for the console.
        stopped: set when its thread is to end.
    """

    def __init__(self, name: str, patience: Patience, changed: threading.Condition) -> None:
        self.name = name
        self.seen = self.dropped = self.losses = 0
        self.problem: str | None = None
        self.over = False
        self.given_up: str | None = None
        self.news: deque[str] = deque()
        self.stopped = threading.Event()
        self._patience, self._changed = patience, changed
        self._slot: Picture | None = None
        self._started = self._sign_of_life = time.monotonic()
        self._lost_at: float | None = None

    def start(self) -> None:
        """Wait for its first picture from now on."""
        self._started = self._sign_of_life = time.monotonic()

    def stop(self) -> None:
        """Ask its thread to end, also where that waits for its picture to be taken."""
        self.stopped.set()
        with self._changed:
            self._changed.notify_all()

    # For the one that takes pictures ---------------------------------------------------------------------------------
    @property
    def waiting(self) -> bool:
        """Whether a picture waits in the slot."""
        return self._slot is not None

    def take(self) -> Picture | None:
        """Empty the slot."""
        with self._changed:
            picture, self._slot = self._slot, None
            self._changed.notify_all()  # a stream with an end waits for room
        return picture

    def watch(self) -> None:
        """Give up on a thread that hangs in a driver or a name look-up, where its own time limits do not reach."""
        patience = self._patience
        with self._changed:
            last_s = patience.silence_s if self.seen else patience.open_s
            limit_s = last_s + patience.gone_s + patience.open_s + 1  # past the moment when the thread itself gives up
            if time.monotonic() - self._sign_of_life > limit_s and not self.waiting:
                self.give_up("it hangs")

    def failed(self) -> str | None:
        """Why it gave no picture so far, once its first attempt has failed or takes too long."""
        with self._changed:
            if self.seen:
                return None
            late = time.monotonic() - self._started > self._patience.open_s + 1
            return self.given_up or self.problem or (f"no answer within {self._patience.open_s:g} s" if late else None)

    # For the thread that reads ---------------------------------------------------------------------------------------
    def open_s(self) -> float:
        """Seconds for an attempt: none outlasts the patience with a lost stream by more than a second."""
        if self._lost_at is None:
            return self._patience.open_s
        left_s = self._lost_at + self._patience.gone_s - time.monotonic()
        return min(self._patience.open_s, max(left_s, 1.0))

    def alive(self) -> None:
        """Note a picture that is passed over."""
        self._sign_of_life = time.monotonic()

    def put(self, image_bgr: np.ndarray, number: int, fps: float, has_end: bool) -> None:
        """Fill the slot; see the class and `Picture`."""
        now = time.monotonic()
        with self._changed:
            while has_end and self._slot is not None and not self.stopped.is_set():
                self._changed.wait(0.5)
            self.seen += 1
            self.dropped += self._slot is not None
            self._slot = Picture(image_bgr, number, fps, None if has_end else now)
            self._sign_of_life, self.problem = time.monotonic(), None
            if self._lost_at is not None:
                self.news.append(f"stream {self.name}: back after {now - self._lost_at:.1f} s")
                self._lost_at = None
            self._changed.notify_all()

    def lose(self, problem: str) -> float:
        """Note that no pictures come any more; returns the seconds left for it to come back."""
        now, patience_s = time.monotonic(), self._patience.gone_s
        with self._changed:
            self.problem = problem
            if self._lost_at is None:
                self._lost_at = now
                self.losses += bool(self.seen)
                state = "lost" if self.seen else "cannot be opened"
                self.news.append(f"stream {self.name}: {state} ({problem}); trying again for {patience_s:g} s")
            self._changed.notify_all()
        return self._lost_at + patience_s - now

    def give_up(self, problem: str) -> None:
        """It will send no more, and not because it came to its end."""
        with self._changed:
            if self.over:
                return  # by the thread itself, while `watch` was about to, or the other way round
            self.given_up = problem
            self.over = True
            waited = "" if self._lost_at is None else f" after {self._patience.gone_s:g} s"
            self.news.append(f"stream {self.name}: given up{waited} ({problem})")
            self._changed.notify_all()
        self.stopped.set()

    def end(self) -> None:
        """Its thread ends."""
        with self._changed:
            self.over = True
            self._changed.notify_all()
