"""Files in, files out: formats, columns, reasons, refusals. What kills and resumes is in test_bulk_resume."""

import csv
import gzip
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasrih import Classifier, split_sentences
from tasrih.bulk import SourceError, Summary, label_files

DENIAL = "نفت الوزارة صحة ما تداولته مواقع التواصل"
REGRET = 'اعتذر الوزير، وقال: "أخطأنا"\nأمس'
NEW = [
    "label", "confidence", "score_accusation", "score_denial", "score_regret", "score_factual_report",
    "secondary", "truncated", "reason", "model", "model_hash",
]  # fmt: skip
CONVERT = "convert the file first, for example with iconv -f WINDOWS-1256 -t UTF-8"
FORMATS = [
    "csv",
    "tsv",
    "jsonl",
    "parquet",
    "csv.gz",
    "tsv.zst",
    "jsonl.gz",
    "jsonl.zst",
    "parquet.gz",
    "parquet.zst",
]


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint)


def unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".zst":
        return pa.CompressedInputStream(io.BytesIO(content), "zstd").read()
    return content


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of an output, by readers that are not ours; cells of csv and tsv are text."""
    content = unpacked(path)
    if ".parquet" in path.name:
        return pq.read_table(pa.BufferReader(content)).to_pylist()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in content.decode().split("\n") if line]
    delimiter = "," if ".csv" in path.name else "\t"
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), delimiter=delimiter))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written_in_any_format_can_be_read_again(
    kind: str, classifier: Classifier, tmp_path: Path
) -> None:
    texts = [DENIAL, REGRET, "", 'hello\t"x"', "نفى"]
    table = io.StringIO()
    csv.writer(table).writerows([["id", "body"], *enumerate(texts)])
    given_ = write(tmp_path / "in.csv", table.getvalue())
    first = tmp_path / f"first.{kind}"
    summary = label_files([given_], first, classifier, text_column="body")
    assert summary.rows == 5
    assert summary.reasons == {"empty": 1, "no Arabic letter": 1}
    rows = read(first)
    assert [row["body"] for row in rows] == texts
    assert list(rows[0]) == ["id", "body", *NEW]
    expected = classifier.classify(DENIAL)
    assert rows[0]["label"] == expected.label
    assert float(rows[0]["confidence"]) == pytest.approx(expected.confidence)
    assert float(rows[0]["score_regret"]) == pytest.approx(list(expected.scores.values())[2])
    assert rows[0]["model"] == "tiny"
    assert len(rows[0]["model_hash"]) == 12
    again = tmp_path / "again.jsonl"
    label_files([first], again, classifier, text_column="body", prefix="b_")
    for before, after in zip(rows, read(again), strict=True):
        assert [after[name] or None for name in before] == [value or None for value in before.values()]
        assert (after["b_label"] or "") == (before["label"] or "")


def test_parquet_keeps_types_and_values(classifier: Classifier, tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array([DENIAL, None, "نفى"], pa.large_string()),
            "when": pa.array([1, None, 1_234_567_890_123_456_789], pa.timestamp("ns", "UTC")),
            "tags": pa.array([["a"], None, []], pa.list_(pa.string())),
            "parts": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int8())])),
            "price": pa.array(["1.20", None, "3.30"]).cast(pa.decimal128(8, 2)),
            "raw": pa.array([b"\xff", None, b"x"]),
            "small": pa.array([1, None, 3], pa.int16()),
            "share": pa.array([0.5, float("nan"), None]),
            "paper": pa.array(["x", None, "x"]).dictionary_encode(),
            "nothing": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    label_files([tmp_path / "in.parquet"], tmp_path / "out.parquet", classifier)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == [*table.column_names, *NEW]
    for name in table.column_names:
        expected = table[name]
        if name == "paper":
            expected = expected.cast(pa.string())
        assert found.schema.field(name).type == expected.type
        assert str(found[name].to_pylist()) == str(expected.to_pylist())
    assert found.schema.field("confidence").type == pa.float64()
    assert found.schema.field("truncated").type == pa.bool_()
    label_files([tmp_path / "in.parquet"], tmp_path / "out.jsonl", classifier)
    row = read(tmp_path / "out.jsonl")[2]
    assert row["when"].startswith("2009-02-13 23:31:30.123456789")
    assert (row["tags"], row["parts"], row["price"], row["raw"]) == ([], {"a": None}, "3.30", "x")
    assert read(tmp_path / "out.jsonl")[1]["share"] is None


def test_json_lines_may_differ_in_their_keys(classifier: Classifier, tmp_path: Path) -> None:
    lines = [
        {"text": DENIAL, "n": 1, "mixed": 1, "id": 2**60},
        {"text": None, "n": 2.5, "deep": {"a": [1, "ب"]}, "id": 1},
        {"mixed": "x", "late": True},
        {"text": 12, "id": None},
        {"text": ["نفى"]},
    ]
    given_ = write(
        tmp_path / "in.jsonl", "\n".join(json.dumps(line) for line in lines) + '\n\n[1]\n{"text": "نفى\n'
    )
    label_files([given_], tmp_path / "out.jsonl", classifier)
    rows = read(tmp_path / "out.jsonl")
    assert [{key: row[key] for key in row if key not in NEW} for row in rows[:5]] == lines
    assert [row["text"] for row in rows[5:]] == ["[1]", '{"text": "نفى']
    assert [row["reason"] for row in rows] == [
        None, "empty", "empty", "not a text", "not a text", "not a JSON object", "not a JSON object"
    ]  # fmt: skip
    label_files([given_], tmp_path / "out.parquet", classifier)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["n"].to_pylist() == [1.0, 2.5, *[None] * 5]
    assert table["id"].to_pylist() == [2**60, 1, *[None] * 5]
    assert table["mixed"].to_pylist() == ["1", None, "x", *[None] * 4]
    assert table["deep"].to_pylist()[1] == '{"a": [1, "ب"]}'
    assert table["late"].to_pylist()[2] is True
    assert table["text"].to_pylist()[3:5] == ["12", '["نفى"]']


def test_rows_that_are_damaged_stay_and_say_so(classifier: Classifier, tmp_path: Path) -> None:
    good = "".join(f"{number},{DENIAL},x\n" for number in range(3)).encode()
    given_ = write(
        tmp_path / "in.csv",
        b"\xef\xbb\xbfid,text,note\n" + good
        + b"3,\xd9\x86\xff\xd9\x89,x\n4," + "نفى".encode() + b",\xff\n5," + "نفى".encode() + b",a,b\n6\n\n"
        + b"7," + "نفى".encode() + b',"never\nclosed\n',
    )  # fmt: skip
    summary = label_files([given_], tmp_path / "out.csv", classifier)
    rows = read(tmp_path / "out.csv")
    assert [row["id"] for row in rows] == [*"01234567"]
    assert [row["reason"] for row in rows[3:]] == [
        "bad bytes", "", "too many fields", "empty", "quote never closed"
    ]  # fmt: skip
    assert [row["note"] for row in rows[3:]] == ["x", "\ufffd", "a,b", "", "never\nclosed\n"]
    assert rows[4]["label"]
    assert summary.damaged == 2
    assert str(summary) == (
        f"{tmp_path}/out.csv: 8 rows; 4 with a label ({_labels(summary)}); 1 without, bad bytes; "
        "1 without, empty; 1 without, quote never closed; 1 without, too many fields; in 2 rows of the input "
        "bytes that are not UTF-8 became U+FFFD"
    )


def _labels(summary: Summary) -> str:
    return ", ".join(f"{count} {label}" for label, count in summary.labels.items())


def test_half_a_character_in_json_is_damage(classifier: Classifier, tmp_path: Path) -> None:
    given_ = write(tmp_path / "in.jsonl", '{"text": "نفى \\ud83d", "a": "\\ud83d\\ude00"}\n')
    for name in ("out.jsonl", "out.parquet", "out.csv"):
        label_files([given_], tmp_path / name, classifier)
        (row,) = read(tmp_path / name)
        assert (row["text"], row["a"], row["reason"]) == ("نفى \ufffd", "😀", "bad bytes")


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=25)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.sampled_from(FORMATS[:4]))
def test_any_text_passes_through(tiny_checkpoint: Path, rows: list[tuple[str, str]], kind: str) -> None:
    classifier = _shared(tiny_checkpoint)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("text", "other"), *rows])
        given_ = write(folder / "in.csv", table.getvalue())
        label_files([given_], folder / f"out.{kind}", classifier)
        found = [(row["text"], row["other"]) for row in read(folder / f"out.{kind}")]
        assert found == rows


_loaded: dict[Path, Classifier] = {}


def _shared(path: Path) -> Classifier:  # hypothesis refuses fixtures made per test
    return _loaded.setdefault(path, Classifier.load(path))


def test_sentences_of_a_table(classifier: Classifier, tmp_path: Path) -> None:
    articles = ["خبر عاجل\nنفى الوزير. hello world.", "", "?!", "اعتذر الوزير."]
    given_ = write(
        tmp_path / "in.jsonl",
        "".join(json.dumps({"id": i, "text": a, "day": "x"}) + "\n" for i, a in enumerate(articles)),
    )
    label_files([given_], tmp_path / "out.jsonl", classifier, sentences=True)
    rows = read(tmp_path / "out.jsonl")
    assert [(row["id"], row["document"], row["sentence"], row["text"], row["reason"]) for row in rows] == [
        (0, "in.jsonl:1", 1, "خبر عاجل", None),
        (0, "in.jsonl:1", 2, "نفى الوزير.", None),
        (0, "in.jsonl:1", 3, "hello world.", "no Arabic letter"),
        (1, "in.jsonl:2", None, "", "empty"),
        (2, "in.jsonl:3", None, "?!", "no Arabic letter"),
        (3, "in.jsonl:4", 1, "اعتذر الوزير.", None),
    ]
    assert all(row["day"] == "x" for row in rows)
    assert all(
        articles[row["id"]][row["start"] : row["end"]] == row["text"] for row in rows if row["sentence"]
    )


@settings(max_examples=25)
@given(st.text(st.sampled_from("نفى الوزير.؟\n\r\t«»د1\u2028"), max_size=80), st.booleans())
def test_sentences_of_a_text_file_are_those_of_tag(tiny_checkpoint: Path, text: str, marked: bool) -> None:
    classifier = _shared(tiny_checkpoint)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given_ = write(folder / "in.txt", ("\ufeff" if marked else "") + text)
        label_files([given_], folder / "out.jsonl", classifier, sentences=True)
        rows = read(folder / "out.jsonl")
    expected = split_sentences(text)
    assert [(row["text"], row["start"], row["end"]) for row in rows] == [
        (s.text, s.start, s.end) for s in expected
    ]
    assert [row["sentence"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["document"] == "in.txt" for row in rows)


def test_a_line_of_a_text_file_is_a_row(classifier: Classifier, tmp_path: Path) -> None:
    given_ = write(tmp_path / "in.txt.gz", gzip.compress(f"{DENIAL}\n\nنفى\r\nا\rب".encode()))
    label_files([given_], tmp_path / "out.csv", classifier, text_column="line")
    assert [row["line"] for row in read(tmp_path / "out.csv")] == [DENIAL, "", "نفى", "ا", "ب"]


def test_an_article_of_many_sentences(classifier: Classifier, tmp_path: Path) -> None:
    article = "".join(f"نفى الوزير الخبر رقم {number}.\n" for number in range(9000))
    given_ = write(tmp_path / "in.jsonl", json.dumps({"text": article}) + "\n" + json.dumps({"text": "نفى"}))
    summary = label_files([given_], tmp_path / "out.parquet", classifier, sentences=True)
    assert summary.rows == 9001
    rows = read(tmp_path / "out.parquet")
    assert [row["sentence"] for row in rows] == [*range(1, 9001), 1]
    assert rows[8999]["text"] == article[rows[8999]["start"] : rows[8999]["end"]]


def test_a_long_article_is_one_field(classifier: Classifier, tmp_path: Path) -> None:
    article = "نفى الوزير. " * 100_000  # beyond what csv allows a field unless told
    label_files([write(tmp_path / "in.csv", f'text\n"{article}"\n')], tmp_path / "out.jsonl", classifier)
    (row,) = read(tmp_path / "out.jsonl")
    assert (row["text"], row["truncated"]) == (article, True)


def test_a_quote_that_swallows_a_file_ends_the_run_behind_the_rows_before_it(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasrih.bulk.readers._LONGEST_FIELD", 200_000)
    limit = csv.field_size_limit()
    given_ = write(tmp_path / "in.csv", 'text\nنفى\n"نفى\n' + "نفى\n" * 60_000)
    csv.field_size_limit(1)
    try:
        with pytest.raises(SourceError) as caught:
            label_files([given_], tmp_path / "out.csv", classifier)
    finally:
        csv.field_size_limit(limit)
    folder = tmp_path / "out.csv.partial"
    assert str(caught.value) == (
        f"{given_}, row 2: found a field of more than 200,000 characters, expected a shorter one; is a quote "
        f"never closed?; what was done so far is kept in {folder}: the same command goes on from there"
    )
    assert (folder / "rows").read_text(encoding="utf-8").count("\n") == 2


def test_min_confidence_leaves_the_label_empty_and_counts(classifier: Classifier, tmp_path: Path) -> None:
    texts = [f"{DENIAL} {number}" for number in range(20)]
    confidences = [prediction.confidence for prediction in classifier.classify(texts)]
    limit = sorted(confidences)[10]
    given_ = write(tmp_path / "in.txt", "\n".join(texts))
    summary = label_files([given_], tmp_path / "out.jsonl", classifier, min_confidence=limit)
    rows = read(tmp_path / "out.jsonl")
    low = sum(confidence < limit for confidence in confidences)
    assert summary.reasons == {"low confidence": low}
    assert 0 < low < 20
    for row, confidence in zip(rows, confidences, strict=True):
        assert row["confidence"] == pytest.approx(confidence)
        assert (row["label"] is None) == (row["reason"] == "low confidence") == (confidence < limit)
    with pytest.raises(ValueError, match=r"^min_confidence: found 80, expected a probability, from 0 to 1$"):
        label_files([given_], tmp_path / "x.csv", classifier, min_confidence=80)


def test_folders_and_patterns_go_by_name_and_say_where_a_row_is_from(
    classifier: Classifier, tmp_path: Path
) -> None:
    folder = tmp_path / "news"
    for name in ("b.csv", "a/z.csv", "a/10.csv", "a/2.csv"):
        write(folder / name, f"text,{Path(name).stem}\n{name},1\n")
    write(folder / "c.jsonl", '{"text": "c.jsonl", "z": [1]}\n')
    write(folder / "README.md", "no table")
    write(folder / ".hidden.csv", "text\nx\n")
    label_files([folder], tmp_path / "out.csv", classifier)
    rows = read(tmp_path / "out.csv")
    names = ["a/10.csv", "a/2.csv", "a/z.csv", "b.csv", "c.jsonl"]
    assert [row["source"] for row in rows] == [row["text"] for row in rows] == names
    assert list(rows[0]) == ["text", "10", "2", "z", "b", "source", *NEW]
    assert rows[4]["z"] == "[1]"
    label_files([str(folder / "*" / "*.csv")], tmp_path / "glob.csv", classifier)
    assert [row["source"] for row in read(tmp_path / "glob.csv")] == names[:3]
    label_files([folder / "b.csv", folder / "a"], tmp_path / "two.jsonl", classifier)
    assert [row["source"] for row in read(tmp_path / "two.jsonl")] == [
        f"{folder}/{name}" for name in ("b.csv", "a/10.csv", "a/2.csv", "a/z.csv")
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv.zst"])
@pytest.mark.parametrize(("name", "content"), [("in.csv", "id,text\n"), ("in.jsonl", ""), ("in.txt", "")])
def test_an_input_without_rows(
    name: str, content: str, kind: str, classifier: Classifier, tmp_path: Path
) -> None:
    summary = label_files([write(tmp_path / name, content)], tmp_path / f"out.{kind}", classifier)
    assert summary.rows == 0
    assert read(tmp_path / f"out.{kind}") == []
    if kind == "csv":
        assert (tmp_path / "out.csv").read_text().strip().endswith(",".join(["text", *NEW]))
    assert not (tmp_path / f"out.{kind}.partial").exists()


CUT_GZ = gzip.compress(b"text\n" + DENIAL.encode())[:-12]


NAME_IT = "expected a column 'text'; name it with --text-column"
PREFIX = "the name of one to be added; give the new columns a --prefix, such as tasrih_"
CUT = "Compressed file ended before the end-of-stream marker was reached"
KNOWN = "expected csv, tsv, jsonl, parquet or txt, plain or with .gz or .zst behind"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", "id,body\n1,x\n", f", header: found columns 'id', 'body', {NAME_IT}"),
        ("in.csv", "", f", header: found no column, {NAME_IT}"),
        ("in.jsonl", '{"t": 1}\n', f", row 1: found only the column 't', {NAME_IT}"),
        ("in.jsonl", "[\n1\n]", f", row 1: found no column, {NAME_IT}"),
        ("in.csv", "text,text\n", ", header: found the column 'text' twice; rename one"),
        ("in.csv", "text,label\n", f": found a column 'label', {PREFIX}"),
        (
            "in.csv",
            f"text\n{DENIAL}\n".encode("cp1256"),
            f", line 2: found byte 0xe4, expected UTF-8; {CONVERT}",
        ),
        (
            "in.csv",
            DENIAL.encode("utf-16"),
            f", row 1: found UTF-16 or binary data, expected UTF-8; {CONVERT}",
        ),
        ("in.jsonl.gz", b"text", ", row 1: cannot be read (Not a gzipped file (b'te'))"),
        ("in.csv.gz", CUT_GZ, f", row 1: cannot be read ({CUT})"),
        ("in.xml", "", f": found extension '.xml', {KNOWN}"),
    ],
)
def test_a_file_of_no_use_is_refused_with_one_line_before_anything_is_written(
    name: str, content: str | bytes, message: str, classifier: Classifier, tmp_path: Path
) -> None:
    given_ = write(tmp_path / name, content)
    with pytest.raises(SourceError) as caught:
        label_files([given_], tmp_path / "out.csv", classifier)
    assert str(caught.value) == f"{given_}{message}"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_parquet_that_is_none(classifier: Classifier, tmp_path: Path) -> None:
    given_ = write(tmp_path / "in.parquet", b"text" * 9)
    with pytest.raises(SourceError, match=r"in\.parquet: cannot be read \(Parquet magic bytes not found"):
        label_files([given_], tmp_path / "out.csv", classifier)


def test_output_that_is_input_or_would_be(classifier: Classifier, tmp_path: Path) -> None:
    given_ = write(tmp_path / "news" / "in.csv", "text\nx\n")
    folder = given_.parent

    def refused(inputs: list[str | Path], output: Path) -> str:
        with pytest.raises(ValueError, match=r"out|in") as caught:
            label_files(inputs, output, classifier)
        return str(caught.value)

    assert refused([given_], given_) == f"{given_}: is the input itself; give the output another name"
    inside = folder / "out.csv"
    assert refused([folder], inside) == (
        f"{inside}: lies in the input folder {folder}, where the next run would read it; write it elsewhere"
    )
    pattern = f"{folder}/*.csv"
    assert refused([pattern], inside) == (
        f"{inside}: fits the input pattern {pattern}, so the next run would read it; give it another name"
    )
    twice = refused([given_, given_], tmp_path / "out.csv")
    assert twice == f"{given_}: given twice; its rows would be, too"
    assert refused([given_], tmp_path / "out.txt") == (
        f"{tmp_path}/out.txt: found extension '.txt', expected csv, tsv, jsonl or parquet, plain or with "
        ".gz or .zst behind; the label and its scores need a format with columns"
    )
    assert refused([f"{folder}/x*.csv"], tmp_path / "out.csv") == (
        f"{folder}/x*.csv: found no file that this pattern fits"
    )
    assert (
        refused([folder / "no.csv"], tmp_path / "out.csv")
        == f"{folder}/no.csv: no such file, folder or pattern"
    )
    there = write(tmp_path / "out.csv", "mine")
    assert refused([given_], there) == (
        f"{there}: is there already; move it away, give another name, or have it replaced with --overwrite"
    )
    assert there.read_text() == "mine"
    label_files([given_], there, classifier, overwrite=True)
    assert len(read(there)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"news", "out.csv"}


def test_what_is_not_installed_is_named_and_csv_needs_nothing(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_ = write(tmp_path / "in.csv", "text\nx\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    label_files([given_], tmp_path / "out.csv.gz", classifier)
    need = r"^pyarrow is not installed; parquet and zst files need: pip install \"tasrih\[bulk\]\"$"
    for name in ("out.parquet", "out.csv.zst"):
        with pytest.raises(ImportError, match=need):
            label_files([given_], tmp_path / name, classifier)
    with pytest.raises(ImportError, match=r"^tqdm is not installed; the progress bar needs: pip install"):
        label_files([given_], tmp_path / "out.csv", classifier, progress=True)
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv.gz"}


def test_classify_or_none(classifier: Classifier) -> None:
    found = classifier.classify_or_none([DENIAL, "", "hello", "نفى"])
    assert found == [classifier.classify(DENIAL), None, None, classifier.classify("نفى")]
    assert classifier.classify_or_none([]) == []
    with pytest.raises(TypeError, match=r"^texts\[1\]: found int, expected str$"):
        classifier.classify_or_none(["نفى", 3])  # type: ignore[list-item]
