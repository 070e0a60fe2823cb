"""From an article to its sentences, with offsets into the original text.

A line break always ends a sentence: headlines, datelines, paragraphs and list items carry no full stop in
Arabic news. Within a line, a full stop, question mark or exclamation mark ends one unless it belongs to a
number, an abbreviation, a Latin name or a short quotation. Time is linear in the length of the article.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CLOSING: Final = "»”’\"')\\]›"
_LETTER: Final = "\u0621-\u063a\u0641-\u064a\u0671-\u06d3"

_LINE: Final = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
# Terminators with the closing quotation marks and brackets directly behind them.
_TERMINATOR: Final = re.compile(rf"(?:[.!?؟…۔]+)[{_CLOSING}]*")
_BULLET: Final = re.compile(
    r"\s*(?:[•●▪◦■□◆*·]+|[-–—](?=\s)|[0-9٠-٩]{1,2}\s?[-.)](?=\s)|[\u0621-\u064a]\)(?=\s))\s*"
)
_INLINE_BULLET: Final = re.compile(r"\s[•●▪■◆]\s")
_WORD: Final = re.compile(r"[^\W_]+")
# Whitespace, and the marks that lay a text out without being part of it (bidi, zero-width, BOM).
_EDGE: Final = re.compile(r"[\s\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*")
_EDGE_AT_END: Final = re.compile(r"[\s\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")

# An abbreviation is one letter before the stop: د. م. أ.د. ص.ب. A number before it makes it a unit: 5 م.
_SINGLE_LETTER: Final = re.compile(rf"(?<![\w\u064b-\u0652])(?:[{_LETTER}A-Za-z]\u0640?\.)*[{_LETTER}A-Za-z]\u0640?\Z")
_AFTER_NUMBER: Final = re.compile(r"[0-9٠-٩]\s*\Z")
_LATIN_TITLES: Final = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "no", "vs", "jr", "sr", "inc", "ltd", "co", "corp"})
_WORD_AT_END: Final = re.compile(r"[A-Za-z]+\Z")
_LOOK_BACK: Final = 32  # characters before a stop that can decide whether it belongs to an abbreviation

# In a quotation a stop separates sentences only where both are at least this long; «عمدا. ثم مضوا» stays whole.
_QUOTED_SENTENCE_WORDS: Final = 5
# An ellipsis is a pause in most places. It ends a sentence that is long enough to be one.
_WORDS_BEFORE_ELLIPSIS: Final = 5
_WORDS_AFTER_ELLIPSIS: Final = 3


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where it stands: `article[start:end] == text`."""

    text: str
    start: int
    end: int


def split_sentences(article: str) -> list[Sentence]:
    """Return the article's sentences in order, without surrounding space and list bullets.

    Pieces without a letter or a digit are left out. Raises `TypeError` where `article` is not a string.
    """
    if not isinstance(article, str):
        raise TypeError(f"article: found {type(article).__name__}, expected str")
    sentences: list[Sentence] = []
    for line in _LINE.finditer(article):
        for start, end in _line_spans(line[0]):
            sentence = _trimmed(article, line.start() + start, line.start() + end)
            if sentence is not None:
                sentences.append(sentence)
    return sentences


def _line_spans(line: str) -> Iterator[tuple[int, int]]:
    start = 0
    for bullet in _INLINE_BULLET.finditer(line):
        yield from _stop_spans(line, start, bullet.start())
        start = bullet.start()
    yield from _stop_spans(line, start, len(line))


