"""The server over real sockets, and its batcher by itself."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasrih import LABELS, Classifier, Label, Prediction
from tasrih.server import Limits
from tasrih.server.batcher import Batcher, Overloaded
from tasrih.server.run import server

DENIAL = "نفت الوزارة صحة ما تداولته مواقع التواصل"
ARTICLE = (Path(__file__).parents[1] / "examples" / "article.txt").read_text(encoding="utf-8")
JSON = {"Content-Type": "application/json"}


class Held(Classifier):
    """The classifier it is made from, which waits until `go` is set, and fails for texts about عطل."""

    def __init__(self, of: Classifier) -> None:
        self.__dict__.update(of.__dict__)
        self.go = threading.Event()

    def classify_or_none(self, texts: Iterable[str]) -> list[Prediction | None]:
        texts = list(texts)
        assert self.go.wait(30)
        if any("عطل" in text for text in texts):
            raise RuntimeError("a fault of the model")
        return super().classify_or_none(texts)


@contextmanager
def running(classifier: Classifier, limits: Limits | None = None) -> Generator[httpx.Client]:
    """Run a server in a thread, and give a client that knows its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        one = server(classifier, limits or Limits())
        thread = threading.Thread(target=one.run, kwargs={"sockets": [listener]})
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
                yield client
        finally:
            one.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Generator[httpx.Client]:
    with running(classifier, Limits(body=100_000, items=50)) as client:
        yield client


def port(client: httpx.Client) -> int:
    assert client.base_url.port
    return client.base_url.port


