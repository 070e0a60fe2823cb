"""The columns that labelling adds to the rows of a table, whoever writes it: names, kinds and values.

`tasrih label` and Ray write the same ones. This module knows no table library, so that it stays light.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from tasrih.checkpoint import FACTS_FILE, Checkpoint
from tasrih.files import sha256
from tasrih.labels import LABELS
from tasrih.predict import Classifier, Prediction

Kind = Literal["text", "float", "bool"]

SCORES: Final = {label: f"score_{label}" for label in LABELS}
# In the order of the output. Each is null where there is nothing to say, but for the last two.
KINDS: Final[dict[str, Kind]] = {
    "label": "text",
    "confidence": "float",
    **dict.fromkeys(SCORES.values(), "float"),
    "secondary": "text",
    "truncated": "bool",
    "reason": "text",
    "model": "text",
    "model_hash": "text",
}

# Why a row has no label.
EMPTY: Final = "empty"
NO_ARABIC: Final = "no Arabic letter"
BAD_BYTES: Final = "bad bytes"
NOT_TEXT: Final = "not a text"
LOW_CONFIDENCE: Final = "low confidence"

_HASH_LENGTH: Final = 12  # hexadecimal digits, as many as error messages show


def model_hash(checkpoint: Checkpoint) -> str:
    """Return what tells a model from another: its file of facts holds the hashes of all others, the
    temperature and the threshold of second acts."""
    return sha256(checkpoint.folder / FACTS_FILE)[:_HASH_LENGTH]


def text_of(value: object) -> tuple[str, str | None]:
    """Return the text of a cell, or "" and the reason why it has none to label."""
    if value is None:
        return "", EMPTY
    if isinstance(value, str):
        try:
            value = value.encode("utf-8")  # half of a surrogate pair is no character
        except UnicodeEncodeError:
            return "", BAD_BYTES
    if not isinstance(value, bytes):
        return "", NOT_TEXT
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "", BAD_BYTES
    return (text, None) if text.strip() else ("", EMPTY)


def label_cells(
    classifier: Classifier, cells: Sequence[object], model_hash: str, min_confidence: float = 0.0
) -> dict[str, list[Any]]:
    """Return the new columns, each of the length of `cells`, by name: see `KINDS`.

    A cell that cannot be labelled has its reason, and stops nothing. Where the confidence is below
    `min_confidence` the label is left out, and the scores stay.
    """
    found = [text_of(cell) for cell in cells]
    predictions = iter(classifier.classify_or_none([text for text, reason in found if reason is None]))
    columns: dict[str, list[Any]] = {name: [] for name in KINDS}
    for _, reason in found:
        prediction = None if reason else next(predictions)
        if prediction is None:
            reason = reason or NO_ARABIC
        elif prediction.confidence < min_confidence:
            reason = LOW_CONFIDENCE
        for name, value in cells_of(prediction, reason).items():
            columns[name].append(value)
    columns["model"] = [classifier.checkpoint.name] * len(found)
    columns["model_hash"] = [model_hash] * len(found)
    return columns


def cells_of(prediction: Prediction | None, reason: str | None) -> dict[str, Any]:
    """Return the new cells of a row but for the model's. With a `reason` it has no label, whatever else."""
    if prediction is None:
        return {**dict.fromkeys(name for name in KINDS if not name.startswith("model")), "reason": reason}
    second = prediction.secondary
    return {
        "label": None if reason else str(prediction.label),
        "confidence": prediction.confidence,
        **{name: prediction.scores[label] for label, name in SCORES.items()},
        "secondary": None if reason or second is None else str(second),
        "truncated": prediction.truncated,
        "reason": reason,
    }
