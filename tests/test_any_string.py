"""Any string and any file: an answer within the contract of tests/contracts.py, or the documented error.

Each property is tried on 500 examples, and on 20,000 by `make nightly`; those that take long, on a fifth or
a tenth of that.
"""

import csv
import gzip
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from contracts import (
    TARGETS,
    check_classified,
    check_facts,
    check_normalised,
    check_same,
    check_sentences,
    check_tagged,
    refusal,
)
from strategies import BROKEN_NEWS, BROKEN_TABLES, CHARACTERS, LABELLED, LONG, TEXTS
from tasrih import LABELS, Classifier
from tasrih.bulk import SourceError, Summary, label_files
from tasrih.checkpoint import FACTS_FILE
from tasrih.cli import _row
from tasrih.columns import BAD_BYTES, EMPTY, NO_ARABIC, NOT_TEXT
from tasrih.formats import CLASSIFY_FIELDS, WRITERS
from tasrih.predict import shipped_model
from tasrih.trends import EVERY, Every, Trends, trends
from tasrih.trends.sources import rows_of

FINDINGS = Path(__file__).parents[1] / "fuzz" / "findings"

NIGHTLY = os.environ.get("TASRIH_NIGHTLY") == "1"
many = settings(
    max_examples=20_000 if NIGHTLY else 500,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],  # of long texts, on purpose
)


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier.load()


@given(TEXTS)
@many
def test_any_text_is_normalised(text: str) -> None:
    check_normalised(text)


@given(TEXTS)
@many
def test_any_article_is_split(article: str) -> None:
    check_sentences(article)


