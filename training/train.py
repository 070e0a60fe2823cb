"""Fine-tune an encoder for the four speech acts.

    python training/train.py configs/compact.toml --output runs/compact
    python training/train.py configs/arabertv02-base.toml --output runs/arabert    # a GPU and the hub

The encoder may be a folder, such as `pretrain.py` writes, or a name on the Hugging Face hub. A killed run
goes on from its last whole epoch. The finished checkpoint, in the form that `tasrih.Classifier.load` takes,
lies in `OUTPUT/checkpoint`; temperature and second-act threshold are fitted on the validation split.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

import data
from config import ConfigError, load, to_table
from data import DataError, Example
from measures import fit_secondary_threshold, fit_temperature, macro_f1
from tasrih.checkpoint import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, write_facts
from tasrih.files import write_atomically, write_text_atomically
from tasrih.labels import LABELS
from tasrih.normalise import normalise
from tasrih.predict import softmax


@dataclass(frozen=True)
class Model:
    """The encoder to start from, a folder or a hub name, and how its head is made."""

    encoder: str
    name: str  # of the checkpoint that comes out
    max_length: int = 128
    dropout: float = 0.1


@dataclass(frozen=True)
class Data:
    """Which sentences are learned, and what the targets are.

    `secondary_weight` is the share of the target that a second act takes. `class_weight_power` p weighs
    each class by its frequency to the power -p: 0 not at all, 1 all classes alike. `soft` names a JSONL
    file of further texts with the `scores` that a teacher gave them.
    """

    news: Path = data.NEWS
    secondary_weight: float = 0.3
    class_weight_power: float = 0.0
    soft: Path | None = None
    soft_weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.secondary_weight < 0.5:
            raise ConfigError(
                f"data.secondary_weight is {self.secondary_weight}; expected 0 to under 0.5, so that "
                "the primary act keeps the larger share"
            )


@dataclass(frozen=True)
class Optimizer:
    """AdamW with linear warm-up and decay; `layer_decay` multiplies the rate for each layer further down."""

    learning_rate: float
    epochs: int
    batch_size: int
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    layer_decay: float = 1.0
    clip_norm: float = 1.0
    gradient_accumulation: int = 1


@dataclass(frozen=True)
class TrainConfig:
    seed: int
    model: Model
    data: Data
    optimizer: Optimizer


def soft_targets(examples: list[Example], secondary_weight: float) -> NDArray[np.float32]:
    """Return (N, 4) target distributions: the primary act, and its share for a second one."""
    targets = np.zeros((len(examples), len(LABELS)), dtype=np.float32)
    for row, example in enumerate(examples):
        targets[row, example.label.id] = 1.0
        if example.secondary is not None:
            targets[row, example.label.id] -= secondary_weight
            targets[row, example.secondary.id] = secondary_weight
    return targets


def tokenised(
    texts: list[str],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> Dataset:
    """Return token ids, targets and weights as a dataset; texts are normalised as inference does it."""
    encoded = tokenizer([normalise(text) for text in texts], truncation=True, max_length=max_length)
    return Dataset.from_dict(
        {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "length": [len(ids) for ids in encoded["input_ids"]],
            # One column, for the trainer passes on only what it knows to be labels: targets, then the weight.
            "labels": np.concatenate([targets, weights[:, None]], axis=1).tolist(),
        }
    )


def weighted_cross_entropy(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """Cross-entropy of soft targets, (B, 5) with the weight last, as the mean over the batch."""
    targets, weights = labels[:, :-1], labels[:, -1]
    losses = F.cross_entropy(outputs["logits"].float(), targets.float(), reduction="none")
    return (losses * weights).mean()


def parameter_groups(model: PreTrainedModel, config: Optimizer) -> list[dict[str, Any]]:
    """Group parameters by depth, for the layer-wise rate (Howard and Ruder 2018), and by weight decay."""
    layers = model.config.num_hidden_layers
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if "embeddings" in parts:
            below_head = layers + 1
        elif any(part in ("layer", "layers") for part in parts):
            index = next(int(part) for part in parts if part.isdigit())
            below_head = layers - index
        else:
            below_head = 0
        groups.setdefault((below_head, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * config.layer_decay**below_head,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (below_head, decayed), parameters in groups.items()
    ]


def train(config: TrainConfig, output: Path) -> Path:
    """Fine-tune, keep the epoch with the best validation macro-F1, and return the checkpoint's folder."""
    set_seed(config.seed)
    examples = data.load(config.data.news)
    splits = {name: [e for e in examples if e.split == name] for name in ("train", "validation")}
    tokenizer, model = load_encoder(config.model)
    datasets = {
        name: tokenised(
            [e.text for e in rows],
            soft_targets(rows, config.data.secondary_weight),
            _weights(rows, config.data),
            tokenizer,
            config.model.max_length,
        )
        for name, rows in splits.items()
    }
    if config.data.soft is not None:
        texts, targets = _read_soft(config.data.soft)
        weights = np.full(len(texts), config.data.soft_weight, dtype=np.float32)
        taught = tokenised(texts, targets, weights, tokenizer, config.model.max_length)
        datasets["train"] = concatenate_datasets([datasets["train"], taught])
    settings = config.optimizer
    gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(output / "trainer"),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_share,
        max_grad_norm=settings.clip_norm,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        logging_steps=100,
        bf16=gpu,
        use_cpu=not gpu,
        seed=config.seed,
        report_to="none",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=datasets["train"],
        eval_dataset=datasets["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=weighted_cross_entropy,
        compute_metrics=_validation_metrics,
        optimizers=(
            torch.optim.AdamW(parameter_groups(model, settings), lr=settings.learning_rate, fused=True),
            None,
        ),
    )
    started = any((output / "trainer").glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=started or None)
    logits = _logits(model, datasets["validation"], DataCollatorWithPadding(tokenizer))
    return _write_checkpoint(config, model, tokenizer, splits, logits, output / "checkpoint")


