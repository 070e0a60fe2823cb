"""What lies in a checkpoint folder, and how it is read without trusting it.

    checkpoint.json      this module's facts: labels, normaliser, length, temperature, file hashes
    tokenizer.json       the tokenizer, in the format of the `tokenizers` library
    model.int8.onnx      for the onnxruntime backend
    config.json          \\ for the torch backend, and for fine-tuning further:
    model.safetensors    / a transformers sequence-classification model
    README.md            the model card

Files are read whole, held against their hash, and parsed from the bytes that were hashed. Nothing is
unpickled and no code from a checkpoint is run.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tasrih.files import sha256, write_text_atomically
from tasrih.labels import LABELS
from tasrih.normalise import NAME as NORMALISER
from tasrih.normalise import VERSION as NORMALISER_VERSION

FACTS_FILE: Final = "checkpoint.json"
TOKENIZER_FILE: Final = "tokenizer.json"
ONNX_FILE: Final = "model.int8.onnx"
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"

_FORMAT: Final = 1
_LARGEST_JSON: Final = 64 << 20  # AraBERT's tokenizer.json takes about 3 MB
_LARGEST_MODEL: Final = 4 << 30  # a large BERT in float32 takes 1.4 GB


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what was found, expected, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """The facts of a checkpoint folder, checked.

    `max_length` counts tokens with the special ones. `temperature` divides the logits before the softmax
    (Guo et al. 2017). `secondary_threshold` is the calibrated probability from which a second act is
    reported. `files` maps a file's name to its SHA-256. `training` holds whatever the training run wrote.
    """

    folder: Path
    name: str
    max_length: int
    temperature: float
    secondary_threshold: float
    files: Mapping[str, str]
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def read(cls, folder: str | Path) -> "Checkpoint":
        """Read and check `folder`'s facts. Raises `CheckpointError`; the larger files are read later."""
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(
                f"{folder}: found {'a file' if folder.exists() else 'nothing'}, expected a checkpoint "
                "folder; give the folder that training wrote, or leave the path out for the model that ships"
            )
        raw = _read_bytes(folder / FACTS_FILE, _LARGEST_JSON)
        try:
            facts = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{folder / FACTS_FILE}: not JSON ({error}); {_RESTORE}") from None
        return cls(folder=folder, **_checked(facts, folder / FACTS_FILE))

    def has(self, name: str) -> bool:
        """Whether the file `name` belongs to the checkpoint and is there."""
        return name in self.files and (self.folder / name).is_file()

    def read_file(self, name: str) -> bytes:
        """Return the bytes of the file `name` after holding them against their hash."""
        path = self.folder / name
        if name not in self.files:
            raise CheckpointError(f"{path}: not part of this checkpoint, which holds {', '.join(self.files)}")
        content = _read_bytes(path, _LARGEST_JSON if name.endswith(".json") else _LARGEST_MODEL)
        found = hashlib.sha256(content).hexdigest()
        if found != self.files[name]:
            raise CheckpointError(
                f"{path}: found SHA-256 {found[:12]}…, expected {self.files[name][:12]}…: the file was "
                f"changed or cut; {_RESTORE}"
            )
        return content


def write_facts(
    folder: Path,
    *,
    name: str,
    max_length: int,
    temperature: float,
    secondary_threshold: float,
    training: Mapping[str, Any],
) -> Checkpoint:
    """Hash the files in `folder` and write its `checkpoint.json`; the last step of making a checkpoint."""
    known = [TOKENIZER_FILE, ONNX_FILE, CONFIG_FILE, WEIGHTS_FILE]
    checkpoint = Checkpoint(
        folder=folder,
        name=name,
        max_length=max_length,
        temperature=temperature,
        secondary_threshold=secondary_threshold,
        training=dict(training),
        files={file: sha256(folder / file) for file in known if (folder / file).is_file()},
    )
    facts = asdict(checkpoint)
    del facts["folder"]
    facts = {
        "format": _FORMAT,
        "labels": [str(label) for label in LABELS],
        "normaliser": {"name": NORMALISER, "version": NORMALISER_VERSION},
        **facts,
    }
    text = json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
    _checked(json.loads(text), folder / FACTS_FILE)  # what cannot be read again is not written
    write_text_atomically(folder / FACTS_FILE, text)
    return checkpoint


_RESTORE: Final = "restore the folder from where it came, or export it again"


def _read_bytes(path: Path, largest: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > largest:
            raise CheckpointError(f"{path}: found {size:,} bytes, expected at most {largest:,}; {_RESTORE}")
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: found no such file, expected one; {_RESTORE}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {_RESTORE}") from None


def _checked(facts: Any, path: Path) -> dict[str, Any]:
    """Return the constructor's arguments out of parsed JSON, or raise `CheckpointError`."""

    def refuse(key: str, expected: str, remedy: str = _RESTORE) -> CheckpointError:
        found = repr(facts.get(key)) if isinstance(facts, dict) else type(facts).__name__
        return CheckpointError(f"{path}: {key!r} is {found[:80]}, expected {expected}; {remedy}")

    if not isinstance(facts, dict):
        raise refuse("checkpoint", "an object")
    if facts.get("format") != _FORMAT:
        raise refuse("format", str(_FORMAT), "install the version of tasrih that wrote this checkpoint")
    if facts.get("labels") != [str(label) for label in LABELS]:
        raise refuse("labels", str([str(label) for label in LABELS]), "retrain with this version of tasrih")
    expected = {"name": NORMALISER, "version": NORMALISER_VERSION}
    if facts.get("normaliser") != expected:
        raise refuse("normaliser", str(expected), "install the version of tasrih that wrote this checkpoint")
    checked = {
        "name": _is_text(facts.get("name")),
        "max_length": type(facts.get("max_length")) is int and 8 <= facts["max_length"] <= 8192,
        "temperature": _is_number(facts.get("temperature")) and 0.01 <= facts["temperature"] <= 100,
        "secondary_threshold": _is_number(facts.get("secondary_threshold")),
        "files": isinstance(facts.get("files"), dict) and all(map(_is_file_entry, facts["files"].items())),
        "training": isinstance(facts.get("training"), dict),
    }
    shapes = {
        "name": "a text",
        "max_length": "a whole number of tokens from 8 to 8192",
        "temperature": "a number from 0.01 to 100",
        "secondary_threshold": "a number",
        "files": "an object of plain file names and SHA-256 hashes",
        "training": "an object",
    }
    for key, good in checked.items():
        if not good:
            raise refuse(key, shapes[key])
    return {key: facts[key] for key in checked}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_file_entry(entry: tuple[str, object]) -> bool:
    name, digest = entry
    plain = Path(name).name == name and name not in ("", ".", "..") and "\\" not in name
    return plain and isinstance(digest, str) and len(digest) == 64
