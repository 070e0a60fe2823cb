"""Which files are read and in which order; their bytes, decompressed, and whether these are UTF-8.

A folder is read with all that lies below it, a pattern (`news/*.csv.gz`, `**` for any depth) as a shell
reads it. Both go in the order of the names, by code point: part-10 comes before part-2.
"""

import fnmatch
import glob
import gzip
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, cast

Kind = Literal["csv", "tsv", "jsonl", "parquet", "txt"]
Compression = Literal["gz", "zst"]

KINDS: Final[dict[str, Kind]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
}
_COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gz", ".zst": "zst"}
_READABLE: Final = "csv, tsv, jsonl, parquet or txt, plain or with .gz or .zst behind"

_LOOKED_AT: Final = 1 << 20  # bytes of a file by which its encoding is judged
_CONVERT: Final = "convert the file first, for example with iconv -f WINDOWS-1256 -t UTF-8"


class Unreadable(Exception):
    """What a file holds is not what it should be; turned into a `SourceError` that knows where."""


# What reading may raise: gzip and pyarrow raise OSError for most, EOFError and zlib.error for a gz file that
# was cut or altered.
READ_ERRORS: Final = (OSError, EOFError, zlib.error, Unreadable)


class SourceError(ValueError):
    """An input that cannot be read; the message says in which file and row, and what to do."""


@dataclass(frozen=True)
class Source:
    """A file to read. `name` is what the output calls it."""

    path: Path
    name: str
    kind: Kind
    compression: Compression | None

    @contextmanager
    def open(self) -> Generator[tuple[BinaryIO, Callable[[], int]]]:
        """Give the decompressed bytes, and a function that says how many bytes of the file were taken.

        Raises what `READ_ERRORS` names, when opened or when read.
        """
        with open(self.path, "rb") as raw:
            if self.compression is None:
                yield raw, raw.tell
            elif self.compression == "gz":
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield cast(BinaryIO, unpacked), raw.tell
            else:
                with pyarrow().CompressedInputStream(raw, "zstd") as unpacked:
                    yield io.BufferedReader(unpacked), raw.tell

    @contextmanager
    def open_seekable(self) -> Generator[tuple[BinaryIO, Callable[[], int]]]:
        """The same for a format that is read from its end: a compressed file is unpacked on disk first."""
        with self.open() as (stream, position):
            if self.compression is None:
                yield stream, position
                return
            with tempfile.TemporaryFile() as unpacked:
                shutil.copyfileobj(stream, unpacked, 1 << 20)
                unpacked.seek(0)
                yield unpacked, position

    def facts(self) -> list[Any]:
        """Return what tells this file from another, or from itself after a change: name, bytes, time."""
        found = self.path.stat()
        return [self.name, found.st_size, found.st_mtime_ns]

    def error(self, row: int, message: object) -> SourceError:
        return SourceError(f"{self.path}, row {row:,}: {message}")


def pyarrow() -> Any:
    """Return the pyarrow module. Raises `ImportError` naming the extra."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            f'{error.name} is not installed; parquet and zst files need: pip install "tasrih[bulk]"'
        ) from error
    return pyarrow


def format_of(path: Path) -> tuple[Kind, Compression | None] | None:
    """Return what the extensions of `path` say, or None where they say nothing known."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression is not None:
        suffixes.pop()
    kind = KINDS.get(suffixes[-1]) if suffixes else None
    return None if kind is None else (kind, compression)


def find_sources(inputs: Sequence[str | Path], output: Path) -> list[Source]:
    """Return the files that `inputs` (files, folders, patterns) stand for, in order, checked to open.

    A file is named by its path within its folder or behind the fixed part of its pattern; where several
    inputs are given, by its path as given. Raises `SourceError` where there is nothing to read, where a file
    is met twice, or where `output` is among the inputs or would be next time.
    """
    sources: list[Source] = []
    met: set[Path] = set()
    for given in inputs:
        _refuse_output(str(given), output)
        for path, base in _expanded(str(given)):
            kind, compression = format_of(path) or (None, None)
            if kind is None:
                raise SourceError(f"{path}: found extension {path.suffix!r}, expected {_READABLE}")
            if path.resolve() in met:
                raise SourceError(f"{path}: given twice; its rows would be, too")
            met.add(path.resolve())
            name = path.relative_to(base) if len(inputs) == 1 else path
            readable = os.fsencode(name.as_posix()).decode("utf-8", errors="replace")
            sources.append(Source(path, readable, kind, compression))
    for source in sources:
        _check_opens(source)
    return sources


