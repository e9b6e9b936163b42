"""An S3 server on this machine, which notes what it is asked and can be told to fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request as WebRequest
from urllib.request import urlopen

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "bucket"

_ERRORS = {
    "slow": ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
    "deny": ("403 Forbidden", "AccessDenied", "Access Denied"),
}


@dataclass(frozen=True)
class Request:
    """What the server was asked for; ``size`` is the bytes of the answer's body."""

    method: str
    path: str
    query: str
    range: str
    size: int = 0


#: What becomes of a request: None, or ``slow`` (503 SlowDown), ``deny`` (403 AccessDenied), ``drop`` (no answer) or
#: ``half`` (half of the answer).
Fault = Callable[[Request], str | None]


class _Handler(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@dataclass
class ObjectStore:
    """The server; ``requests`` are those since :meth:`watch`."""

    requests: list[Request] = field(default_factory=list)
    fault: Fault | None = None

    def __post_init__(self) -> None:
        self._backend = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        urlopen(WebRequest(f"{self.endpoint}/{BUCKET}", method="PUT")).close()

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it needs; attempts of the client's own, so that tests need not wait for five."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def watch(self, fault: Fault | None = None) -> None:
        """Forget the requests so far, and treat those to come by ``fault``."""
        self.requests.clear()
        self.fault = fault

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        keys = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_RANGE")
        request = Request(*(environ.get(key, "") for key in keys))
        what = self.fault(request) if self.fault else None
        if what in _ERRORS:
            self.requests.append(request)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, code, message = _ERRORS[what]
            error = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(error)))])
            return [] if request.method == "HEAD" else [error]
        head: list[Any] = []
        body = b"" if what == "drop" else b"".join(self._backend(environ, lambda *args: head.extend(args[:2])))
        self.requests.append(Request(*(environ.get(key, "") for key in keys), size=len(body)))
        if what is None:
            start(*head)
            return [body]
        return _cut_off(environ["werkzeug.socket"], start, head or ["200 OK", []], body)


def _cut_off(connection: socket.socket, start: Callable[..., Any], head: list[Any], body: bytes) -> Iterable[bytes]:
    """Half of an answer, then nothing."""
    if body:
        start(*head)
        yield body[: len(body) // 2]
    connection.shutdown(socket.SHUT_RDWR)
    if not body:
        start(*head)
        yield b""
