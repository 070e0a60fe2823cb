"""The one shape of every error: `{"error": {"code": …, "message": …, "position": …}}`."""

from typing import Any, Final, Literal

from pydantic import BaseModel
from starlette.responses import Response

Code = Literal[
    "bad_request",
    "not_found",
    "method_not_allowed",
    "timeout",
    "body_too_large",
    "unsupported_media_type",
    "invalid",
    "too_many_requests",
    "internal",
    "overloaded",
]
CODES: Final[dict[int, Code]] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "overloaded",
}


class ErrorDetail(BaseModel):
    """`code` says what kind of error it is, `message` what was found and expected, `position` which text of
    the request it is about, counted from 0, where it is about one."""

    code: Code
    message: str
    position: int | None = None


class ErrorBody(BaseModel):
    error: ErrorDetail


class Problem(Exception):
    """A request that is refused. `headers` go with the answer."""

    def __init__(
        self, status: int, message: str, *, position: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.position = status, message, position
        self.headers = headers or {}


def body(problem: Problem) -> bytes:
    """Return the problem as JSON. What UTF-8 cannot hold is escaped."""
    message = problem.message.encode("utf-8", "backslashreplace").decode("utf-8")
    code = CODES.get(problem.status, "bad_request")
    detail = ErrorDetail(code=code, message=message, position=problem.position)
    return ErrorBody(error=detail).model_dump_json().encode()


def response(problem: Problem) -> Response:
    """Return the problem as an answer in JSON."""
    return Response(body(problem), problem.status, problem.headers, "application/json")


_DESCRIPTIONS: Final = {
    400: "The body cannot be parsed",
    408: "The body came too slowly",
    413: "The body is larger than the server takes",
    415: "The body is not application/json in UTF-8",
    422: "The body is not what is expected: a wrong field, too many items, a text without an Arabic letter",
    429: "Too many requests of this client are not answered yet; see Retry-After",
    503: "The queue is full; see Retry-After",
}


def responses() -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI documents of the errors of a route that takes a body."""
    retry = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
    return {
        status: {"model": ErrorBody, "description": text}
        | ({"headers": retry} if status in (429, 503) else {})
        for status, text in _DESCRIPTIONS.items()
    }
