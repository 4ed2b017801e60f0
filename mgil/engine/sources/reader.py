"""One camera or network stream, read by a thread of its own that connects anew after a loss."""

from __future__ import annotations

import threading
import time

from mgil.engine.sources.capture import StreamCapture
from mgil.engine.sources.stream_state import Patience, StreamState
from mgil.files.text import printable


class StreamReader:
    """Reads one stream in a thread, into the slot of its state.

    A stream with an end is over when that is reached. A live one never ends by itself: when it breaks off it is lost,
    and connected anew until it is back or `patience` is used up; likewise a video over the network that breaks off long
    before its end, which goes on where it was.

    Args:
        address: a webcam's number, a URL or a video file.
        name: what to call it on the console.
        vid_stride: take every n-th picture.
        patience: how long to wait for it.
        changed: notified at every picture; its lock guards the state.

    Attributes:
        state: pictures and news of the stream.
    """

    def __init__(
        self, address: str, name: str, *, vid_stride: int, patience: Patience, changed: threading.Condition
    ) -> None:
        self.state = StreamState(name, patience, changed)
        self._address, self._patience = address, patience
        self._capture = StreamCapture(address, vid_stride, patience.silence_s, self.state)
        self._thread = threading.Thread(target=self._run, name=f"stream {name}", daemon=True)

    def start(self) -> None:
        """Begin to connect and read."""
        self.state.start()
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it does so at the next picture, or when its connection runs out of time."""
        self.state.stop()

    def join(self, deadline: float) -> None:
        """Wait for the thread until a `time.monotonic()`; a hanging one is left behind, it holds up nobody."""
        if self._thread.is_alive():
            self._thread.join(max(deadline - time.monotonic(), 0))

    def _run(self) -> None:
        try:
            self._connect_again_and_again()
        except Exception as error:  # a thread that dies must not look like a stream that ended
            said = printable(str(error).replace(self._address, self.state.name))
            self.state.give_up(f"it cannot be read: {type(error).__name__}: {said}")
        finally:
            self.state.end()

    def _connect_again_and_again(self) -> None:
        """Until the stream came to its end or is given up."""
        state, pause_s = self.state, self._patience.first_pause_s
        while not state.stopped.is_set():
            seen = state.seen
            problem = self._capture.connect()
            if problem is None or state.stopped.is_set():
                return
            if state.seen > seen:
                pause_s = self._patience.first_pause_s
            left_s = state.lose(problem)
            if left_s <= 0:
                state.give_up(problem)
                return
            state.stopped.wait(min(pause_s, left_s))
            pause_s = min(2 * pause_s, self._patience.longest_pause_s)
