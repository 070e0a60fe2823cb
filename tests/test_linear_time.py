"""No regular expression, and nothing that reads text with one, takes more than linear time.

Processor time is measured while the length of hostile text doubles, up to 2**17 characters, and to 2**20 in
`make nightly`. What is quadratic takes four times as long for twice the text, and is found at the first
doubling that can be measured. Memory is measured for the splitter, which keeps places in a line.
"""

import ast
import importlib
import itertools
import os
import pkgutil
import re
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import tasrih
from tasrih.normalise import _drop_markup, normalise
from tasrih.quotations import Quotations
from tasrih.report import text_html
from tasrih.sentences import split_sentences

NIGHTLY = os.environ.get("TASRIH_NIGHTLY") == "1"
LONGEST = 1 << (20 if NIGHTLY else 17)
FLOOR = 0.05  # seconds; less is noise, and what a larger text costs in memory

# How each pattern of src/ meets text of any length. SEARCH: wherever it fits. MATCH: from a given place, and
# no later call reads the same again. WINDOW: on at most 120 characters, or on what is no text of a user.
SEARCH, MATCH, WINDOW = "search", "match", "window"
PATTERNS: dict[str, tuple[str | Callable[[str], object], list[str]]] = {
    "bulk.readers._LINE": (SEARCH, ["ا", "\r", "ا\r", "\r\n"]),
    "bulk.readers._SURROGATE": (SEARCH, ["\ud800", "ا"]),
    "normalise._DIGITS_THEN_LETTERS": (SEARCH, ["1", "ا", "1ا"]),
    "normalise._EMAIL_AFTER_NAME": (
        SEARCH,
        ["@", "@a", "@a.", "@a..", "@" + "a" * 999, "@" + "a." * 999, "@-"],
    ),
    "normalise._HTTP_REST": (SEARCH, ["http", "h", "http ", "htt"]),
    "normalise._HUGE_NUMERIC_REFERENCE": (SEARCH, ["&#", "&#x", "&#9", "&#" + "9" * 999, "&#1234567;"]),
    "normalise._LATIN_BEFORE_DOT_COM": (SEARCH, ["a", "a.co", ".com", "a" * 999 + ".con", "اa"]),
    "normalise._LEADING_ZEROS": (SEARCH, ["&#0", "&#" + "0" * 999, "&#x" + "0" * 999, "0"]),
    "normalise._LETTERS_THEN_DIGITS": (SEARCH, ["1", "ا", "ا1"]),
    # By the function that leaves out what stands behind the last ">": a run of "</" is read again and again.
    "normalise._MARKUP": (_drop_markup, ["<>", "</>", "<a>", "</", "</a" * 99 + ">"]),
    "normalise._MENTION": (SEARCH, ["@", "@a", "@ا"]),
    "normalise._NOT_SPACE": (SEARCH, ["ا", "ا ", "@"]),
    "normalise._REJECTED": (SEARCH, ["漢", "ا"]),
    "normalise._REPEATED": (SEARCH, ["ا", "اا", "ااب", "اب", "\n"]),
    "normalise._SPACED_OR_MAPPED": (SEARCH, ["ا", ".", "\ud800"]),
    "normalise._TASHKEEL_OR_TATWEEL": (SEARCH, ["\u064e", "ا\u0640"]),
    "normalise._URL_PRECHECK": (SEARCH, [".a", ".", "htt", "ww", ":/"]),
    # 256 characters are read from each place at most: slow, and linear.
    "normalise._URL_WITH_DOMAIN": (
        SEARCH,
        ["a", "a.", ".abcdefg", "www.", "http://", "https://www.", "a.b_", "@"],
    ),
    "normalise._URL_WITH_SCHEME": (SEARCH, ["http://", "https:/", "http://ا"]),
    "normalise._URL_WWW": (SEARCH, ["w", "www", "wwwا"]),
    "normalise._WWW_REST": (SEARCH, ["w", "www", "www "]),
    "predict._ARABIC_LETTER": (SEARCH, ["a", "ا"]),
    "predict._PLACEHOLDERS": (SEARCH, ["[", "[رابط", "[رابط]"]),
    "quotations._MARK": (SEARCH, ["«", "ا"]),
    "report._BIDI_CONTROLS": (SEARCH, ["\u202a", "ا"]),
    "report._LINE_ENDS": (SEARCH, ["\r", "\r\n", "ا"]),
    "report._UNSHOWABLE": (SEARCH, ["\0", "ا"]),
    "sentences._ARABIC": (MATCH, ["a", "ا"]),
    "sentences._EDGE": (MATCH, [" ", "\u200f", " \u200f"]),
    "sentences._EDGE_AT_END": (MATCH, [" "]),
    "sentences._BULLET": (MATCH, [" ", "•", "- ", "1", " 1", "1 ", "1-" + " " * 999, "ا)", "• "]),
    "sentences._HASHTAGS": (MATCH, [" ", " #ا", "#", "#ا", "#ا ", " #" + "ا" * 999]),
    "sentences._ATTRIBUTION": (MATCH, [" ", " قال ", " يقول ا", " قال " + "ا" * 999]),
    "sentences._SMALL_LATIN_BEHIND": (MATCH, [" ", " ا"]),
    "sentences._SPELT_BEHIND": (MATCH, [" ", "بي", "بي."]),
    "sentences._INLINE_BULLET": (SEARCH, [" ", "•", " •", " • "]),
    "sentences._LINE": (SEARCH, ["ا", "\n", "ا\u2028"]),
    "sentences._SEEN": (SEARCH, ["ا", "\u064e", "ا\u200f"]),
    "sentences._STOP": (SEARCH, [".", ".»", ".[1]", ".[1", ".[", "؟!", ".”[123]"]),
    "sentences._WORD": (SEARCH, ["ا", "_", "ا_", "\u0301"]),
    "sentences._AFTER_NUMBER": (WINDOW, []),
    "sentences._LAST_WORD": (WINDOW, []),
    "sentences._LATIN_TITLE": (WINDOW, []),
    "sentences._REPORTED_SPEECH": (WINDOW, []),
    "sentences._SINGLE_LETTER": (WINDOW, []),
    "sentences._SPELT": (WINDOW, []),
    "sentences._SPELT_BEFORE": (WINDOW, []),
    "sentences._STOP_AT_END": (WINDOW, []),
    "sentences._WHOLE_BEFORE": (WINDOW, []),
    "backends._REFUSED": (WINDOW, []),
    "checkpoint._HASH": (WINDOW, []),
    "cli._POSITION": (WINDOW, []),
    "trends.count._DATE": (MATCH, ["1", "2024-01-01T", " ", "2024 "]),
}

