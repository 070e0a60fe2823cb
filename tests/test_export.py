"""The int8 graph: near to float32 for both shapes of encoder, and the same whatever stands beside a text."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

from export import export_onnx
from tasrih import Classifier
from tasrih.checkpoint import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, write_facts


@pytest.fixture(scope="module")
def bert_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AraBERT's kind of encoder, learned positions and post-norm, two layers of it."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / TOKENIZER_FILE).write_bytes((tiny_checkpoint / TOKENIZER_FILE).read_bytes())
    config = BertConfig(
        vocab_size=500, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        num_labels=4, max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(2)
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(20)  # else all texts score 0.25 for all labels
    (folder / CONFIG_FILE).write_text(config.to_json_string(use_diff=False), encoding="utf-8")
    save_file(model.state_dict(), folder / WEIGHTS_FILE, {"format": "pt"})
    export_onnx(folder)
    write_facts(
        folder, name="bert", max_length=64, temperature=1.0, secondary_threshold=0.2, training={}
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("kind", ["tiny_checkpoint", "bert_checkpoint"])
def test_int8_is_near_float_and_does_not_depend_on_the_batch(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    checkpoint: Path = request.getfixturevalue(kind)
    session = onnxruntime.InferenceSession(checkpoint / "model.int8.onnx")
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 200, (7, 20))
    mask = np.ones_like(ids)
    mask[3, 12:] = 0

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    together = run(ids, mask)
    for row in range(7):
        length = int(mask[row].sum())
        alone = run(ids[row : row + 1, :length], mask[row : row + 1, :length])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-4)
    exact = Classifier.load(checkpoint, backend="torch")._backend.logits(ids, mask)
    assert np.abs(together - exact).max() < 0.05 * exact.std() + 0.02


@pytest.mark.parametrize("kind", ["tiny_checkpoint", "bert_checkpoint"])
def test_int8_probabilities_are_within_two_hundredths_on_real_sentences(
    kind: str, request: pytest.FixtureRequest, texts: list[str]
) -> None:
    checkpoint: Path = request.getfixturevalue(kind)
    scores = [
        np.array([list(p.scores.values()) for p in classifier.classify(texts[:300])])
        for classifier in (Classifier.load(checkpoint, backend=backend) for backend in ("onnx", "torch"))
    ]
    assert scores[1].std() > 0.02  # not all alike, or it would prove nothing
    assert np.abs(scores[0] - scores[1]).max() < 0.02
