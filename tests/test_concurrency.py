"""One classifier in many threads, across a fork, and in the processes of a pool."""

import copy
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tasrih
from tasrih import CheckpointError, Classifier, Prediction
from tasrih.checkpoint import Checkpoint, write_facts
from tasrih.predict import shipped_model

CALLS, THREADS = 4000, 16
METHODS = multiprocessing.get_all_start_methods()


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint, backend="onnx")


def test_sixteen_threads_answer_as_one(tiny: Classifier, texts: list[str]) -> None:
    """With one text to four, so that batches of all shapes meet."""
    asked = [texts[i % 2000 : i % 2000 + 1 + i % 4] for i in range(CALLS)]
    alone = [tiny.classify(texts) for texts in asked]
    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(tiny.classify, asked)) == alone  # to the last bit


def test_threads_tag_articles_and_make_logits_at_once(tiny: Classifier, texts: list[str]) -> None:
    articles = [" ".join(texts[i : i + 5]) for i in range(0, 200, 5)]
    alone = [tiny.tag(article) for article in articles]
    with ThreadPoolExecutor(THREADS) as pool:
        tagged = [pool.submit(tiny.tag, article) for article in articles * 4]
        logits = [pool.submit(tiny.logits, texts[:3]) for _ in range(100)]
        assert [future.result() for future in tagged] == alone * 4
        assert all((future.result() == tiny.logits(texts[:3])).all() for future in logits)


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_fork_after_loading_and_use(tiny_checkpoint: Path, backend: str) -> None:
    """In a process of its own: forking this one, with whatever threads other tests left, would test those."""
    if backend == "torch":
        pytest.importorskip("torch")
    code = (
        "import os, pickle, signal, sys, warnings\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from tasrih import Classifier\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # of Python 3.12: a fork beside threads\n"
        "classifier = Classifier.load(sys.argv[1], backend=sys.argv[2])\n"
        "texts = ['نفى الوزير الخبر', 'اتهمت المعارضة الحكومة بالتستر على الفساد'] * 200\n"
        "with ThreadPoolExecutor(4) as pool: before = list(pool.map(classifier.classify, [texts] * 8))[0]\n"
        "for _ in range(3):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        signal.alarm(60)  # a child that hangs dies\n"
        "        os._exit(0 if classifier.classify(texts) == before else 7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "assert classifier.classify(texts) == before\n"
    )
    command = [sys.executable, "-X", "utf8", "-c", code, str(tiny_checkpoint), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def whose(classifier: Classifier, texts: list[str]) -> tuple[int, int, list[Prediction]]:
    return os.getpid(), id(classifier), classifier.classify(texts)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "fork"])
def test_a_pool_of_processes(tiny: Classifier, texts: list[str], method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = list(pool.map(whose, [tiny] * 40, [texts[i : i + 3] for i in range(40)], chunksize=2))
    for i, (_, _, predictions) in enumerate(results):
        assert predictions == tiny.classify(texts[i : i + 3])
    processes = {process for process, _, _ in results}
    assert len({(process, which) for process, which, _ in results}) == len(processes)  # loaded once in each


def test_a_pool_is_given_the_method_itself(tiny: Classifier, texts: list[str]) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(tiny.classify, texts[:20]) == [tiny.classify(text) for text in texts[:20]]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_a_path_and_a_hash(tiny: Classifier, texts: list[str], protocol: int) -> None:
    pickled = pickle.dumps(tiny, protocol)
    assert len(pickled) < 500
    assert pickle.loads(pickled).classify(texts[:20]) == tiny.classify(texts[:20])
    assert copy.deepcopy(tiny).classify(texts[:20]) == tiny.classify(texts[:20])


def test_a_pickle_of_a_relative_path_is_read_elsewhere(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_checkpoint.parent)
    pickled = pickle.dumps(Classifier.load(tiny_checkpoint.name, backend="onnx"))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).checkpoint.folder == tiny_checkpoint


def test_the_model_that_ships_is_found_where_tasrih_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pickled = pickle.dumps(Classifier.load())
    assert str(shipped_model()).encode() not in pickled
    elsewhere = Path(shutil.copytree(shipped_model(), tmp_path / "elsewhere"))
    monkeypatch.setattr(tasrih.predict, "shipped_model", lambda: elsewhere)
    assert pickle.loads(pickled).checkpoint.folder == elsewhere


def test_a_pickle_of_another_model_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    pickled = pickle.dumps(Classifier.load(folder, backend="onnx"))
    old = Checkpoint.read(folder)
    new = write_facts(
        folder, name="other", max_length=64, temperature=1.0, secondary_threshold=0.2, training={}
    )  # fmt: skip
    with pytest.raises(CheckpointError) as caught:
        pickle.loads(pickled)
    assert str(caught.value) == (
        f"{folder}: found model {new.sha256[:12]}…, expected {old.sha256[:12]}…, as where the classifier was "
        "pickled; give both the same model and version of tasrih"
    )
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="found nothing, expected a checkpoint folder"):
        pickle.loads(pickled)


def test_a_classifier_made_by_hand_says_that_it_has_no_path(tiny: Classifier) -> None:
    made: Any = Classifier(tiny.checkpoint, tiny.backend, None)
    with pytest.raises(TypeError, match=r"Classifier: found one that Classifier\.load did not make"):
        pickle.dumps(made)
