"""From a text file to what pre-training reads: a tokenizer, a stream of token ids, skip-gram vectors.

Each product is a file in the run folder, written whole or not at all, and reused when it is there.
"""

import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tqdm import tqdm

from tasrih.files import write_atomically
from tasrih.normalise import EMAIL_TOKEN, MENTION_TOKEN, URL_TOKEN, normalise

# AraBERT's tokenizer begins with the same five and knows the same three placeholders.
PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = [PAD, UNK, CLS, SEP, MASK, URL_TOKEN, EMAIL_TOKEN, MENTION_TOKEN]
XLM_R_NAMES = {PAD: "<pad>", UNK: "<unk>", CLS: "<s>", SEP: "</s>", MASK: "<mask>"}

_DOCUMENTS_PER_CALL = 256  # enough to keep the tokenizer's threads busy, little enough to show progress


def open_text(path: Path) -> IO[str]:
    """Open a UTF-8 text file, plain or packed as .xz or .gz."""
    opener = {".xz": lzma.open, ".gz": gzip.open}.get(path.suffix, open)
    return opener(path, "rt", encoding="utf-8")


def documents(path: Path, every: int = 1) -> Iterator[str]:
    """Yield each `every`-th line of the file, one document a line, normalised; empty ones are left out."""
    with open_text(path) as file:
        for number, line in enumerate(file):
            if number % every == 0 and (document := normalise(line)):
                yield document


def train_tokenizer(corpus: Path, vocabulary_size: int, every: int, output: Path) -> Tokenizer:
    """Train a Unigram tokenizer (Kudo 2018) on each `every`-th document and save it at `output`.

    Pieces carry no mark for the beginning of a word. Arabic writes conjunctions, prepositions, the
    article and pronouns onto the word, so that with WordPiece's "##" the verb of "ونفت" and that of
    "نفت" would be different tokens; here both end in the same pieces. Measured before choosing it:
    models/compact/EXPERIMENTS.md.
    """
    if output.exists():
        return Tokenizer.from_file(str(output))
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary_size, special_tokens=SPECIAL_TOKENS, unk_token=UNK, max_piece_length=16
    )
    tokenizer.train_from_iterator(documents(corpus, every), trainer)
    ids = special_ids(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B {SEP}",
        special_tokens=[(token, ids[token]) for token in (CLS, SEP)],
    )
    write_atomically(output, lambda path: tokenizer.save(str(path)))
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the ids of the special tokens by BERT's names for them, for a tokenizer of XLM-R's kind as well.

    Raises `ValueError` where the tokenizer lacks one.
    """
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    if tokenizer.token_to_id(XLM_R_NAMES[CLS]) is not None:
        ids = {token: tokenizer.token_to_id(name) for token, name in XLM_R_NAMES.items()}
    found = {token: id for token, id in ids.items() if id is not None}
    if len(found) < len(ids):
        raise ValueError(
            f"tokenizer: found no {', '.join(ids.keys() - found.keys())}; train it with pretrain.py"
        )
    return found


def tokenise_corpus(corpus: Path, tokenizer: Tokenizer, output: Path) -> NDArray[np.uint16]:
    """Return the corpus as one read-only stream of token ids, `[SEP]` behind each document."""
    if tokenizer.get_vocab_size() > np.iinfo(np.uint16).max:
        raise ValueError(
            f"vocabulary of {tokenizer.get_vocab_size()}; the stream holds at most 65,535 tokens"
        )
    if not output.exists():
        write_atomically(output, lambda path: _write_stream(corpus, tokenizer, path))
    return np.memmap(output, dtype=np.uint16, mode="r")


def _write_stream(corpus: Path, tokenizer: Tokenizer, output: Path) -> None:
    separator = special_ids(tokenizer)[SEP]
    with open(output, "wb") as file, tqdm(unit=" documents", desc="tokenise") as progress:
        for batch in _batches(documents(corpus)):
            for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                np.array([*encoding.ids, separator], dtype=np.uint16).tofile(file)
            progress.update(len(batch))


def _batches(items: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for item in items:
        batch.append(item)
        if len(batch) == _DOCUMENTS_PER_CALL:
            yield batch
            batch = []
    if batch:
        yield batch


class _Windows:
    """The stream as token lists for gensim, which wants strings, is iterable again and again."""

    def __init__(self, stream: NDArray[np.uint16], length: int = 500) -> None:
        self.stream, self.length = stream, length

    def __iter__(self) -> Iterator[list[str]]:
        for start in range(0, len(self.stream), self.length):
            yield [str(token) for token in self.stream[start : start + self.length]]


def skip_gram(
    stream: NDArray[np.uint16], vocabulary_size: int, width: int, epochs: int, seed: int, output: Path
) -> NDArray[np.float32]:
    """Return skip-gram vectors (Mikolov et al. 2013) of the stream's tokens, (vocabulary, width) float32.

    As initial embeddings they spare a small encoder the plateau at the unigram loss, on which it would
    otherwise sit for millions of tokens. Rows are scaled to a standard deviation of 0.05 about zero, the
    range that pre-norm encoders start from; tokens that never occur get noise of that scale.
    """
    if output.exists():
        return np.load(output)
    from gensim.models import Word2Vec

    model = Word2Vec(
        _Windows(stream),
        sg=1,
        vector_size=width,
        window=5,
        negative=5,
        sample=1e-4,
        min_count=1,
        epochs=epochs,
        workers=4,
        seed=seed,
        batch_words=50_000,
    )
    vectors = np.random.default_rng(seed).normal(size=(vocabulary_size, width)).astype(np.float32)
    known = np.array([int(str(token)) for token in model.wv.index_to_key])
    learned = model.wv.vectors - model.wv.vectors.mean(axis=0)
    vectors[known] = learned / learned.std()
    vectors *= 0.05
    write_atomically(output, lambda path: _save_array(path, vectors))
    return vectors


def _save_array(path: Path, array: NDArray[np.float32]) -> None:
    with open(path, "wb") as file:  # np.save would append .npy to a path
        np.save(file, array)
