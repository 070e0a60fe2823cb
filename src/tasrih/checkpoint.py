"""What lies in a checkpoint folder, and how it is read without trusting it.

    checkpoint.json      this module's facts: labels, normaliser, length, temperature, file hashes, its own
    tokenizer.json       the tokenizer, in the format of the `tokenizers` library
    model.int8.onnx      for the onnxruntime backend
    config.json          \\ for the torch backend, and for fine-tuning further:
    model.safetensors    / a transformers sequence-classification model
    README.md            the model card

Files are read whole, held against their hash, and parsed from the bytes that were hashed. Nothing is
unpickled, no code from a checkpoint is run, and no file outside the folder is read. The hashes tell damage,
not forgery: whoever can write the folder can write them, too. SECURITY.md says what holds then.
"""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tasrih.files import sha256, write_atomically
from tasrih.labels import LABELS
from tasrih.normalise import NAME as NORMALISER
from tasrih.normalise import VERSION as NORMALISER_VERSION

FACTS_FILE: Final = "checkpoint.json"
TOKENIZER_FILE: Final = "tokenizer.json"
ONNX_FILE: Final = "model.int8.onnx"
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"

_FORMAT: Final = 1
_LARGEST: Final = {
    FACTS_FILE: 1 << 20,  # parsed JSON takes up to forty times its size in memory; a real one takes 4 kB
    TOKENIZER_FILE: 64 << 20,  # AraBERT's takes about 3 MB, XLM-R's 17 MB
    ONNX_FILE: 2 << 30,  # protobuf's own limit
    CONFIG_FILE: 1 << 20,
    WEIGHTS_FILE: 4 << 30,  # a large BERT in float32 takes 1.4 GB
}
_HASHED: Final = [name for name in _LARGEST if name != FACTS_FILE]
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NO_HASH: Final = "0" * 64  # stands in the place of the file's own hash while that is reckoned


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what was found, expected, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """The facts of a checkpoint folder, checked.

    `max_length` counts tokens with the special ones. `temperature` divides the logits before the softmax
    (Guo et al. 2017). `secondary_threshold` is the calibrated probability from which a second act is
    reported. `files` maps a file's name to its SHA-256. `training` holds whatever the training run wrote.
    `sha256` is that of checkpoint.json itself, and tells one checkpoint from every other.
    """

    folder: Path
    name: str
    max_length: int
    temperature: float
    secondary_threshold: float
    files: Mapping[str, str]
    training: Mapping[str, Any]
    sha256: str

    @classmethod
    def read(cls, folder: str | Path) -> "Checkpoint":
        """Read and check `folder`'s facts. Raises `CheckpointError`; the larger files are read later."""
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(
                f"{folder}: found {'a file' if folder.exists() else 'nothing'}, expected a checkpoint "
                "folder; give the folder that training wrote, or leave the path out for the model that ships"
            )
        path = folder / FACTS_FILE
        raw = _read_bytes(path)
        try:
            facts = json.loads(raw)
            checked = _checked(facts, path)
        except CheckpointError:
            raise
        except (ValueError, RecursionError) as error:  # RecursionError: also of showing what was found
            raise CheckpointError(f"{path}: not JSON ({error}); {_RESTORE}") from None
        if "sha256" in facts:  # the first files of this format had none
            _compare(path, raw.replace(facts["sha256"].encode(), _NO_HASH.encode(), 1), facts["sha256"])
        return cls(folder=folder, sha256=hashlib.sha256(raw).hexdigest(), **checked)

    def has(self, name: str) -> bool:
        """Whether the file `name` belongs to the checkpoint and is there."""
        return name in self.files and (self.folder / name).is_file()

    def read_file(self, name: str) -> bytes:
        """Return the bytes of the file `name` after holding them against their hash."""
        path = self.folder / name
        if name not in self.files:
            held = ", ".join(self.files) or "no file"
            raise CheckpointError(f"{path}: not part of this checkpoint, which holds {held}")
        content = _read_bytes(path)
        _compare(path, content, self.files[name])
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
    facts: dict[str, Any] = {
        # First, so that what cuts it away, and a fact as well, cuts away what must stand between.
        "sha256": _NO_HASH,
        "format": _FORMAT,
        "labels": [str(label) for label in LABELS],
        "normaliser": {"name": NORMALISER, "version": NORMALISER_VERSION},
        "name": name,
        "max_length": max_length,
        "temperature": temperature,
        "secondary_threshold": secondary_threshold,
        "files": {file: sha256(folder / file) for file in _HASHED if (folder / file).is_file()},
        "training": dict(training),
    }
    text = json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
    text = text.replace(_NO_HASH, hashlib.sha256(text.encode()).hexdigest(), 1)
    _checked(json.loads(text), folder / FACTS_FILE)  # what cannot be read again is not written
    write_atomically(folder / FACTS_FILE, lambda path: path.write_bytes(text.encode()))  # not \r\n: hashed
    return Checkpoint.read(folder)


