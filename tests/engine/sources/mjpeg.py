"""A camera for tests of streams: motion JPEG over HTTP from a server that can be killed and started again."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from tests.engine.sources.camera_server import HttpServer, KillableCamera

CELL = 16  # each picture shows its own number in black and white cells, one bit each, 4 in a row
BITS = 12


def number_picture(number: int) -> np.ndarray:
    """(48, 64, 3) uint8: a number as a pattern that survives JPEG."""
    bits = np.array([number >> place & 1 for place in range(BITS)], np.uint8).reshape(3, 4)
    return np.kron(255 * bits, np.ones((CELL, CELL), np.uint8))[..., None].repeat(3, axis=2)


def read_number(image: np.ndarray) -> int:
    """The number that a picture shows."""
    centres = image[CELL // 2 :: CELL, CELL // 2 :: CELL, 0].ravel() > 127
    return sum(int(bit) << place for place, bit in enumerate(centres))


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer

    def do_GET(self) -> None:  # the name that the base class calls
        camera = self.server.camera
        options = parse_qs(urlsplit(self.path).query)
        fps = float(options.get("fps", ["30"])[0])
        count = int(options.get("count", ["1000000"])[0])
        sent = camera.sent.setdefault(urlsplit(self.path).path, {})
        if sent and "once" in options:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        due = time.monotonic()
        for _ in range(count):
            number = len(sent)
            data = cv2.imencode(".jpg", number_picture(number))[1].tobytes()
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            sent[number] = time.monotonic()
            self.wfile.write(head + data + b"\r\n")
            due = max(due + 1 / fps, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
        if "silent" in options:
            camera.dead.wait(60)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Camera(KillableCamera):
    """Sends numbered pictures at any path until it is killed.

    `?fps=F` sets their pace, `?count=N` closes each connection after N of them, `&silent=1` leaves it open instead, and
    `&once=1` refuses further connections.

    Attributes:
        sent: by path, when each number was sent, on `time.monotonic()`.
    """

    def __init__(self) -> None:
        self.sent: dict[str, dict[int, float]] = {}
        super().__init__(HttpServer, _Handler)

    def start(self) -> None:
        """Listen, on the same port as before."""
        self.dead = threading.Event()
        super().start()

    def kill(self) -> None:
        """Break off all connections and listen no more."""
        self.dead.set()
        super().kill()

    def url(self, path: str, login: str = "") -> str:
        """Address of a path of this camera."""
        return f"http://{login}127.0.0.1:{self.port}/{path}"
