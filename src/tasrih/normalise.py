"""Normalisation of Arabic text: the rules AraBERT v0.2 was pre-trained with, without Farasa.

`normalise(text)` returns exactly what `ArabertPreprocessor("bert-base-arabertv02").preprocess(text)`
of the `arabert` package (1.0.1) returns; `tests/test_normalise.py` holds the two against each other.
It is much faster and its time grows linearly with the length of the text, where several regular
expressions of the original are quadratic or worse on hostile input. Each step says how its form
here is equal to the original.

Source: Antoun, Baly and Hajj, "AraBERT: Transformer-based Model for Arabic Language Understanding",
OSACT 2020, and the preprocessing code published with it.
"""

import html
import re
from functools import lru_cache
from typing import Final

# Recorded in every checkpoint. Bump the version whenever any output of `normalise` changes.
NAME: Final = "arabert-v02"
VERSION: Final = 1

URL_TOKEN: Final = "[رابط]"
EMAIL_TOKEN: Final = "[بريد]"
MENTION_TOKEN: Final = "[مستخدم]"

_LETTERS = "\u0621-\u063a\u0641-\u064a"  # Arabic letters without tatweel (U+0640)

_TASHKEEL_OR_TATWEEL = re.compile(r"[\u064b-\u0652\u0640]")

# CPython refuses to convert longer digit strings; such a reference is out of Unicode's range anyway.
_LEADING_ZEROS = re.compile(r"(&#)0+(?=[0-9])|(&#[xX])0+(?=[0-9a-fA-F])")
_HUGE_NUMERIC_REFERENCE = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")

_URL_PRECHECK = re.compile(r"\.[a-z]{2}|http|www|://")
_URL_WITH_DOMAIN = re.compile(
    r"(?:https?://.)?(?:www\.)?[-a-zA-Z0-9@:%._+~#=]{2,256}\.[a-z]{2,6}\b[-a-zA-Z0-9@:%_+.~#?&/=]*"
)
_URL_WITH_SCHEME = re.compile(r"https?://[a-zA-Z0-9_\-./~?=%&]+")
_URL_WWW = re.compile(r"www[a-zA-Z0-9_\-?=%&/.~]+")
# From the start of a run of letters, or where the match before ended; the original tries each letter.
_LATIN_BEFORE_DOT_COM = re.compile(r"(?:(?<![a-zA-Z])|(?<=\.com))[a-zA-Z]+\.com")
_HTTP_REST = re.compile(r"http\S*")
_WWW_REST = re.compile(r"www\S*")

_EMAIL_AFTER_NAME = re.compile(r"@(?:[\w-]+\.)+[\w-]+")
_NOT_SPACE = re.compile(r"\S+")
_MENTION = re.compile(r"@\w+")

_MARKUP = re.compile(r"</?[^>]+>")
_REPEATED = re.compile(r"(\D)\1{2,}", re.DOTALL)

# The lookbehinds pin a match to the start of its run. The original, which lacks them, finds the same
# matches, but tries every later start in the run too.
_DIGITS_THEN_LETTERS = re.compile(rf"(?<![0-9])([0-9]+)([{_LETTERS}]+)")
_LETTERS_THEN_DIGITS = re.compile(rf"(?<![{_LETTERS}])([{_LETTERS}]+)([0-9]+)")

# All that is not copied as it is; the original spaces the space too, to no effect after its last step.
_SPACED_OR_MAPPED = re.compile(rf"[^0-9{_LETTERS}a-zA-Z\[\] ]")
_REJECTED = re.compile(
    r"[^0-9\u0621-\u063A\u0640-\u066C\u0671-\u0674a-zA-Z\[\]!\"#\$%\'\(\)\*\+,\.:;\-<=·>?@\\"
    r"\^_ـ`{\|}~—٪’،؟୍“؛”ۚ»\s«–…‘]"  # the original's character class, its doubles left out
)


def normalise(text: str) -> str:
    """Return `text` as AraBERT v0.2 reads it: one line, tokens and punctuation apart by single spaces.

    Raises `TypeError` where `text` is not a string; every string has an answer, in time linear in its
    length. Lone surrogates and other characters unknown to AraBERT become spaces.
    """
    if not isinstance(text, str):
        raise TypeError(f"normalise: found {type(text).__name__}, expected str")
    if "&" in text:
        text = _LEADING_ZEROS.sub(r"\1\2", text)
        text = html.unescape(_HUGE_NUMERIC_REFERENCE.sub("\ufffd", text))
    text = _TASHKEEL_OR_TATWEEL.sub("", text)
    if _URL_PRECHECK.search(text):
        text = _replace_urls(text)
    if "@" in text:
        text = _replace_emails_and_mentions(text)
    if "<" in text:
        text = _drop_markup(text)
    text = _REPEATED.sub(r"\1\1", text)
    text = _SPACED_OR_MAPPED.sub(_space_or_map, text)
    text = _DIGITS_THEN_LETTERS.sub(r" \1 \2 ", text)
    text = _LETTERS_THEN_DIGITS.sub(r" \1 \2 ", text)
    return " ".join(text.split())


def _replace_urls(text: str) -> str:
    token = f" {URL_TOKEN} "
    text = _URL_WITH_DOMAIN.sub(token, text)
    # The original's second pattern asks for "@iS" after the end of the text and never matches.
    text = _URL_WITH_SCHEME.sub(token, text)
    text = _URL_WWW.sub(token, text)
    text = _LATIN_BEFORE_DOT_COM.sub(token, text)
    text = _HTTP_REST.sub(token, text)
    text = _WWW_REST.sub(token, text)
    return text.replace("://", token)


def _replace_emails_and_mentions(text: str) -> str:
    # `[\w-]+@([\w-]+\.)+[\w-]+`, searched from the "@" so that a long run of letters is read once.
    pieces: list[str] = []
    done = 0
    for match in _EMAIL_AFTER_NAME.finditer(text):
        name = _name_start(text, done, match.start())
        if name < match.start():
            pieces += [text[done:name], f" {EMAIL_TOKEN} "]
            done = match.end()
    text = "".join([*pieces, text[done:]])
    # `\S+@\S+` takes the whole run of non-spaces when an "@" stands inside it.
    text = _NOT_SPACE.sub(lambda run: f" {EMAIL_TOKEN} " if "@" in run[0][1:-1] else run[0], text)
    return _MENTION.sub(f" {MENTION_TOKEN} ", text)


def _name_start(text: str, start: int, end: int) -> int:
    """Return where the run of `[\\w-]` begins that ends at `end`, not before `start`."""
    while end > start and ((char := text[end - 1]) in "-_" or char.isalnum()):
        end -= 1
    return end


def _drop_markup(text: str) -> str:
    # Behind the last ">" nothing can match; leaving it out keeps a run of "<" from being read again
    # and again.
    text = text.replace("<br />", " ")
    end = text.rfind(">") + 1
    return _MARKUP.sub(" ", text[:end]) + text[end:]


@lru_cache(maxsize=4096)
def _replacement(char: str) -> str:
    if "٠" <= char <= "٩":
        return str(int(char))
    if char == "/":  # missing from AraBERT v0.2's vocabulary
        return " - "
    return " " if _REJECTED.match(char) else f" {char} "


def _space_or_map(match: re.Match[str]) -> str:
    return _replacement(match[0])
