"""A network camera for tests of streams: RTSP 1.0 with JPEG pictures in RTP, all over one TCP connection.

What is sent follows RFC 2326 (RTSP, section 10.12 for RTP between its messages) and RFC 2435 (JPEG in RTP).
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import socketserver
import struct
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from tests.engine.sources.camera_server import KillableCamera, TcpServer
from tests.engine.sources.mjpeg import number_picture

FPS = 25
_CLOCK_HZ = 90_000  # of RTP's time stamps for video
_JPEG = 26  # RTP's number for it
_MOST_BYTES = 1200  # of picture in a packet
_DESCRIPTION = f"""v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 0.0.0.0
t=0 0
a=range:npt=now-
m=video 0 RTP/AVP {_JPEG}
a=framerate:{FPS}
a=control:track0
""".replace("\n", "\r\n")


def rtp_packets(image_bgr: np.ndarray, numbers: Iterator[int], seconds: float) -> Iterator[bytes]:
    """A picture as RTP packets; its sides are multiples of 8 below 2048."""
    jpeg = cv2.imencode(".jpg", image_bgr)[1].tobytes()
    tables, scan = _parts(jpeg)
    height, width = image_bgr.shape[:2]
    stamp = round(seconds * _CLOCK_HZ) & 0xFFFFFFFF
    for start in range(0, len(scan), _MOST_BYTES):
        last = start + _MOST_BYTES >= len(scan)
        rtp = struct.pack(">BBHII", 2 << 6, last << 7 | _JPEG, next(numbers) & 0xFFFF, stamp, 0x6D67696C)
        # type 1: chroma at half the width and height; quality 255: the tables come with the first packet
        head = struct.pack(">IBBBB", start, 1, 255, width // 8, height // 8)
        quality = struct.pack(">BBH", 0, 0, len(tables)) + tables if start == 0 else b""
        yield rtp + head + quality + scan[start : start + _MOST_BYTES]


def _parts(jpeg: bytes) -> tuple[bytes, bytes]:
    """The quantisation tables and the coded picture; its Huffman tables are the ones that every decoder knows."""
    tables, place = b"", 2
    while jpeg[place + 1] != 0xDA:  # up to the start of the scan
        kind, length = jpeg[place + 1], int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if kind == 0xDB:
            segment = jpeg[place + 4 : place + 2 + length]
            tables += b"".join(segment[first + 1 : first + 65] for first in range(0, len(segment), 65))
        place += 2 + length
    place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return tables, jpeg[place:-2]


class _Handler(socketserver.StreamRequestHandler):
    server: TcpServer

    def handle(self) -> None:
        """Answer one client until it hangs up."""
        self._sending, self._gone = threading.Lock(), threading.Event()
        player = threading.Thread(target=self._play, daemon=True)
        try:
            while (request := self._read()) is not None:
                method, headers = request
                self.server.camera.methods.append(method)
                self._answer(method, headers)
                if method == "PLAY" and not player.is_alive():
                    player.start()
                if method == "TEARDOWN":
                    break
        except OSError:
            pass  # the client, or the test, cut the connection
        finally:
            self._gone.set()

    def _read(self) -> tuple[str, dict[str, str]] | None:
        """The next request; the client's own packets between them are passed over."""
        while (first := self.rfile.read(1)) == b"$":
            _, length = struct.unpack(">BH", self.rfile.read(3))
            self.rfile.read(length)
        if not first:
            return None
        lines = [(first + self.rfile.readline()).decode().strip()]
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        headers = dict(re.split(r":\s*", line, maxsplit=1) for line in lines[1:])
        return lines[0].split()[0], headers

    def _answer(self, method: str, headers: dict[str, str]) -> None:
        status, fields, body = "200 OK", {"CSeq": headers["CSeq"], "Session": "1"}, ""
        login = self.server.camera.login
        if login and headers.get("Authorization") != f"Basic {base64.b64encode(login.encode()).decode()}":
            status, fields["WWW-Authenticate"] = "401 Unauthorized", 'Basic realm="camera"'
        elif method == "OPTIONS":
            fields["Public"] = "DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
        elif method == "DESCRIBE":
            body = _DESCRIPTION
            fields |= {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
        elif method == "SETUP":
            if "RTP/AVP/TCP" in headers["Transport"]:
                fields["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
            else:
                status = "461 Unsupported Transport"
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._send(f"RTSP/1.0 {status}\r\n{text}\r\n{body}".encode())

    def _play(self) -> None:
        sent, numbers, start = self.server.camera.sent, itertools.count(), time.monotonic()
        with contextlib.suppress(OSError):
            for picture in itertools.count():
                sent[len(sent)] = time.monotonic()
                for packet in rtp_packets(number_picture(len(sent) - 1), numbers, picture / FPS):
                    self._send(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                if self._gone.wait(max(start + (picture + 1) / FPS - time.monotonic(), 0)):
                    return

    def _send(self, data: bytes) -> None:
        with self._sending:
            self.wfile.write(data)


class RtspCamera(KillableCamera):
    """Sends numbered pictures, 25 a second, to whoever plays it, until it is killed.

    Args:
        login: "user:password" that it asks for; none: it asks nobody.

    Attributes:
        sent: when each number was sent, on `time.monotonic()`.
        methods: what its clients asked for, in order.
    """

    def __init__(self, login: str = "") -> None:
        self.login = login
        self.sent: dict[int, float] = {}
        self.methods: list[str] = []
        super().__init__(TcpServer, _Handler)

    def url(self, login: str = "") -> str:
        """Its address."""
        return f"rtsp://{login and login + '@'}127.0.0.1:{self.port}/live"
