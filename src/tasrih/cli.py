"""The `tasrih` command: sentences or an article in; a table, JSON, JSON lines or CSV out.

    tasrih classify "نفت الوزارة صحة الخبر"        tasrih tag article.txt
    tasrih classify --format jsonl < lines.txt      tasrih tag --format csv - < article.txt
    tasrih tag article.txt --html page.html         tasrih serve --port 8000
    tasrih label news.csv.gz labelled.parquet --text-column body
    tasrih trends labelled.parquet --by source --every month --labelled checked.jsonl

Exit status 0, or 2 with one line on standard error. What is read and written is UTF-8, whatever the
locale says. Libraries that run a model are imported only once the arguments are understood.
"""

import argparse
import io
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, TextIO

from tasrih import Classifier, Prediction, __version__
from tasrih.files import write_text_atomically
from tasrih.formats import CLASSIFY_FIELDS, TAG_FIELDS, WRITERS, Row

_LINES_AT_ONCE: Final = 4096  # bounds memory on endless input, and fills batches of equal length

_POSITION: Final = re.compile(r"texts?(?:\[(\d+)\])?(?=: )")  # how `Classifier.classify` names a text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments`, those of the process if left out, and return the exit status.

    Raises `SystemExit` where argparse does: for `--help`, `--version` and arguments it does not know.
    """
    for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    try:
        options = _parser().parse_args(arguments)
        if options.command == "serve":
            _serve(options)
            return 0
        if options.command == "label":
            _label(options)
            return 0
        if options.command == "trends":
            _trends(options)
            return 0
        if options.command == "classify":
            rows, fields = _classified(options), CLASSIFY_FIELDS
        else:
            rows, fields = _tagged(options), TAG_FIELDS
        WRITERS[options.format](rows, fields, _open(sys.stdout, "standard output"))
        sys.stdout.flush()
    except BrokenPipeError:  # `tasrih … | head`: the reader has all that it wants
        _settle_output()
        return 0
    except KeyboardInterrupt:
        _settle_output()
        return 130
    except (ImportError, OSError, TypeError, ValueError) as error:
        _settle_output()
        print(f"tasrih: error: {_message(error)}", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line, as all errors of this command do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tasrih: error: {_one_line(message)}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    model = _Parser(add_help=False)
    model.add_argument(
        "--model",
        metavar="PATH_OR_NAME",
        help="a checkpoint folder, or owner/name on the Hugging Face hub (default: the model that ships)",
    )
    model.add_argument("--backend", choices=["auto", "onnx", "torch"], default="auto")
    model.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    common = _Parser(add_help=False, parents=[model])
    common.add_argument("--format", choices=list(WRITERS), default="table", help="default: table")

    parser = _Parser(
        prog="tasrih", description="Tag Arabic news as accusation, denial, regret or factual report."
    )
    parser.add_argument("--version", action="version", version=f"tasrih {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    classify = commands.add_parser(
        "classify",
        parents=[common],
        help="classify sentences",
        description="Classify the sentences given, or those of standard input, one a line.",
    )
    classify.add_argument("texts", nargs="*", metavar="TEXT", help="a sentence (default: standard input)")
    tag = commands.add_parser(
        "tag",
        parents=[common],
        help="split an article into sentences and classify each",
        description="Split an article into sentences and classify those with an Arabic letter. Offsets count "
        "the characters of the file, without a byte order mark.",
    )
    tag.add_argument("file", metavar="FILE", help="a UTF-8 text file; - is standard input")
    tag.add_argument("--html", metavar="PAGE", help="write the article coloured by act to this file as well")
    label = commands.add_parser(
        "label",
        parents=[model],
        help="label the rows of files of any size, and write them to a file",
        description="Label the rows of IN: csv, tsv, jsonl, parquet or txt files, plain or with .gz or .zst "
        "behind, folders, or quoted patterns. OUT holds all their columns and the new ones, in the format of "
        "its extension. Killed and started again, the command goes on where it was.",
    )
    label.add_argument("inputs", nargs="+", metavar="IN", help="a file, a folder or a pattern")
    label.add_argument("output", metavar="OUT", help="a csv, tsv, jsonl or parquet file")
    label.add_argument("--text-column", default="text", metavar="NAME", help="default: text")
    label.add_argument("--sentences", action="store_true", help="split articles: a row for each sentence")
    label.add_argument(
        "--min-confidence", type=float, default=0.0, metavar="P", help="no label below it (default: 0)"
    )
    label.add_argument("--prefix", default="", help="put before the new columns' names (default: nothing)")
    label.add_argument("--overwrite", action="store_true", help="replace OUT where it is there already")
    trends = commands.add_parser(
        "trends",
        help="the share of each act over time in a labelled file, as a table and a plot",
        description="Write PREFIX.csv and PREFIX.png: the share of each act by period, corrected for the "
        "classifier's own errors, with intervals. For that it takes sentences of the same corpus that a "
        "person has checked; without them shares are raw counts, and both files say so.",
    )
    trends.add_argument("file", metavar="FILE", help="a parquet, csv, tsv or jsonl file that label wrote")
    trends.add_argument("--by", metavar="COLUMN", help="a line for each value of this column, such as source")
    trends.add_argument("--every", choices=["day", "week", "month", "quarter", "year"], default="month")
    trends.add_argument("--date", default="date", metavar="COLUMN", help="dates, 2024-01-31 (default: date)")
    trends.add_argument("--label-column", default="label", metavar="COLUMN", help="default: label")
    trends.add_argument(
        "--labelled",
        metavar="CHECKED",
        help="checked sentences: a json, jsonl, csv, tsv or parquet file with a person's label under gold "
        "and the model's under the label column; or a report.json of training/evaluation.py",
    )
    trends.add_argument("--few", type=int, default=30, metavar="N", help="fewer are not drawn (default: 30)")
    trends.add_argument("--level", type=float, default=0.95, help="of the intervals (default: 0.95)")
    trends.add_argument("--output", default="trends", metavar="PREFIX", help="default: trends")
    serve = commands.add_parser(
        "serve",
        parents=[model],
        help="serve classify and tag over HTTP, and a page to paste an article into",
        description="Serve POST /classify and POST /tag, described at /openapi.json, and a page at /. There "
        "is no TLS and no password: put a proxy in front before others than this machine may connect.",
    )
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    serve.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    for name, what in (
        ("body", "bytes of a request's body"),
        ("items", "texts of a request, or sentences of an article"),
        ("queue", "sentences that may wait"),
        ("in-flight", "unanswered requests of one address"),
    ):
        serve.add_argument(f"--max-{name}", type=int, metavar="N", help=f"at most N {what}")
    return parser


# From input to rows.


def _classified(options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row per text, in order. Lines of standard input are read as they are needed."""
    texts = _arguments(options.texts) if options.texts else _lines()
    classifier = _load(options)
    while chunk := list(itertools.islice(texts, _LINES_AT_ONCE)):
        try:
            predictions = classifier.classify([text for _, text in chunk])
        except ValueError as error:
            found = _POSITION.match(str(error))
            if not found:
                raise
            raise ValueError(chunk[int(found[1] or 0)][0] + str(error)[found.end() :]) from None
        for (_, text), prediction in zip(chunk, predictions, strict=True):
            yield _row(text, prediction)


