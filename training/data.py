"""The labelled data: loading with validation, and rebuilding news sentences from a user's own corpus copy.

The repository holds the authored sentences whole, and of the public corpora labels and positions only.

    python training/data.py rebuild --corpus antcorpus/antcorpus.data=PATH --corpus OTHER/REPO=PATH
    python training/data.py check

`rebuild` reads each sentence at its position in the given copies (a git checkout or a downloaded folder),
holds its letters against the hash, writes those that match to `training/data/news/`, and says how many of
how many it found. Without the corpora everything still runs, on the authored split alone.
"""

import argparse
import hashlib
import html
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasrih.files import write_text_atomically
from tasrih.labels import Label

DATA = Path(__file__).parent / "data"
AUTHORED = [
    DATA / "authored.jsonl",
    DATA / "authored-2.jsonl",
    DATA / "authored-3.jsonl",
    DATA / "authored-4.jsonl",
    DATA / "authored-5.jsonl",
    DATA / "authored-6.jsonl",
]
ANNOTATIONS = DATA / "annotations"
NEWS = DATA / "news"  # what `rebuild` writes; not in the repository

AUTHORED_SOURCE = "authored"  # of the sentences that name no other

TRAIN_NEWS = [
    "ant_train",
    "khaleej_train",
    "news2_train",
    "news3_train",
    "news4_train",
    "news5_train",
    "news6_train",
    "news7_train",
    "news8_train",
    "news9_train",
    "news10_train",
    "news11_train",
]
TEST_NEWS = ["ant_test"]


