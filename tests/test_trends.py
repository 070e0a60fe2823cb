"""Shares over time: every way a row can be wrong, periods and their names, what is written."""

import csv
import gzip
import json
import re
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasrih import LABELS, Label, prevalence
from tasrih.cli import main
from tasrih.trends import EVERY, Every, Trends, trends, write_plot, write_table
from tasrih.trends.count import first_day, following, name

REPORT = Path(__file__).parents[1] / "models" / "compact" / "evaluation" / "report.json"
CONFUSION = np.array([[30, 1, 0, 9], [2, 25, 0, 3], [2, 0, 20, 3], [10, 1, 1, 88]])


def rows(counts: dict[str, int], when: object = "2024-01-15", source: str = "a") -> list[dict]:
    return [
        {"text": "نفى", "date": when, "source": source, "label": label, "reason": None}
        for label, count in counts.items()
        for _ in range(count)
    ]


MANY = {"accusation": 20, "denial": 10, "regret": 5, "factual_report": 65}


def jsonl(path: Path, given: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in given), encoding="utf-8")
    return path


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    given = [
        {"gold": str(LABELS[true]), "label": str(LABELS[found])}
        for (true, found), count in np.ndenumerate(CONFUSION)
        for _ in range(count)
    ]
    return jsonl(tmp_path / "checked.jsonl", given)


@pytest.mark.parametrize(
    ("value", "every", "start", "called"),
    [
        ("2024-01-31", "day", date(2024, 1, 31), "2024-01-31"),
        ("2024-01-31T23:59:59Z", "day", date(2024, 1, 31), "2024-01-31"),
        ("2024/1/5 10:00", "month", date(2024, 1, 1), "2024-01"),
        ("20240131", "month", date(2024, 1, 1), "2024-01"),
        (20240131, "month", date(2024, 1, 1), "2024-01"),
        ("٢٠٢٤-٠٥-٠١", "quarter", date(2024, 4, 1), "2024-Q2"),
        (datetime(2024, 12, 31, 23), "quarter", date(2024, 10, 1), "2024-Q4"),
        ("2024-12-30", "week", date(2024, 12, 30), "2025-W01"),
        ("2023-01-01", "week", date(2022, 12, 26), "2022-W52"),
        ("2024-05", "month", date(2024, 5, 1), "2024-05"),
        ("2024-05", "week", None, ""),
        (2024, "year", date(2024, 1, 1), "2024"),
        (2024, "month", None, ""),
        ("31/01/2024", "month", None, ""),
        ("2024-02-30", "month", None, ""),
        ("2024-01/31", "month", None, ""),
        ("yesterday", "year", None, ""),
        ("", "year", None, ""),
        (1706659200, "month", None, ""),
        (date(1, 1, 1), "week", date(1, 1, 1), "0001-W01"),
    ],
)
def test_dates_fall_in_periods(value: object, every: Every, start: date | None, called: str) -> None:
    assert first_day(value, every) == start
    if start is not None:
        assert name(start, every) == called


@settings(max_examples=50)
@given(st.dates(max_value=date(9990, 1, 1)), st.sampled_from(EVERY))
def test_periods_follow_each_other_without_gap_or_overlap(day: date, every: Every) -> None:
    start = first_day(day, every)
    assert start is not None
    assert start <= day < following(start, every)
    assert first_day(start, every) == start
    assert first_day(following(start, every) - timedelta(days=1), every) == start
    assert first_day(day.isoformat(), every) == start


@settings(max_examples=50)
@given(st.text() | st.text("0123456789-/T ٠١٢", max_size=12), st.sampled_from(EVERY))
def test_no_text_breaks_the_reading_of_dates(text: str, every: Every) -> None:
    assert first_day(text, every) is None or isinstance(first_day(text, every), date)


def test_every_is_spelt_once() -> None:
    assert get_args(Every) == EVERY


def test_shares_are_those_of_prevalence_by_group_and_period(tmp_path: Path, checked: Path) -> None:
    given = [
        *rows(MANY, "2024-02-01", "b"),
        *rows(MANY, "2024-01-01", "b"),
        *rows({"denial": 3}, "2024-01-31", ""),
        *rows({"denial": 1, "regret": 39}, "2024-01-02T10:00", "a"),
    ]
    found = trends(jsonl(tmp_path / "in.jsonl", given), by="source", labelled=checked)
    assert [(point.group, point.start.month, point.n, point.few) for point in found.points] == [
        ("(none)", 1, 3, True),
        ("a", 1, 40, False),
        ("b", 1, 100, False),
        ("b", 2, 100, False),
    ]
    expected = prevalence([label for label, n in MANY.items() for _ in range(n)], CONFUSION).shares
    for label, value in found.points[-1].values.items():
        share = expected[label]
        assert (value.share, value.low, value.high) == (share.value, share.low, share.high)
        assert value.counted == MANY[label] / 100
    assert found.corrected
    assert found.notes == [
        "fewer than 30 sentences stand behind 1 of 4 points: they are in the table, marked few, and not in "
        "the plot"
    ]


