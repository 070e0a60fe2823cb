"""From texts to predictions: normalise, tokenise, batch, logits, temperature.

There is one path for many texts; `classify("…")` is its one-element case.
"""

import functools
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from tasrih import backends
from tasrih.checkpoint import Checkpoint, CheckpointError
from tasrih.labels import LABELS, Label
from tasrih.normalise import EMAIL_TOKEN, MENTION_TOKEN, URL_TOKEN, normalise
from tasrih.sentences import split_sentences
from tasrih.tokenizer import load as load_tokenizer

# Normalised characters the tokenizer is given per token of the model's length. A token of the shipped
# model has at most 16 characters, an unknown word of AraBERT's WordPiece up to 100.
_CHARACTERS_PER_TOKEN: Final = 200
_TEXTS_AT_ONCE: Final = 16_384  # sorted by length together; more would not make batches any tighter
# Batches of similar length need little padding, and where there are several for each core, none waits long
# for the last. A call costs as much as some 5 tokens do, so batches may be small, but not without end.
_BATCHES_PER_WORKER: Final = 8
_LEAST_BATCH: Final = 128  # tokens
_ARABIC_LETTER: Final = re.compile("[\u0621-\u063a\u0641-\u064a]")
_PLACEHOLDERS: Final = re.compile("|".join(map(re.escape, (URL_TOKEN, EMAIL_TOKEN, MENTION_TOKEN))))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one sentence does with words.

    `confidence` is the calibrated probability of `label`; `scores` has that of every label and sums to 1.
    `secondary` is a second act in the same sentence, or None. `truncated` is True where the text was
    longer than the model reads: only its beginning was judged then.
    """

    label: Label
    confidence: float
    scores: Mapping[Label, float]
    secondary: Label | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """A sentence of an article: `article[start:end] == text`."""

    text: str
    start: int
    end: int
    prediction: Prediction


class Classifier:
    """A loaded checkpoint. Safe to share between threads. Made by `Classifier.load`.

    Pickled, as for another process or machine, it is its path and the hash of its facts, some hundred
    bytes: it is loaded again there, once a process, and `CheckpointError` is raised where another model, or
    none, lies under that path. The model that ships is found wherever tasrih is installed there.
    """

    def __init__(self, checkpoint: Checkpoint, backend: backends.Backend, tokenizer: Any) -> None:
        self.checkpoint = checkpoint
        self._backend = backend
        self._tokenizer = tokenizer
        self._origin: _Origin | None = None

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        backend: backends.BackendName = "auto",
        device: backends.Device = "auto",
    ) -> "Classifier":
        """Load a checkpoint folder, an `owner/name` from the hub, or, without `path`, the model that ships.

        Raises `CheckpointError` where the checkpoint is missing, partial, tampered with or foreign,
        `ImportError` naming the extra where the backend is not installed, `ValueError` for a device or
        backend that is not there.
        """
        checkpoint = Checkpoint.read(_resolve(path))
        tokenizer = load_tokenizer(checkpoint)
        result = cls(checkpoint, backends.load(checkpoint, backend, device), tokenizer)
        result._check_fit()
        result._origin = (cls, _lasting(path, checkpoint), backend, device, checkpoint.sha256)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        if self._origin is None:
            raise TypeError(
                "Classifier: found one that Classifier.load did not make: it has no path to pickle"
            )
        return _load_again, self._origin

    def _check_fit(self) -> None:
        """Raise `CheckpointError` where the model fails on the tokenizer's last token: it is another's."""
        self._backend.logits(*_padded([[0, self._tokenizer.get_vocab_size() - 1]]))

    @property
    def backend(self) -> backends.Backend:
        """What makes logits of token ids: scores differ a little from one kind to the other."""
        return self._backend

    @overload
    def classify(self, texts: str) -> Prediction: ...
    @overload
    def classify(self, texts: Iterable[str]) -> list[Prediction]: ...
    def classify(self, texts: str | Iterable[str]) -> Prediction | list[Prediction]:
        """Return the prediction for one text, or a list of them, in the caller's order, for several.

        Each text is meant to be one sentence; `tag` splits an article. Raises `TypeError` where a text is
        not a string, and `ValueError` where one holds no Arabic letter; both name its position.
        """
        if isinstance(texts, str):
            return self._classify([texts])[0]
        return self._classify(_as_list(texts))

    def classify_or_none(self, texts: Iterable[str]) -> list[Prediction | None]:
        """Return the predictions in the caller's order, None for each text that holds no Arabic letter.

        For the rows of a file, some of which may be empty. Raises `TypeError` where a text is not a string.
        """
        listed = _as_list(texts)
        normalised = [
            normalise(_checked_type(text, position, len(listed))) for position, text in enumerate(listed)
        ]
        arabic = [position for position, text in enumerate(normalised) if _has_arabic(text)]
        results: list[Prediction | None] = [None] * len(listed)
        predictions = self._predict([normalised[position] for position in arabic])
        for position, prediction in zip(arabic, predictions, strict=True):
            results[position] = prediction
        return results

    def tag(self, article: str) -> list[TaggedSentence]:
        """Split an article into sentences and classify each; those without an Arabic letter are left out.

        Raises `TypeError` where `article` is not a string, `ValueError` where it holds no Arabic letter.
        """
        spans = split_sentences(article)
        predictions = self.classify_or_none([span.text for span in spans])
        tagged = [
            TaggedSentence(span.text, span.start, span.end, prediction)
            for span, prediction in zip(spans, predictions, strict=True)
            if prediction is not None
        ]
        if not tagged:
            raise ValueError(_no_arabic("article", article))
        return tagged

    def _classify(self, texts: list[str]) -> list[Prediction]:
        return self._predict([_checked(text, position, len(texts)) for position, text in enumerate(texts)])

    def _predict(self, normalised: list[str]) -> list[Prediction]:
        predictions: list[Prediction] = []
        for start in range(0, len(normalised), _TEXTS_AT_ONCE):
            encoded, truncated = self._encode(normalised[start : start + _TEXTS_AT_ONCE])
            probabilities = softmax(self._logits(encoded) / self.checkpoint.temperature)
            predictions += self._predictions(probabilities, truncated)
        return predictions

    def logits(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return the raw (N, 4) logits, before the temperature, for calibration and evaluation."""
        listed = _as_list(texts)
        normalised = [_checked(text, position, len(listed)) for position, text in enumerate(listed)]
        return self._logits(self._encode(normalised)[0])

    def _encode(self, normalised: list[str]) -> tuple[list[list[int]], list[bool]]:
        """Return token ids, at most `max_length` a text, and which texts were cut to fit."""
        length = self.checkpoint.max_length
        limit = length * _CHARACTERS_PER_TOKEN
        encoded: list[list[int]] = []
        truncated: list[bool] = []
        for encoding, text in zip(
            self._tokenizer.encode_batch_fast([text[:limit] for text in normalised]), normalised, strict=True
        ):
            ids: list[int] = encoding.ids
            cut = len(ids) > length
            encoded.append([*ids[: length - 1], ids[-1]] if cut else ids)
            truncated.append(cut or len(text) > limit)
        return encoded, truncated

    def _logits(self, encoded: list[list[int]]) -> NDArray[np.float32]:
        """Run batches of similar length, and return (N, 4) logits in the order of `encoded`."""
        result = np.empty((len(encoded), len(LABELS)), dtype=np.float32)

        def run(rows: list[int]) -> None:
            ids, mask = _padded([encoded[row] for row in rows])
            result[rows] = self._backend.logits(ids, mask)

        lengths = [len(ids) for ids in encoded]
        budget = self._backend.batch_tokens
        if self._backend.workers > 1:  # where there is little to do, every core gets some of it
            share = sum(lengths) // (self._backend.workers * _BATCHES_PER_WORKER)
            budget = min(budget, max(share, _LEAST_BATCH))
        batches = list(_batches(lengths, budget))
        workers = min(self._backend.workers, len(batches))
        if workers <= 1:
            for rows in batches:
                run(rows)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(run, batches))  # list: re-raises what a worker raised
        return result

    def _predictions(self, probabilities: NDArray[np.float64], truncated: list[bool]) -> Iterator[Prediction]:
        best = probabilities.argmax(axis=1).tolist()
        threshold = self.checkpoint.secondary_threshold
        for scores, primary, cut in zip(probabilities.tolist(), best, truncated, strict=True):
            yield Prediction(
                label=LABELS[primary],
                confidence=scores[primary],
                scores=dict(zip(LABELS, scores, strict=True)),
                secondary=second_act(scores, primary, threshold),
                truncated=cut,
            )


