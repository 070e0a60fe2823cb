"""The parts of a fine-tuning run: targets, loss, order of sentences, rates by layer; and whole small runs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from transformers import BertConfig, BertForSequenceClassification

import data
import finetune
from config import ConfigError
from export import export
from finetune import Corpus, LengthGrouped, fine_tune, gather, last_whole_checkpoint, loss, parameter_groups
from recipe import Data, Model, Objective, Optimizer, Recipe
from tasrih import CheckpointError, Classifier, Label
from tasrih.checkpoint import Checkpoint

NO_SCORES = np.empty((0, 4), dtype=np.float32)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Sixty stories of two sentences that a word decides, so that a tiny model can learn them in seconds."""
    words = {"accusation": "اتهم", "denial": "نفى", "regret": "أسف", "factual_report": "زار"}
    rows = [
        (i, example(Label(label), None, f"{word} الوزير رقم {i} في المدينة"))
        for i in range(60)
        for label, word in words.items()
    ]
    return Corpus([e for i, e in rows if i % 4], [e for i, e in rows if not i % 4], [], NO_SCORES)


def example(label: Label, secondary: Label | None, text: str = "نص") -> data.Example:
    return data.Example("x", text, label, secondary, "train", "g", "authored", None, 3, "x:1")


def small_recipe(encoder: Path, epochs: int = 6, **settings: object) -> Recipe:
    return Recipe(
        seeds=(3,),
        model=Model(str(encoder), "tiny", max_length=32, dropout=0.0),
        optimizer=Optimizer(learning_rate=5e-3, epochs=epochs, batch_size=16, **settings),  # type: ignore[arg-type]
    )


