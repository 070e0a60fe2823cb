"""A disk that is full at each page and at each file that a command writes: one line, and nothing lost.

The disk is a small tmpfs. Room is given a page more, or a file more, until the command ends well; so every
write has been the one that fails. Commands that take seconds are given more at a time. Who may not mount a
tmpfs runs these tests in a namespace of their own:

    unshare --map-root-user --mount pytest tests/test_full_disk.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

import export
import train
from tasrih import Classifier
from tasrih.bulk import items, label
from tasrih.checkpoint import FACTS_FILE, Checkpoint
from tasrih.cli import main

PAGE = os.sysconf("SC_PAGE_SIZE")
FULL = "No space left on device"
OLD = b"what was there before"


@dataclass(frozen=True)
class Disk:
    """A file system of its own: `folder` to write to, and what else takes its room."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "out"

    def leave(self, room: str, number: int) -> None:
        """Leave so many free `room`s, "pages" or "files", and as many as there are of the other."""
        self.free()
        found = os.statvfs(self.root)
        if room == "pages":
            (self.root / "filler").write_bytes(bytes(PAGE * max(0, found.f_bfree - number)))
        else:
            for name in range(found.f_ffree - number):
                (self.root / f"filler{name}").touch()

    def free(self) -> None:
        for path in self.root.glob("filler*"):
            path.unlink()

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,nr_inodes=256", "tasrih-test", str(root)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"may not mount a tmpfs ({done.stderr.strip()}); see the top of this file")
    try:
        (root / "out").mkdir()
        yield Disk(root)
    finally:
        subprocess.run(["umount", str(root)], check=True)


@pytest.fixture
def article(tmp_path: Path, texts: list[str]) -> Path:
    path = tmp_path / "article.txt"
    path.write_text("\n".join(texts[:100]), encoding="utf-8")
    return path


