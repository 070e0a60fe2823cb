"""The `tasrih` command: sentences or an article in, a table, JSON, JSON lines or CSV out.

    tasrih classify "نفت الوزارة صحة الخبر"        tasrih tag article.txt
    tasrih classify --format jsonl < lines.txt      tasrih tag --format csv - < article.txt

Exit status 0, or 2 with one line on standard error. Everything read and written is UTF-8, whatever the
locale says. What loads a model is imported only once the arguments are understood.
"""

import argparse
import csv
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from tasrih import Classifier, Label, Prediction, TaggedSentence, __version__

_LINES_AT_ONCE: Final = 4096  # bounds memory on endless input; enough to fill batches of equal length

# FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE keep right-to-left text from reordering its row.
_FSI, _PDI: Final = "\u2068", "\u2069"
# In a table a text takes one row, and must neither drive the terminal nor break out of its isolate.
_CONTROLS: Final = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
_BIDI_CONTROLS: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "")
_ROW: Final = "{:<14}  {}  {:>10}  {:<10}  {}"
_ARABIC_WIDTH: Final = max(len(label.arabic) for label in Label)

_POSITION: Final = re.compile(r"text(?:s\[(\d+)\])?(?=: )")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line, as all errors of this command do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tasrih: error: {_one_line(message)}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; `arguments` are those of the process if left out."""
    for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    try:
        options = _parser().parse_args(arguments)
        rows = _classified(options) if options.command == "classify" else _tagged(options)
        _WRITERS[options.format](rows, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # `tasrih … | head`: the reader has all that it wants
        _abandon_output()
        return 0
    except KeyboardInterrupt:
        _abandon_output()
        return 130
    except (ImportError, OSError, TypeError, ValueError) as error:
        _abandon_output()
        print(f"tasrih: error: {_message(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--format", choices=sorted(_WRITERS), default="table", help="how to print (default: table)"
    )
    common.add_argument(
        "--model", metavar="PATH_OR_NAME", help="a checkpoint folder, or owner/name on the hub (default: the "
        "model that ships)",
    )  # fmt: skip
    common.add_argument("--backend", choices=["auto", "onnx", "torch"], default="auto")
    common.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")

    parser = _Parser(
        prog="tasrih", description="Tag Arabic news: accusation, denial, regret or factual report."
    )
    parser.add_argument("--version", action="version", version=f"tasrih {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    classify = commands.add_parser(
        "classify", parents=[common], help="classify sentences",
        description="Classify sentences: those given, or one a line from standard input.",
    )  # fmt: skip
    classify.add_argument("texts", nargs="*", metavar="TEXT", help="a sentence (default: standard input)")
    tag = commands.add_parser(
        "tag", parents=[common], help="split an article into sentences and classify each",
        description="Split an article into sentences and classify each. Those without an Arabic letter are "
        "left out. `start` and `end` count the characters of the file, a byte order mark not among them.",
    )  # fmt: skip
    tag.add_argument("file", metavar="FILE", help="a UTF-8 text file; - is standard input")
    return parser


# --- from input to rows ---------------------------------------------------------------------------------


def _classified(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row per text, in order. Lines of standard input are read as they are needed."""
    texts = _arguments(options.texts) if options.texts else _lines()
    classifier: Classifier | None = None
    while chunk := list(itertools.islice(texts, _LINES_AT_ONCE)):
        classifier = classifier or _load(options)
        try:
            predictions = classifier.classify([text for _, text in chunk])
        except (TypeError, ValueError) as error:
            raise _at_its_place(error, [place for place, _ in chunk]) from None
        for (_, text), prediction in zip(chunk, predictions, strict=True):
            yield _row(text, prediction)