def test_fine_tuned_checkpoint_classifies(tiny_checkpoint: Path, corpus: Corpus, tmp_path: Path) -> None:
    assert fine_tune(small_recipe(tiny_checkpoint), 3, corpus, tmp_path / "run") > 0.95
    shipped = export(Checkpoint.read(tmp_path / "run/checkpoint"), tmp_path / "shipped")
    for backend in ("torch", "onnx"):
        classifier = Classifier.load(shipped.folder, backend=backend)
        texts = ["اتهم الوزير المدينة", "نفى الوزير", "أسف الوزير في المدينة", "زار الوزير المدينة"]
        assert [p.label for p in classifier.classify(texts)] == list(Label)
    (shipped.folder / "model.int8.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="SHA-256"):
        Classifier.load(shipped.folder, backend="onnx")


def test_accumulated_passes_learn_what_one_pass_learns(
    tiny_checkpoint: Path, corpus: Corpus, tmp_path: Path
) -> None:
    whole, halves = small_recipe(tiny_checkpoint, 2), small_recipe(tiny_checkpoint, 2, micro_batch_size=4)
    for name, chosen in (("whole", whole), ("halves", halves)):
        fine_tune(chosen, 3, corpus, tmp_path / name)
    losses = [
        [row["eval_loss"] for row in json.loads(path.read_text()) if "eval_loss" in row]
        for path in (tmp_path / name / "history.json" for name in ("whole", "halves"))
    ]
    # The same but for rounding, which Adam enlarges: its first steps are of one size whatever the gradient.
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_early_stopping_ends_the_run_and_keeps_the_best_epoch(
    tiny_checkpoint: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.9, 0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(finetune, "_validation_metrics", lambda _: {"macro_f1": next(scores)})
    fine_tune(small_recipe(tiny_checkpoint, 6, patience=2), 3, corpus, tmp_path)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [row["eval_macro_f1"] for row in history if "eval_macro_f1" in row] == [0.5, 0.9, 0.4, 0.3]
    steps = [row["step"] for row in history if row.get("eval_macro_f1") == 0.9]
    # Killed before the checkpoint was written, it must not train on: no score is left to be asked for.
    monkeypatch.setattr(finetune, "_validation_metrics", None)
    written = (tmp_path / "checkpoint/model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "checkpoint")
    fine_tune(small_recipe(tiny_checkpoint, 6, patience=2), 3, corpus, tmp_path)
    assert (tmp_path / "checkpoint/model.safetensors").read_bytes() == written
    kept = (tmp_path / "best/model.safetensors").read_bytes()
    assert kept == (tmp_path / f"trainer/checkpoint-{steps[0]}/model.safetensors").read_bytes()


def test_targets_share_with_the_second_act_and_are_smoothed() -> None:
    rows = [example(Label.DENIAL, Label.ACCUSATION), example(Label.REGRET, None)]
    plain = finetune.targets(rows, Objective(secondary_weight=0.3))
    np.testing.assert_allclose(plain, [[0.3, 0.7, 0, 0], [0, 0, 1, 0]], atol=1e-6)
    smoothed = finetune.targets(rows, Objective(secondary_weight=0.3, label_smoothing=0.2))
    np.testing.assert_allclose(smoothed, [[0.29, 0.61, 0.05, 0.05], [0.05, 0.05, 0.85, 0.05]], atol=1e-6)


def test_targets_keep_what_an_outvoted_annotator_said() -> None:
    two_acts = example(Label.DENIAL, Label.ACCUSATION)
    rows = [
        replace(example(Label.ACCUSATION, None), dissent=Label.FACTUAL_REPORT),
        replace(two_acts, dissent=Label.FACTUAL_REPORT),
        replace(two_acts, dissent=Label.ACCUSATION),  # it has its share already
    ]
    found = finetune.targets(rows, Objective(secondary_weight=0.3, dissent_weight=0.2))
    np.testing.assert_allclose(found, [[0.8, 0, 0, 0.2], [0.24, 0.56, 0, 0.2], [0.3, 0.7, 0, 0]], atol=1e-6)
    assert (finetune.targets(rows, Objective())[0] == [1, 0, 0, 0]).all()


def test_rare_labels_weigh_more_by_the_power_and_one_on_average() -> None:
    rows = [example(Label.DENIAL, None)] + [example(Label.FACTUAL_REPORT, None)] * 4
    even = finetune.weights(rows, 1.0)
    assert even[0] == pytest.approx(4 * even[1])
    assert even.mean() == pytest.approx(1)
    assert finetune.weights(rows, 0.5)[0] == pytest.approx(2 * finetune.weights(rows, 0.5)[1])
    np.testing.assert_allclose(finetune.weights(rows, 0.0), 1)


def test_loss_is_cross_entropy_of_the_targets_or_focal() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 0.0, 0.0]])
    labels = torch.tensor([[0.7, 0.3, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0, 1.0]])
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    log = np.log(p)
    expected = (-(0.7 * log[0, 0] + 0.3 * log[0, 1]) * 2 - log[1, 3]) / 2
    assert loss(logits, labels).item() == pytest.approx(expected, abs=1e-6)
    focal = 0.7 * (1 - p[0, 0]) ** 2 * log[0, 0] + 0.3 * (1 - p[0, 1]) ** 2 * log[0, 1]
    expected = (-focal * 2 - (1 - p[1, 3]) ** 2 * log[1, 3]) / 2
    assert loss(logits, labels, focal_gamma=2.0).item() == pytest.approx(expected, abs=1e-6)


def test_every_epoch_takes_all_sentences_in_batches_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 120, 1003).tolist()
    sampler = LengthGrouped(lengths, 16, seed=4)
    first, again = list(sampler), list(sampler)
    sampler.epoch = 1
    second = list(sampler)
    # All but 1003 % 16, others in each epoch: what does not fill a batch.
    assert len(sampler) == len(first) == len(set(first)) == len(set(second)) == 1003 - 1003 % 16
    assert set(first) != set(second)
    assert first == again
    assert first != second
    batches = [[lengths[i] for i in first[k : k + 16]] for k in range(0, len(first), 16)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)
    means = [np.mean(batch) for batch in batches[:20]]
    assert means != sorted(means, reverse=True)


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


