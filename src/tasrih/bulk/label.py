"""Files past the classifier into a file, in constant memory, going on from where it was left.

label_files(["news.csv.gz"], "labelled.parquet", Classifier.load(), sentences=True)
"""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tasrih
from tasrih.bulk.columns import new_columns, survey
from tasrih.bulk.items import TEXTS_AT_ONCE, Batch, Item, Options, batches
from tasrih.bulk.journal import Journal
from tasrih.bulk.sources import SourceError, find_sources, is_one_file, reason
from tasrih.bulk.writers import Row, Writer, check_output, writer_for
from tasrih.columns import LOW_CONFIDENCE, NO_ARABIC, cells_of, model_hash
from tasrih.labels import LABELS
from tasrih.predict import Classifier


@dataclass(frozen=True)
class Summary:
    """What was written: `rows` in all, how many by label, and, of those without one, how many by reason.

    `damaged` counts the rows of the input in which bytes that are not UTF-8 were replaced by U+FFFD.
    """

    output: Path
    rows: int
    labels: dict[str, int]
    reasons: dict[str, int]
    damaged: int

    def __str__(self) -> str:
        labelled = ", ".join(f"{count:,} {label}" for label, count in self.labels.items())
        parts = [f"{self.output}: {self.rows:,} rows", f"{sum(self.labels.values()):,} with a label"]
        if labelled:
            parts[-1] += f" ({labelled})"
        parts += [f"{count:,} without, {why}" for why, count in self.reasons.items()]
        if self.damaged:
            parts.append(f"in {self.damaged:,} rows of the input bytes that are not UTF-8 became U+FFFD")
        return "; ".join(parts)


def label_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    classifier: Classifier,
    *,
    text_column: str = "text",
    sentences: bool = False,
    min_confidence: float = 0.0,
    prefix: str = "",
    overwrite: bool = False,
    progress: bool = False,
) -> Summary:
    """Label the rows of files, folders or patterns, and write them with their labels to one file.

    Formats go by extension: csv, tsv, jsonl, parquet and, as input only, txt (a line is a row), each also
    with .gz or .zst behind. All columns are kept, in order; new ones come behind them, named with `prefix`.
    With `sentences` a row is written for each sentence, and the text column holds it; offsets count the
    characters of the row's text, or of the whole file where that is txt. Where confidence is below
    `min_confidence` the label stays empty. What cannot be labelled stays, too, with the reason.

    Killed and called again with the same arguments, it goes on where it was: see `tasrih.bulk.journal`.

    Raises `ImportError` where a format needs an extra, `SourceError` for an input that cannot be read,
    `ValueError` for arguments that fit neither each other nor what was begun, `OSError` where the disk is
    full. What was done so far is kept, unless the message says otherwise.
    """
    output = Path(output)
    if isinstance(inputs, (str, Path)):
        raise TypeError(f"inputs: found {type(inputs).__name__}, expected a list of paths")
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence: found {min_confidence}, expected a probability, from 0 to 1")
    check_output(output)
    if progress:
        _tqdm()  # what is not installed is missed before the work
    sources = find_sources(inputs, output)
    options = Options(text_column, sentences, several=not is_one_file(inputs), prefix=prefix)
    added = {
        prefix + name: kind
        for name, kind in new_columns(sentences=sentences, several=options.several).items()
    }
    columns = survey(sources, text_column, added, sentences=sentences)
    writer = writer_for(output, columns)
    labeller = _Labeller(classifier, min_confidence, prefix)
    facts = {
        "tasrih": tasrih.__version__,
        "--text-column": text_column,
        "--sentences": sentences,
        "--min-confidence": min_confidence,
        "--prefix": prefix,
        "a model of SHA-256": labeller.hash,
        "the backend": type(classifier.backend).__name__,
        "the columns": {name: sorted(map(str, kinds - {None})) for name, kinds in columns.items()},
    }
    files = [source.facts() for source in sources]
    with Journal(output, facts, files, overwrite=overwrite) as journal:
        if not journal.complete:
            with _kept(journal), _bar(progress, journal, sentences) as bar:
                if not journal.resumed:
                    journal.append(writer.header)
                    journal.commit(journal.progress)
                for batch in batches(sources, options, journal.progress):
                    bar.advance(_label(batch, labeller, writer, journal), batch.share)
                journal.commit(journal.progress, complete=True)
        with _kept(journal):
            journal.publish(writer.assemble)
    return _summary(output, journal.progress.counts)