@given(article=LONG)
@settings(many, max_examples=many.max_examples // 10)
def test_a_hundred_thousand_characters(shipped: Classifier, article: str) -> None:
    check_normalised(article)
    check_sentences(article)
    check_classified(shipped, [article])


@given(texts=st.lists(TEXTS, max_size=8))
@many
def test_any_texts_are_classified(shipped: Classifier, texts: list[str]) -> None:
    check_classified(shipped, texts)


@given(article=BROKEN_NEWS)
@many
def test_any_article_is_tagged(shipped: Classifier, article: str) -> None:
    check_tagged(shipped, article)


@given(data=st.data())
@settings(many, max_examples=many.max_examples // 5)
def test_the_same_answer_alone_as_in_any_batch(
    shipped: Classifier, texts: list[str], data: st.DataObject
) -> None:
    """Batches of up to 40 texts of all lengths, in any order, cut anywhere, and one text of them alone."""
    batch = data.draw(st.lists(st.sampled_from(texts) | BROKEN_NEWS, min_size=1, max_size=40))
    together = shipped.classify_or_none(batch)
    order = data.draw(st.permutations(range(len(batch))))
    check_same(shipped.classify_or_none([batch[i] for i in order]), [together[i] for i in order])
    cut = data.draw(st.integers(min_value=0, max_value=len(batch) - 1))
    check_same(shipped.classify_or_none(batch[:cut]) + shipped.classify_or_none(batch[cut:]), together)
    check_same(shipped.classify_or_none([batch[cut]]), [together[cut]])


@given(texts=st.lists(TEXTS, max_size=6))
@many
def test_what_is_printed_can_be_read_again(shipped: Classifier, texts: list[str]) -> None:
    rows = [
        _row(text, prediction)
        for text, prediction in zip(texts, shipped.classify_or_none(texts), strict=True)
        if prediction is not None
    ]
    written = {name: io.StringIO(newline="") for name in WRITERS}
    for name, write in WRITERS.items():
        write(iter(rows), CLASSIFY_FIELDS, written[name])
        written[name].seek(0)
    assert json.load(written["json"]) == rows
    assert [json.loads(line) for line in written["jsonl"].getvalue().split("\n")[:-1]] == rows
    table = written["table"].getvalue().splitlines()
    assert len(table) == len(rows) + bool(rows) + any(row["truncated"] for row in rows)
    for row, cells in zip(rows, csv.DictReader(written["csv"]), strict=True):
        assert (cells["text"], cells["label"]) == (row["text"], row["label"])
        assert [float(cells[f"score_{label}"]) for label in LABELS] == list(row["scores"].values())


# Found: NaN within more lists than the writer of JSON without NaN can follow.
NESTED = '{"text": "نفى الوزير", "a": ' + "[" * 700 + "NaN" + "]" * 700 + "}"


@example(table=(".jsonl", NESTED.encode()), sentences=False, to=".jsonl")
@example(table=(".txt", b"\xef\xbb\xbf"), sentences=False, to=".jsonl")  # found: a row of nothing
@given(
    table=BROKEN_TABLES,
    sentences=st.booleans(),
    to=st.sampled_from([".jsonl", ".csv", ".parquet"]),
)
@many
def test_any_file_is_labelled_or_refused(
    shipped: Classifier, table: tuple[str, bytes], sentences: bool, to: str
) -> None:
    extension, content = table
    with tempfile.TemporaryDirectory() as folder:
        given_, output = Path(folder, f"in{extension}"), Path(folder, f"out{to}")
        given_.write_bytes(content)
        done: list[Summary] = []
        refused = refusal(
            lambda: done.append(label_files([given_], output, shipped, sentences=sentences)), SourceError
        )
        if refused is not None:
            assert refused.startswith(str(given_))
            assert not output.exists()
            return
        summary, rows = done[0], read(output)
    assert summary.rows == len(rows) == sum(summary.labels.values()) + sum(summary.reasons.values())
    for row in rows:
        if row["label"]:
            assert row["label"] in LABELS
            assert sum(float(row[f"score_{label}"]) for label in LABELS) == pytest.approx(1)
            assert not row["reason"]
        else:
            assert row["reason"] in REASONS
    if extension == ".txt":
        article = content.decode("utf-8-sig", errors="replace")
        if sentences:
            assert all(article[int(row["start"]) : int(row["end"])] == row["text"] for row in rows)
        elif to == ".jsonl":
            lines = io.StringIO(article, newline=None).read().split("\n")
            assert [row["text"] for row in rows] == (lines if lines[-1] else lines[:-1])


REASONS = {
    EMPTY,
    NO_ARABIC,
    BAD_BYTES,
    NOT_TEXT,
    "not a JSON object",
    "too many fields",
    "quote never closed",
}


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_table

        return read_table(path).to_pylist()
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


# Found: of a gz file that was altered, an error of zlib's own.
ALTERED = gzip.compress(b"", mtime=0)[:10] + b"\xff" * 40


@example(table=(".csv.gz", ALTERED))
@given(table=BROKEN_TABLES)
@many
def test_any_labelled_file_is_counted_or_refused(table: tuple[str, bytes]) -> None:
    extension, content = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"in{extension}".replace(".txt", ".json"))
        path.write_bytes(content)
        refused = refusal(lambda: [None for text, name in rows_of(path, ["text"], ["id"])])
        assert refused is None or refused.startswith(str(path))


@example(
    rows=[{"label": "denial", "date": "2024-01-31", "model_hash": []}], every="month"
)  # no set holds a list
@given(rows=st.lists(LABELLED, max_size=8), every=st.sampled_from(EVERY))
@many
def test_any_labels_and_dates_are_counted_or_refused(rows: list[dict[str, Any]], every: Every) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "in.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        done: list[Trends] = []
        refused = refusal(lambda: done.append(trends(path, by="source", every=every)))
        assert refused is None or refused.startswith(str(path))
    if done:
        labels = sum(row.get("label") in LABELS for row in rows)
        assert 0 < sum(point.n for point in done[0].points) <= labels
        assert all(
            sum(v.share for v in point.values.values()) == pytest.approx(1) for point in done[0].points
        )


FACTS = json.loads((shipped_model() / FACTS_FILE).read_bytes())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(CHARACTERS, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(CHARACTERS, max_size=8), inner, max_size=4)
    ),
)


@given(
    facts=JSON | st.dictionaries(st.sampled_from(sorted(FACTS)), JSON).map(lambda changed: FACTS | changed)
)
@many
def test_any_facts_are_read_or_refused(facts: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_facts(Path(folder), json.dumps(facts).encode())


# What the fuzzer found, once mended: see fuzz/fuzz.py, which puts it there.


@pytest.mark.parametrize("path", sorted(FINDINGS.glob("*")), ids=lambda path: path.name)
def test_what_was_found_once(path: Path, tmp_path: Path) -> None:
    target = path.name.split("-")[0]
    TARGETS[target](path.read_bytes(), tmp_path)