def _tagged(options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row per sentence of the article."""
    if options.file == "-":
        name, content = "standard input", _standard_input().read()
    else:
        name, content = options.file, Path(options.file).read_bytes()
    article = _decoded(content, name)
    classifier = _load(options)
    try:
        sentences = classifier.tag(article)
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix('article: ')}") from None
    if options.html is not None:
        from tasrih.report import page

        write_text_atomically(Path(options.html), page(article, sentences, title=Path(name).name))
    for sentence in sentences:
        yield {**_row(sentence.text, sentence.prediction), "start": sentence.start, "end": sentence.end}


def _serve(options: argparse.Namespace) -> None:
    """Serve until the process is told to stop."""
    from tasrih.server import Limits, serve

    names = ("body", "items", "queue", "in_flight")
    given = {name: value for name in names if (value := getattr(options, f"max_{name}")) is not None}
    limits = Limits(**given)
    serve(_load(options), host=options.host, port=options.port, limits=limits)


def _label(options: argparse.Namespace) -> None:
    """Label files, and say on standard error what was written."""
    from tasrih.bulk import label_files

    try:
        summary = label_files(
            options.inputs,
            options.output,
            _load(options),
            text_column=options.text_column,
            sentences=options.sentences,
            min_confidence=options.min_confidence,
            prefix=options.prefix,
            overwrite=options.overwrite,
            progress=True,
        )
    except KeyboardInterrupt:
        print("tasrih: stopped; the same command goes on from where it was", file=sys.stderr)
        raise
    print(f"tasrih: {summary}", file=sys.stderr)


def _trends(options: argparse.Namespace) -> None:
    """Write the table and the plot, and say on standard error what they hold and what they do not."""
    from tasrih.trends import trends, write_plot, write_table

    table, plot = f"{options.output}.csv", f"{options.output}.png"
    trend = trends(
        options.file,
        by=options.by,
        every=options.every,
        date_column=options.date,
        label_column=options.label_column,
        labelled=options.labelled,
        few=options.few,
        level=options.level,
    )
    write_table(trend, table)
    for note in [*trend.notes, *write_plot(trend, plot)]:
        print(f"tasrih: note: {note}", file=sys.stderr)
    print(f"tasrih: written: {table}, {plot}", file=sys.stderr)


def _load(options: argparse.Namespace) -> Classifier:
    return Classifier.load(options.model, backend=options.backend, device=options.device)


def _row(text: str, prediction: Prediction) -> Row:
    return {
        "text": text,
        "label": str(prediction.label),
        "confidence": prediction.confidence,
        "scores": {str(label): score for label, score in prediction.scores.items()},
        "secondary": None if prediction.secondary is None else str(prediction.secondary),
        "truncated": prediction.truncated,
    }


def _arguments(texts: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each argument with its name. The bytes behind it are UTF-8 even where the locale is not."""
    for number, text in enumerate(texts, start=1):
        name = f"TEXT {number}"
        try:
            content = os.fsencode(text)
        except UnicodeEncodeError as error:
            raise ValueError(f"{name}: found {text[error.start]!r}, which UTF-8 cannot hold") from None
        yield name, _decoded(content, name, line=None)


def _lines() -> Iterator[tuple[str, str]]:
    """Yield the lines of standard input that are not blank, each with its name."""
    for number, line in enumerate(_standard_input(), start=1):
        text = _decoded(line, "standard input", line=number).rstrip("\r\n")
        if text.strip():
            yield f"standard input, line {number}", text


def _standard_input() -> BinaryIO:
    return _open(sys.stdin, "standard input").buffer


def _open(stream: TextIO | None, name: str) -> TextIO:
    """Return the stream, which is None where the shell closed it (`<&-`, `>&-`)."""
    if stream is None:
        raise OSError(f"{name} is closed")
    return stream


def _decoded(content: bytes, name: str, *, line: int | None = 1) -> str:
    """Return UTF-8 as text. `line` is the number of the first line of `content`, None where it has none."""
    if line == 1:
        content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        lines_before = content.count(b"\n", 0, error.start)
        where = name if line is None else f"{name}, line {line + lines_before}"
        raise ValueError(
            f"{where}: found byte 0x{content[error.start]:02x}, expected UTF-8; convert the text first, "
            "for example with iconv -f WINDOWS-1256 -t UTF-8"
        ) from None


# Ends.


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return _one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return _one_line(str(error) or type(error).__name__)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _settle_output() -> None:
    """Write what is buffered; if that fails, send it nowhere, or the interpreter would complain at exit."""
    try:
        _open(sys.stdout, "standard output").flush()
    except OSError:
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
