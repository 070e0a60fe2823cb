"""Parquet to rows and back, without ever holding more than a few megabytes of a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from tasrih.bulk.sources import Unreadable, pyarrow

_READ_AT_ONCE: Final = 4 << 20  # bytes, unpacked
_MOST_ROWS: Final = 4096
# A row group is what readers take at once and prune by: large, as the format's authors advise, and yet
# only part of the memory this may use.
_GROUP_BYTES: Final = 48 << 20
_GROUP_ROWS: Final = 1 << 17


def parquet_schema(stream: BinaryIO) -> Any:
    """Return the `pyarrow.Schema`, dictionaries replaced by what they hold. Raises `Unreadable`."""
    pa = pyarrow()
    return pa.schema(
        [field.with_type(_plain(field.type)).with_nullable(True) for field in _open(stream).schema_arrow]
    )


def parquet_rows(stream: BinaryIO) -> Iterator[tuple[dict[str, Any], int, bool]]:
    """Yield the values of each row, about its bytes, and whether bytes that are no UTF-8 were replaced."""
    pa = pyarrow()
    file = _open(stream)
    group_bytes = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    rows = _READ_AT_ONCE // max(1, group_bytes // max(1, file.metadata.num_rows))
    try:
        for batch in file.iter_batches(batch_size=min(max(1, rows), _MOST_ROWS), use_threads=False):
            columns = {name: _values(column) for name, column in zip(batch.schema.names, batch, strict=True)}
            damaged = {row for _, found in columns.values() for row in found}
            size = batch.nbytes // max(1, batch.num_rows)
            for row in range(batch.num_rows):
                yield {name: values[row] for name, (values, _) in columns.items()}, size, row in damaged
    except pa.ArrowException as error:
        raise Unreadable(str(error)) from None


def _open(stream: BinaryIO) -> Any:
    pa = pyarrow()
    from pyarrow.parquet import ParquetFile

    try:
        # Pages as they are needed, not whole row groups, which may be as large as the file.
        return ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False)
    except pa.ArrowException as error:
        raise Unreadable(str(error)) from None


def _plain(kind: Any) -> Any:
    return kind.value_type if pyarrow().types.is_dictionary(kind) else kind


def _values(column: Any) -> tuple[list[Any], list[int]]:
    """Return a column's values, and the rows in which bytes were replaced."""
    types = pyarrow().types
    kind = column.type
    if types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        try:
            return column.to_pylist(), []
        except UnicodeDecodeError:
            return _decoded(column)
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_float32(kind) or types.is_float64(kind):
        return column.to_pylist(), []
    return [scalar if scalar.is_valid else None for scalar in column], []


def _decoded(column: Any) -> tuple[list[Any], list[int]]:
    values: list[Any] = []
    damaged: list[int] = []
    for row, scalar in enumerate(column):
        try:
            values.append(scalar.as_py())
        except UnicodeDecodeError:
            values.append(scalar.as_buffer().to_pybytes().decode("utf-8", errors="replace"))
            damaged.append(row)
    return values, damaged


def ipc_bytes(rows: list[dict[str, Any]], schema: Any) -> bytes:
    """Return the rows as an Arrow stream, whole in itself: such streams may stand one behind another."""
    pa = pyarrow()
    sink = pa.BufferOutputStream()
    arrays = [
        pa.array([row.get(name) for row in rows], type=schema.field(name).type) for name in schema.names
    ]
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_batch(pa.record_batch(arrays, schema=schema))
    return sink.getvalue().to_pybytes()


def ipc_to_parquet(streams: Path, output: Path, schema: Any) -> None:
    """Write a parquet file of the Arrow streams that stand one behind another in a file."""
    pa = pyarrow()
    from pyarrow.parquet import ParquetWriter

    with open(streams, "rb") as file, ParquetWriter(output, schema, compression="zstd") as writer:
        group: list[Any] = []
        end = streams.stat().st_size
        while file.tell() < end:
            with pa.ipc.open_stream(file) as stream:
                group += list(stream)
            if sum(b.nbytes for b in group) >= _GROUP_BYTES or sum(b.num_rows for b in group) >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group, schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_batches(group, schema))