_RESTORE: Final = "restore the folder from where it came, or export it again"


def _read_bytes(path: Path) -> bytes:
    largest = _LARGEST[path.name]
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, a device read without end
            raise CheckpointError(f"{path}: found what is no plain file, expected one; {_RESTORE}")
        if not _stays_inside(path):
            raise CheckpointError(
                f"{path}: found a link that leads out of the folder, expected a plain file; it is refused: "
                "put a copy of the file in its place"
            )
        if found.st_size > largest:
            raise CheckpointError(
                f"{path}: found {found.st_size:,} bytes, expected at most {largest:,}; {_RESTORE}"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: found no such file, expected one; {_RESTORE}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {_RESTORE}") from None


def _stays_inside(path: Path) -> bool:
    """Whether `path`, its links followed, lies in its folder, or where the hub's cache keeps such files."""
    folder, file = path.parent.resolve(), path.resolve()
    in_hub_cache = folder.parent.name == "snapshots" and file.parent == folder.parents[1] / "blobs"
    return file.parent == folder or in_hub_cache


def _compare(path: Path, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{path}: found SHA-256 {found[:12]}…, expected {expected[:12]}…: the file was changed or cut; "
            f"{_RESTORE}"
        )


def _checked(facts: Any, path: Path) -> dict[str, Any]:
    """Return the constructor's arguments out of parsed JSON, or raise `CheckpointError`."""

    def refuse(key: str, expected: str, remedy: str = _RESTORE) -> CheckpointError:
        found = repr(facts.get(key)) if isinstance(facts, dict) else type(facts).__name__
        return CheckpointError(f"{path}: {key[:80]!r} is {found[:80]}, expected {expected}; {remedy}")

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
        "name": _is_name(facts.get("name")),
        "max_length": type(facts.get("max_length")) is int and 8 <= facts["max_length"] <= 8192,
        "temperature": _is_number(facts.get("temperature"), 0.01, 100),
        "secondary_threshold": _is_number(facts.get("secondary_threshold"), -1e9, 1e9),
        "files": isinstance(facts.get("files"), dict) and all(map(_is_file_entry, facts["files"].items())),
        "training": isinstance(facts.get("training"), dict),
    }
    shapes = {
        "name": "a text of at most 200 printable characters",
        "max_length": "a whole number of tokens from 8 to 8192",
        "temperature": "a number from 0.01 to 100",
        "secondary_threshold": "a number",
        "files": f"SHA-256 hashes of files of this folder, no others than {', '.join(_HASHED)}",
        "training": "an object",
    }
    for key, good in checked.items():
        if not good:
            raise refuse(key, shapes[key])
    if not _is_hash(facts.get("sha256", _NO_HASH)):
        raise refuse("sha256", "a SHA-256 hash")
    if unknown := facts.keys() - checked.keys() - {"sha256", "format", "labels", "normaliser"}:
        raise refuse(min(unknown), "nothing of that name")
    return {key: facts[key] for key in checked}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _is_number(value: object, least: float, most: float) -> bool:
    return type(value) in (int, float) and least <= value <= most  # type: ignore[operator]


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_file_entry(entry: tuple[str, object]) -> bool:
    name, digest = entry
    return name in _HASHED and _is_hash(digest)
