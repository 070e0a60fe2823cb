"""A real checkpoint, small enough to be made on the spot: random weights, real tokenizer, real ONNX file."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

# Two cores that share the machine with other work: time is measured where it matters, by hand.
settings.register_profile("tasrih", deadline=None, print_blob=True)
settings.load_profile("tasrih")

AUTHORED = Path(__file__).parents[1] / "training" / "data" / "authored.jsonl"


def authored_texts() -> list[str]:
    rows = AUTHORED.read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["text"] for row in rows]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """The 2,240 authored sentences."""
    return authored_texts()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of 2 layers, 32 wide, which reads 64 tokens. Tests that change it copy it first."""
    if made := os.environ.get("TASRIH_TINY_CHECKPOINT"):  # tests/test_wheel.py, where there is no torch
        return Path(made)
    import torch
    from safetensors.torch import save_file
    from transformers import ModernBertForSequenceClassification

    import corpus
    from export import export_onnx
    from pretrain import Shape, encoder_config
    from tasrih.checkpoint import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, write_facts
    from tasrih.labels import LABELS

    folder = tmp_path_factory.mktemp("tiny")
    sentences = tmp_path_factory.mktemp("corpus") / "sentences.txt"
    sentences.write_text("\n".join(authored_texts()[:400]), encoding="utf-8")
    tokenizer = corpus.train_tokenizer(sentences, 500, every=1, output=folder / TOKENIZER_FILE)

    special = {token: tokenizer.token_to_id(token) for token in corpus.SPECIAL_TOKENS}
    shape = Shape(hidden_size=32, layers=2, heads=2, intermediate_size=48)
    config = encoder_config(shape, tokenizer.get_vocab_size(), length=64, special=special)
    config.num_labels = len(LABELS)
    torch.manual_seed(7)
    model = ModernBertForSequenceClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(2)  # else all texts score 0.25 for all labels, and nothing could fail
    (folder / CONFIG_FILE).write_text(config.to_json_string(use_diff=False), encoding="utf-8")
    save_file(model.state_dict(), folder / WEIGHTS_FILE, {"format": "pt"})
    export_onnx(folder)
    write_facts(
        folder, name="tiny", max_length=64, temperature=1.5, secondary_threshold=0.2, training={"seed": 7}
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a training run of seconds: three epochs of three steps, on authored sentences."""
    path = tmp_path_factory.mktemp("run") / "tiny.toml"
    path.write_text(
        f"""
seeds = [1]
[model]
encoder = "{tiny_checkpoint}"
name = "tiny"
max_length = 32
[data]
news = "none"
limit = 48
[optimizer]
learning_rate = 1e-3
epochs = 3
batch_size = 16
""",
        encoding="utf-8",
    )
    return path
