"""A report that is made anew whenever it is looked at, for this machine only."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pvq.bounds.errors import ProblemError

from .page import page_of

HOST = "127.0.0.1"
REFRESH = 15
"""Seconds between two looks of an open page."""
PROOF = re.compile(r"/certificates/\d+/[\w.-]+\.npz")
"""Addresses of proofs, which are those of their files in the run."""


def serve(source: Path, port: int, told: Callable[[str], object]) -> None:
    """Answer on 127.0.0.1 until Ctrl-C; `told` gets the address.

    Raises
    ------
    ProblemError
        The port is another program's.
    """
    page_of(source, source, script="/plotly.js")  # what is wrong is said now
    try:
        server = ThreadingHTTPServer((HOST, port), handler_of(source))
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror or error}"
        raise ProblemError(f"port {port} of {HOST} {why}; give another --port") from None
    with server:
        told(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


def handler_of(source: Path) -> type[BaseHTTPRequestHandler]:
    """What answers for a run."""

    class Handler(BaseHTTPRequestHandler):
        """The page, plotly's script, and the files of proofs."""

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            if host not in (HOST, "localhost"):  # a name of somebody else's that points here
                self.send_error(403)
            elif self.path == "/plotly.js":
                from plotly.offline import get_plotlyjs

                self._send(get_plotlyjs().encode(), "text/javascript", "max-age=86400")
            elif PROOF.fullmatch(self.path):
                try:
                    self._send((source / self.path[1:]).read_bytes(), "application/octet-stream", "no-store")
                except OSError as error:
                    self.send_error(404, explain=error.strerror)
            elif self.path == "/":
                try:
                    self._send(page_of(source, source, "/plotly.js", REFRESH).encode(), "text/html", "no-store")
                except ProblemError as error:
                    self.send_error(503, explain=str(error))
            else:
                self.send_error(404)

        def _send(self, data: bytes, kind: str, keep: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", keep)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *words: object) -> None:
            """Say nothing."""

    return Handler