def test_raw_counts_say_that_they_are(tmp_path: Path) -> None:
    found = trends(jsonl(tmp_path / "in.jsonl", rows(MANY)))
    (point,) = found.points
    assert (point.group, point.values[Label.REGRET].share, point.values[Label.REGRET].low) == (
        "all",
        0.05,
        None,
    )
    assert found.notes == [
        "shares are raw counts: biased by the classifier's errors, and without intervals; label some two "
        "hundred sentences of this corpus, and give them as labelled"
    ]
    write_table(found, tmp_path / "out.csv")
    lines = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    assert lines[2] == {
        "period": "2024-01", "start": "2024-01-01", "act": "regret", "sentences": "100", "share": "0.050000",
        "low": "", "high": "", "counted": "0.050000", "corrected": "false", "few": "false",
    }  # fmt: skip


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    given = [
        *rows(MANY),
        *rows({"denial": 2}, "yesterday"),
        *rows({"denial": 1}, None),
        {"text": "", "date": "2024-01-01", "label": None, "reason": "empty"},
        {"date": "2024-01-01"},
    ]
    for row in given[:50]:
        row["model_hash"] = "other"
    notes = trends(jsonl(tmp_path / "in.jsonl", given)).notes
    assert notes[1:] == [
        "rows left out for want of a label: 2",
        "rows left out for a date that cannot be read: 3, such as 'yesterday', 'None'",
        "rows were labelled by 2 models, whose errors differ: a change over time may be one of models; label "
        "all with the same",
    ]


