"""Rows of a file, one at a time: none is left out for what is wrong with it.

A row is a mapping of column names to values: text from csv, tsv and txt; what JSON says from JSON Lines;
Python's text, numbers and truth values from parquet, whose other values stay pyarrow scalars, so that a
parquet output has them as they were.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from tasrih.bulk.parquet import parquet_rows
from tasrih.bulk.sources import READ_ERRORS, Source, Unreadable, reason

# A whole file may be one line (a JSON array), or one field (a quote that is never closed). Neither is to
# fill the memory; a newspaper's whole year is shorter.
_LONGEST_LINE: Final = 64 << 20  # bytes
_LONGEST_FIELD: Final = 32 << 20  # characters
_DEEPEST: Final = 200  # lists and objects of JSON within each other; Python gives up at some five hundred

NOT_JSON: Final = "not a JSON object"
EXTRA_FIELDS: Final = "too many fields"
OPEN_QUOTE: Final = "quote never closed"
REPLACEMENT: Final = "\ufffd"

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Record:
    """A row. `size` is about its bytes; `damaged` where bytes that are not UTF-8 became U+FFFD; `reason`
    says why it cannot be labelled; `start` counts the characters of a text file before it."""

    values: dict[str, Any]
    size: int
    damaged: bool = False
    reason: str | None = None
    start: int = 0


class Reader:
    """Iterates, once, over the records of a source. Made by `open_reader`.

    `rows` counts those read so far, and `position` says how many bytes of the file they took.
    """

    def __init__(
        self,
        source: Source,
        records: Iterator[Record],
        position: Callable[[], int],
        digest: Callable[[], str],
    ) -> None:
        self.rows = 0
        self.position = position
        self.digest = digest  # of all that was read so far: tells whether a file begins as it did before
        self._source = source
        self._records = records

    def __iter__(self) -> Iterator[Record]:
        """Raises `SourceError` with the row where the file cannot be read on."""
        while True:
            try:
                record = next(self._records, None)
            except csv.Error:
                raise self._source.error(
                    self.rows + 1,
                    f"found a field of more than {_LONGEST_FIELD:,} characters, expected a shorter one; "
                    "is a quote never closed?",
                ) from None
            except READ_ERRORS as error:
                raise self._source.error(self.rows + 1, f"cannot be read ({reason(error)})") from None
            if record is None:
                return
            self.rows += 1
            yield record


@contextmanager
def open_reader(source: Source, text_column: str) -> Generator[Reader]:
    """Give a `Reader`. Lines of a text file, and what is not JSON, go under `text_column`.

    Raises `SourceError` where the file cannot be opened.
    """
    with ExitStack() as stack:
        parquet = source.kind == "parquet"
        try:
            opened = source.open_seekable() if parquet else source.open()
            stream, position = stack.enter_context(opened)
        except READ_ERRORS as error:
            raise source.error(1, f"cannot be read ({reason(error)})") from None
        if parquet:
            rows = (Record(values, size, damaged) for values, size, damaged in parquet_rows(stream))
            yield Reader(source, rows, position, lambda: str(source.facts()[1:]))
        else:
            lines = _Lines(stream)
            records = {
                "csv": lambda: _table(lines, ","),
                "tsv": lambda: _table(lines, "\t"),
                "jsonl": lambda: _objects(lines, text_column),
                "txt": lambda: _texts(lines, text_column),
            }[source.kind]()
            yield Reader(source, records, position, lines.digest)


def read_header(source: Source) -> list[str] | None:
    """Return the column names of a csv or tsv file, None where it has no line. Raises `SourceError`."""
    with source.open() as (stream, _):
        try:
            return next(_fields(_Lines(stream), "," if source.kind == "csv" else "\t"), None)
        except (csv.Error, *READ_ERRORS) as error:
            raise source.error(1, f"cannot be read ({reason(error)})") from None


class _Lines:
    """Decoded lines with their ends, without a byte order mark.

    `size` and `damaged` are of the lines taken since the last `end_row`, `digest` is of all before that;
    `ended` is set once the file has no more.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.blake2b(digest_size=16)
        self.end_row()
        self.ended = False

    def end_row(self) -> None:
        self._hash_of_rows = self._hash.copy()
        self.size = 0
        self.damaged = False

    def digest(self) -> str:
        return self._hash_of_rows.hexdigest()

    def __iter__(self) -> Iterator[str]:
        mark = b"\xef\xbb\xbf"
        while line := self._stream.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise Unreadable(f"found a line of {_LONGEST_LINE >> 20} MiB or more, expected a shorter one")
            self._hash.update(line)
            self.size += len(line)
            line = line.removeprefix(mark)
            mark = b""
            if not line:  # a byte order mark, and nothing behind it
                continue
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError:
                self.damaged = True
                yield line.decode("utf-8", errors="replace")
        self.ended = True


def _split_at_cr(lines: _Lines) -> Iterator[str]:
    """Yield lines that end in LF, CR LF or CR alone, as old spreadsheets have it."""
    for line in lines:
        yield from _LINE.findall(line) if "\r" in line else (line,)


def _fields(lines: _Lines, delimiter: str) -> Iterator[list[str]]:
    """Yield the fields of each row that is no empty line, quoted line ends and all."""
    # The limit is the whole process's. It is only ever raised: putting it back would fail another thread.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    yield from (fields for fields in csv.reader(_split_at_cr(lines), delimiter=delimiter) if fields)


def _table(lines: _Lines, delimiter: str) -> Iterator[Record]:
    """Yield the rows below the header. A short row lacks its last columns; fields too many join the last."""
    rows = _fields(lines, delimiter)
    header = next(rows, None)
    lines.end_row()
    for fields in rows:
        reason = OPEN_QUOTE if lines.ended else None  # the reader asked for more lines within a row
        if header and len(fields) > len(header):
            last = len(header) - 1
            fields = [*fields[:last], delimiter.join(fields[last:])]
            reason = reason or EXTRA_FIELDS
        record = Record(dict(zip(header or [], fields, strict=False)), lines.size, lines.damaged, reason)
        lines.end_row()
        yield record


def _objects(lines: _Lines, text_column: str) -> Iterator[Record]:
    for line in lines:
        if not line.strip():
            lines.end_row()
            continue
        damaged, reason = lines.damaged, None
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or _too_deep(values):
            values, reason = {text_column: line.rstrip("\r\n")}, NOT_JSON
        elif "\\ud" in line or "\\uD" in line:  # half of a character beyond 16 bits, which no UTF-8 can hold
            written = json.dumps(values, ensure_ascii=False)
            if _SURROGATE.search(written):
                values, damaged = json.loads(_SURROGATE.sub(REPLACEMENT, written)), True
        record = Record(values, lines.size, damaged, reason)
        lines.end_row()
        yield record


def _too_deep(value: Any) -> bool:
    """Whether what is deepest in `value` could not be written again, or not by every Python."""
    level = [value]
    for _ in range(_DEEPEST):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [inner for part in parts for inner in part if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def _texts(lines: _Lines, text_column: str) -> Iterator[Record]:
    """Yield each line as a row, the empty ones too: the n-th row is the n-th line."""
    start = 0
    for line in _split_at_cr(lines):
        record = Record({text_column: line.rstrip("\r\n")}, lines.size, lines.damaged, start=start)
        start += len(line)
        lines.end_row()
        yield record
