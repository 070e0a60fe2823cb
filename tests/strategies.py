"""Texts that nobody would write, and texts that newspapers' systems do write, for property tests."""

import csv
import gzip
import io
import json

from hypothesis import strategies as st

# Every code point, surrogates and those that are not assigned as well, and the odd ones often.
ODD = [
    "\0", "\t", "\n", "\r", "\r\n", "\x0b", "\x1c", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000",  # space
    "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
    "\u2066", "\u2067", "\u2068", "\u2069", "\u061c", "\ufeff", "\u2060", "\u00ad",  # bidi, zero width
    "\u0301", "\u0489", "\u064e", "\u0651", "\u0640", "\u0670", "\u06dd", "\u20e3", "\ufe0f",  # combining
    "\ud800", "\udbff", "\udc00", "\udfff", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "\u0378",
    "😀", "👨\u200d👩\u200d👧", "🇵🇸", "❤️", "1️⃣", "👍🏽", "𝟙", "ﷺ", "﷽",
    "ﻻ", "ﻧﻔﺖ", "ı", "İ", "ß", "ﬁ", "½", "Ⅷ", "५",
]  # fmt: skip
CHARACTERS = st.characters(codec=None, categories=None)
ANY_TEXT = st.text(CHARACTERS) | st.lists(st.sampled_from(ODD) | CHARACTERS, max_size=40).map("".join)

WORDS = [
    "نفت", "الوزارة", "قال", "اتهم", "المتحدث", "باسم", "الجيش", "أعرب",
    "عن", "أسفه", "إن", "و", "في", "د", "أ", "م",
    "بي", "سي", "تساءل", "ب", "اعتذر", "ال", "وَأَكَّدَ",
    "الـــوزير", "هههههههه", "رئيس", "2024", "١٢", "3.5", "15", "قتيلا",
    "BBC", "U.N", "Mr", "com", "x",
]  # fmt: skip
MARKS = [
    ".", ".", ".", "،", "؛", ":", "؟", "!", "..", "...",
    "…", "۔", "؟!", "?!!", "«", "»", "“", "”", '"', "'", "‘",
    "(", ")", "[", "]", "[1]", "[٢]", "{", "-", "–", "—",
    "/", "%", "٪", "*", "•", "▪️", "#وسم", "@user", "@", "#", "|",
    "(!)", "(...)", ".»", "».", "»،", "1. ", "2) ", "- ", "أ) ",
]  # fmt: skip
LEFT_BEHIND = [  # by content systems, converters, copy and paste
    "<p>", "</p>", "<br />", "<a href='x", "&nbsp;", "&amp;quot;",
    "&#1606;", "&#", "&#x;", "&lt;b", "<!--", "]]>",
    "http://", "https://a.b/ن?x=1", "www.", "a@b.c", "@x.y", ".com", "://", "\\n", "\\u0646", "%D9%86",
    "ظ†ظپطھ", "ÙÙØª", "?????", "\ufffd\ufffd", "{{title}}",
    "null", "NaN", "اقرأ أيضا:", "(رويترز) -", "بغداد/وكالات",
]  # fmt: skip
SPACES = ["", "", " ", " ", " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u200f", "\u200f ", " \u202b"]

_BROKEN = st.tuples(
    st.sampled_from(WORDS) | st.sampled_from(WORDS) | st.sampled_from(MARKS)
    | st.sampled_from(LEFT_BEHIND) | st.sampled_from(ODD),
    st.sampled_from(SPACES),
).map("".join)  # fmt: skip
BROKEN_NEWS = st.lists(_BROKEN, max_size=60).map("".join)
TEXTS = ANY_TEXT | BROKEN_NEWS

# Up to 100,000 characters: a short thing again and again, with something else at its end.
LONG = st.builds(
    lambda unit, length, end: (unit * (length // len(unit) + 1))[:length] + end,
    st.lists(_BROKEN, min_size=1, max_size=4).map("".join).filter(bool),
    st.integers(min_value=1_000, max_value=100_000),
    TEXTS,
)

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def _csv(rows: list[list[str]], delimiter: str) -> bytes:
    output = io.StringIO(newline="")
    csv.writer(output, delimiter=delimiter).writerows([["text", "id"], *rows])
    return output.getvalue().encode("utf-8", errors="surrogatepass")


def _jsonl(rows: list[object], ascii_only: bool) -> bytes:
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    return lines.encode("utf-8", errors="surrogatepass")


def _nested(depth: int) -> bytes:
    """A row with lists within lists; Python refuses to follow them somewhere below a thousand."""
    return ('{"text": "نفى الوزير", "a": ' + "[" * depth + "NaN" + "]" * depth + "}").encode()


_ROWS = st.lists(st.lists(TEXTS, max_size=3), max_size=6)
_OBJECTS = st.lists(
    st.builds(
        lambda text, rest: {"text": text} | rest,
        TEXTS | _VALUES,
        st.dictionaries(st.text(max_size=3), _VALUES),
    )
    | _VALUES,
    max_size=6,
)
_DAMAGE = st.lists(
    st.tuples(
        st.floats(min_value=0, max_value=1),  # where
        st.integers(min_value=0, max_value=20),  # how many bytes go
        st.binary(max_size=4)
        | st.sampled_from([b'"', b"\n", b"\r", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b",", b"{", b"["]),
    ),
    max_size=4,
)


def _damaged(content: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    for where, gone, put in damage:
        at = int(where * len(content))
        content = content[:at] + put + content[at + gone :]
    return content


# The extension and content of a table that was whole once, and of one that never was.
TABLES = st.one_of(
    st.tuples(st.just(".csv"), st.builds(_csv, _ROWS, st.just(","))),
    st.tuples(st.just(".tsv"), st.builds(_csv, _ROWS, st.just("\t"))),
    st.tuples(st.just(".jsonl"), st.builds(_jsonl, _OBJECTS, st.booleans())),
    st.tuples(st.just(".jsonl"), st.integers(min_value=0, max_value=3000).map(_nested)),
    st.tuples(st.just(".txt"), TEXTS.map(lambda text: text.encode("utf-8", errors="surrogatepass"))),
) | st.tuples(st.sampled_from([".csv", ".tsv", ".jsonl", ".txt"]), st.binary(max_size=200))
_PACKED = TABLES.map(lambda table: (f"{table[0]}.gz", gzip.compress(table[1], 1, mtime=0)))
BROKEN_TABLES = st.builds(
    lambda table, damage: (table[0], _damaged(table[1], damage)), TABLES | TABLES | _PACKED, _DAMAGE
)

# A row as `tasrih label` writes it, or nearly.
LABELLED = st.fixed_dictionaries(
    {"label": st.sampled_from(["accusation", "denial", "regret", "factual_report", "", None]) | _VALUES},
    optional={
        "date": st.sampled_from(["2024-01-31", "20240131", "2024", "٢٠٢٤-٠١-٣١", "0001-01-01", "9999-12-31"])
        | _VALUES,
        "source": _VALUES,
        "model_hash": st.text(max_size=3) | _VALUES,
    },
)
