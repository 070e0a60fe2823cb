"""Sockets and slow clients: uvicorn, set up for a server that strangers may reach."""

import asyncio
import socket
import sys

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tasrih.predict import Classifier
from tasrih.server import problems
from tasrih.server.app import create_app
from tasrih.server.limits import Limits
from tasrih.server.problems import Problem

_GRACE = 30  # seconds that requests in work are given when the server stops
# Seconds. When a batch ends, its thread waits for Python's lock, up to 5 ms by default while the loop talks
# to clients. With this, 64 clients that send one text each are served some 5% faster.
_TURN = 0.0005
_WARM_UP = "نفت الوزارة صحة ما تداولته مواقع التواصل"


def serve(
    classifier: Classifier, *, host: str = "127.0.0.1", port: int = 8000, limits: Limits | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is in work. Port 0 takes a free one.

    Prints the address once connections are accepted. Raises `OSError` where the address cannot be had, and
    `ValueError` for a port that is none.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port: found {port}, expected 0 to 65535")
    limits = limits or Limits()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=1024) as listener:
        classifier.classify(_WARM_UP)  # the first call is the slowest; nobody should wait for it
        address = f"[{host}]" if ":" in host else host
        print(
            f"tasrih: listening on http://{address}:{listener.getsockname()[1]}", file=sys.stderr, flush=True
        )
        sys.setswitchinterval(_TURN)
        server(classifier, limits).run(sockets=[listener])


def server(classifier: Classifier, limits: Limits) -> uvicorn.Server:
    """Return uvicorn's server for `classifier`, to be run with sockets."""
    config = uvicorn.Config(
        create_app(classifier, limits),
        loop="auto",  # uvloop, or asyncio where there is none
        http=_protocol(limits.seconds),
        ws="none",
        lifespan="on",
        log_level="error",  # a malformed request is no event of ours; an exception is
        access_log=False,
        server_header=False,
        proxy_headers=False,  # on loopback anybody could claim any address with them
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def _protocol(seconds: float) -> type[H11Protocol]:
    """Return uvicorn's protocol with what it lacks: patience that ends, and errors in our shape.

    A client has `seconds` to send a request's head and to fetch an answer. gate.py watches its body.
    """

    class Protocol(H11Protocol):
        _patience: asyncio.TimerHandle | None = None
        _unfetched: asyncio.TimerHandle | None = None
        _refused = False  # what came was no HTTP; what still comes is thrown away

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(0)  # writing is paused while there is anything to fetch
            self._expect_progress()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unfetched = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._fetched()

        def data_received(self, data: bytes) -> None:
            if self._refused:
                return
            super().data_received(data)
            if self._in_work():
                self._be_patient()  # a request is in work
            elif self._patience is None:
                self._expect_progress()  # part of a head, or a body that is no longer wanted

        def connection_lost(self, exc: Exception | None) -> None:
            self._be_patient()
            self._fetched()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """Answer what is not HTTP, if it is still our turn to speak."""
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.abort()
                return
            if self._in_work():  # it waits for the rest of a body, which will not come
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            content = problems.body(Problem(400, "found a malformed request, expected HTTP/1.1"))
            headers = [("content-type", "application/json"), ("content-length", str(len(content)))]
            headers.append(("connection", "close"))
            # Closed at once, with more on its way, the connection would be reset and the answer lost.
            self._refused = True
            self._expect_progress()
            for event in (
                h11.Response(status_code=400, headers=headers),
                h11.Data(content),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.write_eof()

        def _in_work(self) -> bool:
            cycle = self.cycle  # None until the first request, whatever uvicorn's annotation says
            return cycle is not None and not cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

        def _expect_progress(self) -> None:
            self._be_patient()
            self._patience = self.loop.call_later(seconds, self.transport.abort)

        def _be_patient(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

        def _fetched(self) -> None:
            if self._unfetched is not None:
                self._unfetched.cancel()
                self._unfetched = None

    return Protocol
