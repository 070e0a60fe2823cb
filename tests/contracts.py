"""What each function promises for any input at all, as checks that tests and fuzz targets share.

Each takes an input, calls what is checked, and fails an assertion where the promise is not kept. Only the
documented errors are caught.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

from tasrih import LABELS, CheckpointError, Classifier, Label, Prediction, TaggedSentence, split_sentences
from tasrih.checkpoint import FACTS_FILE, Checkpoint
from tasrih.normalise import normalise
from tasrih.predict import second_act

_MARKS = re.compile("[\u0640\u064b-\u0652\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe0f\ufeff]")
_LIST_MARKER = re.compile(r"(?:[0-9٠-٩]{1,2}\s?[-.)]|[\u0621-\u064a]\))(?=\s)")
# Diacritics, tatweel, digits of another script, invisible marks and "/" are never in what the model reads.
_NEVER_NORMALISED = re.compile("[\0\u064b-\u0652\u0640\u0660-\u0669\u200b-\u200f\ud800-\udfff/]")
_ARABIC_LETTER = re.compile("[\u0621-\u063a\u0641-\u064a]")
_PLACEHOLDER = re.compile(r"\[(?:رابط|بريد|مستخدم)\]")


def refusal(call: Callable[[], object], kind: type[ValueError] = ValueError) -> str | None:
    """Return what the documented error says, None where there was none."""
    try:
        call()
    except kind as error:
        return str(error)
    return None


def check_normalised(text: str) -> str:
    answer = normalise(text)
    assert answer == " ".join(answer.split())
    assert not _NEVER_NORMALISED.search(answer)
    return answer


def check_sentences(article: str) -> None:
    """In order, at their places, trimmed; and between them lies nothing that could be read."""
    end = 0
    gaps: list[str] = []
    for sentence in split_sentences(article):
        assert end <= sentence.start < sentence.end
        assert sentence.text == article[sentence.start : sentence.end] == sentence.text.strip()
        assert any(map(str.isalnum, sentence.text))
        gaps.append(article[end : sentence.start])
        end = sentence.end
    for gap in [*gaps, article[end:]]:
        lost = _LIST_MARKER.sub(" ", _MARKS.sub("", gap))
        assert not any(map(str.isalnum, lost)), f"lost {lost!r}"


def may_be_classified(text: str) -> bool:
    return _ARABIC_LETTER.search(_PLACEHOLDER.sub("", normalise(text))) is not None


def check_prediction(prediction: Prediction, classifier: Classifier) -> None:
    scores = list(prediction.scores.values())
    assert list(prediction.scores) == list(LABELS)
    assert all(math.isfinite(score) and 0 <= score <= 1 for score in scores)
    assert abs(sum(scores) - 1) < 1e-9
    assert isinstance(prediction.label, Label)
    assert prediction.confidence == prediction.scores[prediction.label] == max(scores)
    threshold = classifier.checkpoint.secondary_threshold
    assert prediction.secondary is second_act(scores, prediction.label.id, threshold)


def check_same(one: Sequence[Prediction | None], other: Sequence[Prediction | None]) -> None:
    """The same answers, as far as a batch of another shape may move a sum of floats."""
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert max(abs(a.scores[label] - b.scores[label]) for label in LABELS) < 1e-4
            assert a.truncated == b.truncated


def check_classified(classifier: Classifier, texts: list[str]) -> list[Prediction | None]:
    """Answers for what has an Arabic letter, in order; else `classify` names the first that has none."""
    found = classifier.classify_or_none(texts)
    expected = [may_be_classified(text) for text in texts]
    assert [prediction is not None for prediction in found] == expected
    for prediction in found:
        if prediction is not None:
            check_prediction(prediction, classifier)
    if refused := refusal(lambda: check_same(classifier.classify(texts), found)):
        first = expected.index(False)
        where = "text" if len(texts) == 1 else f"texts[{first}]"
        what = f"{texts[first][:40]!r}, which has no Arabic letter" if texts[first].strip() else "blank text"
        remedy = "expected a sentence in Arabic; leave such texts out"
        assert refused == f"{where}: found {what}; {remedy}"
    else:
        assert all(expected)
    return found


def check_tagged(classifier: Classifier, article: str) -> list[TaggedSentence]:
    """The sentences that have an Arabic letter, each at its place and classified as if given alone."""
    expected = [sentence for sentence in split_sentences(article) if may_be_classified(sentence.text)]
    tagged: list[TaggedSentence] = []
    if refused := refusal(lambda: tagged.extend(classifier.tag(article))):
        assert refused.startswith("article: found ")
    assert [(s.text, s.start, s.end) for s in tagged] == [(s.text, s.start, s.end) for s in expected]
    for sentence in tagged:
        check_prediction(sentence.prediction, classifier)
    return tagged


def check_facts(folder: Path, content: bytes) -> None:
    """`content` as the facts of the checkpoint in `folder`: read, or refused with a line that says where.

    What is read names only files of the folder, and a file is given out only if it has its hash.
    """
    path = folder / FACTS_FILE
    path.write_bytes(content)
    read: list[Checkpoint] = []
    if refused := refusal(lambda: read.append(Checkpoint.read(folder)), CheckpointError):
        assert refused.startswith(f"{path}: ")
        return
    checkpoint = read[0]
    assert 8 <= checkpoint.max_length <= 8192
    assert 0.01 <= checkpoint.temperature <= 100
    assert math.isfinite(checkpoint.secondary_threshold)
    for name, digest in checkpoint.files.items():
        assert (folder / name).parent == folder
        checkpoint.has(name)
        refused = refusal(partial(_check_file, checkpoint, name, digest), CheckpointError)
        assert refused is None or refused.startswith(f"{folder / name}: ")


def _check_file(checkpoint: Checkpoint, name: str, digest: str) -> None:
    assert sha256(checkpoint.read_file(name)).hexdigest() == digest


# What the fuzzer calls with bytes, and with a folder of its own. Bytes that are not UTF-8 become halves of
# surrogate pairs: every input is a text, and every text that UTF-8 can hold is its own bytes.
TARGETS: dict[str, Callable[[bytes, Path], object]] = {
    "splitter": lambda content, _: check_sentences(content.decode("utf-8", errors="surrogateescape")),
    "normaliser": lambda content, _: check_normalised(content.decode("utf-8", errors="surrogateescape")),
    "checkpoint": lambda content, folder: check_facts(folder, content),
}