class _Labeller:
    """Items to rows of the output, with what is the same in all of them: names, model, threshold."""

    def __init__(self, classifier: Classifier, min_confidence: float, prefix: str) -> None:
        self.hash = model_hash(classifier.checkpoint)
        self._model = {"model": classifier.checkpoint.name, "model_hash": self.hash}
        self._classifier = classifier
        self._min_confidence = min_confidence
        self._prefix = prefix

    def rows(self, items: list[Item], counts: Counter[str]) -> list[Row]:
        """Return the rows, each with its label or its reason, and add both up in `counts`."""
        texts = [item.text for item in items if item.reason is None]
        predictions = iter(self._classifier.classify_or_none(texts))
        rows: list[Row] = []
        for item in items:
            prediction = None if item.reason else next(predictions)
            why = item.reason or (None if prediction else NO_ARABIC)
            if prediction and prediction.confidence < self._min_confidence:
                why = LOW_CONFIDENCE
            found = {**cells_of(prediction, why), **self._model}
            counts[f"label {found['label']}" if found["label"] else f"reason {found['reason']}"] += 1
            rows.append({**item.row, **{self._prefix + name: value for name, value in found.items()}})
        counts["rows"] += len(rows)
        return rows


def _label(batch: Batch, labeller: _Labeller, writer: Writer, journal: Journal) -> int:
    """Label and write a batch, and return of how many rows. A single article may hold many texts."""
    counts = Counter(journal.progress.counts)
    for start in range(0, len(batch.items), TEXTS_AT_ONCE):
        rows = labeller.rows(batch.items[start : start + TEXTS_AT_ONCE], counts)
        journal.append(writer.encode(rows))
    counts["damaged"] += batch.damaged
    journal.commit(replace(batch.progress, counts=dict(counts)))
    return len(batch.items)


@contextmanager
def _kept(journal: Journal) -> Generator[None]:
    """Say of an input that cannot be read on, or a disk that is full, that nothing done is lost."""
    kept = f"what was done so far is kept in {journal.folder}: the same command goes on from there"
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{error}; {kept}") from None
    except OSError as error:
        rows = journal.progress.counts.get("rows", 0)
        raise OSError(f"{journal.folder}, behind row {rows:,}: {reason(error)}; {kept}") from None


class _Bar:
    """A progress bar in rows, whose end is what the share of the bytes read promises."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, rows: int, share: float) -> None:
        if self._bar is not None:
            if share > 0:
                self._bar.total = max(self._bar.n + rows, round((self._bar.n + rows) / share))
            self._bar.update(rows)


def _tqdm() -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(
            'tqdm is not installed; the progress bar needs: pip install "tasrih[bulk]"'
        ) from error
    return tqdm


@contextmanager
def _bar(shown: bool, journal: Journal, sentences: bool) -> Generator[_Bar]:
    if not shown:
        yield _Bar(None)
        return
    done = journal.progress.counts.get("rows", 0)
    unit = " sentences" if sentences else " rows"
    with _tqdm()(
        initial=done, unit=unit, disable=None, dynamic_ncols=True
    ) as bar:  # None: where no one looks
        yield _Bar(bar)


def _summary(output: Path, counts: dict[str, int]) -> Summary:
    reasons = {name.removeprefix("reason "): n for name, n in counts.items() if name.startswith("reason ")}
    return Summary(
        output,
        rows=counts.get("rows", 0),
        labels={str(label): counts[f"label {label}"] for label in LABELS if f"label {label}" in counts},
        reasons=dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        damaged=counts.get("damaged", 0),
    )