def _stop_spans(line: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    quotations = _quotations(line, start, end)
    words = [match.start() for match in _WORD.finditer(line, start, end)]
    bullet = _BULLET.match(line, start, end)
    first_stop = bullet.end() if bullet else start  # the stop of "1." ends nothing
    sentence_start = start
    for stop in _TERMINATOR.finditer(line, first_stop, end):
        if _ends_sentence(line, stop, sentence_start, end, quotations, words):
            yield sentence_start, stop.end()
            sentence_start = stop.end()
    yield sentence_start, end


def _ends_sentence(
    line: str,
    stop: re.Match[str],
    start: int,
    end: int,
    quotations: list[tuple[int, int]],
    words: list[int],
) -> bool:
    marks = stop[0]
    after = line[stop.end() : stop.end() + 1] if stop.end() < end else ""
    if not after:
        return True
    if after in "،,؛;:":  # «…؟»، قال: the sentence goes on
        return False
    before = line[max(start, stop.start() - _LOOK_BACK) : stop.start()]
    if marks == ".":
        if not _full_stop_ends(before, after):
            return False
    elif not after.isspace() and not _is_arabic_letter(after) and after not in "«“\"(":
        return False
    elif marks.startswith(("..", "…")):
        if not after.isspace() or before[-1:].isspace():
            return False
        if _count(words, start, stop.start()) < _WORDS_BEFORE_ELLIPSIS:
            return False
        if _count(words, stop.end(), end) < _WORDS_AFTER_ELLIPSIS:
            return False
    quotation = _enclosing(quotations, stop.start())
    if quotation is None:
        return True
    opened, closed = quotation
    if stop.end() > closed:  # the stop is the last thing in the quotation, and the quotation is closed
        return True
    return (
        _count(words, max(opened, start), stop.start()) >= _QUOTED_SENTENCE_WORDS
        and _count(words, stop.end(), closed) >= _QUOTED_SENTENCE_WORDS
    )


def _full_stop_ends(before: str, after: str) -> bool:
    if not after.isspace():
        # "قال.وأضاف" lacks its space; "3.5", "tasrih.org" and "أ.د" do not.
        glued = _is_arabic_letter(after) and before[-2:].isalpha() and not before[-1:].isascii()
        return (glued and _SINGLE_LETTER.search(before) is None) or after in "«“"
    latin = _WORD_AT_END.search(before)
    if latin and latin[0].lower() in _LATIN_TITLES:
        return False
    abbreviation = _SINGLE_LETTER.search(before)
    return abbreviation is None or _AFTER_NUMBER.search(before[: abbreviation.start()]) is not None


def _quotations(line: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans of closed quotations, outermost only, from the opening to the closing mark."""
    spans: list[tuple[int, int]] = []
    opened: dict[str, int] = {}
    closing = {"«": "»", "“": "”", '"': '"'}
    for match in re.compile("[«»“”\"]").finditer(line, start, end):
        mark, position = match[0], match.start()
        if mark == '"' and '"' in opened or mark in "»”":
            # News mixes the pairs: a quotation opened by one mark and closed by another is still one.
            openings = [o for o, c in closing.items() if c == mark and o in opened] or list(opened)
            if openings:
                spans.append((min(opened[o] for o in openings), position))
                opened.clear()
        elif mark in closing and mark not in opened:
            opened[mark] = position
    return spans


def _enclosing(quotations: list[tuple[int, int]], position: int) -> tuple[int, int] | None:
    index = bisect_right(quotations, (position, position)) - 1
    return quotations[index] if index >= 0 and quotations[index][1] > position else None


def _count(words: list[int], start: int, end: int) -> int:
    return bisect_right(words, end - 1) - bisect_right(words, start - 1)


def _is_arabic_letter(char: str) -> bool:
    return "\u0621" <= char <= "\u064a" or "\u0671" <= char <= "\u06d3"


def _trimmed(article: str, start: int, end: int) -> Sentence | None:
    bullet = _BULLET.match(article, start, end)
    edge = _EDGE.match(article, bullet.end() if bullet else start, end)
    start = edge.end() if edge else start
    while end > start and _EDGE_AT_END.match(article[end - 1]):
        end -= 1
    text = article[start:end]
    return Sentence(text, start, end) if any(char.isalnum() for char in text) else None