def second_act(scores: list[float], primary: int, threshold: float) -> Label | None:
    """Return the likeliest further act whose probability reaches `threshold`, or None.

    By the guidelines a factual report is never a second act and has none beside it.
    """
    if LABELS[primary] is Label.FACTUAL_REPORT:
        return None
    others = [i for i, label in enumerate(LABELS) if i != primary and label is not Label.FACTUAL_REPORT]
    second = max(others, key=scores.__getitem__)
    return LABELS[second] if scores[second] >= threshold else None


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the row-wise softmax of (N, 4) logits in float64, so that rows sum to 1."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _batches(lengths: list[int], budget: int) -> Iterator[list[int]]:
    """Yield groups of row numbers, longest rows first, each at most `budget` tokens when padded."""
    rows: list[int] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if rows and (len(rows) + 1) * longest > budget:
            yield rows
            rows = []
        if not rows:
            longest = lengths[row]
        rows.append(row)
    if rows:
        yield rows


def _padded(encoded: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and mask, both (B, T). What stands under mask 0 is not read, so it may be 0."""
    shape = (len(encoded), max(map(len, encoded)))
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def _as_list(texts: Iterable[str]) -> list[str]:
    # Bytes iterate as numbers, a mapping as its keys, a set in no order: none can be meant.
    if isinstance(texts, (bytes, bytearray, memoryview, Mapping, Set)) or not isinstance(texts, Iterable):
        raise TypeError(f"texts: found {type(texts).__name__}, expected a str or a list of str")
    return list(texts)


def _checked(text: object, position: int, count: int) -> str:
    """Return the normalised text, or raise what `classify` documents."""
    checked = _checked_type(text, position, count)
    normalised = normalise(checked)
    if not _has_arabic(normalised):
        raise ValueError(_no_arabic(_where(position, count), checked))
    return normalised


def _checked_type(text: object, position: int, count: int) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{_where(position, count)}: found {type(text).__name__}, expected str")
    return text


def _where(position: int, count: int) -> str:
    return "text" if count == 1 else f"texts[{position}]"


def _has_arabic(normalised: str) -> bool:
    return _ARABIC_LETTER.search(_PLACEHOLDERS.sub("", normalised)) is not None


def _no_arabic(where: str, text: str) -> str:
    found = "blank text" if not text.strip() else f"{text[:40]!r}, which has no Arabic letter"
    return f"{where}: found {found}; expected a sentence in Arabic; leave such texts out"


# What a pickled classifier holds: its class, path, backend, device and the hash of its facts.
_Origin = tuple[type[Classifier], str | None, backends.BackendName, backends.Device, str]


def _lasting(path: str | Path | None, checkpoint: Checkpoint) -> str | None:
    """Return the path as another process should read it, from whichever folder that is started in."""
    if path is None or checkpoint.folder != Path(path):  # what ships, or a name on the hub
        return path if path is None else str(path)
    return str(checkpoint.folder.absolute())


@functools.lru_cache(maxsize=4)  # a pool pickles its function, and with it the classifier, for each task
def _load_again(
    kind: type[Classifier],
    path: str | None,
    backend: backends.BackendName,
    device: backends.Device,
    sha256: str,
) -> Classifier:
    """Return the classifier that was pickled. Raises what `load` raises, and `CheckpointError`."""
    result = kind.load(path, backend=backend, device=device)
    if result.checkpoint.sha256 != sha256:
        raise CheckpointError(
            f"{result.checkpoint.folder}: found model {result.checkpoint.sha256[:12]}…, expected "
            f"{sha256[:12]}…, as where the classifier was pickled; give both the same model and version of "
            "tasrih"
        )
    return result


def _resolve(path: str | Path | None) -> Path:
    """Return the folder of a local checkpoint, of one on the hub, or of the model that ships."""
    if path is None:
        return shipped_model()
    folder = Path(path)
    if isinstance(path, Path) or folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        return folder
    from tasrih.hub import download

    return download(path)


def shipped_model() -> Path:
    """Return the folder of the compact model: inside the wheel, or of the source tree it is run from."""
    here = Path(__file__).resolve().parent  # installers may link to files of a cache: the model lies there
    installed = here / "compact"
    return installed if installed.is_dir() else here.parents[1] / "models" / "compact"


_default: Classifier | None = None
_default_lock = threading.Lock()


def default_classifier() -> Classifier:
    """Return the classifier of the model that ships, loaded on first use, once for all threads."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Classifier.load()
    return _default


@overload
def classify(texts: str) -> Prediction: ...
@overload
def classify(texts: Iterable[str]) -> list[Prediction]: ...
def classify(texts: str | Iterable[str]) -> Prediction | list[Prediction]:
    """Classify one sentence or several with the model that ships; see `Classifier.classify`."""
    return default_classifier().classify(texts)


def tag(article: str) -> list[TaggedSentence]:
    """Split an article and classify its sentences with the model that ships; see `Classifier.tag`."""
    return default_classifier().tag(article)
