"""The ways the command line prints what was found: a table to read; JSON, JSON lines and CSV for machines."""

import csv
import itertools
import json
from collections.abc import Iterable
from typing import Any, Final, TextIO

from tasrih.labels import LABELS, Label

Row = dict[str, Any]  # of the fields below, in that order; "scores" maps label names to probabilities
CLASSIFY_FIELDS: Final = ["text", "label", "confidence", "scores", "secondary", "truncated"]
TAG_FIELDS: Final = [*CLASSIFY_FIELDS, "start", "end"]

# First strong isolate and pop directional isolate: right-to-left text does not reorder its row.
_FSI: Final = "\u2068"
_PDI: Final = "\u2069"
# In a table a text takes one row, drives no terminal, and does not break out of its isolate.
_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")
_BIDI_CONTROLS: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "")
_ARABIC_WIDTH: Final = max(len(label.arabic) for label in LABELS)


def _write_table(rows: Iterable[Row], _fields: list[str], output: TextIO) -> None:
    isolated = output.isatty()
    cut = False
    for number, row in enumerate(rows):
        if number == 0:
            _write_table_row(output, "label", " " * _ARABIC_WIDTH, "confidence", "second act", "text")
        arabic = Label(row["label"]).arabic
        padding = " " * (_ARABIC_WIDTH - len(arabic))
        text = row["text"].translate(_CONTROLS)
        if isolated:
            arabic, text = f"{_FSI}{arabic}{_PDI}", f"{_FSI}{text.translate(_BIDI_CONTROLS)}{_PDI}"
        confidence = f"{'* ' if row['truncated'] else ''}{row['confidence']:.0%}"
        _write_table_row(output, row["label"], arabic + padding, confidence, row["secondary"] or "-", text)
        cut = cut or row["truncated"]
    if cut:
        output.write("* longer than the model reads: judged by its beginning\n")


def _write_table_row(
    output: TextIO, label: str, arabic: str, confidence: str, secondary: str, text: str
) -> None:
    output.write(f"{label:<14}  {arabic}  {confidence:>10}  {secondary:<10}  {text}\n")


def _write_json(rows: Iterable[Row], _fields: list[str], output: TextIO) -> None:
    output.write(json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n")


def _write_jsonl(rows: Iterable[Row], _fields: list[str], output: TextIO) -> None:
    for row in rows:
        output.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_csv(rows: Iterable[Row], fields: list[str], output: TextIO) -> None:
    """Write RFC 4180: lines end in CR LF, and a text that holds a comma, a quote or a line end is quoted."""
    scores = {f"score_{label}": str(label) for label in LABELS}
    columns = [column for field in fields for column in (scores if field == "scores" else [field])]
    writer = csv.DictWriter(output, columns, extrasaction="ignore")  # "scores" became four columns
    rows = iter(rows)
    first = list(itertools.islice(rows, 1))  # before the header, so that bad input leaves no output
    writer.writeheader()
    for row in itertools.chain(first, rows):
        flat = {column: row["scores"][label] for column, label in scores.items()}
        writer.writerow({**row, **flat, "truncated": str(row["truncated"]).lower()})


WRITERS: Final = {"table": _write_table, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv}
