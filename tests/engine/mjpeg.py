"""A camera for tests of streams: motion JPEG over HTTP from a server that can be killed and started again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

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
    server: _Server

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


class _Server(ThreadingHTTPServer):
    camera: Camera
    daemon_threads = True

    def __init__(self, camera: Camera, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.camera = camera
        self.connections: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self.connections.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def handle_error(self, *_: object) -> None:
        """Say nothing when the reader hangs up."""


class Camera:
    """Sends numbered pictures at any path until it is killed.

    `?fps=F` sets their pace, `?count=N` closes each connection after N of them, `&silent=1` leaves it open instead, and
    `&once=1` refuses further connections.

    Attributes:
        sent: by path, when each number was sent, on `time.monotonic()`.
    """

    def __init__(self) -> None:
        self.sent: dict[str, dict[int, float]] = {}
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        self.dead = threading.Event()
        self._server = _Server(self, self.port)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Break off all connections and listen no more."""
        self.dead.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def url(self, path: str, login: str = "") -> str:
        """Address of a path of this camera."""
        return f"http://{login}127.0.0.1:{self.port}/{path}"
