"""`normalise` against the preprocessing published with AraBERT, and what it does where that one fails."""

import html
import itertools
import re
import time
from collections.abc import Callable

import pytest
from arabert.preprocess import ArabertPreprocessor
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasrih.normalise import normalise

oracle: Callable[[str], str] = ArabertPreprocessor("bert-base-arabertv02").preprocess

# The oracle has no answer to two kinds of text, and only these are kept from it:
# - a numeric character reference of more digits than CPython turns into an integer (4,300): it raises;
# - "@http://" or "@ftp://" before a long run of non-spaces: its second URL pattern, `([^\s/?\.#-]+\.?)+`
#   before something that never matches, takes time exponential in the length of the run.
_RAISES = re.compile(r"&#[xX]?[0-9a-fA-F]{4000,}")
_TAKES_FOR_EVER = re.compile(r"@(?:https?|ftp)://(?:-\.)?[^\s/?#-]{18,}")


def oracle_answers(text: str) -> bool:
    if _RAISES.search(text):
        return False
    read = re.sub("[\u064b-\u0652\u0640]", "", html.unescape(text))  # its two steps before the URLs
    return not _TAKES_FOR_EVER.search(read)


PIECES = [
    # words, digits of several scripts, diacritics
    "وزارة", "نفى", "ال", "x", "Reuters", "5", "2024", "3.5", "٣", "٢٠٢٤", "۳", "५", "Ⅷ", "²", "٪", "%",
    "قَالَ", "مـــحمد", "بيانًا", "ـ", "\u064e", "\u0651\u064e", "ٱلله", "لآ", "ﻻ",
    "ﷺ", "ﷲ", "پ", "چ", "ڤ", "گ", "ی", "ک", "ۀ",
    # repeats
    "ههههه", "!!!!", "....", "aaa", "111", "\n\n\n",
    "  ", "؟؟؟", "ـــ", "\u064e\u064e\u064e", "---", "«««",
    # addresses
    "http://", "https://aljazeera.net/news?id=1&x=2", "http", "www",
    "www.", "www.bbc.com", "bbc.co.uk", "a.b", ".com",
    "BBC.COM", "news.com", "://", "ftp://x", "HTTP://A.B", "httpقال",
    "wwwقال", "@", "@user", "@مستخدم", "a@b", "a@b.c",
    "أحمد@مثال.كوم", "-@-.-", "a_b@c-d.e", "@a.b", "#وسم", "#",
    "a:b", "1.2.3.4", "x=1&y=2", "~", "+", "_",
    # markup
    "<", ">", "<b>", "</b>", "<br />", "<br/>",
    "<br>", "</", "<>", "</>", "<a href='x'>", "< p >", "<\n>",
    "&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;", "&#1571;",
    "&#x623;", "&#9999999;", "&#0;", "&amp;lt;", "&", "&;",
    "&notit;", "&#xD800;", "&#128;", "&zwj;",
    # punctuation and brackets
    ".", "،", "؛", "؟", "!", ":", "/", "\\", "//", "-", "–",
    "—", "…", "«", "»", "“", "”", "‘", "’", "'", '"', "(", ")",
    "[", "]", "{", "}", "|", "*", "^", "$", "`", "·",
    "•", "[رابط]", "[ رابط ]", "[بريد]", "[مستخدم]", "۔", "٫", "٬", "ۚ", "୍", "【",
    # invisible and beyond
    "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u202a",
    "\u202b", "\u202c", "\u2066", "\u2069", "\ufeff", "\ufe0f",
    "\u00a0", "\u2028", "\t", "\r", "\x0b", "\x1c", "\x85", "\0", "\x1b", "\x7f", "\ud800", "\udfff",
    "😀", "👨\u200d👩\u200d👧", "🇵🇸", "❤️", "𝟙", "é", "e\u0301", "漢", "я", "\U0010ffff",
]  # fmt: skip

HANDWRITTEN = [
    "",
    " ",
    "نفت الوزارة، اليوم، صحة ما تداولته مواقع التواصل.",
    "اتّهَمَ الـمُتحدِّثُ بـاسمِ الـــوزارة «بعض الأطراف» بِـعرقلةِ الاتفاق!!!",
    "بلغت النسبة 3.75% في 12/03/2024 (مقابل ٢٫٥٪ قبل عام)",
    "راجع https://www.example.com/a/b?c=d&e=ف أو www.example.org/خبر ثم bbc.com.",
    "news.comnews.comوزارة a.comcom.comb.comc.comا",
    "للتواصل: press.office@moi.gov.ps أو @moi_gov أو فلان@موقع",
    "<p class='x'>قال&nbsp;الوزير:<br />&laquo;لا صحة&raquo;</p>",
    "&lt;b&gt;عاجل&lt;/b&gt; &amp;amp; خبر",
    "قُتل3أشخاصوأصيب12آخرون في2024م",
    "ق1ا2ل3",
    "هههههههههه لااااااا...... ؟؟؟؟",
    "ه\u064eه\u064eه\u064eه",
    "a\u0640a\u0640a",
    "@http://x",
    "@ftp://-.abc.def/ghi",
    "قال @http://a.b ثم",
    "http:/x https:// http://ا www.ا",
    "الرابط:http://t.co/abcقال",
    "a" * 300 + ".com",
    "." * 300 + "com",
    "x@y@z@w.com q@",
    "@@a @ @ا @_ @-",
    "a-b@c.d-e@f.g",
    " @a.b@c.d",
    "<<a>> <a<b>c> >< <>",
    "</ > <//a> <br /><br />",
    "[رابط] [بريد] [مستخدم] [ رابط ]",
    "د.أحمد أ.د.محمد ص.ب.12",
    "/ // /// ا/ب 1/2 a/b",
    "\u0661\u0662abc\u06f1\u06f2 \u0966",
    "\ud83d\ude00 \udc00ا\ud800",
    "ا\0ب\x00\x00\x00ج",
    "\u202bقال\u202c \u2067«نص»\u2069 \u200fو\u200eL",
    "ل\u200cا ل\u200dا ل\u200bا",
    "ﻧﻔﺖ ﺍﻟﻮﺯﺍﺭﺓ ﷽ ﷼",
    "5٪ ٪5 5% %5 ٥٪",
    "٬ ٫ 1٬000٫5 ۰۱۲",
    "ا\u0654 ا\u0655 ا\u0670 \u0671 \u0674 \u0675",
    "tasrih-0.1.0.tar.gz a.bb.ccc.dddd",
    "A.COM a.COM A.com aا.com 9a.com",
    "۔۔۔ ৷৷৷ ॥॥॥",
    "&#1575;&#1604;&#x62E;&#1576;&#1585",
    "&#9999999999; &#xFFFFFFFFFF; &#-1; &#x;",
]  # fmt: skip


