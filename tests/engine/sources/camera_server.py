"""What the cameras of the tests share: a server that can be killed and started again on the same port."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from http.server import ThreadingHTTPServer


class KeptConnections(socketserver.ThreadingMixIn):
    """Keeps its connections, so that they can be broken off.

    Attributes:
        camera: whose server it is.
    """

    allow_reuse_address = True
    daemon_threads = True
    camera: KillableCamera

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self.camera.connections.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]


class HttpServer(KeptConnections, ThreadingHTTPServer):
    """For cameras that speak HTTP."""

    def handle_error(self, *_: object) -> None:
        """Say nothing when the reader hangs up."""


class TcpServer(KeptConnections, socketserver.TCPServer):
    """For cameras that speak something else."""


class KillableCamera:
    """Listens from the start until it is killed.

    Attributes:
        port: on which it listens; after a return the same.
        connections: those since it listens.
    """

    def __init__(self, server: type[HttpServer | TcpServer], handler: type[socketserver.BaseRequestHandler]) -> None:
        self.port = 0
        self._kinds = server, handler
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        server, handler = self._kinds
        self.connections: set[socket.socket] = set()
        self._server = server(("127.0.0.1", self.port), handler)  # type: ignore[arg-type]
        self._server.camera = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Break off all connections and listen no more."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
