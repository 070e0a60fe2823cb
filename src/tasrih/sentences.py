"""From an article to its sentences, with offsets into the original text.

A line break always ends a sentence: headlines, datelines, paragraphs and list items carry no full stop in
Arabic news. Within a line, a full stop, question mark or exclamation mark ends one unless it belongs to a
number, an abbreviation, a Latin name, a short quotation, or a question that is followed by who asked it.
The rules see the line without tashkeel, tatweel and marks of layout, which may stand between any two
characters. Time is linear in the length of the article.
"""

import io
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tasrih.quotations import Quotations

_CLOSING: Final = "»”“’\"')\\]›"  # “ too: some papers write ”so“
_BEGINNING: Final = '«“”"(-–—'  # may begin a sentence that lacks its space: "قال.«لن", "لماذا؟-لأن"
_GOES_ON: Final = "،,؛;:"  # «…؟»، قال: the sentence goes on
_LETTER: Final = "\u0621-\u063a\u0641-\u064a\u0671-\u06d3"
_DIGIT: Final = "0-9٠-٩"

_LINE: Final = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_LAYOUT: Final = "\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # bidi, zero-width, BOM
_SEEN: Final = re.compile(rf"[^{_LAYOUT}\u064b-\u0652\u0640\ufe0f]+")
_EDGE: Final = re.compile(rf"[\s{_LAYOUT}]*")
_EDGE_AT_END: Final = re.compile(rf"[\s{_LAYOUT}]")

# Terminators with the closing quotation marks, brackets and footnote numbers directly behind them.
_STOP: Final = re.compile(rf"([.!?؟…۔]+)[{_CLOSING}]*(?:\[[{_DIGIT}]{{1,3}}\])*")
_STOP_AT_END: Final = re.compile(rf"[.!?؟…۔][{_CLOSING}\s]*\Z")
# "15 - 20 قتيلا" is a range and no item 15.
_BULLET: Final = re.compile(
    rf"\s*(?:[•●▪◦■□◆*·]+|[-–—](?=\s)|[{_DIGIT}]{{1,2}}\s?(?:[.)](?=\s)|-(?=\s+[^\s{_DIGIT}]))"
    r"|[\u0621-\u064a]\)(?=\s))\s*"
)
_INLINE_BULLET: Final = re.compile(r"\s[•●▪■◆]\s")
_ARABIC: Final = re.compile(f"[{_LETTER}]")
_WORD: Final = re.compile(r"[^\W_]+")

# An abbreviation is one letter before the stop: د. م. أ.د. ص.ب. A number before it makes it a unit: 5 م.
_SINGLE_LETTER: Final = re.compile(rf"(?<!\w)(?:[{_LETTER}A-Za-z]\.)*[{_LETTER}A-Za-z]\Z")
_AFTER_NUMBER: Final = re.compile(rf"[{_DIGIT}]\s*\Z")
# Latin letters spelt out, two at least: بي. بي. سي.
_LETTER_NAME: Final = (
    "(?:ال)?(?:[إاآأ]ي|[إا]يه|بي|سي|دي|[إاأ]ف|جي|[إا]تش|جيه|كيه|كي|[إاأ]ل|[إاأ]م|[إاأ]ن|[أا]و|كيو|[آا]ر|[إاأ]س"
    "|تي|يو|في|دبليو|[إا]كس|واي|زد)"
)
_SPELT: Final = re.compile(_LETTER_NAME)
_SPELT_BEFORE: Final = re.compile(rf"(?<!\w){_LETTER_NAME}\.\s?\Z")
_SPELT_BEHIND: Final = re.compile(rf"\s?{_LETTER_NAME}\.")
_LATIN_TITLE: Final = re.compile("mrs?|ms|dr|prof|st|no|vs|jr|sr|inc|ltd|co|corp", re.IGNORECASE)
_SMALL_LATIN_BEHIND: Final = re.compile(r"\s+[a-z]")  # "gmail. com"
_LAST_WORD: Final = re.compile(r"[^\W\d_]*\Z")
_LONGEST_SHORT: Final = 8  # letters, of an abbreviation or of a letter's name: "الدبليو"
_LOOK_BACK: Final = 32  # characters before a stop that can decide whether it belongs to an abbreviation
# What a stop without a space behind it ends: a word, a year, a quotation, a percentage. Not "3.5", not "أ.د".
_WHOLE_BEFORE: Final = re.compile(rf"(?:[^\W\d_]{{2}}|[{_DIGIT}]{{3}}|[{_CLOSING}%٪])\Z")

# In a quotation a stop separates sentences only where both are at least this long; «عمدا. ثم مضوا» stays
# whole. A question that is shorter, «من أغرقهم؟», is a title or a remark and does not end what it stands in.
_QUOTED_SENTENCE_WORDS: Final = 5
# An ellipsis is a pause in most places. It ends a sentence that is long enough to be one.
_WORDS_BEFORE_ELLIPSIS: Final = 5
_WORDS_AFTER_ELLIPSIS: Final = 3
_HEADLINE_WORDS: Final = 25  # a longer line without a full stop at its end is a paragraph

