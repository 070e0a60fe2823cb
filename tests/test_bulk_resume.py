"""Whatever ends `tasrih label`, started again it ends with the bytes of an unbroken run."""

import gzip
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasrih import Classifier
from tasrih.bulk import SourceError, label_files
from tasrih.bulk.journal import Journal

ROWS = 20_000  # five batches
PEAK = """
import re, sys
from pathlib import Path
from tasrih.cli import main
main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def command(model: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "tasrih", "label", "--model", str(model), *map(str, arguments)]


def run(
    model: Path, *arguments: object, limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(model, *arguments), capture_output=True, text=True, check=False, timeout=120, preexec_fn=limit
    )


def kept(folder: Path) -> str:
    return f"what was done so far is kept in {folder}: the same command goes on from there"


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two files, with rows of all kinds."""
    folder = tmp_path_factory.mktemp("news")
    words = ["نفى", "الوزير", "اعتذر", "اتهم", "hello", "أمس", "\ufffd", "؟", "،"]
    chosen = random.Random(0)
    texts = [" ".join(chosen.choices(words, k=chosen.randrange(6))) for _ in range(ROWS)]
    half = ROWS // 2
    rows = "".join(f'{number},"{text}\n{text}"\n' for number, text in enumerate(texts[:half]))
    (folder / "a.csv.gz").write_bytes(gzip.compress(f"id,text\n{rows}".encode(), 1))
    (folder / "b.jsonl").write_text(
        "".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(texts[half:])),
        encoding="utf-8",
    )
    return folder


@pytest.mark.parametrize(("kind", "sentences"), [("csv", False), ("parquet", True), ("jsonl.zst", False)])
def test_killed_at_any_moment_it_loses_and_repeats_nothing(
    kind: str, sentences: bool, news: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    options = ["--sentences"] if sentences else []
    whole, broken = tmp_path / f"whole.{kind}", tmp_path / f"broken.{kind}"
    start = time.perf_counter()
    assert run(tiny_checkpoint, news, whole, *options).returncode == 0
    length = time.perf_counter() - start
    chosen, kills = random.Random(kind), 0
    for _ in range(100):
        process = subprocess.Popen(
            command(tiny_checkpoint, news, broken, *options), stderr=subprocess.DEVNULL
        )
        try:
            process.wait(chosen.uniform(0.3, 1) * length)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.wait() == 0:
            break
        kills += 1
        partial = tmp_path / f"broken.{kind}.partial"
        if broken.exists():  # killed behind the step that put it there: never half a file
            assert broken.read_bytes() == whole.read_bytes()
            if not partial.exists():
                break
    assert broken.read_bytes() == whole.read_bytes()
    assert kills > 0 or length < 1
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, broken.name}


