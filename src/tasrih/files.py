"""Files that are whole or not there: atomic writing, and hashes to tell what was written."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, then put what it wrote in the place of `path`.

    A reader sees the old file or the new one, never a part, whatever kills the process in between.
    Raises what `write` raises, and `OSError`, which names `path`; the temporary file is removed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)  # mkstemp's 0600 would hide a shipped file from other users
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # Of a full disk it names no file, or the temporary one, which nobody has asked for.
        if temporary is None or error.filename is None or str(error.filename) == str(temporary):
            error.filename = str(path)
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write `text` as UTF-8 at `path`, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