class DataError(ValueError):
    """Labelled data that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Example:
    """One labelled sentence. `group` is its story or document, which must not straddle two splits."""

    id: str
    text: str
    label: Label
    secondary: Label | None
    split: str
    group: str
    source: str
    sampled: str | None  # "natural", "cue", or None for authored sentences
    confidence: int  # the annotator's own, 1 to 3
    where: str  # file:line
    dissent: Label | None = None  # what an outvoted annotator said, where three read the sentence


def read(path: Path, split: str | None = None) -> list[Example]:
    """Read labelled sentences from a JSONL file. `split` stands in where a row has none.

    Raises `DataError` at the first row that is broken, empty or labelled with something unknown.
    """
    examples: list[Example] = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    examples.append(_example(line, f"{path}:{number}", split))
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; expected labelled sentences, one JSON object a line"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from None
    if not examples:
        raise DataError(f"{path}: holds no sentence; expected one JSON object a line")
    return examples


def _example(line: str, where: str, split: str | None) -> Example:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}); expected one JSON object a line") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: found {type(row).__name__}, expected a JSON object")
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: 'text' is empty; remove the row or give its sentence")
    label = _label(row.get("label"), where, "label")
    secondary = None if row.get("secondary") is None else _label(row["secondary"], where, "secondary")
    if secondary is not None and (secondary is label or Label.FACTUAL_REPORT in (label, secondary)):
        raise DataError(
            f"{where}: 'secondary' is {str(secondary)!r} beside {str(label)!r}; see GUIDELINES.md"
        )
    dissent = None if row.get("dissent") is None else _label(row["dissent"], where, "dissent")
    if dissent is label:
        raise DataError(f"{where}: 'dissent' is {str(dissent)!r}, the label itself; remove it")
    chosen = row.get("split") or split
    if chosen not in ("train", "validation", "test"):
        raise DataError(f"{where}: 'split' is {chosen!r}; expected 'train', 'validation' or 'test'")
    return Example(
        id=str(row.get("id", where)),
        text=text,
        label=label,
        secondary=secondary,
        split=chosen,
        group=str(row.get("story") or row.get("doc") or where),
        source=str(row.get("source", AUTHORED_SOURCE)),
        sampled=row.get("sampled"),
        confidence=int(row.get("confidence", 3)),
        where=where,
        dissent=dissent,
    )


def _label(value: object, where: str, key: str) -> Label:
    try:
        return Label(value)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(repr(str(label)) for label in Label)
        raise DataError(f"{where}: {key!r} is {value!r}; expected one of {known}") from None


def check(examples: Iterable[Example]) -> None:
    """Raise `DataError` where a text or a group stands in two splits, or a text twice in one."""
    texts: dict[str, Example] = {}
    groups: dict[str, Example] = {}
    for example in examples:
        other = texts.setdefault(example.text, example)
        if other is not example:
            raise DataError(f"{example.where}: the text of {other.where} again ({example.split}); remove one")
        first = groups.setdefault(example.group, example)
        if first.split != example.split:
            raise DataError(
                f"{example.where}: story or document {example.group!r} is in split {example.split!r} here "
                f"and in {first.split!r} at {first.where}; keep it in one"
            )


def load(news: Path = NEWS) -> list[Example]:
    """Return all labelled sentences at hand, checked: the authored ones, and the news that was rebuilt."""
    examples = [example for path in AUTHORED for example in read(path)]
    for name in [*TRAIN_NEWS, *TEST_NEWS]:
        path = news / f"{name}.jsonl"
        if path.exists():
            examples += read(path, split="test")
    check(examples)
    if not (news / f"{TRAIN_NEWS[0]}.jsonl").exists():
        print(
            f"data: no news sentences in {news}; going on with the {len(examples):,} authored ones alone "
            "(python training/data.py rebuild --help)",
            file=sys.stderr,
        )
    return examples


def rebuild(corpora: dict[str, Path], output: Path = NEWS) -> dict[str, tuple[int, int]]:
    """Write the sentences that the corpus copies hold, and return (found, all) for each annotation file.

    `corpora` maps a repository's name, as in the annotations, to the folder of a copy. A sentence whose
    letters do not match its hash is left out. Raises `DataError` for a name or folder that is wrong.
    """
    rows = {path.stem: list(_rows(path)) for path in sorted(ANNOTATIONS.glob("*.jsonl"))}
    known = {row["repo"] for group in rows.values() for row in group}
    for name, folder in corpora.items():
        if name not in known:
            raise DataError(
                f"--corpus {name}: not a corpus of the annotations; expected {', '.join(sorted(known))}"
            )
        if not folder.is_dir():
            raise DataError(f"--corpus {name}={folder}: no such folder; give a checkout or downloaded copy")
    counts: dict[str, tuple[int, int]] = {}
    for stem, group in rows.items():
        at_hand = (_with_text(row, corpora[row["repo"]]) for row in group if row["repo"] in corpora)
        found = [row for row in at_hand if row is not None]
        counts[stem] = (len(found), len(group))
        if found:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in found]
            write_text_atomically(output / f"{stem}.jsonl", "".join(lines))
    return counts


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _with_text(row: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    try:
        content, letters = _decoded(folder / row["path"])
    except OSError:
        return None
    span = letters[row["start"] : row["start"] + row["letters"]]
    if len(span) < row["letters"]:
        return None
    text = content[span[0] : span[-1] + 1]
    digest = hashlib.sha1("".join(content[i] for i in span).encode()).hexdigest()
    return {**row, "text": text} if digest.startswith(row["sha1"]) else None


@lru_cache(maxsize=64)  # sentences of a document stand together in the annotations
def _decoded(path: Path) -> tuple[str, list[int]]:
    """Return a file's text and where in it the letters U+0621 to U+064A stand, which positions count."""
    raw = path.read_bytes()
    for encoding in ("utf-8-sig", "utf-16", "cp1256"):
        try:
            text = html.unescape(raw.decode(encoding))
            break
        except UnicodeError:
            continue
    else:
        text = raw.decode("utf-8", errors="replace")
    return text, [i for i, char in enumerate(text) if "\u0621" <= char <= "\u064a"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild or check the labelled data.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("rebuild", help="rebuild news sentences from copies of the corpora")
    build.add_argument(
        "--corpus",
        action="append",
        default=[],
        required=True,
        metavar="NAME=PATH",
        help="antcorpus/antcorpus.data=… (ANT), Safae26/arabic-documents-classification=… (SANAD)",
    )
    build.add_argument("--output", type=Path, default=NEWS)
    commands.add_parser("check", help="load everything and report what is there")
    arguments = parser.parse_args()
    try:
        if arguments.command == "rebuild":
            pairs = [argument.partition("=") for argument in arguments.corpus]
            counts = rebuild({name: Path(path) for name, _, path in pairs}, arguments.output)
            for stem, (found, total) in counts.items():
                print(f"{stem}: {found:,} of {total:,} sentences found")
        else:
            examples = load()
            for split in ("train", "validation", "test"):
                labels = [example.label for example in examples if example.split == split]
                shares = ", ".join(f"{labels.count(label):,} {label}" for label in Label)
                print(f"{split}: {len(labels):,} sentences: {shares}")
    except DataError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
