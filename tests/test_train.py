import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import data
from config import ConfigError
from export import export, export_onnx
from tasrih import CheckpointError, Classifier, Label
from tasrih.checkpoint import Checkpoint
from train import (
    Data,
    Model,
    Optimizer,
    TrainConfig,
    parameter_groups,
    soft_targets,
    train,
    weighted_cross_entropy,
)


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as a transformers folder, as `pretrain.py` would leave it."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((tiny_checkpoint / name).read_bytes())
    PreTrainedTokenizerFast(
        tokenizer_file=str(tiny_checkpoint / "tokenizer.json"),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def few_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty stories of two sentences that a word decides, so that a tiny model can learn them in seconds."""
    words = {"accusation": "اتهم", "denial": "نفى", "regret": "أسف", "factual_report": "زار"}
    rows = [
        {
            "id": f"{i}-{label}",
            "story": f"s{i}",
            "split": "validation" if i % 4 == 0 else "train",
            "text": f"{word} الوزير رقم {i} في المدينة",
            "label": label,
            "secondary": None,
        }
        for i in range(60)
        for label, word in words.items()
    ]
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr(data, "AUTHORED", [path])


def configuration(encoder: Path, tmp_path: Path, epochs: int = 6) -> TrainConfig:
    return TrainConfig(
        seed=3,
        model=Model(str(encoder), "tiny", max_length=32, dropout=0.0),
        data=Data(news=tmp_path / "none"),
        optimizer=Optimizer(learning_rate=5e-3, epochs=epochs, batch_size=16),
    )


def test_fine_tuned_checkpoint_classifies(encoder: Path, few_sentences: None, tmp_path: Path) -> None:
    folder = train(configuration(encoder, tmp_path), tmp_path / "run")
    facts = Checkpoint.read(folder)
    assert facts.training["validation_macro_f1"] > 0.95
    shipped = export(facts, tmp_path / "shipped")
    for backend in ("torch", "onnx"):
        classifier = Classifier.load(shipped.folder, backend=backend)
        texts = ["اتهم الوزير المدينة", "نفى الوزير", "أسف الوزير في المدينة", "زار الوزير المدينة"]
        assert [p.label for p in classifier.classify(texts)] == list(Label)
    (shipped.folder / "model.int8.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="SHA-256"):
        Classifier.load(shipped.folder, backend="onnx")


def test_a_run_resumes_from_its_last_epoch(
    encoder: Path, few_sentences: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train as module

    config = configuration(encoder, tmp_path, epochs=3)
    train(config, tmp_path / "unbroken")
    original, calls = module._validation_metrics, []

    def metrics(prediction: object) -> object:
        calls.append(prediction)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(prediction)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_validation_metrics", metrics)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "broken")
    train(config, tmp_path / "broken")
    unbroken, broken = (
        (tmp_path / name / "checkpoint/model.safetensors").read_bytes() for name in ("unbroken", "broken")
    )
    assert unbroken == broken


def test_soft_targets_share_with_the_second_act() -> None:
    rows = [example(Label.DENIAL, Label.ACCUSATION), example(Label.REGRET, None)]
    np.testing.assert_allclose(soft_targets(rows, 0.3), [[0.3, 0.7, 0, 0], [0, 0, 1, 0]], atol=1e-6)


def example(label: Label, secondary: Label | None) -> data.Example:
    return data.Example("x", "نص", label, secondary, "train", "g", "authored", None, 3, "x:1")


def test_loss_is_cross_entropy_of_the_targets() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 0.0, 0.0]])
    labels = torch.tensor([[0.7, 0.3, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0, 1.0]])
    log = np.log(np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True))
    expected = (-(0.7 * log[0, 0] + 0.3 * log[0, 1]) * 2 - log[1, 3]) / 2
    assert weighted_cross_entropy({"logits": logits}, labels).item() == pytest.approx(expected, abs=1e-6)


def test_lower_layers_learn_slower() -> None:
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
        )
    )
    groups = parameter_groups(model, Optimizer(1.0, 1, 1, layer_decay=0.5))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(model.classifier.weight)] == 1.0
    assert rates[id(model.bert.encoder.layer[1].output.dense.weight)] == 0.5
    assert rates[id(model.bert.encoder.layer[0].output.dense.weight)] == 0.25
    assert rates[id(model.bert.embeddings.word_embeddings.weight)] == 0.125
    assert len(rates) == len(list(model.parameters()))


def test_missing_encoder_is_one_clear_error(few_sentences: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither a checkpoint folder here nor to be had from the hub"):
        train(configuration(tmp_path / "nowhere", tmp_path), tmp_path / "run")


def test_int8_is_near_float_and_does_not_depend_on_the_batch(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_checkpoint / name).read_bytes())
    export_onnx(tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.int8.onnx")
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
    exact = Classifier.load(tiny_checkpoint, backend="torch")._backend.logits(ids, mask)
    assert np.abs(together - exact).max() < 0.05 * exact.std() + 0.02
