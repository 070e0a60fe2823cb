"""The checkpoint's tokenizer, read without trusting it."""

import base64
import json
from pathlib import Path
from typing import Any, Final

from tasrih.checkpoint import TOKENIZER_FILE, Checkpoint, CheckpointError

# How many characters a tokenizer may make of one before it cuts texts into pieces. Unicode's own
# normalisation makes up to 18; steps that each make a thousand would, one after the other, fill any memory.
_MOST_GROWTH: Final = 64
_MOST_SPECIAL: Final = 64  # tokens put around a text


def load(checkpoint: Checkpoint) -> Any:
    """Return the `tokenizers.Tokenizer` of the checkpoint, which neither cuts nor pads.

    Raises `CheckpointError` where it is none, cannot read an Arabic word, or makes too much of a text.
    """
    from tokenizers import Tokenizer  # here, so that `import tasrih` stays light

    path = checkpoint.folder / TOKENIZER_FILE
    content = checkpoint.read_file(TOKENIZER_FILE)
    try:
        _check_growth(json.loads(content))
        tokenizer: Any = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        (encoding,) = tokenizer.encode_batch_fast(["نفى\U0010fffd"])  # a character nobody has seen, too
        if not encoding.ids:
            raise ValueError("it finds no token in an Arabic word")
    except (
        BaseException
    ) as error:  # a panic in the library's Rust code is no Exception, and has no public name
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise _refusal(path, error) from None
        raise
    return tokenizer


def _refusal(path: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{path}: not a tokenizer: {error}; export the checkpoint again")


def _check_growth(facts: Any) -> None:
    """Raise `ValueError` for a tokenizer whose steps make far more text, or tokens, than they are given."""
    growth = 1
    for step in [*_steps(facts.get("normalizer")), *_steps(facts["pre_tokenizer"])]:
        if step.get("type") in ("Replace", "Prepend"):
            growth *= max(1, len(step.get("content", "")) + len(step.get("prepend", "")))
        elif step.get("type") == "Precompiled":
            charsmap = base64.b64decode(step["precompiled_charsmap"])
            texts = charsmap[4 + int.from_bytes(charsmap[:4], "little") :]  # behind the trie that finds them
            growth *= max(1, *map(len, texts.split(b"\0")))
    if growth > _MOST_GROWTH:
        raise ValueError(f"its steps make up to {growth} characters of one, expected {_MOST_GROWTH} at most")
    special = sum(len(step.get("single", "")) for step in _steps(facts.get("post_processor")))
    ids = sum(
        len(step["ids"]) for step in _steps(facts.get("post_processor")) if isinstance(step.get("ids"), list)
    )
    if max(special, ids) > _MOST_SPECIAL:
        raise ValueError(
            f"it puts {max(special, ids)} tokens around a text, expected {_MOST_SPECIAL} at most"
        )


def _steps(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON value, outer and inner."""
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return []
    found = [value] if isinstance(value, dict) else []
    return found + [step for part in inner for step in _steps(part)]
