"""What was done, kept on disk from whatever ends the process.

Beside OUT, in OUT.partial/, lie `rows`, the bytes of the output so far, and `manifest.json`, which says how
many of these bytes count and which rows of the input they stand for. Bytes are appended and brought to the
disk first; then the manifest is replaced in one step. Bytes behind those that count are of an interrupted
step, and are cut off when the work goes on. OUT appears in one step, once all is done.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tasrih.files import write_text_atomically

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps two processes from one output
    fcntl = None

_FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_ROWS: Final = "rows"
_LOCK: Final = "lock"
_WHOLE: Final = "whole"


@dataclass
class Progress:
    """Where the work stands.

    `source` is the number of a file, `row` how many of its rows are done, `digest` that of what they were
    read from, `sentence` how many sentences of the document that row is in. `counts` adds up what was
    written.
    """

    source: int = 0
    row: int = 0
    digest: str = ""
    sentence: int = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])


class Journal:
    """The work on one output: a context manager, of which one process at a time can hold that of an output.

    `facts` must be the same whenever the work goes on: options, model, columns. `files` are `Source.facts`,
    in order; those that were read must be as they were. Raises `ValueError` where either is not so, where OUT
    is there already and `overwrite` is not given, and where another process is at it.
    """

    def __init__(
        self, output: Path, facts: Mapping[str, Any], files: Sequence[list[Any]], *, overwrite: bool = False
    ) -> None:
        self.folder = output.with_name(output.name + ".partial")
        self.resumed = self.complete = False
        self.progress = Progress()
        self._output = output
        self._facts: dict[str, Any] = json.loads(json.dumps(facts))
        self._files = list(files)
        self._bytes = 0
        self._rows = None
        if not self.folder.exists():
            self._refuse_existing(overwrite)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / _LOCK, "wb")  # noqa: SIM115 - closed by `close`
        try:
            self._take_lock()
            manifest = self._read_manifest()
            if manifest is not None:
                self._check(manifest)
                self._take_up(manifest)
            assembled = self.complete and not (self.folder / _ROWS).exists()
            if assembled and not (self.folder / _WHOLE).exists():
                return  # killed between its last two steps: what is there already is the output of this work
            self._refuse_existing(overwrite)
            if assembled:
                return
            self._rows = open(self.folder / _ROWS, "ab", buffering=0)  # noqa: SIM115 - likewise
            self._cut()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._rows is not None:
            self._rows.close()
        self._lock.close()

    def append(self, content: bytes) -> None:
        """Add bytes to the output; they count from the next `commit` on. Raises `OSError`."""
        rest = memoryview(content)
        while rest and self._rows is not None:  # a full disk takes a part, and refuses the next
            rest = rest[self._rows.write(rest) :]
        self._bytes += len(content)

    def commit(self, progress: Progress, *, complete: bool = False) -> None:
        """Make what was appended count, and `progress` what it stands for. Raises `OSError`."""
        if self._rows is not None:
            os.fsync(self._rows.fileno())
        manifest = {
            "format": _FORMAT,
            "complete": complete,
            "bytes": self._bytes,
            "progress": asdict(progress),
            "facts": self._facts,
            "files": self._files,
        }
        write_text_atomically(self.folder / _MANIFEST, json.dumps(manifest, indent=1) + "\n")
        self.progress, self.complete = progress, complete

    def publish(self, assemble: Callable[[Path, Path], object] | None) -> None:
        """Put the output in its place, and remove the folder; the work must be complete. Raises `OSError`."""
        rows, whole = self.folder / _ROWS, self.folder / _WHOLE
        if self._rows is not None:  # else this was done when the process was killed
            if assemble is None:
                rows.replace(whole)
            else:
                assemble(rows, whole)
                with open(whole, "rb+") as file:
                    os.fsync(file.fileno())
                rows.unlink()  # from here on `whole` is whole
        if whole.exists():
            whole.replace(self._output)
        self.close()
        shutil.rmtree(self.folder)

    def _read_manifest(self) -> dict[str, Any] | None:
        path = self.folder / _MANIFEST
        if not path.exists():
            ours = {_ROWS, _LOCK}
            for found in self.folder.iterdir():
                if found.name not in ours and not found.name.startswith(f".{_MANIFEST}"):
                    raise ValueError(
                        f"{self.folder}: found {found.name!r}, which is none of tasrih's; move it away"
                    )
            return None
        try:
            manifest = json.loads(path.read_bytes())
            if manifest["format"] == _FORMAT:
                Progress(**manifest["progress"])
                return {key: manifest[key] for key in ("complete", "bytes", "progress", "facts", "files")}
        except (ValueError, TypeError, KeyError):
            pass
        raise ValueError(f"{path}: is not what this version of tasrih writes; {self._begin_again()}")

    def _check(self, manifest: dict[str, Any]) -> None:
        """Refuse to go on with other options, another model, or files that have changed."""
        for name in {**manifest["facts"], **self._facts}:
            old, new = manifest["facts"].get(name), self._facts.get(name)
            if old != new:
                raise ValueError(
                    f"{self.folder}: was begun with {name} {_short(old)}, found {_short(new)}; give what it "
                    f"was begun with, or {self._begin_again()}"
                )
        if manifest["complete"]:
            return
        current = manifest["progress"]["source"]
        for number, old in enumerate(manifest["files"][: current + 1]):
            new = self._files[number] if number < len(self._files) else None
            # How the current file begins is held against its digest: it may have been cut, and be whole now.
            if new is None or (new != old if number < current else new[0] != old[0]):
                found = "has changed since" if new and new[0] == old[0] else "is not in its place"
                raise ValueError(
                    f"{old[0]}: was labelled, and {found}; put it back, or {self._begin_again()}"
                )

    def _take_up(self, manifest: dict[str, Any]) -> None:
        self.resumed = True
        self.complete = manifest["complete"]
        self.progress = Progress(**manifest["progress"])
        self._bytes = manifest["bytes"]

    def _cut(self) -> None:
        """Cut off what was appended and never came to count."""
        path = self.folder / _ROWS
        found = path.stat().st_size
        if found < self._bytes:
            raise ValueError(
                f"{path}: found {found:,} bytes, expected {self._bytes:,} or more; {self._begin_again()}"
            )
        os.truncate(path, self._bytes)
        for left in self.folder.glob(f".{_MANIFEST}.*"):  # of a process killed while it wrote one
            with suppress(OSError):
                left.unlink()

    def _refuse_existing(self, overwrite: bool) -> None:
        if self._output.exists() and not overwrite:
            raise ValueError(
                f"{self._output}: is there already; move it away, give another name, or have it replaced "
                "with --overwrite"
            )

    def _take_lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{self.folder}: another process is at work on it; let it end first") from None

    def _begin_again(self) -> str:
        return f"remove {self.folder} to begin again"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"
