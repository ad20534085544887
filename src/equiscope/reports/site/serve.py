"""Serve a run's site on this machine alone: what this version builds from the run's data, whoever made the run.

A page that came with a run is never shown: it is built again first. What is served are the files of that build, each by
its own address, with a policy in the header, which a page cannot loosen.
"""

from __future__ import annotations

import errno
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.limits import PORT
from equiscope.reports.site.addresses import PAGE
from equiscope.reports.site.files import write_files

__all__ = ["open_site", "serve_site"]

_HOST = "127.0.0.1"
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".webp": "image/webp",
    ".html": "text/html",
    ".json": "application/json",
}
# What the page of a browser without scripts leads to.
_NUMBERS = ("families.json", "units.json")
# As the page's own policy, but for what it needs when it is opened from disk. A header also reaches what a page's own
# policy does not: who may show the page in a frame, and answers that are no page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The views are scripts, which a page of another site could otherwise load as its own, and read.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SECONDS = 30.0
_AT_FAULT: Mapping[int, int] = {
    HTTPStatus.NOT_IMPLEMENTED: HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: HTTPStatus.BAD_REQUEST,
}


class _Handler(BaseHTTPRequestHandler):
    """Gives out the files of one build of a site and nothing else, to this machine's browsers only."""

    # A connection that sends nothing for so long is closed.
    timeout = _SECONDS
    # Without it what is no HTTP gets an answer without a status.
    default_request_version = "HTTP/1.0"

    def __init__(self, *args: Any, files: Mapping[str, Path]) -> None:
        self._files = files
        super().__init__(*args)

    def do_GET(self) -> None:
        content = self._send_head()
        if content is not None:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self._send_head()

    def _send_head(self) -> bytes | None:
        """Answer but for the content, which is given back; None where there is none."""
        # Another site could reach this server through a name of its own that leads here; it is not that site's.
        if self.headers.get("Host", "").rpartition(":")[0] not in (_HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        # An address is looked up as it is: no path is put together from what somebody asks for.
        address = unquote(self.path.partition("?")[0].partition("#")[0]).removeprefix("/")
        path = self._files.get(address or PAGE)
        content = None if path is None else _read(path)
        if path is None or content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES[path.suffix])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # The request is at fault, not the server: there is nothing here but files, by GET and HEAD.
        super().send_error(_AT_FAULT.get(code, code), None if code in _AT_FAULT else message, explain)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        return "equiscope"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def _read(path: Path) -> bytes | None:
    """Read a file of the site; None where it is gone, or a link has taken its place or that of one of its folders."""
    try:
        return path.read_bytes() if path.resolve() == path and path.is_file() else None
    except OSError:
        return None


class _Server(ThreadingHTTPServer):
    """A server whose threads end with it, and that says nothing of browsers which go away."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def _built(folder: Path) -> Iterator[dict[str, Path]]:
    """Build a run's site; give its files by their addresses. Where the run may not be written to, it stays as it is."""
    with tempfile.TemporaryDirectory(prefix="equiscope-") as elsewhere:
        try:
            files = write_files(folder)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            files = write_files(folder, Path(elsewhere))
        numbers = {name: folder / name for name in _NUMBERS if (folder / name).is_file()}
        yield {address: path.resolve() for address, path in {**numbers, **files}.items()}


@contextmanager
def serve_site(folder: str | Path, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """Open a server for a run's site; the caller runs it by ``serve_forever``.

    Parameters
    ----------
    folder
        Of the run; its site is built again, in a temporary folder where the run may not be written to.
    port
        Where to listen on 127.0.0.1; 0 takes a free one.

    Yields
    ------
    ThreadingHTTPServer
        ``server_address`` tells the port.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a run, or the port is taken.

    Examples
    --------
    >>> from http.client import HTTPConnection
    >>> from threading import Thread
    >>> with serve_site("equiscope-runs/mini") as server:
    ...     Thread(target=server.serve_forever, daemon=True).start()
    ...     client = HTTPConnection(*server.server_address)
    ...     client.request("GET", "/index.html")
    ...     client.getresponse().read(15)
    ...     server.shutdown()
    b'<!doctype html>'
    """
    port = PORT.check("port", port)
    with _built(Path(folder)) as files:
        try:
            server = _Server((_HOST, port), partial(_Handler, files=files))
        except (OSError, OverflowError) as error:
            raise EquiscopeError(
                f"port {port} on {_HOST} cannot be used ({error}): leave --port out for a free one"
            ) from error
        with server:
            yield server


def open_site(
    folder: str | Path,
    *,
    port: int = 0,
    in_browser: bool = True,
    on_address: Callable[[str], object] = lambda _address: None,
) -> None:
    """Serve a run's site on 127.0.0.1 until Ctrl-C.

    Parameters
    ----------
    folder
        Of the run.
    port
        Where to listen; 0 takes a free one.
    in_browser
        Open the system's browser there.
    on_address
        Called with the address once the server listens.

    Examples
    --------
    >>> from http.client import HTTPConnection
    >>> from queue import Queue
    >>> from threading import Thread
    >>> from urllib.parse import urlsplit
    >>> addresses = Queue()
    >>> as_told = {"in_browser": False, "on_address": addresses.put}
    >>> Thread(target=open_site, args=["equiscope-runs/mini"], kwargs=as_told, daemon=True).start()
    >>> client = HTTPConnection(urlsplit(addresses.get(timeout=60)).netloc)
    >>> client.request("GET", "/")
    >>> client.getresponse().read(15)
    b'<!doctype html>'
    """
    # A browser of the terminal is open until it is left, which Ctrl-C does as well.
    with serve_site(folder, port) as server, suppress(KeyboardInterrupt):
        address = f"http://{_HOST}:{server.server_address[1]}/"
        on_address(address)
        if in_browser:
            webbrowser.open(address)
        server.serve_forever(poll_interval=0.2)
