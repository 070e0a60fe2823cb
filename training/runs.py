"""What a run folder says about itself: its configuration, which it keeps to, and with what it ran."""

import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from config import ConfigError, to_table
from tasrih import __version__
from tasrih.files import write_text_atomically

_LIBRARIES = ("accelerate", "datasets", "numpy", "tokenizers", "torch", "transformers")
_NATIVE_WRITE_ERRORS = ("(os error ", "inline_container.cc")


def claim(
    folder: Path, config: Any, free: tuple[str, ...] = (), *, begun: bool = True, data: str | None = None
) -> None:
    """Keep `folder` to one configuration, but for the keys in `free`, as "schedule.tokens", and to one
    `data`, a hash.

    What two of them leave in one folder would mix unseen. A run that has not `begun`, which has left nothing
    yet, may be given another configuration. Raises `ConfigError`.
    """
    path = folder / "config.json"
    facts = json.loads(json.dumps(to_table(config), default=str))
    if data is not None:
        facts["data_sha256"] = data
    if (
        begun
        and path.exists()
        and _without(json.loads(path.read_text(encoding="utf-8")), free) != _without(facts, free)
    ):
        raise ConfigError(
            f"{path} holds another configuration, or other data; take another --output or delete the folder"
        )
    write_json(path, facts)


def _without(table: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    copy = json.loads(json.dumps(table))
    for key in keys:
        section, _, name = key.partition(".")
        copy.get(section, {}).pop(name, None)
    return copy


def environment() -> dict[str, Any]:
    """Return the revision of the code, the versions of what ran it, and the devices."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "git": _revision(),
        # Where a file lies on one machine is no fact of the run.
        "command": [Path(word).name if Path(word).is_absolute() else word for word in sys.argv],
        "python": platform.python_version(),
        "libraries": {"tasrih": __version__, **{name: _version(name) for name in _LIBRARIES}},
        "devices": gpus or [f"{platform.machine()} CPU, {torch.get_num_threads()} threads"],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Return the commit of this source tree, marked where files were changed; None outside of git."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.strip() + (" with uncommitted changes" if changes.strip() else "")


def unwritten(error: Exception, folder: Path) -> str:
    """Return, in one line, that `error` kept a file from being written below `folder`; raise any other error.

    What is an `OSError` elsewhere is another error where Rust (safetensors, tokenizers) or torch writes, and
    torch's may not say that the disk is full.
    """
    if not isinstance(error, OSError) and not any(sign in str(error) for sign in _NATIVE_WRITE_ERRORS):
        raise error
    reason = " ".join(str(error).split())
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free
    return f"{folder}: cannot be written, with {free / 1e6:,.1f} MB free there ({reason})"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text_atomically(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