# "فأين الفوارغ؟ تساءل قائد الموقع.": who said it, up to the next stop and without saying anything more.
_ATTRIBUTION: Final = re.compile(
    r"\s+(?:[يت]?قول|قالت?|[يت]?كتب|كتبت|[يت]?رد|ردت|[يت]?سأل|سألت|[يت]?تساءل|تساءلت|[أا]جابت?|[يت]جيب|صاحت?"
    r"|[يت]?صرخ|صرخت|[يت]?هتف|هتفت)\s([^.!?؟…۔:«“\"]{1,120})(?:[.۔]|\Z)"
)
_REPORTED_SPEECH: Final = re.compile(r"\bب?[إأا]ن(?:ه|ها|هم|نا|ني|هما)?\b")
_HASHTAGS: Final = re.compile(r"\s*+(?:#\w++\s*+)++\Z")


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
    """Yield where the sentences of a line stand in it, found in what is left of it without marks."""
    text = io.StringIO()
    # Where each run of characters without marks begins in `seen`, and where in `line`. Arrays: a line may
    # be a whole book, and a list of int takes five times as much.
    begins, origins = array("Q"), array("Q")
    for run in _SEEN.finditer(line):
        begins.append(text.tell())
        origins.append(run.start())
        text.write(run[0])
    seen = text.getvalue()
    begins.append(len(seen))
    origins.append(len(line))

    def origin(position: int) -> int:
        run = bisect_right(begins, position) - 1
        return origins[run] + position - begins[run]

    cuts = [0, *(bullet.start() for bullet in _INLINE_BULLET.finditer(seen)), len(seen)]
    for first, last in pairwise(cuts):
        for start, end in _Piece(seen[first:last]).spans():
            yield origin(first + start), origin(first + end)


class _Piece:
    """A line, or a part of one from a bullet to the next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = array("Q", (word.start() for word in _WORD.finditer(text)))
        self.quotations = Quotations(text)
        self.headline = len(self.words) <= _HEADLINE_WORDS and not _STOP_AT_END.search(text[-_LOOK_BACK:])

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield where the sentences stand, without the bullets before them."""
        start = self._behind_bullet(0)
        for stop in _STOP.finditer(self.text):
            closing = range(stop.end(1), stop.end())
            # A mark that touches the stop may open the next sentence.
            end = next((i for i in closing if self.quotations.opens(i)), stop.end())
            if stop.start() >= start and self._ends_sentence(stop, start, end):
                yield start, end
                start = self._behind_bullet(end)  # the stop of "2." ends nothing
        yield start, len(self.text)

    def _behind_bullet(self, position: int) -> int:
        bullet = _BULLET.match(self.text, position)
        return bullet.end() if bullet else position

    def _ends_sentence(self, stop: re.Match[str], start: int, end: int) -> bool:
        """Whether `stop`, which with what closes behind it reaches to `end`, ends what began at `start`."""
        marks, after = stop[1], self.text[end : end + 1]
        if not after:
            return True
        if after in _GOES_ON or not (after.isspace() or after in _BEGINNING or _ARABIC.match(after)):
            return False
        if marks == ".":
            before = self.text[max(start, stop.start() - _LOOK_BACK) : stop.start()]
            if not self._full_stop_ends(before, stop.end(1), end):
                return False
        elif marks.startswith(("..", "…")) and not self._ellipsis_ends(stop.start(), start, end):
            return False
        if _HASHTAGS.match(self.text, end):
            return False
        quotation = self.quotations.around(stop.start())
        if quotation is None:
            return marks == "." or not self._is_attributed(end)
        opened, closed = quotation
        words = self._count(max(opened, start), stop.start())
        if end <= closed:  # the quotation goes on
            return min(words, self._count(end, closed)) >= _QUOTED_SENTENCE_WORDS
        remark = marks != "." and words < _QUOTED_SENTENCE_WORDS and self._count(start, opened) > 0
        return not remark and not self._is_attributed(end)

    def _full_stop_ends(self, before: str, behind: int, end: int) -> bool:
        """The same for a single full stop, by the characters `before` it and those from `behind` it."""
        if self.text[end].isspace():
            if before[-1:].isascii() and before[-1:].isalpha() and _SMALL_LATIN_BEHIND.match(self.text, end):
                return False
        elif end == behind and not _WHOLE_BEFORE.search(before[-3:]):
            return False
        match = _LAST_WORD.search(before[-_LONGEST_SHORT - 1 :])
        word = match[0] if match else ""
        if len(word) == 1:
            abbreviation = _SINGLE_LETTER.search(before)
            return abbreviation is None or _AFTER_NUMBER.search(before[: abbreviation.start()]) is not None
        if _SPELT.fullmatch(word):
            chain = _SPELT_BEFORE.search(before[: -len(word)]) or _SPELT_BEHIND.match(self.text, behind)
            return chain is None
        return _LATIN_TITLE.fullmatch(word) is None

    def _ellipsis_ends(self, position: int, start: int, end: int) -> bool:
        before = self.text[max(0, position - 1) : position]
        return (
            self.text[end].isspace()
            and not (before.isspace() or before in "([")
            and not self.headline
            and self._count(start, position) >= _WORDS_BEFORE_ELLIPSIS
            and self._count(end, len(self.text)) >= _WORDS_AFTER_ELLIPSIS
        )

    def _is_attributed(self, end: int) -> bool:
        attribution = _ATTRIBUTION.match(self.text, end)
        return attribution is not None and _REPORTED_SPEECH.search(attribution[1]) is None

    def _count(self, start: int, end: int) -> int:
        """Return how many words begin in [start, end)."""
        return bisect_left(self.words, end) - bisect_left(self.words, start)


def _trimmed(article: str, start: int, end: int) -> Sentence | None:
    edge = _EDGE.match(article, start, end)
    start = edge.end() if edge else start
    while end > start and _EDGE_AT_END.match(article[end - 1]):
        end -= 1
    text = article[start:end]
    return Sentence(text, start, end) if any(char.isalnum() for char in text) else None
