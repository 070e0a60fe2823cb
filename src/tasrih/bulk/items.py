"""From the rows of the input to the texts to classify, in batches that know how far they reach."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tasrih.bulk.columns import plain
from tasrih.bulk.journal import Progress
from tasrih.bulk.readers import REPLACEMENT, Reader, Record, open_reader
from tasrih.bulk.sources import Source, SourceError
from tasrih.columns import BAD_BYTES, EMPTY, NO_ARABIC, NOT_TEXT
from tasrih.sentences import split_sentences

# A quarter of what `Classifier` takes at once: no slower by measurement, and less to hold, to lose when
# killed, and to wait for between two steps of the progress bar.
TEXTS_AT_ONCE: Final = 4096
_BYTES_AT_ONCE: Final = 16 << 20  # long articles fill the memory before they are many


@dataclass(frozen=True)
class Options:
    """How rows become items. `several` adds a column with the name of the file; `prefix` stands before the
    names of all new columns."""

    text_column: str
    sentences: bool
    several: bool
    prefix: str


@dataclass(slots=True)
class Item:
    """A row of the output before its label. `reason` says why it gets none, and is None where it may."""

    row: dict[str, Any]
    text: str
    reason: str | None


@dataclass(slots=True)
class Batch:
    """The items of `rows` whole rows, in `damaged` of which bytes were replaced.

    `progress` stands behind the last of these rows, and `share` of the bytes of all files lies before it.
    """

    items: list[Item] = field(default_factory=list[Item])
    rows: int = 0
    bytes: int = 0
    damaged: int = 0
    progress: Progress = field(default_factory=Progress)
    share: float = 0.0

    @property
    def full(self) -> bool:
        return len(self.items) >= TEXTS_AT_ONCE or self.bytes >= _BYTES_AT_ONCE


def batches(sources: Sequence[Source], options: Options, start: Progress) -> Iterator[Batch]:
    """Yield all rows from `start` on, in order. Raises `SourceError`, behind what could be read before it."""
    sizes = [source.path.stat().st_size for source in sources]
    total = max(1, sum(sizes))
    batch = Batch()
    try:
        for number in range(start.source, len(sources)):
            source, bytes_before = sources[number], sum(sizes[:number])
            with open_reader(source, options.text_column) as reader:
                sentence = _skip(reader, source, start) if number == start.source else 0
                for record in reader:
                    items = _items(record, reader.rows, sentence, source, options)
                    sentence += len(items) if source.kind == "txt" else 0
                    batch.items += items
                    batch.rows += 1
                    batch.bytes += record.size
                    batch.damaged += record.damaged
                    batch.progress = Progress(number, reader.rows, reader.digest(), sentence)
                    batch.share = (bytes_before + reader.position()) / total
                    if batch.full:
                        yield batch
                        batch = Batch()
    except SourceError:
        if batch.rows:
            yield batch
        raise
    if batch.rows:
        yield batch


def _skip(reader: Reader, source: Source, start: Progress) -> int:
    """Read what is done already, and return how many sentences of a document that goes on it has."""
    if start.row == 0:
        return 0
    for _ in reader:
        if reader.rows == start.row:
            break
    if reader.rows < start.row or reader.digest() != start.digest:
        raise SourceError(
            f"{source.path}: its first {start.row:,} rows were labelled, and are not what they were; put the "
            "file back, or begin again"
        )
    return start.sentence


def _items(record: Record, row: int, before: int, source: Source, options: Options) -> list[Item]:
    """Return one item, or one for each sentence. `before` counts the sentences of a text file so far.

    A text file is one document, and its rows are lines; else each row is a document.
    """
    name = options.prefix
    values = {**record.values, f"{name}source": source.name} if options.several else record.values
    text, why = _text(record, options.text_column)
    if not options.sentences:
        return [Item(values, text, why or _damage(text, record))]
    document = source.name if source.kind == "txt" else f"{source.name}:{row}"
    found = split_sentences(text) if why is None else []
    if not found:
        if source.kind == "txt":
            return []
        nowhere = dict.fromkeys((f"{name}sentence", f"{name}start", f"{name}end"))
        place = {f"{name}document": document, **nowhere}
        return [Item({**values, **place}, text, why or (NO_ARABIC if text.strip() else EMPTY))]
    return [
        Item(
            {
                **values,
                options.text_column: sentence.text,
                f"{name}document": document,
                f"{name}sentence": number,
                f"{name}start": record.start + sentence.start,
                f"{name}end": record.start + sentence.end,
            },
            sentence.text,
            _damage(sentence.text, record),
        )
        for number, sentence in enumerate(found, start=before + 1)
    ]


def _text(record: Record, column: str) -> tuple[str, str | None]:
    """Return the text of a row, or "" and the reason why it has none."""
    value = record.values.get(column)
    if record.reason is not None:
        return "", record.reason
    value = plain(value)
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return "", BAD_BYTES
    if value is None:
        return "", EMPTY
    if not isinstance(value, str):
        return "", NOT_TEXT
    return value, None if value.strip() else EMPTY


def _damage(text: str, record: Record) -> str | None:
    """Return the reason not to label a text that was damaged, rather than another column of its row."""
    return BAD_BYTES if record.damaged and REPLACEMENT in text else None
