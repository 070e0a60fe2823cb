"""Checkpoints from the Hugging Face hub."""

from pathlib import Path

from tasrih import checkpoint
from tasrih.checkpoint import CheckpointError

_FILES = [
    checkpoint.FACTS_FILE,
    checkpoint.TOKENIZER_FILE,
    checkpoint.ONNX_FILE,
    checkpoint.CONFIG_FILE,
    checkpoint.WEIGHTS_FILE,
]


def download(repository: str) -> Path:
    """Fetch the checkpoint `owner/name`, or take it from the local cache, and return its folder.

    Raises `CheckpointError` where it cannot be had.
    """
    from huggingface_hub import snapshot_download  # a dependency of `tokenizers`; slow to import

    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES))
    except Exception as error:  # the library raises errors of several HTTP clients, by version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{repository}: no such folder here, and the hub did not give it ({reason}); check the name and "
            "the connection, or give the path of a checkpoint folder"
        ) from error
