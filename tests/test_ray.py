"""The columns that labelling adds, and Ray: two workers of a local cluster, one of which gets killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasrih import LABELS, CheckpointError, Classifier
from tasrih.columns import KINDS, label_cells, text_of
from tasrih.predict import default_classifier

ROWS = [
    ("نفت الوزارة صحة ما تداولته مواقع التواصل", None),
    ("اتهم الوزير المعارضة بالتحريض على العنف", None),
    ("", "empty"),
    (None, "empty"),
    ("hello, world", "no Arabic letter"),
    ("أعرب الرئيس عن أسفه لسقوط الضحايا", None),
]


@given(
    st.lists(
        st.one_of(
            st.none(), st.text(), st.binary(max_size=20), st.integers(), st.text("نفى الوزير", min_size=1)
        ),
        max_size=8,
    )
)
@settings(max_examples=100)
def test_every_cell_gets_a_label_or_a_reason(cells: list[object]) -> None:
    found = label_cells(default_classifier(), cells, "abc")
    assert list(found) == list(KINDS)
    assert {len(values) for values in found.values()} == {len(cells)}
    for label, reason, confidence, truncated in zip(
        found["label"], found["reason"], found["confidence"], found["truncated"], strict=True
    ):
        assert (label is None) == (reason is not None) == (confidence is None) == (truncated is None)
        assert label is None or label in LABELS


def test_what_is_no_text_is_named_and_scores_stay_below_the_threshold() -> None:
    assert text_of("نفى".encode("cp1256")) == ("", "bad bytes")
    assert text_of("نفى".encode()) == ("نفى", None)
    assert text_of("\ud800") == ("", "bad bytes")
    assert text_of(3.5) == ("", "not a text")
    assert text_of(" \n\t") == ("", "empty")
    (label,), (confidence,), (reason,), (second,), (digest,) = (
        label_cells(default_classifier(), [ROWS[0][0]], "abc", min_confidence=1.0)[name]
        for name in ("label", "confidence", "reason", "secondary", "model_hash")
    )
    assert (label, reason, second, digest) == (None, "low confidence", None, "abc")
    assert 0.5 < confidence < 1


def test_without_ray_the_extra_is_named() -> None:
    code = "import sys; sys.modules['ray'] = None; import tasrih.ray"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = done.stderr.splitlines()[-1]
    assert line.startswith("ImportError: ray")
    assert line.endswith('is not installed; labelling Ray datasets needs: pip install "tasrih[ray]"')


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    for attempt in range(3):
        try:
            ray.init(
                num_cpus=2,
                num_gpus=1,  # said, not there
                include_dashboard=False,
                object_store_memory=200_000_000,
                log_to_driver=False,
                logging_level="error",
            )
            break
        except Exception:  # Ray gives its processes 30 seconds to start; a busy machine may need more
            ray.shutdown()
            if attempt == 2:
                raise
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_rows_are_those_that_the_command_writes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray

    import tasrih.ray
    from tasrih.bulk import label_files

    table = pa.table({"n": pa.array(range(len(ROWS)), pa.int32()), "body": [text for text, _ in ROWS]})
    pq.write_table(table, tmp_path / "in.parquet")
    label_files([tmp_path / "in.parquet"], tmp_path / "out.parquet", Classifier.load(), text_column="body")
    expected = pq.read_table(tmp_path / "out.parquet")
    dataset = ray.data.read_parquet(str(tmp_path / "in.parquet"))
    (found,) = tasrih.ray.label(dataset, text_column="body", cpus=0.5).iter_batches(
        batch_size=None, batch_format="pyarrow"
    )
    assert found.schema.equals(expected.schema)
    assert found.column_names == ["n", "body", *KINDS]
    assert found["reason"].to_pylist() == [reason for _, reason in ROWS]
    assert found.to_pylist() == expected.to_pylist()


def test_cells_that_are_no_text_stop_nothing() -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    import pyarrow as pa

    from tasrih.ray import _Worker

    raw = pa.array(["نفى الوزير".encode(), "نفى".encode("cp1256"), None], pa.binary())
    missing, offsets, content = raw.buffers()
    table = pa.table(
        {
            "raw": raw,
            "broken": pa.StringArray.from_buffers(3, offsets, content, missing),
            "words": pa.array(["نفى الوزير", None, "نفى الوزير"]).dictionary_encode(),
            "number": [1, 2, 3],
        }
    )
    for column, reasons in {
        "raw": [None, "bad bytes", "empty"],
        "broken": [None, "bad bytes", "empty"],
        "words": [None, "empty", None],
        "number": ["not a text"] * 3,
    }.items():
        worker = _Worker(text_column=column, prefix="tasrih_", **WORKER)
        found = worker(table)
        assert found["tasrih_reason"].to_pylist() == reasons
        assert found.select(table.column_names).equals(table)
        assert worker(table.slice(0, 0)).schema.equals(found.schema)


WORKER = {
    "model": None,
    "expected_hash": None,
    "backend": "auto",
    "device": "cpu",
    "threads": 1,
    "min_confidence": 0.0,
}


def test_another_model_than_the_callers_is_refused() -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from tasrih.ray import _Worker

    message = "found model [0-9a-f]{12} on a worker, expected abc, as where label was called; give all"
    with pytest.raises(CheckpointError, match=message):
        _Worker(text_column="text", prefix="", **{**WORKER, "expected_hash": "abc"})


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_loses_nothing_and_doubles_nothing(texts: list[str]) -> None:
    import pyarrow as pa
    import ray

    import tasrih.ray

    chosen = texts[:1600]
    tables = [pa.table({"n": range(i, i + 80), "text": chosen[i : i + 80]}) for i in range(0, 1600, 80)]
    dataset = tasrih.ray.label(ray.data.from_arrow(tables), workers=2, cpus=0.5, rows_at_once=80)
    rows: list[dict] = []
    killed, met = 0, set[int]()
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        rows += table.to_pylist()
        busy = workers()
        met.update(busy)
        if not killed and len(busy) == 2:
            killed = busy[0]
            os.kill(killed, signal.SIGKILL)
    assert killed
    assert len(met) > 1
    assert sorted(row["n"] for row in rows) == list(range(1600))
    predictions = default_classifier().classify(chosen)
    for row in rows:
        prediction = predictions[row["n"]]
        assert row["text"] == chosen[row["n"]]
        assert row["label"] == prediction.label
        assert row["confidence"] == pytest.approx(prediction.confidence, abs=1e-6)


def workers() -> list[int]:
    """Return the processes of the pool that are labelling: Ray names them after the class and the method."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes()
        except OSError:  # it ended in between
            continue
        if name.startswith(b"ray::MapWorker(MapBatches(_Worker)).submit"):
            found.append(int(path.parent.name))
    return found


