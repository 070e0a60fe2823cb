"""Rows of a file, of which only a few columns are wanted; and what is known of the classifier's errors."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from tasrih.labels import LABELS, Label

Confusion = NDArray[np.int64]
GOLD: Final = "gold"

_LONGEST_FIELD: Final = 32 << 20  # characters; the texts in other columns are read past
_ROWS_AT_ONCE: Final = 1 << 16
_READABLE: Final = "parquet, csv, tsv or jsonl, the last three plain or with .gz behind"
# Below it the intervals are wide, and hold more often than they say: benchmarks/coverage.json, part "few".
_FEW_LABELLED: Final = 20
_REPORT_SET: Final = "news"


def rows_of(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `columns`, then of `optional`, of each row; None where a row has none.

    Times of parquet become dates, as they are written in their own time zone. Raises `ValueError` where the
    file has none of the wanted columns, or is none that can be read, and `OSError`.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = suffixes[-2:-1] if packed else suffixes[-1:]
    if kind == [".parquet"] and not packed:
        open(path, "rb").close()  # Python says what is wrong with a path in the words that we use elsewhere
        yield from _parquet(path, columns, optional)
        return
    if kind not in ([".csv"], [".tsv"], [".jsonl"], [".json"]):
        raise ValueError(f"{path}: found extension {path.suffix!r}, expected {_READABLE}")
    with _open(path, packed) as stream:
        try:
            if kind in ([".csv"], [".tsv"]):
                yield from _table(path, stream, "," if kind == [".csv"] else "\t", columns, optional)
            else:
                yield from _objects(path, stream, kind == [".json"], columns, optional)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: cannot be read ({error})") from None


def _open(path: Path, packed: bool) -> TextIO:
    # A label or a date is ASCII; of what else a damaged file holds nothing is wanted.
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return open(path, encoding="utf-8-sig", errors="replace", newline="")


def _table(
    path: Path,
    stream: TextIO,
    delimiter: str,
    columns: Sequence[str],
    optional: Sequence[str],
) -> Iterator[tuple[Any, ...]]:
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        rows = csv.reader(stream, delimiter=delimiter)
        header = next(rows, [])
        _check(path, columns, header)
        places = [header.index(name) if name in header else None for name in (*columns, *optional)]
        for row in rows:
            if row:  # an empty line is none
                yield tuple(None if i is None or i >= len(row) else row[i] for i in places)
    except csv.Error as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _objects(
    path: Path, stream: TextIO, whole: bool, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    seen: set[str] = set()
    for number, row in enumerate(_whole(path, stream) if whole else _lines(path, stream), start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{path}, row {number:,}: found {type(row).__name__}, expected a JSON object")
        seen.update(row)
        yield tuple(row.get(name) for name in (*columns, *optional))
    _check(path, columns, list(seen))


def _whole(path: Path, stream: TextIO) -> Iterable[Any]:
    try:
        found = json.load(stream)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, list):
        raise ValueError(f"{path}: found {type(found).__name__}, expected a JSON list of rows")
    return found


def _lines(path: Path, stream: TextIO) -> Iterator[Any]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number:,}: not JSON ({error})") from None


def _parquet(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            f'{error.name} is not installed; parquet files need: pip install "tasrih[trends]"'
        ) from error
    try:
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check(path, columns, names)
            read = [name for name in (*columns, *optional) if name in names]
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(dict.fromkeys(read))):
                found = {name: _plain(batch.column(name)) for name in read}
                empty = [None] * batch.num_rows
                yield from zip(*(found.get(name, empty) for name in (*columns, *optional)), strict=True)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None


def _plain(column: Any) -> list[Any]:
    import pyarrow as pa
    from pyarrow.compute import call_function

    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = call_function("local_timestamp", [column])
    if pa.types.is_timestamp(column.type) or pa.types.is_date64(column.type):
        column = column.cast(pa.date32(), safe=False)
    return column.to_pylist()


def _check(path: Path, columns: Sequence[str], found: Sequence[str]) -> None:
    for name in columns:
        if name not in found:
            listed = ", ".join(sorted(map(repr, found))) or "none"
            raise ValueError(f"{path}: found columns {listed}; expected one {name!r}: name the one you mean")


# What is known of the classifier's errors.


def confusion_of(path: Path, label_column: str, notes: list[str]) -> Confusion:
    """Return the confusion matrix (4, 4), true by predicted label, that a file of checked sentences or a
    report of training/evaluation.py holds. What a reader should know of it is added to `notes`."""
    report = _report(path)
    matrix = _of_rows(path, label_column, notes) if report is None else _of_report(path, report, notes)
    for label, row in zip(LABELS, matrix, strict=True):
        if not row.any():
            raise ValueError(
                f"{path}: found no sentence whose true label is {str(label)!r}, expected some of each; label "
                "more of the corpus"
            )
    rare = {str(label): n for label, n in zip(LABELS, matrix.sum(axis=1).tolist(), strict=True)}
    if shown := ", ".join(f"{n} of {name}" for name, n in rare.items() if n < _FEW_LABELLED):
        notes.append(f"few labelled sentences ({shown}) make intervals wide: label more of them")
    return matrix


def _report(path: Path) -> dict[str, Any] | None:
    if path.suffix.lower() != ".json":
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    return found if isinstance(found, dict) else None


def _of_report(path: Path, report: dict[str, Any], notes: list[str]) -> Confusion:
    try:
        sets = report["sets"]
        name = _REPORT_SET if _REPORT_SET in sets else next(iter(sets))
        matrix = np.array(sets[name]["systems"]["model"]["confusion"], dtype=np.int64)
        if matrix.shape != (len(LABELS),) * 2 or (matrix < 0).any():
            raise ValueError
    except (KeyError, TypeError, ValueError, StopIteration, AttributeError):
        raise ValueError(
            f"{path}: found JSON that is no report, expected one that training/evaluation.py wrote, or a "
            f"list of sentences with {GOLD!r} and the predicted label"
        ) from None
    notes.append(
        f"the classifier's errors are those on the {matrix.sum():,} sentences of {name!r} in {path}, not on "
        "this corpus: if it errs otherwise here, intervals miss; sentences of this corpus are better"
    )
    return matrix


def _of_rows(path: Path, label_column: str, notes: list[str]) -> Confusion:
    matrix = np.zeros((len(LABELS),) * 2, dtype=np.int64)
    skipped = 0
    for number, (gold, predicted) in enumerate(rows_of(path, [GOLD, label_column]), start=1):
        where = f"{path}, row {number:,}"
        true, found = label_of(gold, where), label_of(predicted, where)
        if true is None or found is None:
            skipped += 1
        else:
            matrix[true.id, found.id] += 1
    if skipped:
        notes.append(f"{path}: rows left out for want of one of the two labels: {skipped:,}")
    return matrix


def label_of(value: object, where: str) -> Label | None:
    """Return the label that a cell names, None where it is empty. Raises `ValueError` for what is none."""
    if value is None or value == "":
        return None
    try:
        return Label(value)  # pyright: ignore[reportArgumentType]
    except ValueError:
        raise ValueError(f"{where}: found label {value!r}, expected {', '.join(LABELS)} or nothing") from None