@pytest.fixture
def quick(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the model once, not in each of hundreds of runs, and label in batches of which there are some."""
    classifier = Classifier.load(tiny_checkpoint)
    monkeypatch.setattr(Classifier, "load", lambda *_, **__: classifier)
    for module in (items, label):
        monkeypatch.setattr(module, "TEXTS_AT_ONCE", 50)


@pytest.fixture(params=["pages", "files"])
def room(request: pytest.FixtureRequest) -> str:
    return request.param


def failures(
    disk: Disk,
    room: str,
    run: Callable[[], tuple[int, str]],
    check: Callable[[str], None],
    rooms: Iterable[int] = range(200),
) -> int:
    """Run with ever more room until it ends well; `check` each failure's line, and return how many came."""
    for done, number in enumerate(rooms):
        disk.leave(room, number)
        status, errors = run()
        if status == 0:
            disk.free()
            return done
        assert status == 2, errors
        (line,) = errors.splitlines()
        assert line.startswith("tasrih: error: ")
        assert str(disk.folder) in line  # which disk it is
        assert FULL in line
        check(line)
    raise AssertionError("there is no end")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl.zst", "parquet"])
def test_label(
    kind: str, room: str, disk: Disk, article: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, output = tmp_path / f"whole.{kind}", disk.folder / f"out.{kind}"

    def run(target: Path = output) -> tuple[int, str]:
        status = main(["label", "--overwrite", str(article), str(target)])
        return status, capsys.readouterr().err

    def check(line: str) -> None:
        assert output.read_bytes() == OLD
        if "behind row" in line:
            kept = disk.folder / f"out.{kind}.partial"
            assert line.endswith(
                f"what was done so far is kept in {kept}: the same command goes on from there"
            )
        disk.free()
        assert run()[0] == 0
        assert output.read_bytes() == whole.read_bytes()
        assert disk.names() == {output.name}
        output.write_bytes(OLD)

    run(whole)
    output.write_bytes(OLD)
    assert failures(disk, room, run, check) >= (4 if room == "pages" else 2)
    assert output.read_bytes() == whole.read_bytes()
    assert disk.names() == {output.name}


@pytest.mark.usefixtures("quick")
def test_tag_html(room: str, disk: Disk, article: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = disk.folder / "page.html"
    output.write_bytes(OLD)

    def run() -> tuple[int, str]:
        status = main(["tag", str(article), "--html", str(output)])
        return status, capsys.readouterr().err

    def check(line: str) -> None:
        assert line == f"tasrih: error: {output}: {FULL}"
        assert output.read_bytes() == OLD
        assert disk.names() == {output.name}

    assert failures(disk, room, run, check) >= 1
    assert output.read_bytes().endswith(b"</html>\n")


def test_trends(room: str, disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "labelled.jsonl"
    with given.open("w", encoding="utf-8") as file:
        for number in range(400):
            row = {"date": f"2024-01-{number % 28 + 1:02}", "label": "denial" if number % 3 else "accusation"}
            file.write(json.dumps(row) + "\n")
    table, plot = disk.folder / "trend.csv", disk.folder / "trend.png"

    def run() -> tuple[int, str]:
        options = ["--every", "day", "--few", "1", "--output", str(disk.folder / "trend")]
        status = main(["trends", str(given), *options])
        return status, "\n".join(x for x in capsys.readouterr().err.splitlines() if "note" not in x)

    def check(line: str) -> None:
        assert line in (f"tasrih: error: {path}: {FULL}" for path in (table, plot))
        assert plot.read_bytes() == OLD
        assert table.read_bytes() == OLD or (str(plot) in line and table.read_bytes().startswith(b"period,"))
        assert disk.names() == {table.name, plot.name}
        table.write_bytes(OLD)

    table.write_bytes(OLD)
    plot.write_bytes(OLD)
    assert failures(disk, room, run, check, (*range(4), 8, 16, 32, 64)) >= 1  # a plot takes long
    assert plot.read_bytes().startswith(b"\x89PNG")


def ended(command: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str | None:
    """What a script of training/ said last, if it ended with an error."""
    capsys.readouterr()
    try:
        command()
    except SystemExit as error:
        return capsys.readouterr().err.splitlines()[-1] if error.code == 2 else f"status {error.code}"
    return None


def test_training(
    room: str, disk: Disk, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run on a disk that is full again and again ends with the weights of a run that it never was."""
    output, whole = disk.folder / "run", tmp_path / "whole"
    lines: list[str] = []
    for number in (0, 1, 4, 40, 120, 1000) if room == "pages" else (0, 2, 4, 6, 12, 1000):
        disk.leave(room, number)
        line = ended(lambda: train.main([str(tiny_run), "--output", str(output)]), capsys)
        if line is None:
            break
        lines.append(line)
        start, end = f"error: {output}: cannot be written, with ", "the same command goes on from there"
        assert re.search(rf"{start}[\d.]+ MB free there \(.*\); what is trained so far is kept: {end}$", line)
    assert len(lines) >= 4
    train.main([str(tiny_run), "--output", str(whole)])
    found, expected = (Checkpoint.read(folder / "checkpoint").files for folder in (output, whole))
    assert found == expected


def test_export(
    room: str,
    disk: Disk,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A checkpoint that is exported over another one takes its place whole, or not at all."""
    source, output = tmp_path / "source", disk.folder / "exported"
    shutil.copytree(tiny_checkpoint, source)
    shutil.copytree(tiny_checkpoint, output)
    before = (output / FACTS_FILE).read_bytes()
    monkeypatch.setattr(sys, "argv", ["export.py", str(source), "--output", str(output)])
    lines: list[str] = []
    for number in (0, 4, 16, 40, 1000) if room == "pages" else (0, 1, 3, 1000):
        disk.leave(room, number)
        line = ended(export.main, capsys)
        if line is None:
            break
        lines.append(line)
        assert line.startswith(f"export.py: error: {output}: cannot be written, with ")
        assert FULL in line
        assert line.endswith("; what was there before is as it was")
        assert (output / FACTS_FILE).read_bytes() == before
        checkpoint = Checkpoint.read(output)
        for name in checkpoint.files:
            checkpoint.read_file(name)  # held against its hash
        assert set(checkpoint.files) | {FACTS_FILE} == {path.name for path in output.iterdir()}
    assert len(lines) >= 3
    assert (output / FACTS_FILE).read_bytes() != before  # its weights are halves now
    assert Checkpoint.read(output).read_file("model.int8.onnx")