def test_a_full_disk_keeps_what_was_done(news: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    run(tiny_checkpoint, news, whole)
    size = whole.stat().st_size // 2

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = run(tiny_checkpoint, news, broken, limit=limit)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    folder = tmp_path / "broken.csv.partial"
    found = re.fullmatch(r"tasrih: error: (.*), behind row ([\d,]+): File too large; (.*)", line)
    assert found
    assert (found[1], found[3]) == (str(folder), kept(folder))
    rows = int(found[2].replace(",", ""))
    assert 0 < rows < ROWS
    assert json.loads((folder / "manifest.json").read_text())["progress"]["counts"]["rows"] == rows
    assert not broken.exists()
    assert run(tiny_checkpoint, news, broken).returncode == 0
    assert broken.read_bytes() == whole.read_bytes()


def test_interrupted_it_says_how_to_go_on(news: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    process = subprocess.Popen(
        command(tiny_checkpoint, news, output),
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell inherit that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    manifest = tmp_path / "out.csv.partial" / "manifest.json"
    while not manifest.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)  # or it might be done before the other has started
    busy = run(tiny_checkpoint, news, output)
    assert busy.stderr == (
        f"tasrih: error: {manifest.parent}: another process is at work on it; let it end first\n"
    )
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (
        130,
        "tasrih: stopped; the same command goes on from where it was\n",
    )
    assert run(tiny_checkpoint, news, output).returncode == 0


def test_the_bar_shows_rate_and_time_left(news: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen(command(tiny_checkpoint, news, tmp_path / "out.csv"), stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the end, where a terminal closes
                break
    os.close(ours)
    assert process.returncode == 0
    assert re.search(rb"\d+%\|.* \d+/\d+ \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ rows/s\]", shown)


def csv_of(numbers: range) -> str:
    """A table of 300 bytes a row, which compress badly: half of a file is more than is looked at first."""
    chosen = random.Random(numbers.start)
    rows = (f"نفى الوزير {number},{chosen.randbytes(140).hex()}\n" for number in numbers)
    return "text,other\n" + "".join(rows)


def test_a_file_that_was_cut_goes_on_once_it_is_whole(tiny_checkpoint: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(tiny_checkpoint)
    content = gzip.compress(csv_of(range(9000)).encode(), 1)
    given, output = tmp_path / "in.csv.gz", tmp_path / "out.csv"
    given.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError) as caught:
        label_files([given], output, classifier)
    folder = tmp_path / "out.csv.partial"
    rows = json.loads((folder / "manifest.json").read_text())["progress"]["row"]
    assert 0 < rows < 9000
    cut = "Compressed file ended before the end-of-stream marker was reached"
    assert str(caught.value) == f"{given}, row {rows + 1:,}: cannot be read ({cut}); {kept(folder)}"
    given.write_bytes(gzip.compress(csv_of(range(1, 9001)).encode()))
    with pytest.raises(SourceError) as caught:
        label_files([given], output, classifier)
    assert str(caught.value) == (
        f"{given}: its first {rows:,} rows were labelled, and are not what they were; put the file back, or "
        f"begin again; {kept(folder)}"
    )
    given.write_bytes(content)
    assert label_files([given], output, classifier).rows == 9000
    label_files([given], tmp_path / "whole.csv", classifier)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_other_options_or_files_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(tiny_checkpoint)
    files = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv.gz")]
    files[0].write_text(csv_of(range(10)), encoding="utf-8")
    files[1].write_text(csv_of(range(5000)), encoding="utf-8")
    content = gzip.compress(csv_of(range(9000)).encode(), 1)
    files[2].write_bytes(content[: len(content) // 2])
    output, folder = tmp_path / "out.csv", tmp_path / "out.csv.partial"
    with pytest.raises(SourceError):
        label_files(files, output, classifier)

    def refusal(inputs: list[Path] = files, **options: object) -> str:
        with pytest.raises(ValueError, match="begin again") as caught:
            label_files(inputs, output, classifier, **options)  # type: ignore[arg-type]
        return str(caught.value)

    assert refusal(min_confidence=0.5) == (
        f"{folder}: was begun with --min-confidence 0.0, found 0.5; give what it was begun with, or remove "
        f"{folder} to begin again"
    )
    assert refusal(sentences=True).startswith(f"{folder}: was begun with --sentences false, found true; ")
    assert refusal(files[1:]) == (
        f"{files[0]}: was labelled, and is not in its place; put it back, or remove {folder} to begin again"
    )
    text = files[1].read_text(encoding="utf-8")
    files[1].write_text(text + "x,1\n", encoding="utf-8")
    assert refusal() == (
        f"{files[1]}: was labelled, and has changed since; put it back, or remove {folder} to begin again"
    )
    (folder / "manifest.json").write_text("{}")
    assert refusal() == (
        f"{folder}/manifest.json: is not what this version of tasrih writes; remove {folder} to begin again"
    )
    (folder / "manifest.json").unlink()
    (folder / "thesis.doc").write_text("mine")
    with pytest.raises(
        ValueError, match=r"partial: found 'thesis.doc', which is none of tasrih's; move it away$"
    ):
        label_files(files[:2], output, classifier)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("killed", ["assembling", "assembled", "in place", "removing"])
def test_killed_between_its_last_steps(killed: str, packed: bool, tmp_path: Path) -> None:
    output, facts = tmp_path / "out.csv", {"a": 1}
    rows, whole = (tmp_path / "out.csv.partial" / name for name in ("rows", "whole"))

    def pack(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes() + b"!")

    with Journal(output, facts, []) as journal:
        journal.append(b"some")
        journal.commit(journal.progress)
        journal.append(b"lost")
    with Journal(output, facts, []) as journal:
        assert journal.resumed
        journal.append(b" rows")
        journal.commit(journal.progress, complete=True)
    expected = b"some rows!" if packed else b"some rows"
    if killed == "assembling":
        whole.write_bytes(b"some ro")
    else:
        rows.unlink()
        (whole if killed == "assembled" else output).write_bytes(expected)
    if killed == "removing":
        (rows.parent / "lock").unlink()
    with Journal(output, facts, []) as journal:
        assert journal.complete
        journal.publish(pack if packed else None)
    assert output.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [output]


def test_memory_does_not_grow_with_the_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    body = "ب" * 4000
    peaks: list[int] = []
    for rows in (2_500, 12_500):  # 20 and 100 MB
        given = tmp_path / f"{rows}.csv"
        with given.open("w", encoding="utf-8") as file:
            file.write("text,body\n")
            file.writelines(f"نفى الوزير {number},{body}\n" for number in range(rows))
        arguments = command(tiny_checkpoint, given, tmp_path / f"{rows}-out.csv")[3:]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True, timeout=120
        )
        peaks.append(int(done.stdout) // 1024)
    assert peaks[1] < 300
    assert peaks[1] < peaks[0] + 40