def test_parquet_csv_and_gz_give_what_jsonl_gives(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = rows(MANY)
    expected = trends(jsonl(tmp_path / "in.jsonl", given))
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress((tmp_path / "in.jsonl").read_bytes()))
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with open(tmp_path / f"in{suffix}", "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(given[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows([*given, {**given[0], "text": "ن" * 200_000}][1:])
    # Late on the 15th in Tunis is the 15th, whatever the time is elsewhere.
    moment = datetime(2024, 1, 15, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    table = pa.Table.from_pylist([{**row, "date": moment} for row in given])
    zoned = table.column("date").cast(pa.timestamp("ns", "America/New_York"))
    table = table.set_column(1, "date", zoned).set_column(
        3, "label", table.column("label").dictionary_encode()
    )
    pq.write_table(table, tmp_path / "in.parquet")
    for file in ("in.jsonl.gz", "in.csv", "in.tsv", "in.parquet"):
        assert trends(tmp_path / file) == expected
    assert trends(tmp_path / "in.parquet", every="day").points[0].start == date(2024, 1, 15)


def test_a_report_or_a_list_gives_the_errors_too(tmp_path: Path, checked: Path) -> None:
    path = jsonl(tmp_path / "in.jsonl", rows(MANY))
    whole = json.dumps([json.loads(line) for line in checked.read_text().splitlines()])
    (tmp_path / "checked.json").write_text(whole)
    assert trends(path, labelled=tmp_path / "checked.json") == trends(path, labelled=checked)
    report = {"sets": {"news": {"systems": {"model": {"confusion": CONFUSION.tolist()}}}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    found = trends(path, labelled=tmp_path / "report.json")
    assert found.points == trends(path, labelled=checked).points
    report_file = tmp_path / "report.json"
    assert found.notes == [
        f"the classifier's errors are those on the 195 sentences of 'news' in {report_file}, not on this "
        "corpus: if it errs otherwise here, intervals miss; sentences of this corpus are better"
    ]


@pytest.mark.skipif(not REPORT.exists(), reason="the report of the shipped model is not in this tree")
def test_the_shipped_report_is_read(tmp_path: Path) -> None:
    assert trends(jsonl(tmp_path / "in.jsonl", rows(MANY)), labelled=REPORT).corrected


def test_few_labelled_sentences_are_said(tmp_path: Path) -> None:
    given = [{"gold": label, "label": label} for label in LABELS for _ in range(19 + (label != Label.REGRET))]
    given += [{"gold": "", "label": "denial"}, {"gold": "denial", "label": None}]
    checked = jsonl(tmp_path / "checked.jsonl", given)
    assert trends(jsonl(tmp_path / "in.jsonl", rows(MANY)), labelled=checked).notes == [
        f"{checked}: rows left out for want of one of the two labels: 2",
        "few labelled sentences (19 of regret) make intervals wide: label more of them",
    ]


DATELESS = "label,date\ndenial,soon\n,2024-01-01\n"
ONE_ROW = "label,date\ndenial,2024-01-01\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("in.jsonl", '{"label": "x", "date": "2024"}', {}, "row 1: found label 'x', expected acc"),
        ("in.jsonl", '{"label": "denial"}', {}, "found columns 'label'; expected one 'date': name the one"),
        ("in.jsonl", '{"label": "denial"', {}, "line 1: not JSON"),
        ("in.jsonl", "[1]", {}, "row 1: found list, expected a JSON object"),
        ("in.csv", DATELESS, {}, "found no row with a label and a date, expected the output"),
        ("in.csv", DATELESS, {}, "left out for a date that cannot be read: 1, such"),
        ("in.csv", "", {}, "found columns none; expected one 'label'"),
        ("in.csv", ONE_ROW, {"by": "source"}, "expected one 'source'"),
        ("in.csv", ONE_ROW, {"every": "decade"}, "every: found 'decade', expected day, week"),
        ("in.csv", ONE_ROW, {"level": 95}, "level: found 95, expected a probability"),
        ("in.txt", "", {}, "found extension '.txt', expected parquet, csv, tsv or jsonl"),
        ("in.csv.gz", "no gzip", {}, "in.csv.gz: cannot be read"),
        ("in.parquet", "no parquet", {}, "in.parquet: cannot be read"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path: Path, name: str, content: str, options: dict, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        trends(tmp_path / name, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", "{}", "found JSON that is no report, expected one that training/evaluation.py wrote"),
        ("c.json", '{"sets": {}}', "found JSON that is no report"),
        ("c.json", '{"sets": {"a": {"systems": {"model": {"confusion": [[1]]}}}}}', "found JSON that is no"),
        ("c.json", "[", "not JSON"),
        ("c.jsonl", '{"gold": "denial", "label": "denial"}', "found no sentence whose true label is"),
        ("c.csv", "label\ndenial\n", "found columns 'label'; expected one 'gold'"),
    ],
)  # fmt: skip
def test_bad_labelled_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        trends(jsonl(tmp_path / "in.jsonl", rows(MANY)), labelled=tmp_path / name)


@pytest.mark.filterwarnings("error")
def test_the_plot_draws_any_group_without_its_font(tmp_path: Path, checked: Path) -> None:
    names = ["الجزيرة", "$mall $", "_hidden", "BBC", "d", "e", "f"]
    given = [
        row
        for month in (1, 2, 5)
        for size, source in enumerate(names)
        for row in rows({**MANY, "denial": 10 - size}, f"2024-{month:02}-01", source)
    ]
    given += rows({"denial": 29}, "2024-03-01", "الجزيرة")
    path = jsonl(tmp_path / "in.jsonl", given)
    for options in ({"labelled": checked}, {}):
        found = trends(path, by="source", **options)
        assert write_plot(found, tmp_path / "out.png") == [
            "the plot shows the 6 largest of 7 groups; the table has all",
            "in the plot 'source 1' is 'الجزيرة'",
        ]
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_of_few_sentences_is_empty_but_drawn(tmp_path: Path) -> None:
    found: Trends = trends(jsonl(tmp_path / "in.jsonl", rows({"denial": 1})))
    assert write_plot(found, tmp_path / "out.png") == []
    assert (tmp_path / "out.png").stat().st_size > 1000


def test_the_command_writes_both_and_says_what_they_are(tmp_path: Path, checked: Path) -> None:
    path = jsonl(tmp_path / "in.jsonl", [*rows(MANY), *rows({"denial": 1}, "soon")])

    command = [sys.executable, "-m", "tasrih", "trends", str(path), "--by", "source", "--every", "quarter"]
    done = subprocess.run(
        [*command, "--labelled", str(checked)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "tasrih: note: rows left out for a date that cannot be read: 1, such as 'soon'",
        "tasrih: written: trends.csv, trends.png",
    ]
    table = (tmp_path / "trends.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "source,period,start,act,sentences,share,low,high,counted,corrected,few"
    assert table[1].startswith("a,2024-Q1,2024-01-01,accusation,100,0.")
    assert (tmp_path / "trends.png").exists()


def test_the_command_flags_raw_counts_and_names_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "in.jsonl", rows(MANY))
    assert main(["trends", str(path), "--output", str(tmp_path / "raw"), "--few", "10"]) == 0
    assert capsys.readouterr().err.startswith("tasrih: note: shares are raw counts: biased by the classifier")
    assert main(["trends", str(path), "--date", "when"]) == 2
    assert capsys.readouterr().err.startswith(f"tasrih: error: {path}: found columns 'date', 'label', ")


@pytest.mark.parametrize("file", ["absent.parquet", "absent.csv"])
def test_a_file_that_is_not_there_is_named(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["trends", file, "--every", "month", "--output", "t"]) == 2
    assert capsys.readouterr().err == f"tasrih: error: {file}: No such file or directory\n"