def raw(client: httpx.Client, content: bytes, *, wait: float = 5) -> bytes:
    """Send bytes as they are, and return all that comes back before the connection ends."""
    with socket.create_connection(("127.0.0.1", port(client)), timeout=wait) as connection:
        connection.sendall(content)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def metric(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def error(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer, whose shape is the same everywhere."""
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert list(content) == ["error"]
    assert list(content["error"]) == ["code", "message", "position"]
    return content["error"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)


def gather(*tasks: Callable[[], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


# What it answers.


def test_classify_answers_as_the_classifier_does(
    client: httpx.Client, classifier: Classifier, texts: list[str]
) -> None:
    predictions = client.post("/classify", json={"texts": texts[:20]}).json()["predictions"]
    for found, expected in zip(predictions, classifier.classify(texts[:20]), strict=True):
        assert list(found) == ["label", "confidence", "scores", "secondary", "truncated"]
        assert found["label"] == expected.label
        assert found["scores"] == pytest.approx(dict(expected.scores), abs=1e-4)
        assert found["confidence"] == found["scores"][found["label"]]
        assert (found["secondary"], found["truncated"]) == (expected.secondary, expected.truncated)


def test_tag_answers_with_offsets(client: httpx.Client, classifier: Classifier) -> None:
    sentences = client.post("/tag", json={"text": ARTICLE + "\nEnglish only."}).json()["sentences"]
    assert all(ARTICLE[found["start"] : found["end"]] == found["text"] for found in sentences)
    assert [found["label"] for found in sentences] == [s.prediction.label for s in classifier.tag(ARTICLE)]


def test_health_and_metrics(client: httpx.Client) -> None:
    health = client.get("/health").json()
    assert health == {"status": "ok", "version": "0.1.0", "model": "tasrih-compact", "queued": 0}
    name = 'tasrih_requests_total{method="POST",path="/classify",status="200"}'
    before = metric(client, name), metric(client, 'tasrih_predictions_total{label="denial"}')
    client.post("/classify", json={"texts": [DENIAL]})
    client.get("/a/path/of/a/scanner")
    after = metric(client, name), metric(client, 'tasrih_predictions_total{label="denial"}')
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)
    assert metric(client, 'tasrih_requests_total{method="GET",path="other",status="404"}') >= 1
    assert "scanner" not in client.get("/metrics").text


def test_openapi_describes_requests_answers_and_errors(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/classify", "/tag", "/health", "/metrics"}
    for path in ("/classify", "/tag"):
        responses = described["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", "400", "408", "413", "415", "422", "429", "503"}
        shapes = {
            responses[status]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            for status in responses
            if status != "200"
        }
        assert shapes == {"ErrorBody"}
    assert "http" not in json.dumps(described)
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_the_page_takes_an_article_and_shows_it(client: httpx.Client) -> None:
    form = client.get("/")
    assert form.headers["content-type"] == "text/html; charset=utf-8"
    assert '<textarea id="text" name="text"' in form.text
    tagged = client.post("/", data={"text": f"{DENIAL}.\n<script>alert(1)</script>"}).text
    assert re.search(r'<mark class="denial"[^>]*>' + DENIAL, tagged)
    assert "<script" not in tagged
    assert tagged.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2  # the article, and the form again
    assert client.get("/style.css").headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"text=hello", 422, "text: found no Arabic letter, expected an article in Arabic"),
        (b"text=%D9", 422, "body: found no form, expected one with the field text, in UTF-8"),
        (b"text=a&text=b", 422, "body: found no form, expected one with the field text, in UTF-8"),
        ("text=نفى".encode(), 422, "body: found no form, expected one with the field text, in UTF-8"),
        (b"t" * 100_001, 413, "body: found more than 100000 bytes, expected at most that; send it in parts"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_on_the_page(
    client: httpx.Client, content: bytes, status: int, message: str
) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/", content=content, headers=form)
    assert answer.status_code == status
    assert f"Not tagged: {message}</span>" in answer.text
    assert "<textarea" in answer.text


@pytest.mark.parametrize("path", ["/", "/health", "/classify", "/nowhere", "/style.css"])
def test_no_answer_may_load_anything(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


# What it refuses.


@pytest.mark.parametrize(
    ("path", "content", "status", "code", "message", "position"),
    [
        ("/classify", b'{"texts": "a"}', 422, "invalid", "texts: Input should be a valid list", None),
        ("/classify", b'{"texts": ["a", 1]}', 422, "invalid", "texts[1]: Input should be a valid string", 1),
        ("/classify", b"{}", 422, "invalid", "texts: Field required", None),
        ("/classify", b"", 422, "invalid", "body: Field required", None),
        (
            "/classify",
            b'{"texts": []}',
            422,
            "invalid",
            "texts: List should have at least 1 item after validation, not 0",
            None,
        ),
        (
            "/classify",
            '{"texts": ["نفى", "no"]}'.encode(),
            422,
            "invalid",
            "texts[1]: found no Arabic letter, expected a sentence in Arabic; leave such texts out",
            1,
        ),
        (
            "/classify",
            json.dumps({"texts": ["نفى"] * 51}).encode(),
            422,
            "invalid",
            "texts: found 51, expected at most 50; send them in parts",
            None,
        ),
        (
            "/classify",
            rb'{"texts": ["\u0646\ud800"]}',
            422,
            "invalid",
            "texts[0]: found a lone surrogate at character 1, expected Unicode text",
            0,
        ),
        (
            "/classify",
            rb'{"texts": [], "\ud800": 1}',
            422,
            "invalid",
            r"body: found the field '\ud800', expected texts",
            None,
        ),
        (
            "/classify",
            b'{"texts": [',
            400,
            "bad_request",
            "body: found no JSON: Expecting value at character 11",
            None,
        ),
        ("/classify", b"[" * 90_000, 400, "bad_request", "There was an error parsing the body", None),
        (
            "/classify",
            b'{"texts": ["\xff"]}',
            400,
            "bad_request",
            "There was an error parsing the body",
            None,
        ),
        ("/tag", b'{"text": ["a"]}', 422, "invalid", "text: Input should be a valid string", None),
        (
            "/tag",
            b'{"text": ""}',
            422,
            "invalid",
            "text: found no Arabic letter, expected an article in Arabic",
            None,
        ),
        (
            "/tag",
            json.dumps({"text": "نفى.\n" * 51}).encode(),
            422,
            "invalid",
            "text: found 51 sentences, expected at most 50; send it in parts",
            None,
        ),
        ("/nowhere", b"", 404, "not_found", "Not Found", None),
        ("/health", b"", 405, "method_not_allowed", "Method Not Allowed", None),
        (
            "/tag",
            b"x" * 100_001,
            413,
            "body_too_large",
            "body: found more than 100000 bytes, expected at most that; send it in parts",
            None,
        ),
    ],
)
def test_errors_have_one_shape(
    client: httpx.Client,
    path: str,
    content: bytes,
    status: int,
    code: str,
    message: str,
    position: int | None,
) -> None:
    answer = client.post(path, content=content, headers=JSON)
    assert answer.status_code == status
    assert error(answer) == {"code": code, "message": message, "position": position}


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Content-Type": "text/plain"}, "text/plain, identity"),
        (
            {"Content-Type": "application/json; charset=windows-1256"},
            "application/json; charset=windows-1256, identity",
        ),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "application/json, gzip"),
        ({}, "no Content-Type, identity"),
    ],
)
def test_other_kinds_of_body_are_refused(client: httpx.Client, headers: dict[str, str], found: str) -> None:
    answer = client.post("/tag", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert error(answer)["message"] == (
        f"found {found}; expected Content-Type: application/json, in UTF-8, not compressed"
    )


def test_a_body_is_counted_as_it_comes(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Generator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 10_000
            yield b" " * 10_000

    answer = client.post("/tag", content=endless(), headers=JSON)  # chunked: no Content-Length
    assert answer.status_code == 413
    declared = raw(
        client,
        b"POST /tag HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99999999999999999999\r\n\r\n",
    )
    assert declared.startswith(b"HTTP/1.1 413 ")
    somewhat = raw(
        client,
        b"POST /tag HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: 700000\r\n\r\n" + b" " * 700_000,
    )
    assert somewhat.startswith(b"HTTP/1.1 413 ")  # and not a connection that is reset


def test_thousands_of_wrong_items_are_one_error(client: httpx.Client) -> None:
    for content in (
        b'{"texts": [' + b"1," * 49_000 + b"1]}",
        json.dumps(dict.fromkeys(map(str, range(8000)), 1)).encode(),
    ):
        started = time.perf_counter()
        answer = client.post("/classify", content=content, headers=JSON)
        assert answer.status_code == 422
        assert len(answer.content) < 300
        assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Flood: 1\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000,
        b"POST /tag HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /tag HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_answered_in_the_same_shape(client: httpx.Client, content: bytes) -> None:
    head, _, body = raw(client, content).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["message"] == "found a malformed request, expected HTTP/1.1"
    assert client.get("/health").status_code == 200


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/", "/classify", "/tag"]),
    content=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["texts", "text", "a"]), inner)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded"]) | st.text(max_size=20),
)
def test_no_body_is_an_error_of_the_server(
    client: httpx.Client, path: str, content: bytes, kind: str
) -> None:
    header = re.sub("[^ -~\x80-\xff]", "", kind).strip().encode("latin-1")
    answer = client.post(path, content=content, headers=[(b"Content-Type", header)])
    assert answer.status_code in (200, 400, 415, 422)


# Many at once.


def test_requests_that_are_there_together_share_a_batch(classifier: Classifier) -> None:
    held = Held(classifier)
    with running(held) as client, ThreadPoolExecutor(40) as pool:
        futures = [
            pool.submit(client.post, "/classify", json={"texts": [DENIAL, f"{DENIAL} رقم {number}"]})
            for number in range(40)
        ]
        until(lambda: client.get("/health").json()["queued"] == 80)
        held.go.set()
        assert all(future.result().status_code == 200 for future in futures)
        assert metric(client, "tasrih_batch_sentences_count") == 2  # the first request, then all that waited
        assert metric(client, "tasrih_batch_sentences_sum") == 80
        assert metric(client, "tasrih_queue_sentences") == 0


def test_a_bad_request_fails_alone(classifier: Classifier) -> None:
    held = Held(classifier)
    with running(held) as client, ThreadPoolExecutor(4) as pool:

        def post(*texts: str) -> Any:
            return pool.submit(client.post, "/classify", json={"texts": list(texts)})

        first = post(DENIAL)
        until(lambda: client.get("/health").json()["queued"] == 1)
        good, bad, fault = post(DENIAL, DENIAL), post(DENIAL, "no Arabic"), post("عطل")
        until(lambda: client.get("/health").json()["queued"] == 6)
        held.go.set()
        assert first.result().status_code == good.result().status_code == 200
        assert error(bad.result())["position"] == 1
        assert fault.result().status_code == 500
        assert error(fault.result()) == {
            "code": "internal",
            "message": "an error of the server; its log has the details",
            "position": None,
        }
        assert "content-security-policy" in fault.result().headers


def test_a_full_queue_refuses_quickly_and_serves_the_rest(classifier: Classifier) -> None:
    held = Held(classifier)
    with running(held, Limits(queue=40, items=10)) as client, ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(client.post, "/classify", json={"texts": [DENIAL] * 10}) for _ in range(16)]
        until(lambda: sum(future.done() for future in futures) == 12)  # although nothing is classified yet
        refused = [future.result() for future in futures if future.done()]
        assert {answer.status_code for answer in refused} == {503}
        assert error(refused[0])["code"] == "overloaded"
        assert error(refused[0])["message"].startswith(
            "the queue holds 40 sentences of at most 40, too many for "
        )
        assert int(refused[0].headers["retry-after"]) >= 1
        held.go.set()
        assert sorted(future.result().status_code for future in futures) == [200] * 4 + [503] * 12


def test_one_client_may_have_so_many_requests_unanswered(classifier: Classifier) -> None:
    held = Held(classifier)
    with running(held, Limits(in_flight=2)) as client, ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(client.post, "/tag", json={"text": DENIAL}) for _ in range(2)]
        until(lambda: metric(client, "tasrih_requests_in_flight") == 2)
        answer = client.post("/tag", json={"text": DENIAL})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert error(answer)["message"] == (
            "found 2 requests of this client without an answer yet, expected fewer; wait for one before the "
            "next"
        )
        held.go.set()
        assert [future.result().status_code for future in futures] == [200, 200]
        assert client.post("/tag", json={"text": DENIAL}).status_code == 200


def test_the_sentences_of_a_client_that_left_leave_the_queue(classifier: Classifier) -> None:
    held = Held(classifier)
    body = json.dumps({"texts": [DENIAL] * 3}).encode()
    head = "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with running(held) as client:
        with socket.create_connection(("127.0.0.1", port(client))) as connection:
            connection.sendall(head.encode() + body)
            until(lambda: client.get("/health").json()["queued"] == 3)
        until(lambda: client.get("/health").json()["queued"] == 0)
        held.go.set()
        with socket.create_connection(("127.0.0.1", port(client))) as connection:  # half a body, then gone
            connection.sendall(head.encode() + body[:10])
        assert client.post("/classify", json={"texts": [DENIAL]}).status_code == 200
        until(lambda: metric(client, "tasrih_requests_in_flight") == 0)


def test_slow_clients_are_not_waited_for(classifier: Classifier) -> None:
    head = b"POST /tag HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    with running(classifier, Limits(seconds=0.4)) as client:
        started = time.perf_counter()
        answer = raw(client, head + b'{"text"')
        assert answer.startswith(b"HTTP/1.1 408 ")
        message = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        assert message == "found 7 bytes of the body after 0.4 seconds, expected all"
        for silent in (b"", head[:20]):
            with suppress(ConnectionResetError):
                raw(client, silent)
        assert time.perf_counter() - started < 4
        assert client.get("/health").status_code == 200


# The batcher.


def answers(texts: list[str]) -> list[Prediction | None]:
    scores = dict.fromkeys(LABELS, 0.25)
    return [Prediction(Label.DENIAL, float(text), scores, None, False) for text in texts]


def test_batches_hold_whole_calls_in_order() -> None:
    seen: list[list[str]] = []

    def classify(texts: list[str]) -> list[Prediction | None]:
        seen.append(texts)
        return answers(texts)

    async def run() -> list[list[float]]:
        async with Batcher(classify, batch=4, queue=100) as batcher:
            calls = [["1"], ["2", "3"], ["4", "5"], [], ["6"], [str(n) for n in range(7, 13)], ["13"]]
            results = await asyncio.gather(*map(batcher.classify, calls))
            assert batcher.sentences == 0
        return [[one.confidence for one in result if one] for result in results]

    assert asyncio.run(run()) == [[1], [2, 3], [4, 5], [], [6], [7, 8, 9, 10, 11, 12], [13]]
    assert seen == [["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9", "10", "11", "12"], ["13"]]


def test_closing_finishes_what_waits_and_refuses_what_comes() -> None:
    async def run() -> None:
        async with Batcher(answers, batch=1, queue=10) as batcher:
            calls = [asyncio.create_task(batcher.classify([str(n)])) for n in range(5)]
            await asyncio.sleep(0)
        assert [(await call)[0].confidence for call in calls] == [0, 1, 2, 3, 4]
        with pytest.raises(Overloaded, match="the server is shutting down; try again later"):
            await batcher.classify(["1"])

    asyncio.run(run())


def test_a_cancelled_call_is_not_classified() -> None:
    go = threading.Event()
    seen: list[str] = []

    def classify(texts: list[str]) -> list[Prediction | None]:
        go.wait(10)
        seen.extend(texts)
        return answers(texts)

    async def run() -> None:
        async with Batcher(classify, batch=1, queue=10) as batcher:
            calls = [asyncio.create_task(batcher.classify([str(n)])) for n in range(3)]
            await asyncio.sleep(0.05)
            calls[1].cancel()
            await asyncio.sleep(0)
            assert batcher.sentences == 2
            go.set()
            await asyncio.gather(calls[0], calls[2])

    asyncio.run(run())
    assert seen == ["0", "2"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"body": 0}, "body: found 0, expected a number above 0"),
        (
            {"items": 11, "queue": 10},
            "items: found 11, expected at most the queue's 10: a full request would never be served; raise "
            "the queue or lower the items",
        ),
    ],
)
def test_limits_that_cannot_work(limits: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match="found") as caught:
        Limits(**limits)
    assert str(caught.value) == message


# The command.


@contextmanager
def command(*arguments: str) -> Generator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "tasrih", "serve", *arguments]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_command_serves_on_loopback_and_finishes_its_work(texts: list[str]) -> None:
    with command("--port", "0") as process, ThreadPoolExecutor(1) as pool:
        assert process.stderr
        found = re.fullmatch(r"tasrih: listening on (http://127\.0\.0\.1:\d+)\n", process.stderr.readline())
        assert found
        with httpx.Client(base_url=found[1], timeout=30, trust_env=False) as client:
            answer = pool.submit(client.post, "/classify", json={"texts": texts[:600]})
            until(lambda: httpx.get(f"{found[1]}/health", trust_env=False).json()["queued"] == 600)
            process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 200
        assert process.wait(30) in (0, -signal.SIGTERM)
        assert process.stderr.read() == ""


def test_errors_of_the_command_take_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = str(taken.getsockname()[1])
        for arguments, message in (
            (["--port", used], "Address already in use"),
            (["--port", "70000"], "port: found 70000, expected 0 to 65535"),
            (["--max-items", "5000"], "items: found 5000, expected at most the queue's 4096"),
        ):
            with command(*arguments) as process:
                _, errors = process.communicate(timeout=60)
            assert process.returncode == 2
            assert errors.startswith("tasrih: error: ")
            assert message in errors
            assert errors.count("\n") == 1


def test_a_missing_extra_is_named_and_nothing_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None; from tasrih.cli import main; "
        "assert not {'uvicorn', 'starlette', 'pydantic', 'tasrih.report'} & set(sys.modules); "
        "sys.exit(main(['serve']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        'tasrih: error: fastapi is not installed; the server needs: pip install "tasrih[serve]"\n'
    )