def is_one_file(inputs: Sequence[str | Path]) -> bool:
    """Whether `inputs` name a single file, rather than a folder, a pattern or several files."""
    return len(inputs) == 1 and Path(inputs[0]).is_file()


def _expanded(given: str) -> Iterator[tuple[Path, Path]]:
    """Yield the files that `given` stands for, each with the folder that its name is relative to."""
    path = Path(given)
    if path.is_dir():
        found = sorted(
            (
                file
                for file in path.rglob("*")
                if file.is_file() and format_of(file) and not _hidden(file, path)
            ),
            key=lambda file: file.relative_to(path).as_posix(),
        )
        if not found:
            raise SourceError(f"{path}: found no file to read in this folder, expected {_READABLE}")
        yield from ((file, path) for file in found)
    elif glob.has_magic(given) and not path.exists():
        found = [Path(match) for match in sorted(glob.glob(given, recursive=True)) if Path(match).is_file()]
        if not found:
            raise SourceError(f"{given}: found no file that this pattern fits")
        parts = path.parts
        fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
        yield from ((file, Path(*parts[:fixed])) for file in found)
    else:
        yield path, path.parent


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _refuse_output(given: str, output: Path) -> None:
    """Refuse an output that is the input, or would be read as input by the next run."""
    path, written = Path(given), output.resolve()
    if path.is_dir():
        if written.is_relative_to(path.resolve()):
            raise SourceError(
                f"{output}: lies in the input folder {path}, where the next run would read it; "
                "write it elsewhere"
            )
    elif path.exists():
        if path.resolve() == written:
            raise SourceError(f"{output}: is the input itself; give the output another name")
    elif glob.has_magic(given) and _fits(written, path.absolute()):
        raise SourceError(
            f"{output}: fits the input pattern {given}, so the next run would read it; give it another name"
        )


def _fits(written: Path, pattern: Path) -> bool:
    if "**" in pattern.parts:
        return fnmatch.fnmatchcase(str(written), str(pattern).replace("**/", "*"))
    same_depth = len(written.parts) == len(pattern.parts)
    return same_depth and all(map(fnmatch.fnmatchcase, written.parts, pattern.parts))


def _check_opens(source: Source) -> None:
    """Read the beginning, so that a file of no use is named before any work is done on the others."""
    try:
        with source.open() as (stream, _):
            beginning = stream.read(_LOOKED_AT)
    except FileNotFoundError:
        raise SourceError(f"{source.path}: no such file, folder or pattern") from None
    except READ_ERRORS as error:
        raise source.error(1, f"cannot be read ({reason(error)})") from None
    if source.kind != "parquet":
        _check_encoding(source, beginning)


def reason(error: Exception) -> str:
    """Return what an exception says, without the file's name and the number of the error."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


def _check_encoding(source: Source, beginning: bytes) -> None:
    """Refuse another encoding: UTF-16, or one in which most lines that are not ASCII are not UTF-8.

    A few such lines among others are damage, which costs these rows alone their label.
    """
    zeros = beginning.count(0)
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or (zeros > 8 and zeros > len(beginning) // 50):
        raise source.error(1, f"found UTF-16 or binary data, expected UTF-8; {_CONVERT}")
    foreign: list[tuple[int, int]] = []
    native = 0
    lines = beginning.split(b"\n")
    for number, line in enumerate(lines[:-1] if len(beginning) == _LOOKED_AT else lines, start=1):
        try:
            native += not line.isascii() and bool(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            foreign.append((number, line[error.start]))
    if len(foreign) > native:
        number, byte = foreign[0]
        raise SourceError(
            f"{source.path}, line {number:,}: found byte 0x{byte:02x}, expected UTF-8; {_CONVERT}"
        )
