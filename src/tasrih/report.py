"""An article as one page: right to left, its sentences coloured by act. No script, and nothing is fetched.

    page(article, classifier.tag(article), title="article.txt")     # the whole file, for any browser
    tagged_html(article, sentences)                                 # its middle, for the server's page

A sentence shows its act in three ways: a colour, a kind of line, and a name. Its confidence and second act
appear where it is pointed at or reached with the Tab key, and behind it in print. All styles stand in
page/style.css.
"""

import base64
import hashlib
import html
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Final

import tasrih
from tasrih.labels import LABELS, Label
from tasrih.predict import Prediction, TaggedSentence

_FILES: Final = Path(__file__).parent / "page"

# What HTML cannot hold as it is. Whatever ends a line for the splitter ends one on the page.
_LINE_ENDS: Final = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNSHOWABLE: Final = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # controls, half characters
# An unclosed embedding or override would reorder the sentences around the one it stands in.
_BIDI_CONTROLS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


def page(article: str, sentences: Sequence[TaggedSentence], *, title: str) -> str:
    """Return a self-contained HTML document that shows `article` with its `sentences` coloured.

    `sentences` are those of `Classifier.tag(article)`; text outside them is shown without colour. `title` is
    shown above. Raises `ValueError` where a sentence is not the article's or they are out of order.
    """
    style = stylesheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # A report may be opened from anywhere: its one style sheet is all that may take effect in it.
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>'
    footer = f'<footer lang="en" dir="ltr">tasrih {tasrih.__version__}</footer>'
    body = f"<h1><bdi>{text_html(title)}</bdi></h1>\n{tagged_html(article, sentences)}\n{footer}"
    return document(title, head, body)


def document(title: str, head: str, body: str) -> str:
    """Return a right-to-left HTML document; `title` is text, `head` and `body` are HTML."""
    return template("document.html").substitute(
        title=text_html(title), head=head, body=body, version=tasrih.__version__
    )


def tagged_html(article: str, sentences: Sequence[TaggedSentence]) -> str:
    """Return the article, and beside it a legend with counts. Raises as `page` does."""
    pieces: list[str] = []
    end = 0
    for number, sentence in enumerate(sentences, start=1):
        if not (
            end <= sentence.start < sentence.end and article[sentence.start : sentence.end] == sentence.text
        ):
            raise ValueError(
                f"sentences[{number - 1}]: found {sentence.text[:40]!r} at {sentence.start}:{sentence.end}, "
                "expected the article's own sentences, in order; give those that tag returned for it"
            )
        pieces += [text_html(article[end : sentence.start]), _sentence_html(sentence, number)]
        end = sentence.end
    pieces.append(text_html(article[end:]))
    return (
        f'<div class="tagged">\n<div class="article" role="article">{"".join(pieces)}</div>\n'
        f"{_legend_html(sentences)}\n</div>"
    )


def text_html(text: str) -> str:
    """Return `text` as HTML that shows it, in an element or between double quotes, and does nothing else."""
    shown = _LINE_ENDS.sub("\n", text)
    return html.escape(_BIDI_CONTROLS.sub("", _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", shown)))


def stylesheet() -> str:
    """Return the style sheet of report and server."""
    return _file("style.css")


def template(name: str) -> Template:
    """Return a file of the page as a template."""
    return Template(_file(name))


@cache
def _file(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _sentence_html(sentence: TaggedSentence, number: int) -> str:
    """Return the sentence and, hidden behind it, its note. `dir` isolates: a sentence that begins or ends
    with Latin letters stays at its place in the right-to-left line."""
    prediction, label = sentence.prediction, sentence.prediction.label
    return (
        f'<mark class="{label}" dir="rtl" tabindex="0" aria-describedby="note-{number}" '
        f'data-act="{label.arabic}" data-note="{_short_note(prediction)}">{text_html(sentence.text)}</mark>'
        f'<span class="note" role="tooltip" id="note-{number}">{_note_html(prediction)}</span>'
    )


def _short_note(prediction: Prediction) -> str:
    """Return what stands behind the sentence in print."""
    acts = [act for act in (prediction.label, prediction.secondary) if act is not None]
    cut = " · من بدايته" if prediction.truncated else ""
    return " · ".join(f"{act.arabic} {_percent(prediction.scores[act])}" for act in acts) + cut


def _note_html(prediction: Prediction) -> str:
    parts = [
        f"{_name_html(prediction.label)} · الثقة {_english('confidence')} {_percent(prediction.confidence)}"
    ]
    second = prediction.secondary
    if second is not None:
        parts.append(
            f"فعل ثانٍ {_english('second act')}: {_name_html(second)} {_percent(prediction.scores[second])}"
        )
    if prediction.truncated:
        parts.append(f"حُكم عليها من بدايتها {_english('long: judged by its beginning')}")
    return " · ".join(parts)


def _legend_html(sentences: Sequence[TaggedSentence]) -> str:
    first = Counter(sentence.prediction.label for sentence in sentences)
    second = Counter(sentence.prediction.secondary for sentence in sentences)
    rows = "\n".join(
        f'<tr><th scope="row"><span class="act {label}">{label.arabic}</span> {_english(_name(label))}</th>'
        f"<td>{first[label]}</td><td>{first[label] / max(len(sentences), 1):.0%}</td>"
        f"<td>{second[label] or '–'}</td></tr>"
        for label in LABELS
    )
    return (
        '<table class="legend">\n'
        f"<caption>{len(sentences)} جملة مصنّفة {_english('sentences tagged')}</caption>\n"
        f'<thead><tr><th scope="col">الفعل {_english("act")}</th><th scope="col">العدد</th>'
        f'<th scope="col">النسبة</th><th scope="col">فعلًا ثانيًا {_english("second")}</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>"
    )


def _percent(share: float) -> str:
    return f"\u200e{share:.0%}"  # left-to-right mark: behind an Arabic letter it would be shown as %93


def _name_html(label: Label) -> str:
    return f"<b>{label.arabic}</b> {_english(_name(label))}"


def _name(label: Label) -> str:
    return str(label).replace("_", " ")


def _english(text: str) -> str:
    return f'<span lang="en" dir="ltr">{text}</span>'