def test_compiled_layers_share_a_graph_and_say_the_same() -> None:
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16
    )
    model = BertForSequenceClassification(shape).eval()
    batches = [torch.randint(3, 50, size) for size in ((4, 16), (6, 24))]
    plain, names = [model(ids).logits for ids in batches], list(model.state_dict())
    counters.clear()
    finetune.compile_layers(model, backend="eager")  # the graph is what counts; inductor takes half a minute
    for ids, expected in zip(batches, plain, strict=True):
        torch.testing.assert_close(model(ids).logits, expected)
    assert counters["stats"]["unique_graphs"] == 1
    assert list(model.state_dict()) == names


def test_a_state_that_was_cut_off_is_not_taken(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path / "absent", 1) is None
    for step in (9, 10, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        (folder / "rng_state.pth").touch()
    assert last_whole_checkpoint(tmp_path, 1) == tmp_path / "checkpoint-100"
    (tmp_path / "checkpoint-100/trainer_state.json").write_text('{"global_st')
    assert last_whole_checkpoint(tmp_path, 1) == tmp_path / "checkpoint-10"
    shutil.rmtree(tmp_path / "checkpoint-10")
    assert last_whole_checkpoint(tmp_path, 1) == tmp_path / "checkpoint-9"
    with pytest.raises(ConfigError, match="not written by 2 process"):
        last_whole_checkpoint(tmp_path, 2)
    (tmp_path / "checkpoint-9/rng_state.pth").rename(tmp_path / "checkpoint-9/rng_state_0.pth")
    assert last_whole_checkpoint(tmp_path, 2) is None  # that of the second process was not written any more
    with pytest.raises(ConfigError, match="not written by 1 process"):
        last_whole_checkpoint(tmp_path, 1)


def test_missing_data_and_encoders_are_one_clear_error(tmp_path: Path, tiny_checkpoint: Path) -> None:
    rows = [example(Label.DENIAL, None)]
    with pytest.raises(ConfigError, match="found no sentence of the validation split"):
        gather(small_recipe(tiny_checkpoint), rows)
    both = [*rows, replace(rows[0], split="validation")]
    soft = replace(small_recipe(tiny_checkpoint), data=Data(soft=tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match=r"no such file; make it with training/distil.py"):
        gather(soft, both)
    with pytest.raises(ConfigError, match="neither a checkpoint folder here nor to be had from the hub"):
        finetune.load_encoder(Model(str(tmp_path / "nowhere"), "x"))
    with pytest.raises(ConfigError, match=r"max_length is 1000; .* reads 512 tokens at most"):
        finetune.load_encoder(Model(str(tiny_checkpoint), "x", max_length=1000))


def test_limit_takes_sentences_from_the_whole_split(tiny_checkpoint: Path) -> None:
    rows = [
        replace(example(Label.DENIAL, None, f"نص {i}"), split=s)
        for s in ("train", "validation")
        for i in range(10)
    ]
    limited = replace(small_recipe(tiny_checkpoint), data=Data(limit=4))
    assert [e.text for e in gather(limited, rows).train] == ["نص 0", "نص 3", "نص 6", "نص 9"]


def test_soft_labels_are_checked_and_never_those_of_held_out_texts(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    rows = [replace(example(Label.DENIAL, None, s), split=s) for s in ("train", "validation", "test")]
    path = tmp_path / "soft.jsonl"
    recipe = replace(small_recipe(tiny_checkpoint), data=Data(soft=path))
    path.write_text('{"text": "new", "scores": [0.1, 0.2, 0.3, 0.4]}\n', encoding="utf-8")
    assert gather(recipe, rows).soft_texts == ["new"]
    for text in ("validation", "test"):
        path.write_text(json.dumps({"text": text, "scores": [1, 0, 0, 0]}), encoding="utf-8")
        with pytest.raises(ConfigError, match="holds 1 texts of the validation or test split"):
            gather(recipe, rows)
    for broken in (
        "x",
        '{"text": "a"}',
        '{"text": "a", "scores": [1, 0, 0]}',
        '{"text": "a", "scores": "high"}',
    ):
        path.write_text('{"text": "new", "scores": [1, 0, 0, 0]}\n' + broken + "\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"soft.jsonl:2: expected a JSON object with text and 4 scores"):
            gather(recipe, rows)
