"""The routes, and what becomes of errors."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

import tasrih
from tasrih import report
from tasrih.predict import Classifier, TaggedSentence
from tasrih.sentences import Sentence, split_sentences
from tasrih.server import problems, web
from tasrih.server.batcher import Batcher, Overloaded, Predictions
from tasrih.server.gate import Gate
from tasrih.server.limits import Limits
from tasrih.server.metrics import CONTENT_TYPE, Metrics
from tasrih.server.problems import Problem
from tasrih.server.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    HealthResponse,
    PredictionBody,
    SentenceBody,
    TagRequest,
    TagResponse,
)

_BODIES: Final = {
    "/classify": "application/json",
    "/tag": "application/json",
    "/": "application/x-www-form-urlencoded",
}
_SHORT: Final = 20_000  # characters; splitting them takes some milliseconds


def create_app(classifier: Classifier, limits: Limits | None = None) -> ASGIApp:
    """Return an ASGI application that serves `classifier` within `limits`. It needs its lifespan events."""
    limits = limits or Limits()
    metrics = Metrics()
    batcher = Batcher(
        classifier.classify_or_none,
        batch=limits.batch,
        queue=limits.queue,
        observe=metrics.batch,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with batcher:
            yield

    app = FastAPI(
        title="tasrih",
        description="Accusation, denial, regret or factual report, for sentences of Arabic news.",
        version=tasrih.__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages of documentation load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    _give_errors_one_shape(app)

    async def predict(texts: list[str]) -> Predictions:
        with _overload_as_problem():
            predictions = await batcher.classify(texts)
        metrics.labels(prediction.label for prediction in predictions if prediction is not None)
        return predictions

    async def tagged(article: str) -> list[TaggedSentence]:
        spans = await _split(article)
        if len(spans) > limits.items:
            raise Problem(
                422,
                f"text: found {len(spans)} sentences, expected at most {limits.items}; send it in parts",
            )
        predictions = await predict([span.text for span in spans])
        sentences = [
            TaggedSentence(span.text, span.start, span.end, prediction)
            for span, prediction in zip(spans, predictions, strict=True)
            if prediction is not None
        ]
        if not sentences:
            raise Problem(422, "text: found no Arabic letter, expected an article in Arabic")
        return sentences

    @app.post("/classify", responses=problems.responses(), response_model=ClassifyResponse)
    async def classify(request: ClassifyRequest) -> Response:
        """Classify sentences."""
        texts = request.texts
        if len(texts) > limits.items:
            raise Problem(
                422, f"texts: found {len(texts)}, expected at most {limits.items}; send them in parts"
            )
        predictions: list[PredictionBody] = []
        for position, prediction in enumerate(await predict(texts)):
            if prediction is None:
                raise Problem(
                    422,
                    f"texts[{position}]: found no Arabic letter, expected a sentence in Arabic; leave such "
                    "texts out",
                    position=position,
                )
            predictions.append(PredictionBody.of(prediction))
        return _json(ClassifyResponse.model_construct(predictions=predictions))

    @app.post("/tag", responses=problems.responses(), response_model=TagResponse)
    async def tag(request: TagRequest) -> Response:
        """Split an article into sentences and classify each."""
        sentences = [SentenceBody.of_sentence(sentence) for sentence in await tagged(request.text)]
        return _json(TagResponse.model_construct(sentences=sentences))

    @app.get("/health")
    async def health() -> HealthResponse:
        """Say that the server answers."""
        return HealthResponse(
            status="ok",
            version=tasrih.__version__,
            model=classifier.checkpoint.name,
            queued=batcher.sentences,
        )

    @app.get("/metrics", response_class=PlainTextResponse)
    async def counts() -> Response:
        """Return counts and times in Prometheus' text format."""
        return Response(metrics.text(queued=batcher.sentences), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def form() -> HTMLResponse:
        return web.empty_page()

    @app.post("/", include_in_schema=False)
    async def submitted(request: Request) -> HTMLResponse:
        article = web.form_text(await request.body())
        try:
            return web.tagged_page(article, await tagged(article))
        except Problem as problem:
            return web.problem_page(problem, article)

    @app.get("/style.css", include_in_schema=False)
    async def style() -> Response:
        return Response(report.stylesheet(), media_type="text/css")

    def check_room() -> None:
        with _overload_as_problem():
            batcher.check_room()

    # Around the application, and not among its middleware, so that it sees every answer, errors included.
    return Gate(app, limits=limits, metrics=metrics, bodies=_BODIES, check_room=check_room, refuse=_refused)


@contextmanager
def _overload_as_problem() -> Generator[None]:
    try:
        yield
    except Overloaded as error:
        raise Problem(503, str(error), headers={"Retry-After": str(error.retry_after)}) from None


async def _split(article: str) -> list[Sentence]:
    """Return the article's sentences; in a thread where that would hold up the event loop."""
    if len(article) <= _SHORT:
        return split_sentences(article)
    return await asyncio.to_thread(split_sentences, article)


def _json(content: ClassifyResponse | TagResponse) -> Response:
    # A Response is sent as it is; FastAPI would check each of our own predictions again.
    return Response(content.model_dump_json(), media_type="application/json")


def _refused(path: str, problem: Problem) -> Response:
    return web.problem_page(problem) if path == "/" else problems.response(problem)


def _give_errors_one_shape(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return _refused(request.url.path, error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        """Name the first thing that is wrong: `texts[3]: Input should be a valid string`."""
        first = error.errors()[0]
        place: list[int | str] = [step for step in first["loc"] if step != "body"]
        if first["type"] == "json_invalid":
            message = f"body: found no JSON: {first['ctx']['error']} at character {place[-1]}"
            return problems.response(Problem(400, message))
        name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
        position = next((step for step in place if isinstance(step, int)), None)
        message = f"{name.removeprefix('.') or 'body'}: {first['msg']}"
        return problems.response(Problem(422, message, position=position))

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        return problems.response(Problem(error.status_code, error.detail, headers=dict(error.headers or {})))

    @app.exception_handler(Exception)
    async def on_bug(_request: Request, _error: Exception) -> Response:
        return problems.response(Problem(500, "an error of the server; its log has the details"))
