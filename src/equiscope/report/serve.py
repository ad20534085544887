"""Serve a run's site on this machine alone, for browsers that refuse to open it from disk."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from equiscope.errors import EquiscopeError
from equiscope.limits import PORT
from equiscope.report.files import build_site
from equiscope.report.site import PAGE, SITE

__all__ = ["open_site", "serve_site"]

_HOST = "127.0.0.1"
# What the mapping of the system may lack.
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".webp": "image/webp",
    ".html": "text/html",
    ".json": "application/json",
}
_OPEN = (PAGE, "families.json", "units.json")


class _Handler(SimpleHTTPRequestHandler):
    """Gives out the site and nothing else of the folder, to this machine's browsers only."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | _TYPES

    def send_head(self) -> Any:
        # Another site could reach this server through a name of its own that leads here; it is not that site's.
        if self.headers.get("Host", "").rpartition(":")[0] not in (_HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        path = unquote(urlsplit(self.path).path).lstrip("/")
        is_site = path.startswith(f"{SITE}/") and not path.endswith("/") and ".." not in path.split("/")
        if path and path not in _OPEN and not is_site:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


@contextmanager
def serve_site(folder: str | Path, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """Open a server for a run's site; the caller runs it by ``serve_forever``.

    Parameters
    ----------
    folder
        Of the run; its site is built where it is not there yet.
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
    """
    port = PORT.check("port", port)
    folder = Path(folder)
    if not (folder / PAGE).exists() or not (folder / SITE / "app").is_dir():
        build_site(folder)
    try:
        server = ThreadingHTTPServer((_HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise EquiscopeError(
            f"port {port} on {_HOST} cannot be used ({error}): leave --port out for a free one"
        ) from error
    server.daemon_threads = True
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
    """
    with serve_site(folder, port) as server:
        address = f"http://{_HOST}:{server.server_address[1]}/"
        on_address(address)
        if in_browser:
            webbrowser.open(address)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