def _tagged(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row per sentence of the article."""
    if options.file == "-":
        name, content = "standard input", _standard_input().read()
    else:
        name, content = options.file, Path(options.file).read_bytes()
    article = _decoded(content, name)
    try:
        sentences: list[TaggedSentence] = _load(options).tag(article)
    except ValueError as error:
        raise ValueError(re.sub(r"\Aarticle(?=: )", lambda _: name, str(error))) from None
    for sentence in sentences:
        yield {**_row(sentence.text, sentence.prediction), "start": sentence.start, "end": sentence.end}


def _load(options: argparse.Namespace) -> Classifier:
    return Classifier.load(options.model, backend=options.backend, device=options.device)


def _arguments(texts: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each argument with its name. The bytes behind it are UTF-8 even where the locale is not."""
    for number, text in enumerate(texts, start=1):
        name = f"TEXT {number}"
        try:
            content = os.fsencode(text)
        except UnicodeEncodeError:
            raise ValueError(f"{name}: found a lone surrogate, expected UTF-8") from None
        yield name, _decoded(content, name)


def _lines() -> Iterator[tuple[str, str]]:
    """Yield the lines of standard input that are not blank, each with its name."""
    for number, line in enumerate(_standard_input(), start=1):
        name = f"standard input, line {number}"
        text = _decoded(line, name, signature=number == 1).rstrip("\r\n")
        if text.strip():
            yield name, text


def _standard_input() -> Any:
    """Return standard input as a binary stream."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # `<&-` closes it
        raise OSError("standard input is closed; name a file or give a text")
    return sys.stdin.buffer


def _decoded(content: bytes, name: str, *, signature: bool = True) -> str:
    """Return `content` as text, without the byte order mark if `signature`; `ValueError` names the line."""
    if signature:
        content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        where = f", line {line + 1}" if b"\n" in content[:-1] else ""
        raise ValueError(
            f"{name}{where}: found byte 0x{content[error.start]:02x}, which is not UTF-8; convert the text "
            "first, for example: iconv -f WINDOWS-1256 -t UTF-8"
        ) from None


def _at_its_place(error: Exception, places: list[str]) -> Exception:
    """Return the error with the place of the text in the input, for its place in the list."""
    found = _POSITION.match(str(error))
    if not found:
        return error
    return type(error)(places[int(found[1] or 0)] + str(error)[found.end() :])


def _row(text: str, prediction: Prediction) -> dict[str, Any]:
    return {
        "text": text,
        "label": str(prediction.label),
        "confidence": prediction.confidence,
        "scores": {str(label): score for label, score in prediction.scores.items()},
        "secondary": None if prediction.secondary is None else str(prediction.secondary),
        "truncated": prediction.truncated,
    }


# --- from rows to output --------------------------------------------------------------------------------


def _write_table(rows: Iterable[dict[str, Any]], output: TextIO) -> None:
    isolated = output.isatty()
    cut = False
    for number, row in enumerate(rows):
        if number == 0:
            print(_ROW.format("label", " " * _ARABIC_WIDTH, "confidence", "second act", "text"), file=output)
        arabic = Label(row["label"]).arabic
        padding = " " * (_ARABIC_WIDTH - len(arabic))
        text = row["text"].translate(_CONTROLS)
        if isolated:
            arabic, text = f"{_FSI}{arabic}{_PDI}", f"{_FSI}{text.translate(_BIDI_CONTROLS)}{_PDI}"
        confidence = f"{'* ' if row['truncated'] else ''}{row['confidence']:.0%}"
        cut = cut or row["truncated"]
        print(_ROW.format(row["label"], arabic + padding, confidence, row["secondary"] or "-", text), file=output)
    if cut:
        print("* longer than the model reads: judged by its beginning", file=output)


def _write_json(rows: Iterable[dict[str, Any]], output: TextIO) -> None:
    listed = list(rows)  # whole or not at all: half an array is no JSON
    json.dump(listed, output, ensure_ascii=False, indent=1)
    output.write("\n")


def _write_jsonl(rows: Iterable[dict[str, Any]], output: TextIO) -> None:
    for row in rows:
        output.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_csv(rows: Iterable[dict[str, Any]], output: TextIO) -> None:
    # All texts quoted, as a line break within one would be; numbers and booleans bare.
    writer = csv.writer(output, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for number, row in enumerate(rows):
        scores: dict[str, float] = row["scores"]
        flat = {key: value for key, value in row.items() if key != "scores"}
        ...


_WRITERS: Final = {"table": _write_table, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv}


# --- errors ---------------------------------------------------------------------------------------------


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return _one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return _one_line(str(error) or type(error).__name__)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _abandon_output() -> None:
    """Send what is still buffered nowhere, or the interpreter tries again at exit and complains."""
    ...
