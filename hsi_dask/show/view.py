"""View: a page in the browser for a run, served to this machine alone; Bokeh draws it, `Canvas` says what.

Other pages in the same browser are strangers: only requests to this machine's own name are answered (a foreign name may
lead here, too), only this page's websocket is opened, and pages that nobody looks at are few and soon gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from hsi_dask.batch.observer import Advanced
from hsi_dask.errors import RunError
from hsi_dask.show.background import end_all
from hsi_dask.show.canvas import Canvas

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import BaseServer

_NAMES = ("localhost", "127.0.0.1")  # with any port: a tunnel may end at another
_MOST_UNUSED = 6  # pages without a connection: loading, reloaded, or asked for by what is no browser
_UNUSED, _CHECK = 15_000, 1000  # ms: how long such a page waits for its browser, and between looks at them
_MOST_BODY = 1_000_000  # bytes that a browser may send at once


@contextlib.contextmanager
def served(run_dir: str | os.PathLike[str], *, port: int = 0, advanced: Advanced = lambda share: None) -> Iterator[str]:
    """Serve a run's page on 127.0.0.1 until the context is left; `wait` in it answers the browser.

    Parameters
    ----------
    run_dir : path
        Its overviews are made first if need be; `advanced` is called as by `open_overviews`.
    port : 0 takes any that is free.

    Yields
    ------
    The page's address.

    Raises
    ------
    RunError
        The folder is not a run or has no finished tile, Bokeh is not installed, or the port is taken.
    """
    server = _server(run_dir, port, advanced)
    server.start()
    gc.collect()
    gc.freeze()  # Bokeh collects garbage for each page that is left: what stays until the end is not looked through
    try:
        yield f"http://localhost:{server.port}/"
    finally:
        gc.unfreeze()
        server.stop()
        end_all()


def wait() -> None:
    """Answer the browser until the process is interrupted."""
    from tornado.ioloop import IOLoop

    IOLoop.current().start()


def _server(run_dir: str | os.PathLike[str], port: int, advanced: Advanced) -> BaseServer:
    try:
        from bokeh.application import Application
        from bokeh.application.handlers import FunctionHandler
        from bokeh.server.server import BaseServer
        from bokeh.server.util import bind_sockets
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import IOLoop

        from hsi_dask.show.page import Page
    except ImportError as error:
        raise RunError(
            'hsi-dask view needs Bokeh, which is not installed; get it with: pip install "hsi-dask[view]"'
        ) from error
    canvas = Canvas(run_dir, advanced=advanced)

    def show(document: Document) -> None:
        request = document.session_context.request if document.session_context else None
        Page(canvas, document).show(request.arguments if request else None)

    app = Application(FunctionHandler(show))
    try:
        sockets, port = bind_sockets("127.0.0.1", port)
    except OSError as error:
        raise RunError(f"port {port} cannot be had ({error.strerror}); give another --port, or none") from error
    site = _site_type()({"/": app}, port)
    http = HTTPServer(site, max_body_size=_MOST_BODY)
    http.add_sockets(sockets)
    return BaseServer(IOLoop.current(), site, http)


@cache
def _site_type() -> Any:
    """The web application; a function, because Bokeh may not be installed."""
    from bokeh.server.tornado import BokehTornado
    from tornado.web import RequestHandler

    class Refusal(RequestHandler):  # type: ignore[misc]
        def initialize(self, reason: str) -> None:
            self.reason = reason

        def prepare(self) -> None:
            self.set_status(403)
            self.set_header("Content-Type", "text/plain")
            self.finish(self.reason)

    class Site(BokehTornado):  # type: ignore[misc]
        """Bokeh's site, which answers to its own names, and keeps few pages that nobody looks at."""

        def __init__(self, applications: dict[str, Any], port: int) -> None:
            super().__init__(
                applications, extra_websocket_origins=[f"{name}:{port}" for name in _NAMES],
                check_unused_sessions_milliseconds=_CHECK, unused_session_lifetime_milliseconds=_UNUSED,
                include_headers=[], include_cookies=[],
            )  # fmt: skip

        def find_handler(self, request: Any, **more: Any) -> Any:
            if reason := _refused(request.headers):
                return self.get_handler_delegate(request, Refusal, {"reason": reason})
            if request.path == "/":
                self.make_room()
            return super().find_handler(request, **more)

        def make_room(self) -> None:
            """Before another page: of those without a connection the oldest go with the next look at them."""
            unused = [one for one in self.get_sessions("/") if not one.connection_count]
            unused.sort(key=lambda one: one.milliseconds_since_last_unsubscribe)
            for old in unused[_MOST_UNUSED - 1 :]:
                old.request_expiration()

    return Site


def _refused(headers: Any) -> str:
    """Why a request is not answered; "" where it is."""
    host = headers.get("Host", "").rpartition(":")[0] or headers.get("Host", "")
    if host.lower() not in _NAMES:
        return f"this page is at http://{_NAMES[0]} only"
    # a browser says where a request comes from: pages of other sites may link here, but not load it as a picture
    if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate":
        return "this page is not for other sites"
    return ""