def _logits(
    model: PreTrainedModel, dataset: Dataset, collator: DataCollatorWithPadding
) -> NDArray[np.float32]:
    """Return (N, 4) logits in the dataset's order, which `Trainer.predict` does not keep."""
    batches = DataLoader(dataset.select_columns(["input_ids", "attention_mask"]), 64, collate_fn=collator)  # type: ignore[arg-type]
    model.eval()
    with torch.inference_mode():
        rows = [
            model(**{name: value.to(model.device) for name, value in batch.items()}).logits
            for batch in batches
        ]
    return torch.cat(rows).float().cpu().numpy()


def load_encoder(config: Model) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load tokenizer and encoder, with a fresh head for the four labels, or raise `ConfigError`."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.encoder)
        model = AutoModelForSequenceClassification.from_pretrained(
            config.encoder,
            num_labels=len(LABELS),
            id2label={label.id: str(label) for label in LABELS},
            label2id={str(label): label.id for label in LABELS},
            dtype=torch.float32,
        )
    except OSError as error:
        raise ConfigError(
            f"model.encoder {config.encoder!r}: neither a checkpoint folder here nor to be had from the hub "
            f"({str(error).splitlines()[0]})"
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"model.encoder {config.encoder!r}: found a slow tokenizer, expected a tokenizer.json"
        )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout
    return tokenizer, model


def _weights(examples: list[Example], config: Data) -> NDArray[np.float32]:
    counts = np.bincount([e.label.id for e in examples], minlength=len(LABELS))
    weights = (len(examples) / np.maximum(counts, 1) / len(LABELS)) ** config.class_weight_power
    chosen = weights[[e.label.id for e in examples]].astype(np.float32)
    return chosen / chosen.mean()


def _read_soft(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    if not path.is_file():
        raise ConfigError(f"data.soft {path}: no such file; make it with training/distil.py")
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row["text"] for row in rows], np.array([row["scores"] for row in rows], dtype=np.float32)


def _validation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    labels = np.asarray(prediction.label_ids)[:, :-1].argmax(axis=1)
    chosen = np.asarray(prediction.predictions).argmax(axis=1)
    return {"macro_f1": macro_f1(labels, chosen), "accuracy": float((labels == chosen).mean())}


def _write_checkpoint(
    config: TrainConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    splits: dict[str, list[Example]],
    logits: NDArray[np.float32],
    folder: Path,
) -> Path:
    validation = splits["validation"]
    gold = np.array([example.label.id for example in validation])
    temperature = fit_temperature(logits, gold)
    scores = softmax(logits / np.float32(temperature))
    threshold = fit_secondary_threshold(
        scores,
        scores.argmax(axis=1),
        np.array([-1 if e.secondary is None else e.secondary.id for e in validation]),
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.config._name_or_path = ""  # pyright: ignore[reportPrivateUsage]
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(folder / WEIGHTS_FILE, lambda path: save_file(weights, path, {"format": "pt"}))
    write_text_atomically(folder / CONFIG_FILE, model.config.to_json_string(use_diff=False))
    write_text_atomically(folder / TOKENIZER_FILE, tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    write_facts(
        folder,
        name=config.model.name,
        max_length=config.model.max_length,
        temperature=temperature,
        secondary_threshold=threshold,
        training={
            # Of paths the last part alone: where they lie on one machine is no fact of the model.
            "config": json.loads(json.dumps(_shareable(to_table(config)))),
            "sentences": {name: len(rows) for name, rows in splits.items()},
            "validation_macro_f1": macro_f1(gold, logits.argmax(axis=1)),
            "libraries": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        },
    )
    return folder


def _shareable(value: Any) -> Any:
    """Return nested plain values with local paths cut to their last part; hub names stay whole."""
    if isinstance(value, dict):
        return {key: _shareable(item) for key, item in value.items()}
    local = isinstance(value, Path) or (isinstance(value, str) and Path(value).exists())
    return Path(value).name if local else value


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune an encoder for the four speech acts.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="run folder; resumed where it exists")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    try:
        folder = train(load(TrainConfig, arguments.config, arguments.overrides), arguments.output)
    except (ConfigError, DataError) as error:
        parser.error(str(error))
    facts = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
    print(f"{folder}: validation macro-F1 {facts['training']['validation_macro_f1']:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