def test_equals_arabert_on_the_authored_sentences(texts: list[str]) -> None:
    assert len(texts) == 2240
    assert [normalise(text) for text in texts] == [oracle(text) for text in texts]


@pytest.mark.parametrize("joint", ["", "ا"])
def test_equals_arabert_on_pairs_of_nasty_pieces(joint: str) -> None:
    pairs = [first + joint + second for first, second in itertools.product(PIECES, repeat=2)]
    asked = [text for text in [*HANDWRITTEN, *pairs] if oracle_answers(text)]
    assert len(asked) > 25_000
    different = [(text, normalise(text), oracle(text)) for text in asked if normalise(text) != oracle(text)]
    assert different == []


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(max_examples=400)
def test_equals_arabert_on_nasty_compounds(text: str) -> None:
    assume(oracle_answers(text))
    assert normalise(text) == oracle(text)


@given(st.text(st.characters(codec=None, categories=None)))
@settings(max_examples=400)
def test_equals_arabert_on_any_text(text: str) -> None:
    assume(oracle_answers(text))
    assert normalise(text) == oracle(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("عدد &#" + "9" * 5000 + "; ا", "عدد ا"),
        ("عدد &#x" + "f" * 5000 + " ا", "عدد ا"),
        # The oracle says the same of a run of five.
        ("قال @http://" + "a" * 60, "قال @ [رابط]"),
        ("قال @ftp://" + "a" * 60 + " نعم", "قال [مستخدم] [رابط] aa نعم"),
    ],
)
def test_answers_where_arabert_does_not(text: str, expected: str) -> None:
    assert not oracle_answers(text)
    assert normalise(text) == expected


def test_the_oracle_on_a_short_run() -> None:
    for text in ("قال @http://" + "a" * 5, "قال @ftp://" + "a" * 5 + " نعم"):
        assert normalise(text) == oracle(text)


@pytest.mark.parametrize(
    "text",
    [
        "&#00000065;", "&#x0000000041;", "&#0000000001575",
        "wwwقالhttp://", "wwwاhttpقال",
    ],
)  # fmt: skip
def test_equals_arabert_on_leading_zeros_and_nested_addresses(text: str) -> None:
    assert normalise(text) == oracle(text)


def test_authored_sentences_are_left_alone_the_second_time(texts: list[str]) -> None:
    # Not so for any text: "<>" becomes "< >", which then reads as markup; the oracle does the same.
    once = [normalise(text) for text in texts]
    assert [normalise(text) for text in once] == once
    assert normalise(normalise("<>")) != normalise("<>")


@given(st.text(st.characters(codec=None, categories=None)) | st.lists(st.sampled_from(PIECES)).map("".join))
def test_form_of_the_answer(text: str) -> None:
    answer = normalise(text)
    assert answer == " ".join(answer.split())
    assert answer.encode("utf-8").decode("utf-8") == answer  # no lone surrogates
    assert not re.search("[\0\u064b-\u0652\u0640\u0660-\u0669\u200b-\u200f/]", answer)


@pytest.mark.parametrize("text", [None, 5, 1.5, b"bytes", ["list"], object()])
def test_refuses_what_is_not_text(text: object) -> None:
    with pytest.raises(TypeError, match=f"^normalise: found {type(text).__name__}, expected str$"):
        normalise(text)  # type: ignore[arg-type]


HOSTILE = {
    "one letter": "ا",
    "one Latin letter": "a",
    "brackets of markup": "<",
    "markup never closed": "</a",
    "at signs": "@",
    "names and at signs": "a@",
    "URLs without an end": "@http://a.",
    "domains that are none": "a.b",
    "ampersands": "&",
    "references": "&#9",
    "digits and letters": "1ا",
    "tashkeel": "\u064e",
    "NUL": "\0",
    "lone surrogates": "\ud800",
}


def seconds(unit: str, length: int) -> float:
    """The processor time that `length` characters take; other work on the machine does not count."""
    text = (unit * length)[:length]
    start = time.process_time()
    normalise(text)
    return time.process_time() - start


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_length_alone(unit: str) -> None:
    seconds(unit, 100)  # compiles, imports
    # Linear is 4; a machine that was busy for a moment gets another chance.
    assert any(seconds(unit, 400_000) < 10 * max(seconds(unit, 100_000), 0.02) for _ in range(3))
    assert seconds(unit, 1_000_000) < 5


def test_time_on_addresses_without_a_name() -> None:
    assert seconds(" @a.b", 400_000) < 0.6
