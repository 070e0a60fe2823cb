import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasrih import __version__

TEXT = "نفت الوزارة صحة ما تداولته مواقع التواصل"


def run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tasrih", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env=os.environ | environment,
        timeout=120,
    )


@pytest.fixture
def model(tiny_checkpoint: Path) -> list[str]:
    return ["--model", str(tiny_checkpoint)]


def test_table_shows_label_confidence_and_the_whole_text() -> None:
    done = run("classify", TEXT)
    assert done.returncode == 0
    line = done.stdout.decode().splitlines()[-1]
    assert line.startswith("denial")
    assert "نفي" in line
    assert "%" in line
    assert line.endswith(TEXT)


def test_output_is_utf8_whatever_the_locale(model: list[str]) -> None:
    done = run("classify", TEXT, *model, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert TEXT in done.stdout.decode()


def test_lines_of_standard_input_as_json_lines(model: list[str]) -> None:
    done = run(
        "classify", "--format", "jsonl", *model, stdin=f"\ufeff{TEXT}\r\n\n  \nاعتذر الوزير\n".encode()
    )
    rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [row["text"] for row in rows] == [TEXT, "اعتذر الوزير"]
    assert TEXT in done.stdout.decode()  # Arabic as Arabic, not as escapes


def test_json_and_csv_of_an_article(model: list[str], tmp_path: Path) -> None:
    article = 'خبر عاجل\nقال: "لا، أبدا". ونفى الوزير.\n'
    path = tmp_path / "article.txt"
    path.write_text(article, encoding="utf-8")
    rows = json.loads(run("tag", str(path), "--format", "json", *model).stdout)
    assert all(article[row["start"] : row["end"]] == row["text"] for row in rows)
    table = run("tag", "-", "--format", "csv", *model, stdin=article.encode()).stdout.decode()
    assert [row["text"] for row in csv.DictReader(io.StringIO(table))] == [row["text"] for row in rows]


def test_version() -> None:
    assert run("--version").stdout.decode().strip() == f"tasrih {__version__}"


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["classify", "hello"], b"", "no Arabic letter"),
        (["classify"], "نفى\nhello\n".encode(), "standard input, line 2"),
        (["classify"], "نفى\n\n".encode() + "نفى".encode("cp1256"), "standard input, line 3"),
        (["tag", "none.txt"], b"", "none.txt: No such file"),
        (["tag", "."], b"", "directory"),
        (["tag", "-"], b"", "blank"),
        (["classify", TEXT, "--model", "nowhere"], b"", "expected a checkpoint folder"),
        (["classify", TEXT, "--format", "xml"], b"", "xml"),
        (["sing"], b"", "sing"),
    ],
)
def test_errors_take_one_line_and_status_2(arguments: list[str], stdin: bytes, message: str) -> None:
    done = run(*arguments, stdin=stdin)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("tasrih: error: ")
    assert message in line


def test_a_closed_pipe_ends_quietly(model: list[str]) -> None:
    command = f"'{sys.executable}' -m tasrih classify --model '{model[1]}' --format jsonl | head -n 1"
    lines = (TEXT + "\n") * 20_000
    done = subprocess.run(
        ["sh", "-c", command], input=lines.encode(), capture_output=True, check=False, timeout=300
    )
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 1