# What can be long in each reader of text: what it tries to reach, and the text that ends before it does.
WHOLES: dict[str, tuple[Callable[[str], object], list[str]]] = {
    "normalise": (
        normalise,
        ["a", "a.", ".abcdefg", "@a.", " @a.b", "<", "</a", "&#9", "&amp", "1ا", "\u064e", "\ud800"],
    ),
    "split_sentences": (
        split_sentences,
        [
            "ا. ",
            "«ا. ",
            "د.",
            "بي. ",
            "؟ قال ",
            "؟ #ا ",
            ". • ",
            "... ا ",
            "1. ",
            "\u064e.",
            ". \u200f",
            "\n",
            ".[1]",
            ".»",
        ],
    ),
    "Quotations": (Quotations, ["«", "«»", '"', '" ', "(«", "«(»", "”“"]),
    "text_html": (text_html, ["<", "\0\r\u202a"]),
}

PIECES = [
    "ا", "قال ", "بي", "إن", "a", "A", "x", "1", "١", "_",
    " ", "\n", "\r", "\u00a0", ".", "..", "…", "؟", "،", ":", "://",
    "«", "»", '"', "”", "'", "(", ")", "[", "]", "[1]", "#", "@",
    "<", ">", "/", "&", "&#", ";", "-", "•", "%", "*",
    "\u064e", "\u0640", "\u0301", "\u200f", "\u202b", "\ufe0f", "\ud800", "\0", "😀", "http", "www", ".com",
]  # fmt: skip


