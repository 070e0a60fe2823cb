import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasrih import CheckpointError, Classifier
from tasrih.checkpoint import Checkpoint, write_facts


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def change(folder: Path, **facts: Any) -> None:
    path = folder / "checkpoint.json"
    changed = json.loads(path.read_text(encoding="utf-8")) | facts
    changed.pop("sha256", None)  # whoever changes facts on purpose leaves out the file's own hash
    path.write_text(json.dumps(changed), encoding="utf-8")


def test_facts_survive_the_disk(folder: Path) -> None:
    before = Checkpoint.read(folder)
    after = write_facts(
        folder,
        name=before.name,
        max_length=before.max_length,
        temperature=before.temperature,
        secondary_threshold=before.secondary_threshold,
        training=before.training,
    )
    assert after == before == Checkpoint.read(folder)


def test_missing_folder_and_file_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found nothing, expected a checkpoint folder; give"):
        Classifier.load(tmp_path / "none")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(CheckpointError, match="found a file, expected a checkpoint folder"):
        Classifier.load(tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"checkpoint.json: found no such file, expected one; restore"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.int8.onnx"])
def test_missing_changed_and_cut_files(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + b"!" + content[middle + 1 :], b""):
        (folder / name).write_bytes(damaged)
        with pytest.raises(
            CheckpointError, match=rf"{name}: found SHA-256 .* expected .*; restore the folder"
        ):
            Classifier.load(folder, backend="onnx")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: found no such file"):
        Classifier.load(folder, backend="onnx")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format": 2}, r"'format' is 2, expected 1; install the version"),
        (
            {"labels": ["denial", "accusation", "regret", "factual_report"]},
            r"'labels' is .*, expected .*; retrain",
        ),
        ({"normaliser": {"name": "arabert-v02", "version": 2}}, r"'normaliser' is .*, expected .*; install"),
        ({"max_length": "128"}, r"'max_length' is '128', expected a whole number"),
        ({"max_length": True}, r"'max_length' is True"),
        ({"temperature": 0}, r"'temperature' is 0, expected a number from 0.01"),
        ({"temperature": float("nan")}, r"'temperature' is nan"),
        ({"secondary_threshold": None}, r"'secondary_threshold' is None"),
        ({"training": []}, r"'training' is \[\]"),
        ({"files": {"../tokenizer.json": "0" * 64}}, r"'files' is .*files of this folder"),
        ({"files": {"/etc/passwd": "0" * 64}}, r"'files' is .*files of this folder"),
        ({"files": {"tokenizer.json": "short"}}, r"'files' is .*SHA-256"),
        ({"name": ""}, r"'name' is '', expected a text"),
    ],
)
def test_facts_that_cannot_be_trusted(folder: Path, facts: dict[str, Any], message: str) -> None:
    change(folder, **facts)
    with pytest.raises(CheckpointError, match=message):
        Classifier.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_facts_that_are_no_facts(folder: Path, content: bytes) -> None:
    (folder / "checkpoint.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.json"):
        Classifier.load(folder)


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Put `content` in place with a hash that fits, as whoever makes a hostile checkpoint would."""
    import hashlib

    (folder / name).write_bytes(content)
    files = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))["files"]
    change(folder, files=files | {name: hashlib.sha256(content).hexdigest()})


def test_code_in_a_config_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Model"}
    rewrite(folder, "config.json", json.dumps(config).encode())
    with pytest.raises(CheckpointError, match="found 'auto_map', code to run from the checkpoint"):
        Classifier.load(folder, backend="torch")


class Planted:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(PLANTED[0]),))


PLANTED: list[str] = []


@pytest.mark.parametrize("name", ["model.safetensors", "model.int8.onnx", "tokenizer.json", "config.json"])
def test_a_planted_pickle_is_never_loaded(folder: Path, tmp_path: Path, name: str) -> None:
    PLANTED[:] = [str(tmp_path / "ran")]
    rewrite(folder, name, pickle.dumps(Planted()))
    with pytest.raises(CheckpointError):
        Classifier.load(folder, backend="torch" if name in ("model.safetensors", "config.json") else "onnx")
    assert not (tmp_path / "ran").exists()