@pytest.mark.usefixtures("cluster")
def test_bad_arguments_and_models_are_named(tmp_path: Path) -> None:
    import ray

    import tasrih.ray

    dataset = ray.data.from_items([{"text": ROWS[0][0], "label": "x"}])
    for options, error, message in [
        ({"workers": 0}, ValueError, "workers: found 0, expected 1 or more"),
        ({"rows_at_once": 0}, ValueError, "rows_at_once: found 0, expected 1 or more"),
        ({"cpus": 0}, ValueError, "cpus: found 0, expected more than 0"),
        ({"min_confidence": 2}, ValueError, "min_confidence: found 2, expected a probability, from 0 to 1"),
        ({"device": "tpu"}, ValueError, "device: found 'tpu', expected 'cpu' or 'cuda'"),
        (
            {"text_column": "body"},
            ValueError,
            "dataset: found columns text, label, expected 'body' among them",
        ),
        (
            {},
            ValueError,
            "dataset: found a column 'label', the name of one to be added; give the new columns a prefix, "
            "such as prefix='tasrih_'",
        ),
        ({"model": tmp_path / "none", "prefix": "t_"}, ValueError, "expected a checkpoint folder"),
    ]:
        with pytest.raises(error) as raised:
            tasrih.ray.label(dataset, **options)
        assert message in str(raised.value)
    with pytest.raises(TypeError, match="dataset: found list, expected a ray"):
        tasrih.ray.label([])  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"torch sees no GPU|found 'cuda'"):
        tasrih.ray.label(dataset, prefix="t_", device="cuda").take_all()