def seconds(read: Callable[[str], object], unit: str, length: int) -> float:
    text = (unit * (length // len(unit) + 1))[:length]
    start = time.process_time()
    read(text)
    return time.process_time() - start


def growth(read: Callable[[str], object], unit: str, longest: int) -> str | None:
    """Return where twice the text took three times as long or more, None where it never did."""
    length, before = 1 << 12, seconds(read, unit, 1 << 12)
    while length < longest:
        length *= 2
        after = seconds(read, unit, length)
        if after > 3 * max(before, FLOOR):  # or the machine was busy for a moment: the median of three tells
            pairs = [(seconds(read, unit, length // 2), seconds(read, unit, length)) for _ in range(3)]
            before, after = (statistics.median(tries) for tries in zip(*pairs, strict=True))
            if after > 3 * max(before, FLOOR):
                slow = f"{before:.3f} s for {length // 2:,} characters, {after:.3f} s for {length:,}"
                return f"{unit[:20]!r}: {slow}"
        before = after
    return None


def compiled() -> dict[str, re.Pattern[str]]:
    found: dict[str, re.Pattern[str]] = {}
    for info in pkgutil.walk_packages(tasrih.__path__, "tasrih."):
        if not info.name.endswith("__main__"):
            module = vars(importlib.import_module(info.name))
            patterns = {name: value for name, value in module.items() if isinstance(value, re.Pattern)}
            found |= {
                f"{info.name.removeprefix('tasrih.')}.{name}": value for name, value in patterns.items()
            }
    return found


COMPILED = compiled()


def applied(name: str) -> Callable[[str], object]:
    pattern, how = COMPILED[name], PATTERNS[name][0]
    if callable(how):
        return how
    if how == MATCH:
        return lambda text: (pattern.match(text), pattern.fullmatch(text))
    return lambda text: sum(1 for _ in pattern.finditer(text))


def test_every_pattern_is_known_here() -> None:
    assert set(COMPILED) == set(PATTERNS), "give the new pattern its line in PATTERNS, with what may slow it"
    inline = [
        f"{path.name}: {ast.unparse(node)}"
        for path in sorted(Path(tasrih.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in USED
    ]
    assert inline == [r"predict.py: re.fullmatch('[\\w.-]+/[\\w.-]+', path)"], (
        "compile it by name, to be found"
    )


USED = {
    f"re.{name}" for name in ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
}


@pytest.mark.parametrize("name", [name for name, (how, _) in PATTERNS.items() if how != WINDOW])
def test_a_pattern_takes_linear_time(name: str) -> None:
    assert [slow for unit in PATTERNS[name][1] if (slow := growth(applied(name), unit, LONGEST))] == []


@pytest.mark.parametrize("name", WHOLES)
def test_a_reader_of_text_takes_linear_time(name: str) -> None:
    read, units = WHOLES[name]
    assert [slow for unit in units if (slow := growth(read, unit, LONGEST))] == []


@pytest.mark.skipif(not NIGHTLY, reason="minutes: make nightly")
@pytest.mark.parametrize("name", [*(name for name, (how, _) in PATTERNS.items() if how != WINDOW), *WHOLES])
def test_no_pair_of_pieces_takes_more(name: str) -> None:
    """The search for what nobody thought of: all pairs of the pieces that patterns are made of."""
    read = WHOLES[name][0] if name in WHOLES else applied(name)
    pairs = {first + second for first, second in itertools.product(PIECES, repeat=2)}
    slow = [unit for unit in sorted(pairs) if seconds(read, unit, 1 << 14) > 3 * FLOOR]
    assert [found for unit in slow if (found := growth(read, unit, LONGEST // 4))] == []


@pytest.mark.parametrize(
    ("unit", "most"), [("ا ", 16), ("ا\u064e", 64), ("«", 40), ("(«", 40), ("«ا» ", 20), ("\u200f", 8)]
)
def test_a_line_takes_a_few_times_its_own_size(unit: str, most: int) -> None:
    line = (unit * (1 << 17))[: 1 << 17]
    tracemalloc.start()
    split_sentences(line)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < most * len(line)


@pytest.mark.parametrize(("pattern", "unit"), [("a*b", "a"), (r"\s+\Z", "    ا"), ("«[^»]*»", "«")])
def test_the_measure_finds_what_is_quadratic(pattern: str, unit: str) -> None:
    quadratic = re.compile(pattern)
    found = growth(lambda text: quadratic.search(text), unit, LONGEST)
    assert (found is None) == (unit == "    ا")  # five characters between two places to begin: linear
