"""The page at /: a form that takes an article, and the article coloured as report.py does it. No script."""

from collections.abc import Sequence
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse

from tasrih import report
from tasrih.predict import TaggedSentence
from tasrih.server.problems import Problem

_TITLE = "تصريح"
_HEAD = '<link rel="stylesheet" href="/style.css">'
_INTRODUCTION = (
    "<p>اتهام ونفي وأسف وخبر في جمل الأخبار العربية "
    '<span lang="en" dir="ltr">accusation, denial, regret and factual report in Arabic news</span></p>'
)


def empty_page() -> HTMLResponse:
    """Return the form."""
    return _page(_form("", rows=14))


def tagged_page(article: str, sentences: Sequence[TaggedSentence]) -> HTMLResponse:
    """Return the article coloured, and below it the form with the article in it."""
    return _page(f"{report.tagged_html(article, sentences)}\n{_form(article, rows=6)}")


def problem_page(problem: Problem, article: str = "") -> HTMLResponse:
    """Return the form with the article in it and, above, what was wrong."""
    message = (
        f'<p class="problem" role="alert">تعذّر التصنيف <span lang="en" dir="ltr">Not tagged: '
        f"{report.text_html(problem.message)}</span></p>"
    )
    answer = _page(_form(article, rows=14, problem=message), problem.status)
    answer.headers.update(problem.headers)
    return answer


def form_text(body: bytes) -> str:
    """Return the article out of a submitted form. Raises `Problem` (422) where it is not a form with one."""
    try:
        (text,) = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=1,
        )["text"]
    except (ValueError, KeyError):
        raise Problem(422, "body: found no form, expected one with the field text, in UTF-8") from None
    return text


def _form(text: str, *, rows: int, problem: str = "") -> str:
    return report.template("form.html").substitute(text=report.text_html(text), rows=rows, problem=problem)


def _page(content: str, status: int = 200) -> HTMLResponse:
    body = f"<h1>{_TITLE}</h1>\n{_INTRODUCTION}\n<main>\n{content}\n</main>"
    return HTMLResponse(report.document(_TITLE, _HEAD, body), status)
