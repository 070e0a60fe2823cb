"""From rows to the bytes of a file.

While rows are being labelled, their bytes are only ever appended to what is there. What a file needs beyond
that, compression or parquet's footer, it gets at the end, in a pass that takes a hundredth of the time.
"""

import csv
import gzip
import io
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tasrih.bulk.columns import Kinds, arrow_schema, as_text, plain
from tasrih.bulk.parquet import ipc_bytes, ipc_to_parquet
from tasrih.bulk.sources import Compression, format_of, pyarrow

Row = dict[str, Any]
_COPIED_AT_ONCE: Final = 1 << 20
_GZ_LEVEL: Final = 4  # a twentieth larger than by level 6, in a third or less of the time


@dataclass(frozen=True)
class Writer:
    """Makes a file of rows: `header`, then what `encode` gives, are appended to each other; `assemble` makes
    the output of that file, and is None where it is the output already."""

    header: bytes
    encode: Callable[[list[Row]], bytes]
    assemble: Callable[[Path, Path], object] | None


def check_output(output: Path) -> None:
    """Raise `ValueError` where `output` is a folder, or its extensions name no format that can be written."""
    if output.is_dir():
        raise ValueError(f"{output}: found a folder, expected the name of a file to write")
    kind, _ = format_of(output) or (None, None)
    if kind is None or kind == "txt":
        raise ValueError(
            f"{output}: found extension {output.suffix!r}, expected csv, tsv, jsonl or parquet, plain or "
            "with .gz or .zst behind; the label and its scores need a format with columns"
        )


def writer_for(output: Path, columns: dict[str, Kinds]) -> Writer:
    """Return what writes `output`, in the format that its extensions name."""
    check_output(output)
    kind, compression = format_of(output) or ("csv", None)
    pack = None if compression is None else _packer(compression)
    if kind == "parquet":
        return _parquet_writer(columns, pack)
    if kind == "jsonl":
        return Writer(b"", _jsonl, pack)
    delimiter, names = "," if kind == "csv" else "\t", list(columns)
    return Writer(
        _delimited([names], delimiter),
        lambda rows: _delimited([[as_text(row.get(name)) for name in names] for row in rows], delimiter),
        pack,
    )


def _delimited(rows: list[list[str | None]] | list[list[str]], delimiter: str) -> bytes:
    """RFC 4180, as `tasrih classify --format csv` has it: lines end in CR LF."""
    output = io.StringIO(newline="")
    csv.writer(output, delimiter=delimiter).writerows(rows)
    return output.getvalue().encode("utf-8")


def _jsonl(rows: list[Row]) -> bytes:
    return "".join(map(_json_line, rows)).encode("utf-8")


def _json_line(row: Row) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_jsonable) + "\n"
    except ValueError:  # JSON has no NaN; pandas writes one to parquet where there is no number
        return json.dumps(_without_nan(row), ensure_ascii=False, default=_jsonable) + "\n"


def _jsonable(value: Any) -> Any:
    return _without_nan(plain(value)) if hasattr(value, "as_py") else as_text(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(part) for part in value]
    return value


def _parquet_writer(columns: dict[str, Kinds], pack: Callable[[Path, Path], object] | None) -> Writer:
    schema = arrow_schema(columns)
    texts = {field.name for field in schema if pyarrow().types.is_string(field.type)}

    def held(row: Row) -> Row:
        return {name: as_text(value) if name in texts else value for name, value in row.items()}

    def encode(rows: list[Row]) -> bytes:
        return ipc_bytes([held(row) for row in rows], schema)

    def assemble(rows: Path, output: Path) -> None:
        if pack is None:
            ipc_to_parquet(rows, output, schema)
        else:
            unpacked = output.with_name(output.name + ".parquet")
            ipc_to_parquet(rows, unpacked, schema)
            pack(unpacked, output)

    return Writer(encode([]), encode, assemble)  # without a row there are columns still


def _packer(compression: Compression) -> Callable[[Path, Path], object]:
    """Return what compresses a file into another, as one member or frame: not all readers go behind it."""
    pa = pyarrow() if compression == "zst" else None  # here, so that what is missing is missed at once

    def pack(rows: Path, output: Path) -> None:
        with open(rows, "rb") as source, open(output, "wb") as target:
            if pa is None:  # no name and no time within: the same rows give the same bytes
                with gzip.GzipFile("", "wb", _GZ_LEVEL, target, mtime=0) as packed:
                    shutil.copyfileobj(source, packed, _COPIED_AT_ONCE)
            else:
                with pa.CompressedOutputStream(target, "zstd") as packed:
                    shutil.copyfileobj(source, packed, _COPIED_AT_ONCE)

    return pack
