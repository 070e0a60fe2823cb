"""A real `tasrih serve` under requests of every bad kind among good ones, on loopback.

1,000 requests in `make test`; in a nightly run 10,000, and slow clients stay until they are dropped:

    TASRIH_NIGHTLY=1 pytest tests/test_server_abuse.py -s
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from test_server import running

from tasrih import Classifier, Prediction
from tasrih.server import Limits

NIGHTLY = os.environ.get("TASRIH_NIGHTLY") == "1"
REQUESTS = 10_000 if NIGHTLY else 1_000
CLIENTS = 10  # threads, each with one request at a time
SLOW = 40  # connections that are held open beside them
PATIENCE = 20  # seconds that the server gives a slow client: the default of `Limits`
FILES = 30  # that a server without connections has open; it has some ten
SENTENCES = 64  # different ones; what the server says of them is held against the classifier

PAGES = ("/", "/health", "/metrics", "/openapi.json", "/style.css")
TYPES = ("text/plain", "application/xml", "application/json; charset=utf-16", "a", ";", '"')
SHAPES = (None, True, 7, -1e308, "نفى", [], [[]], {"texts": 1}, {"text": []}, {"a": "b"})
ODD_PATHS = ("/%00", "/%ff%fe", "//", "/../../etc/passwd", "/classify/", "/" + "a" * 5000, "*")

JSON = "Content-Type: application/json\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


@dataclass(frozen=True)
class Exchange:
    """Bytes to send, in `parts`, and what may come back: the statuses of its answers, () for nothing at all.

    `leave`: the client closes once it has sent them. `check` is given the last answer's body.
    """

    kind: str
    parts: Sequence[bytes]
    statuses: Sequence[tuple[int, ...]]
    leave: bool = False
    check: Callable[[bytes], None] = lambda _: None

    @property
    def good(self) -> bool:
        return self.kind.startswith("good")


def head(line: str, fields: str = "", *, close: bool = True) -> bytes:
    ending = "Connection: close\r\n" if close else ""
    return f"{line} HTTP/1.1\r\nHost: localhost\r\n{fields}{ending}\r\n".encode("latin-1")


def post(path: str, body: bytes, fields: str = JSON, *, close: bool = True) -> bytes:
    return head(f"POST {path}", f"{fields}Content-Length: {len(body)}\r\n", close=close) + body


def chunked(path: str, body: bytes, size: int) -> list[bytes]:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    framed = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    return [head(f"POST {path}", f"{JSON}Transfer-Encoding: chunked\r\n"), *framed, b"0\r\n\r\n"]


class Traffic:
    """Exchanges, chosen by a seed: as many good ones as bad ones, and every kind equally often."""

    def __init__(self, texts: list[str], predictions: list[Prediction]) -> None:
        self.texts, self.predictions = texts, predictions

    def exchanges(self, seed: int, number: int) -> Iterator[Exchange]:
        chosen = random.Random(seed)
        kinds = [self.good, self.bad_body, self.good, self.bad_http]
        for position in range(number):
            yield kinds[position % len(kinds)](chosen)

    def good(self, chosen: random.Random) -> Exchange:
        numbers = [chosen.randrange(len(self.texts)) for _ in range(chosen.randint(1, 3))]
        texts = [self.texts[number] for number in numbers]
        classify = json.dumps({"texts": texts}, ensure_ascii=chosen.random() < 0.5).encode()

        def check(body: bytes) -> None:
            found = json.loads(body)["predictions"]
            assert len(found) == len(numbers)
            for one, number in zip(found, numbers, strict=True):
                expected = self.predictions[number]
                assert one["label"] == expected.label
                assert one["scores"] == pytest.approx(dict(expected.scores), abs=1e-4)

        def check_tag(body: bytes) -> None:
            assert json.loads(body)["sentences"][0]["start"] == 0

        ok = [(200,)]
        form = f"text={quote_plus(texts[0])}".encode()
        return chosen.choice(
            [
                Exchange("good classify", [post("/classify", classify)], ok, check=check),
                Exchange("good classify, chunked", chunked("/classify", classify, 50), ok, check=check),
                Exchange(
                    "good classify, a few bytes at a time",
                    _pieces(post("/classify", classify), 40),
                    ok,
                    check=check,
                ),
                Exchange(
                    "good classify, two in one go",
                    [post("/classify", classify, close=False) + post("/classify", classify)],
                    ok * 2,
                    check=check,
                ),
                Exchange("good tag", [post("/tag", _json({"text": texts[0]}))], ok, check=check_tag),
                Exchange("good page", [post("/", form, FORM)], ok),
                Exchange("good GET", [head(f"GET {chosen.choice(PAGES)}")], ok),
            ]
        )  # fmt: skip

    def bad_body(self, chosen: random.Random) -> Exchange:
        """What is HTTP, and is no request of this server."""
        path = chosen.choice(["/classify", "/tag"])
        whole = _json({"texts": self.texts[:2]} if path == "/classify" else {"text": self.texts[0]})
        deep = chosen.choice([1_000, 100_000])
        kind, wrong = chosen.choice(TYPES), chosen.choice(SHAPES)
        cut, large = whole[: chosen.randrange(len(whole))], b" " * ((1 << 20) + 1)
        noise = chosen.randbytes(chosen.randint(1, 60))
        return chosen.choice(
            [
                Exchange("wrong type", [post(path, whole, f"Content-Type: {kind}\r\n")], [(415,)]),
                Exchange("no type", [post(path, whole, "")], [(415,)]),
                Exchange("compressed", [post(path, whole, f"{JSON}Content-Encoding: gzip\r\n")], [(415,)]),
                Exchange("JSON of another shape", [post(path, _json(wrong))], [(422,)]),
                Exchange("JSON cut off", [post(path, cut)], [(400, 422)]),  # 422: nothing was left of it
                Exchange("deep JSON", [post(path, b"[" * deep)], [(400,)]),
                Exchange("deep JSON, closed", [post(path, b"[" * deep + b"]" * deep)], [(400, 422)]),
                Exchange("deep objects", [post(path, b'{"a":' * deep + b"1" + b"}" * deep)], [(400, 422)]),
                Exchange("noise", [post(path, noise)], [(400, 422)]),
                Exchange("a form of noise", [post("/", noise, FORM)], [(422,)]),
                Exchange("a number of 50,000 digits", [post(path, b"9" * 50_000)], [(400, 422)]),
                Exchange("no Arabic", [post("/classify", _json({"texts": ["no"]}))], [(422,)]),
                Exchange("half a character", [post("/classify", rb'{"texts": ["\ud800"]}')], [(422,)]),
                Exchange("too many texts", [post("/classify", _json({"texts": ["نفى"] * 1001}))], [(422,)]),
                Exchange("a body too large", [post(path, large)], [(413,)]),
                Exchange("body cut off", [post(path, whole)[: -chosen.randint(1, 20)]], [()], leave=True),
                Exchange("left before the answer", [post(path, whole)], [()], leave=True),
            ]
        )  # fmt: skip

    def bad_http(self, chosen: random.Random) -> Exchange:
        """What is no HTTP, or HTTP that nobody wants."""
        method = chosen.choice(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
        odd, huge = chosen.choice(ODD_PATHS), 10**19
        flood = "".join(f"X-Flood-{number}: 1\r\n" for number in range(20_000))
        both = f"{JSON}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"
        noise = chosen.randbytes(chosen.randint(1, 200)) + b"\r\n\r\n"
        return chosen.choice(
            [
                Exchange("another method", [head(f"{method} /classify")], [(405,)]),
                Exchange("an odd path", [head(f"GET {odd}")], [(404, 405)]),
                Exchange("an upgrade", [head("GET /health", upgrade)], [(200,)]),
                Exchange("header flood", [head("GET /health", flood)], [(400,)]),
                Exchange("a long header", [head("GET /health", f"X: {'a' * 200_000}\r\n")], [(400,)]),
                Exchange("a head without end", [head("GET /health")[:-4], b"a" * 200_000], [(400,)]),
                Exchange("noise for a head", [noise], [(400,)]),
                Exchange("TLS", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise], [(400,)]),
                Exchange("HTTP/2", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], [(404,), (400,)]),
                Exchange("no Host", [b"GET /health HTTP/1.1\r\n\r\n"], [(400,)]),
                Exchange("two lengths", [post("/tag", b"{}", f"{JSON}Content-Length: 3\r\n")], [(400,)]),
                Exchange("a length below 0", [head("POST /tag", f"{JSON}Content-Length: -1\r\n")], [(400,)]),
                Exchange("a huge length", [head("POST /tag", f"{JSON}Content-Length: {huge}\r\n")], [(413,)]),
                Exchange("a length and chunks", [head("POST /tag", both), b"0\r\n\r\n"], [(400, 422)]),
                Exchange("broken chunks", [*chunked("/tag", b"{}", 9)[:1], b"zz\r\n{}"], [(400,)]),
                Exchange("head cut off", [head("GET /health")[: chosen.randint(0, 20)]], [()], leave=True),
            ]
        )  # fmt: skip


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


@dataclass
class Server:
    """A `tasrih serve` of its own, and what the system says of its process."""

    process: subprocess.Popen[str]
    port: int

    def connect(self, timeout: float = 30) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def memory(self) -> float:
        """MB that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1024

    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    command = [sys.executable, "-m", "tasrih", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            found = re.fullmatch(r"tasrih: listening on http://127\.0\.0\.1:(\d+)\n", line)
            assert found
            yield Server(process, int(found[1]))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def traffic(texts: list[str]) -> Traffic:
    chosen = texts[:: len(texts) // SENTENCES][:SENTENCES]
    return Traffic(chosen, Classifier.load().classify(chosen))


def exchange(server: Server, one: Exchange) -> None:
    """Send it, read what comes until the connection ends, and hold that against what may come."""
    with server.connect() as connection:
        answer = b""
        try:
            for part in one.parts:
                connection.sendall(part)
            if one.leave:
                return
            while part := connection.recv(1 << 16):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # the server closed on a client that was still sending; the answer is what counts
    found, body = statuses(answer)
    assert len(found) == len(one.statuses), f"{one.kind}: {answer[:200]!r}"
    for status, expected in zip(found, one.statuses, strict=True):
        assert status in expected, f"{one.kind}: {answer[:300]!r}"
    if found and not one.good and found[-1] >= 400 and b"text/html" not in answer:
        assert list(json.loads(body)) == ["error"], one.kind
    one.check(body)


def statuses(answer: bytes) -> tuple[list[int], bytes]:
    """The statuses of answers that stand one behind another, and the last one's body."""
    found: list[int] = []
    body = b""
    while answer:
        top, _, rest = answer.partition(b"\r\n\r\n")
        found.append(int(top.split(b" ", 2)[1]))
        length = re.search(rb"(?i)content-length: (\d+)", top)
        assert length, top
        body, answer = rest[: int(length[1])], rest[int(length[1]) :]
        assert len(body) == int(length[1])
    return found, body


@dataclass
class SlowClients:
    """Connections of three kinds, each of which sends a byte now and then, or never reads."""

    connections: list[socket.socket]
    sent: list[int] = field(default_factory=list)

    WHOLE = (
        head("GET /health", "X-Slow: 1\r\n" * 100),
        post("/tag", b" " * 1000),
        head("GET /openapi.json", close=False) * 1000,
    )

    @classmethod
    def of(cls, server: Server) -> "SlowClients":
        connections = [server.connect() for _ in range(SLOW)]
        for number, connection in enumerate(connections):
            connection.setblocking(False)
            content = cls.WHOLE[number % 3]
            with suppress(BlockingIOError):
                # the head and nothing of the body; all of it, but what comes back is never read
                connection.send((content[:40], content[:-1000], content)[number % 3])
        return cls(connections, [40] * SLOW)

    def drip(self) -> None:
        for number, connection in enumerate(self.connections):
            if number % 3 < 2:
                with suppress(OSError):
                    connection.send(self.WHOLE[number % 3][self.sent[number] :][:1])
                self.sent[number] += 1


@contextmanager
def slow_clients(server: Server) -> Generator[SlowClients]:
    """Hold them open, and let a byte drip from each, once a second."""
    clients, stop = SlowClients.of(server), threading.Event()

    def drip() -> None:
        while not stop.wait(1):
            clients.drip()

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield clients
    finally:
        stop.set()
        thread.join()
        for connection in clients.connections:
            connection.close()


def send_all(server: Server, traffic: Traffic, seed: int, number: int) -> tuple[Counter[str], list[str]]:
    """Send so many exchanges from several clients; return how many of each kind, and what went wrong."""
    done: Counter[str] = Counter()
    failures: list[str] = []
    lock = threading.Lock()

    def client(part: int) -> None:
        for one in traffic.exchanges(seed * CLIENTS + part, number // CLIENTS):
            try:
                exchange(server, one)
            except (AssertionError, OSError, ValueError, KeyError) as error:
                with lock:
                    failures.append(f"{one.kind}: {type(error).__name__} {str(error)[:300]}")
            with lock:
                done[one.kind] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    return done, failures


def test_good_requests_are_answered_among_bad_ones_and_nothing_is_left_behind(
    server: Server, traffic: Traffic
) -> None:
    started = time.monotonic()
    warm, failures = send_all(server, traffic, 0, REQUESTS // 2)
    until(lambda: server.files() < FILES)
    before = server.memory()
    with slow_clients(server):
        held = time.monotonic()
        done, more = send_all(server, traffic, 1, REQUESTS - REQUESTS // 2)
        if NIGHTLY:
            until(lambda: server.files() < FILES, seconds=2 * PATIENCE)
        waited = time.monotonic() - held
    grown, seconds = server.memory() - before, time.monotonic() - started
    done += warm
    failures += more
    assert not failures, "\n".join(failures[:20])
    assert done.total() == REQUESTS
    good = sum(count for kind, count in done.items() if kind.startswith("good"))
    assert good == REQUESTS // 2
    assert len(done) == 7 + 17 + 16  # every kind was there
    assert 'status="5' not in metrics(server)
    assert grown < 16, f"{before:.0f} MB after {REQUESTS // 2} requests, then {grown:+.1f}"
    until(lambda: server.files() < FILES)  # every connection was closed
    print(
        f"\n{REQUESTS} requests in {seconds:.0f} s, {good} good, {len(done)} kinds; {SLOW} slow clients "
        f"({waited:.0f} s); {before:.1f} MB {grown:+.1f} MB"
    )
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) in (0, -signal.SIGTERM)
    assert server.process.stderr
    assert server.process.stderr.read() == ""  # no exception was logged


def metrics(server: Server) -> str:
    with server.connect() as connection:
        connection.sendall(head("GET /metrics"))
        return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()


def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)


def test_a_client_that_asks_and_never_reads_is_not_waited_for() -> None:
    with running(Classifier.load(), Limits(seconds=0.5)) as client, socket.socket() as connection:
        assert client.base_url.port
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # soon full: then the server waits
        connection.connect(("127.0.0.1", client.base_url.port))

        def dropped() -> bool:
            try:
                connection.sendall(head("GET /openapi.json", close=False))  # each once the last was answered
            except ConnectionError:
                return True
            return False

        until(dropped)
        assert client.get("/health").status_code == 200
