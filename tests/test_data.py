import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import data
from data import DataError, Example, check, read, rebuild
from tasrih import Label

ROOT = Path(__file__).parents[1]
ROW = {
    "id": "a-1",
    "split": "train",
    "story": "a",
    "text": "نفت الوزارة الخبر.",
    "label": "denial",
    "secondary": None,
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_reads_what_is_there(tmp_path: Path) -> None:
    (example,) = read(write(tmp_path / "x.jsonl", ROW))
    assert (example.text, example.label, example.split, example.group) == (
        ROW["text"],
        Label.DENIAL,
        "train",
        "a",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "denail"}, r"x.jsonl:2: 'label' is 'denail'; expected one of 'accusation', 'denial'"),
        ({"text": "  "}, r"x.jsonl:2: 'text' is empty"),
        ({"text": None}, r"x.jsonl:2: 'text' is empty"),
        ({"split": "dev"}, r"x.jsonl:2: 'split' is 'dev'"),
        ({"secondary": "denial"}, r"x.jsonl:2: 'secondary' is 'denial' beside 'denial'"),
        ({"secondary": "factual_report"}, r"x.jsonl:2: 'secondary'"),
        ({"secondary": "x"}, r"x.jsonl:2: 'secondary' is 'x'"),
        ({"dissent": "x"}, r"x.jsonl:2: 'dissent' is 'x'"),
        ({"dissent": "denial"}, r"x.jsonl:2: 'dissent' is 'denial', the label itself"),
    ],
)
def test_refuses_with_file_and_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "x.jsonl", ROW, ROW | change))


def test_refuses_broken_files(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"text": ', encoding="utf-8")
    (tmp_path / "latin.jsonl").write_bytes('{"text": "نفى"}'.encode("cp1256"))
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    for name, message in (
        ("broken", "broken.jsonl:1: not JSON"),
        ("latin", "not UTF-8"),
        ("empty", "no sentence"),
        ("none", "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path / f"{name}.jsonl")


def examples(tmp_path: Path, *rows: dict[str, Any]) -> list[Example]:
    return read(write(tmp_path / "x.jsonl", *rows))


def test_duplicate_text_across_splits(tmp_path: Path) -> None:
    rows = examples(tmp_path, ROW, ROW | {"id": "b-1", "story": "b", "split": "test"})
    with pytest.raises(DataError, match=r"x.jsonl:2: the text of .*x.jsonl:1 again \(test\)"):
        check(rows)


def test_story_in_two_splits(tmp_path: Path) -> None:
    rows = examples(tmp_path, ROW, ROW | {"id": "a-2", "text": "نفى الوزير.", "split": "validation"})
    with pytest.raises(DataError, match="'a' is in split 'validation' here and in 'train' at"):
        check(rows)


def test_the_shipped_data_is_sound(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    loaded = data.load(tmp_path / "nowhere")
    assert len(loaded) >= 2240
    assert {e.split for e in loaded} == {"train", "validation", "test"}
    assert "going on with" in capsys.readouterr().err


def test_annotations_hold_no_text() -> None:
    for path in data.ANNOTATIONS.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            assert "text" not in row
            assert {"label", "repo", "path", "start", "letters", "sha1"} <= row.keys()


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small corpus of two documents, one with entities and a foreign encoding, and its annotations."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "a.txt").write_text("خبر: نفى الوزير (علي) صحة 3 أنباء. انتهى", encoding="utf-8")
    (copy / "b.txt").write_bytes("قال &quot;نأسف&quot; لما حدث. ثم مضى".encode("cp1256"))
    rows = []
    for path, sentence, encoding in (
        ("a.txt", "نفى الوزير (علي) صحة 3 أنباء", "utf-8"),
        ("b.txt", 'نأسف" لما حدث', "cp1256"),
    ):
        stream = "".join(re.findall("[\u0621-\u064a]", (copy / path).read_text(encoding=encoding)))
        letters = "".join(re.findall("[\u0621-\u064a]", sentence))
        rows.append(
            {
                "id": path,
                "split": "train",
                "label": "denial",
                "secondary": None,
                "source": "x",
                "doc": path,
                "repo": "some/repo",
                "path": path,
                "start": stream.index(letters),
                "letters": len(letters),
                "sha1": hashlib.sha1(letters.encode()).hexdigest()[:12],
            }
        )
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    write(
        annotations / "some_train.jsonl",
        *rows,
        rows[0] | {"id": "tampered", "sha1": "0" * 12},
        rows[0] | {"id": "gone", "path": "c.txt"},
        rows[0] | {"id": "cut", "start": 20, "letters": 900},
    )
    monkeypatch.setattr(data, "ANNOTATIONS", annotations)
    return copy


def test_rebuild_finds_what_matches_and_refuses_the_rest(corpus: Path, tmp_path: Path) -> None:
    assert rebuild({"some/repo": corpus}, tmp_path / "news") == {"some_train": (2, 5)}
    texts = [e.text for e in read(tmp_path / "news" / "some_train.jsonl")]
    assert texts == ["نفى الوزير (علي) صحة 3 أنباء", 'نأسف" لما حدث']


def test_rebuild_refuses_unknown_corpora(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a corpus of the annotations; expected some/repo"):
        rebuild({"other/repo": corpus}, tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        rebuild({"some/repo": tmp_path / "none"}, tmp_path)


def test_command_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "training" / "data.py")]
    done = subprocess.run([*command, "check"], capture_output=True, text=True, check=True)
    assert re.search(r"test: [\d,]+ sentences", done.stdout)
    failed = subprocess.run(
        [*command, "rebuild", "--corpus", f"x/y={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert "not a corpus of the annotations" in failed.stderr
