"""Bodies and clients, held to the limits before anything is parsed. Plain ASGI, around the whole application.

A body is counted as it comes, whatever its Content-Length says. A request whose client has gone is cancelled,
so that its sentences leave the queue.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from email.message import Message as MimeMessage
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasrih.server.limits import Limits
from tasrih.server.metrics import Metrics
from tasrih.server.problems import Problem

# The page has no script, and no answer of this server may load or run anything but its own style sheet.
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# A client that is still sending does not read, and may see no answer at all where the connection is closed on
# it. So a body that is too large is received to its end, and thrown away, up to this many times the limit.
_DISCARDED: Final = 8


class _Gone(Exception):
    """The client closed the connection before its request was whole."""


class Gate:
    """Middleware. `bodies` maps the paths that take a POST to the media type they take; `check_room` raises
    `Problem` where nothing can be taken at all, before a body is parsed in vain; `refuse` turns a
    problem at a path into an answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        metrics: Metrics,
        bodies: Mapping[str, str],
        check_room: Callable[[], None],
        refuse: Callable[[str, Problem], Response],
    ) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._bodies, self._check_room, self._refuse = bodies, check_room, refuse
        self._in_flight: Counter[str] = Counter()  # by address, without those that have none

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
                seconds = time.perf_counter() - started
                self._metrics.request(scope["method"], scope["path"], message["status"], seconds)
            await send(message)

        if scope["method"] != "POST" or scope["path"] not in self._bodies:
            await self._app(scope, receive, observed)
            return
        try:
            with self._admitted(scope["client"][0] if scope["client"] else ""):
                body = await self._body(scope, receive)
                self._check_room()
                await self._answer(scope, body, receive, observed)
        except Problem as problem:
            await self._refuse(scope["path"], problem)(scope, receive, observed)
        except _Gone:
            pass

    @contextmanager
    def _admitted(self, address: str) -> Generator[None]:
        if self._in_flight[address] >= self._limits.in_flight:
            raise Problem(
                429,
                f"found {self._limits.in_flight} requests of this client without an answer yet, expected "
                "fewer; wait for one before the next",
                headers={"Retry-After": "1"},
            )
        self._in_flight[address] += 1
        self._metrics.in_flight += 1
        try:
            yield
        finally:
            self._metrics.in_flight -= 1
            self._in_flight[address] -= 1
            if not self._in_flight[address]:
                del self._in_flight[address]

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers = Headers(scope=scope)
        limit = self._limits.body
        declared = headers.get("content-length", "")
        most = limit if "expect" in headers else _DISCARDED * limit  # who expects a 100 has not begun to send
        if declared.isdecimal() and int(declared) > most:
            raise _too_large(limit)
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(self._limits.seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    size += len(part)
                    if size <= limit:
                        body += part
                    elif size > _DISCARDED * limit:
                        raise _too_large(limit)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Problem(
                408,
                f"found {size} bytes of the body after {self._limits.seconds:g} seconds, expected all",
                headers={"Connection": "close"},
            ) from None
        if size > limit:
            raise _too_large(limit)
        _check_type(headers, self._bodies[scope["path"]])
        return bytes(body)

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Run the application on the whole body; cancel it if the client goes away meanwhile."""
        given = answered = False

        async def give() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def watched(message: Message) -> None:
            nonlocal answered
            await send(message)
            answered = message["type"] == "http.response.body" and not message.get("more_body", False)

        answer = asyncio.ensure_future(self._app(scope, give, watched))
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answered:
                answer.cancel()
            await asyncio.wait((answer,))
            if not answer.cancelled():
                answer.result()  # raises what the application raised
        finally:
            gone.cancel()
            answer.cancel()


def _check_type(headers: Headers, expected: str) -> None:
    found = MimeMessage()
    found["content-type"] = headers.get("content-type", "")
    charset = found.get_content_charset("utf-8")
    encoding = headers.get("content-encoding", "identity")
    if found.get_content_type() != expected or charset != "utf-8" or encoding.lower() != "identity":
        shown = f"{headers.get('content-type', 'no Content-Type')}, {encoding}"[:80]
        raise Problem(415, f"found {shown}; expected Content-Type: {expected}, in UTF-8, not compressed")


def _too_large(limit: int) -> Problem:
    return Problem(413, f"body: found more than {limit} bytes, expected at most that; send it in parts")
