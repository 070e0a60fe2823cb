"""Label any Ray dataset, on as many machines as its cluster has.

    import ray
    import tasrih.ray

    news = ray.data.read_parquet("s3://bucket/news/")
    tasrih.ray.label(news, text_column="body").write_parquet("s3://bucket/labelled/")

Ray reads, hands out, restarts and writes; here is only what a worker does with the rows that it is given.
docs/cluster.md is the guide.
"""

import os
from pathlib import Path
from typing import Any, Final, Literal

from tasrih.backends import BackendName
from tasrih.checkpoint import Checkpoint, CheckpointError
from tasrih.columns import KINDS, label_cells, model_hash
from tasrih.predict import Classifier, shipped_model

try:
    import pyarrow as pa
    from ray.data import ActorPoolStrategy, Dataset
except ImportError as error:
    raise ImportError(
        f'{error.name} is not installed; labelling Ray datasets needs: pip install "tasrih[ray]"'
    ) from error

# Enough for batches of equal length, little enough to lose and do again: some seconds on a CPU.
_ROWS_AT_ONCE: Final = 4096
_TYPES: Final = {"text": pa.string(), "float": pa.float64(), "bool": pa.bool_()}


def label(
    dataset: Dataset,
    *,
    text_column: str = "text",
    model: str | Path | None = None,
    backend: BackendName = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int | None = None,
    cpus: float = 1,
    min_confidence: float = 0.0,
    prefix: str = "",
    rows_at_once: int = _ROWS_AT_ONCE,
) -> Dataset:
    """Return the dataset with the columns of `tasrih label` behind its own: see `tasrih.columns`.

    Nothing is read or labelled until the dataset returned is. A row that cannot be labelled stays, with its
    reason; a worker that dies is replaced, and what it was given is labelled once more by another.

    The pool has at least one worker and grows to `workers`, or, without it, to what the cluster has room
    for; each loads the model once and takes `cpus` cores, and with `device="cuda"` a GPU. `model` is found
    on the workers' machines: a folder that all of them see, `owner/name` on the hub, or, without it, the
    model that ships. `rows_at_once` rows go to a worker together, and within them the model is given
    batches by its budget of tokens. `min_confidence` and `prefix` are those of `tasrih label`.

    Raises `TypeError` or `ValueError` for arguments of no use, `CheckpointError` where the model is here and
    is no good, and, while rows are read, what Ray raises, with the error of the worker in its message.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset: found {type(dataset).__name__}, expected a ray.data.Dataset")
    for name, value in {"workers": 1 if workers is None else workers, "rows_at_once": rows_at_once}.items():
        if value < 1:
            raise ValueError(f"{name}: found {value}, expected 1 or more")
    if not cpus > 0:
        raise ValueError(f"cpus: found {cpus}, expected more than 0")
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence: found {min_confidence}, expected a probability, from 0 to 1")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device: found {device!r}, expected 'cpu' or 'cuda'")
    schema = dataset.schema(fetch_if_missing=False)  # of a file it is known; else the workers will see
    if schema is not None:
        _check_columns(schema.names, text_column, prefix)
    return dataset.map_batches(
        _Worker,
        fn_constructor_kwargs={
            "text_column": text_column,
            "model": model,
            "expected_hash": _hash_here(model),
            "backend": backend,
            "device": device,
            "threads": max(1, int(cpus)),
            "min_confidence": min_confidence,
            "prefix": prefix,
        },
        # At least one, not at least all: workers that took every core would leave none to read with.
        compute=ActorPoolStrategy(min_size=1, max_size=workers),
        num_cpus=cpus,
        num_gpus=1 if device == "cuda" else None,
        batch_size=rows_at_once,
        batch_format="pyarrow",
    )


class _Worker:
    """What runs in each process of the pool: loads the model once, then labels tables."""

    def __init__(
        self,
        *,
        text_column: str,
        model: str | Path | None,
        expected_hash: str | None,
        backend: BackendName,
        device: Literal["cpu", "cuda"],
        threads: int,
        min_confidence: float,
        prefix: str,
    ) -> None:
        # Several workers share a machine: each keeps to its cores. The tokenizer reads this once, when used.
        os.environ["RAYON_NUM_THREADS"] = str(threads)
        self._classifier = Classifier.load(model, backend=backend, device=device)
        self._classifier.backend.workers = min(threads, self._classifier.backend.workers)
        self._hash = model_hash(self._classifier.checkpoint)
        if expected_hash not in (None, self._hash):
            raise CheckpointError(
                f"{self._classifier.checkpoint.folder}: found model {self._hash} on a worker, expected "
                f"{expected_hash}, as where label was called; give all machines the same model and version "
                "of tasrih"
            )
        self._text_column = text_column
        self._min_confidence = min_confidence
        self._prefix = prefix

    def __call__(self, table: Any) -> Any:  # a pyarrow.Table
        _check_columns(table.column_names, self._text_column, self._prefix)
        cells = _cells(table.column(self._text_column))
        found = label_cells(self._classifier, cells, self._hash, self._min_confidence)
        for name, kind in KINDS.items():
            table = table.append_column(self._prefix + name, pa.array(found[name], type=_TYPES[kind]))
        return table


def _hash_here(model: str | Path | None) -> str | None:
    """Return the model's hash, None where it is not here: on the hub, or on the workers' machines alone."""
    folder = shipped_model() if model is None else Path(model)
    if isinstance(model, str) and "/" in model and not folder.exists():
        return None
    return model_hash(Checkpoint.read(folder))


def _check_columns(names: list[str], text_column: str, prefix: str) -> None:
    if text_column not in names:
        raise ValueError(f"dataset: found columns {', '.join(names)}, expected {text_column!r} among them")
    taken = [prefix + name for name in KINDS if prefix + name in names]
    if taken:
        raise ValueError(
            f"dataset: found a column {taken[0]!r}, the name of one to be added; give the new columns a "
            "prefix, such as prefix='tasrih_'"
        )


def _cells(column: Any) -> list[Any]:
    """Return the values; a text that is not UTF-8, which pyarrow does not check on reading, as its bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return column.cast(pa.large_binary()).to_pylist()
