"""SIGKILL at any moment of training and of `tasrih label`: started again, each ends as if nothing had been.

Two random moments each in `make test`, twenty in a nightly run (TASRIH_NIGHTLY=1). And `tasrih label` is
killed before each single thing that it does to its files. What else kills mean stands in test_bulk_resume.py
and test_train.py.
"""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tasrih.cli import main

NIGHTLY = os.environ.get("TASRIH_NIGHTLY") == "1"
KILLS = 20 if NIGHTLY else 2
BATCH = 50  # texts; a run of some seconds has some batches

# What changes files, or is the last thing before it, as Python's own auditing names it.
STEPS = {"open", "fcntl.flock", "shutil.rmtree"}
STEPS |= {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


def spawned(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """Start it in a process that has imported all and computed nothing: kills hit work, not imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train", "tasrih.bulk.label", "tasrih.bulk.parquet"])
    process = context.Process(target=target, args=arguments)
    with pytest.MonkeyPatch.context() as patch:
        # Preloading ignores what it cannot import, and the fork server need not have our sys.path.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        process.start()
    return process


def labelled(arguments: list[str], step: int | None = None) -> None:
    """`tasrih label` in small batches; killed before its `step`-th change to a file, if one is given."""
    from tasrih.bulk import items, label

    items.TEXTS_AT_ONCE = label.TEXTS_AT_ONCE = BATCH  # pyright: ignore[reportPrivateUsage]
    folder, left = str(Path(arguments[-1]).parent), step

    def count(event: str, values: tuple[Any, ...]) -> None:
        nonlocal left
        if left is not None and event in STEPS and any(folder in str(value) for value in values):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    if step is not None:
        sys.addaudithook(count)
    sys.exit(main(["label", *arguments]))


def trained(arguments: list[str]) -> None:
    import torch

    import train

    torch.set_num_threads(1)  # threads that wait for each other crawl where others use the cores, too
    train.main(arguments)


def seconds_of(start: Callable[[], BaseProcess]) -> float:
    """How long it takes, unbroken; `start` writes what is to be compared with."""
    spawned(int).join()  # the first process of all waits for the imports
    started = time.monotonic()
    process = start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started


def kill_and_resume(
    start: Callable[[], BaseProcess], seconds: float, finished: Callable[[], None], *, seed: int
) -> None:
    """Kill what `start` starts `KILLS` times, each at a random moment of a run of `seconds`, and go on.

    `finished` checks, whenever one came to its end, and clears up, so that the next begins anew.
    """
    chosen, kills, ends = random.Random(seed), 0, 0
    while True:
        process = start()
        process.join(chosen.uniform(0, seconds) if kills < KILLS else None)
        process.kill()
        process.join()
        if process.exitcode == 0:
            finished()
            ends += 1
            if kills == KILLS:
                break
        else:
            assert process.exitcode == -signal.SIGKILL
            kills += 1
    print(f"\n{kills} kills within {seconds:.1f} s, {ends} whole runs")


@pytest.fixture
def news(tmp_path: Path, texts: list[str]) -> Path:
    path = tmp_path / "news.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv.gz", "parquet"])
def test_label_killed_at_random_moments(kind: str, news: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / f"whole.{kind}", tmp_path / "out" / f"out.{kind}"

    def start(target: Path = output) -> BaseProcess:
        return spawned(labelled, ["--model", str(tiny_checkpoint), "--overwrite", str(news), str(target)])

    def finished() -> None:
        assert output.read_bytes() == whole.read_bytes()
        assert list(output.parent.iterdir()) == [output]
        output.unlink()

    seconds = seconds_of(lambda: start(whole))
    kill_and_resume(start, seconds, finished, seed=1)


def test_label_killed_before_each_change_to_a_file(
    news: Path, texts: list[str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    news.write_text("\n".join(texts[: 2 * BATCH]), encoding="utf-8")  # two batches
    whole, output = tmp_path / "whole.csv.gz", tmp_path / "out" / "out.csv.gz"
    arguments = ["--model", str(tiny_checkpoint), str(news)]
    assert main(["label", *arguments, str(whole)]) == 0
    output.parent.mkdir()
    for step in range(100):
        process = spawned(labelled, [*arguments, str(output)], step)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        done = output.exists()  # killed while it cleared up: then it may also say that the output is there
        assert main(["label", *arguments, str(output)]) == 0 or done
        assert output.read_bytes() == whole.read_bytes()
        shutil.rmtree(output.parent)
        output.parent.mkdir()
    print(f"\nkilled before each of {step} steps")
    assert 15 < step < 100
    assert output.read_bytes() == whole.read_bytes()


def test_training_killed_at_random_moments(tiny_run: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole", tmp_path / "broken"

    def start(folder: Path = output) -> BaseProcess:
        return spawned(trained, [str(tiny_run), "--output", str(folder)])

    def finished() -> None:
        for name in ("model.safetensors", "tokenizer.json", "config.json", "checkpoint.json"):
            found = (output / "checkpoint" / name).read_bytes()
            assert found == (whole / "checkpoint" / name).read_bytes(), name
        shutil.rmtree(output)

    seconds = seconds_of(lambda: start(whole))
    kill_and_resume(start, seconds, finished, seed=2)
