"""uvicorn, with patience for no slow client and errors as JSON."""

import asyncio
import contextlib
import errno
import json
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vprlib.cli.serving.guard import HEADERS
from vprlib.pipeline.params import UserError


class Protocol(H11Protocol):
    """Closes connections whose headers do not come."""

    seconds = 10.0  # for them
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.seconds, self._too_late)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and not self._is_answering():
            self._deadline = self.loop.call_later(self.seconds, self._too_late)
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Of what is not HTTP."""
        body = json.dumps({"error": "The request is not valid HTTP."}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *HEADERS]
        headers.append((b"content-length", str(len(body)).encode()))
        with contextlib.suppress(h11.LocalProtocolError):
            first = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            events = first, h11.Data(data=body), h11.EndOfMessage()
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _too_late(self) -> None:
        self._deadline = None
        if not self._is_answering():
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal to stop is no error: the service ends as it should."""
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        # asyncio sends small answers at once only where the protocol is named
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
        return found
    except socket.gaierror:
        raise UserError(f"--host is '{host}', which is no address of this machine.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} is in use: choose another by --port"
        elif error.errno == errno.EACCES:
            why = f"port {port} may not be used: choose one above 1023 by --port"
        else:
            why = f"{host}:{port} cannot be used ({(error.strerror or str(error)).lower()})"
        raise UserError(f"{why}.") from None


def serve(
    app: ASGIApp, listening: socket.socket, seconds: float, ready: Callable[[], None]
) -> None:
    """Until it is stopped; clients have so many seconds to say what they want.

    `ready` is called when a signal would be heard.
    """
    Protocol.seconds = min(Protocol.seconds, seconds)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # tells of each bad request
    server = Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=2**15,
        )
    )
    with server.capture_signals():
        ready()
        server.run(sockets=[listening])
