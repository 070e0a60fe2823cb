"""Which columns the output has, and what they hold.

All columns of all inputs, in the order in which they are met, then the new ones. JSON Lines says what it
holds only by being read: it is read once for its keys and types before anything is labelled, which takes
about a hundredth of the time of labelling it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tasrih.bulk.parquet import parquet_schema
from tasrih.bulk.readers import open_reader, read_header
from tasrih.bulk.sources import READ_ERRORS, Source, SourceError, pyarrow, reason
from tasrih.columns import KINDS

# What a column was seen to hold: "text", "int", "big int", "float", "bool", "other", or an Arrow type.
Kinds = set[Any]
_EXACT_IN_FLOAT: Final = 1 << 53
_LARGEST_INT: Final = 1 << 63

_SENTENCE: Final = {"document": "text", "sentence": "int", "start": "int", "end": "int"}


def new_columns(*, sentences: bool, several: bool) -> dict[str, str]:
    """Return the names, before any prefix, and kinds of the columns that labelling adds."""
    source = {"source": "text"} if several else {}
    return {**source, **(_SENTENCE if sentences else {}), **KINDS}


def survey(
    sources: Sequence[Source], text_column: str, added: dict[str, str], *, sentences: bool
) -> dict[str, Kinds]:
    """Return the output's columns in order and the kinds of value they hold.

    Raises `SourceError` where a file lacks the text column, has a name twice or one of `added`.
    """
    columns: dict[str, Kinds] = {}
    for source in sources:
        found = _columns(source, text_column)
        if text_column not in found:
            raise SourceError(
                f"{source.path}, {'row 1' if source.kind == 'jsonl' else 'header'}: found "
                f"{_listed(list(found))}, expected a column {text_column!r}; name it with --text-column"
            )
        taken = [name for name in found if name in added]
        if taken:
            raise SourceError(
                f"{source.path}: found a column {taken[0]!r}, the name of one to be added; "
                "give the new columns a --prefix, such as tasrih_"
            )
        for name, kinds in found.items():
            columns.setdefault(name, set()).update(kinds)
    if sentences and text_column in columns:
        columns[text_column] = {"text"}  # of a sentence, whatever the article was held in
    return {**columns, **{name: {kind} for name, kind in added.items()}}


def _columns(source: Source, text_column: str) -> dict[str, Kinds]:
    if source.kind == "txt":
        return {text_column: {"text"}}
    if source.kind == "jsonl":
        return _json_columns(source, text_column)
    if source.kind == "parquet":
        pairs = list(_parquet_columns(source))
    else:
        pairs = [(name, {"text"}) for name in read_header(source) or []]
    columns = dict(pairs)
    if len(columns) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"{source.path}, header: found the column {twice!r} twice; rename one")
    return columns


def _json_columns(source: Source, text_column: str) -> dict[str, Kinds]:
    columns: dict[str, Kinds] = {}
    with open_reader(source, text_column) as reader:
        for record in reader:
            if record.reason is None:
                for name, value in record.values.items():
                    columns.setdefault(name, set()).add(_kind(value))
        if reader.rows == 0:
            columns[text_column] = {"text"}
    if text_column in columns:
        columns[text_column].add("text")  # lines that are not JSON are kept there
    return columns


def _parquet_columns(source: Source) -> Iterator[tuple[str, Kinds]]:
    try:
        with source.open_seekable() as (stream, _):
            for field in parquet_schema(stream):
                yield field.name, {field.type}
    except READ_ERRORS as error:
        raise SourceError(f"{source.path}: cannot be read ({reason(error)})") from None


def _listed(names: list[str], most: int = 8) -> str:
    if not names:
        return "no column"
    return ("columns " if len(names) > 1 else "only the column ") + ", ".join(
        [repr(name) for name in names[:most]] + ["…"] * (len(names) > most)
    )


def _kind(value: Any) -> str | None:
    match value:
        case None:
            return None
        case str():
            return "text"
        case bool():
            return "bool"
        case int():
            if abs(value) < _EXACT_IN_FLOAT:
                return "int"
            return "big int" if -_LARGEST_INT <= value < _LARGEST_INT else "other"
        case float():
            return "float"
        case _:
            return "other"


def arrow_schema(columns: dict[str, Kinds]) -> Any:
    """Return the `pyarrow.Schema` of a parquet output: a column's own type where it has one, the narrowest
    that holds all values exactly where it has several kinds, text where none does."""
    pa = pyarrow()
    whole = pa.int64()
    simple = {"text": pa.string(), "int": whole, "big int": whole, "float": pa.float64(), "bool": pa.bool_()}

    def of(kinds: Kinds) -> Any:
        kinds = kinds - {None}
        if len(kinds) > 1:
            kinds = {_simple_kind(kind) for kind in kinds - {pa.null()}}
        if kinds == {"int", "float"}:
            return pa.float64()
        if kinds == {"int", "big int"}:
            return whole
        only = kinds.pop() if len(kinds) == 1 else "text"
        return simple.get(only, pa.string()) if isinstance(only, str) else only

    return pa.schema([(name, of(kinds)) for name, kinds in columns.items()])


def _simple_kind(kind: Any) -> str:
    types = pyarrow().types
    if isinstance(kind, str):
        return kind
    if types.is_integer(kind) and kind != pyarrow().uint64():
        return "big int" if kind.bit_width == 64 else "int"
    if types.is_float32(kind) or types.is_float64(kind):
        return "float"
    return "bool" if types.is_boolean(kind) else "other"


def as_text(value: Any) -> str | None:
    """Return a value as a csv cell or a text column holds it; None stays None.

    Text stays as it is, bytes that are UTF-8 are text, others hexadecimal, dates are ISO 8601, truth values
    and what has parts are JSON.
    """
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "as_py"):
        return as_text(plain(value))
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, (bool, list, dict)):
        return json.dumps(value, ensure_ascii=False, default=as_text)
    return str(value)


def plain(value: Any) -> Any:
    """Return a value without pyarrow: its scalars as Python's values, times as text to the last digit."""
    if not hasattr(value, "as_py"):
        return value
    types = pyarrow().types
    if types.is_temporal(value.type) and not types.is_duration(value.type):
        return value.cast(pyarrow().string()).as_py()
    try:
        return value.as_py()
    except ValueError:  # nanoseconds within a list, which Python's own times cannot hold
        return str(value)
