"""One fine-tuning run: an encoder and labelled sentences in, a checkpoint for `tasrih.Classifier` out.

Every batch follows from the seed and the epoch alone, and a step's batch is the same however many devices
share it, so that a run that was killed, or was started on other devices, sees what the first one saw.
"""

import hashlib
import json
from collections.abc import Iterator
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
from torch.utils.data import DataLoader, Sampler
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.integrations.integration_utils import TensorBoardCallback

from config import ConfigError, to_table
from data import Example
from measures import fit_secondary_threshold, fit_temperature, macro_f1
from recipe import Model, Objective, Optimizer, Recipe
from spelling import respelled
from tasrih.checkpoint import CONFIG_FILE, FACTS_FILE, TOKENIZER_FILE, WEIGHTS_FILE, write_facts
from tasrih.files import write_atomically, write_text_atomically
from tasrih.labels import LABELS
from tasrih.normalise import normalise
from tasrih.predict import softmax

_POOL = 50  # batches whose sentences are sorted by length together; HF's choice: 2% padding, enough chance
HISTORY_FILE = "history.json"
# Where configurations of encoders keep the dropout of their hidden layers. That of attention is left as it
# is: with it a CPU has no fast attention.
_DROPOUTS = ("hidden_dropout_prob", "embedding_dropout", "mlp_dropout", "classifier_dropout", "dropout")


@dataclass(frozen=True)
class Corpus:
    """The sentences of a run: labelled ones by split, and texts with a teacher's scores (N, 4)."""

    train: list[Example]
    validation: list[Example]
    soft_texts: list[str]
    soft_scores: NDArray[np.float32]


def gather(recipe: Recipe, examples: list[Example]) -> Corpus:
    """Pick what `recipe` learns from. Raises `ConfigError` where a split or the soft labels are missing."""
    splits = {name: [e for e in examples if e.split == name] for name in ("train", "validation")}
    if recipe.data.limit is not None:
        splits = {name: rows[:: -(-len(rows) // recipe.data.limit) or 1] for name, rows in splits.items()}
    for name, rows in splits.items():
        if not rows:
            raise ConfigError(
                f"data: found no sentence of the {name} split; see python training/data.py check"
            )
    if recipe.data.soft is None:
        return Corpus(**splits, soft_texts=[], soft_scores=np.empty((0, len(LABELS)), dtype=np.float32))
    if not recipe.data.soft.is_file():
        raise ConfigError(f"data.soft {recipe.data.soft}: no such file; make it with training/distil.py")
    texts, scores = _read_soft(recipe.data.soft)
    held_out = {normalise(example.text) for example in examples if example.split != "train"}
    if leaked := held_out.intersection(map(normalise, texts)):
        raise ConfigError(
            f"data.soft {recipe.data.soft}: holds {len(leaked)} texts of the validation or test split; make "
            "it anew with training/distil.py, which leaves them out"
        )
    return Corpus(**splits, soft_texts=texts, soft_scores=scores)


def _read_soft(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    texts: list[str] = []
    scores: list[list[float]] = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                texts.append(str(row["text"]))
                scores.append([float(score) for score in row["scores"]])
            except (ValueError, TypeError, KeyError):
                scores.append([])
            if len(scores[-1]) != len(LABELS):
                raise ConfigError(f"data.soft {path}:{number}: expected a JSON object with text and 4 scores")
    return texts, np.array(scores, dtype=np.float32)


def fingerprint(corpus: Corpus) -> str:
    """Return a SHA-256 of all texts and labels: a run must not go on with other ones."""
    digest = hashlib.sha256()
    for example in (*corpus.train, *corpus.validation):
        labels = f"{example.label} {example.secondary} {example.dissent}"
        digest.update(f"{example.split} {labels} {example.text}\0".encode())
    for text in corpus.soft_texts:
        digest.update(text.encode() + b"\0")
    digest.update(corpus.soft_scores.tobytes())
    return digest.hexdigest()


def targets(examples: list[Example], objective: Objective) -> NDArray[np.float32]:
    """Return (N, 4) target distributions: the primary act, shares for a second one and for what an outvoted
    annotator said, and smoothing."""
    result = np.zeros((len(examples), len(LABELS)), dtype=np.float32)
    for row, example in enumerate(examples):
        result[row, example.label.id] = 1.0
        if example.secondary is not None:
            result[row, example.label.id] = 1.0 - objective.secondary_weight
            result[row, example.secondary.id] = objective.secondary_weight
        if example.dissent is not None and example.dissent is not example.secondary:
            result[row] *= 1.0 - objective.dissent_weight
            result[row, example.dissent.id] += objective.dissent_weight
    return result * (1 - objective.label_smoothing) + objective.label_smoothing / len(LABELS)


def weights(examples: list[Example], power: float) -> NDArray[np.float32]:
    """Return (N,) weights by the frequency of each example's label to the power -`power`; their mean is 1."""
    counts = np.bincount([e.label.id for e in examples], minlength=len(LABELS))
    by_label = (len(examples) / np.maximum(counts, 1) / len(LABELS)) ** power
    chosen = by_label[[e.label.id for e in examples]].astype(np.float32)
    return chosen / chosen.mean()


def tokenised(
    texts: list[str],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> Dataset:
    """Return a dataset of ids, length and `labels` (5,): the four targets, then the example's weight."""
    encoded = tokenizer([normalise(text) for text in texts], truncation=True, max_length=max_length)
    return Dataset.from_dict(
        {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "length": [len(ids) for ids in encoded["input_ids"]],
            # One column, for the trainer passes on only what it knows to be labels.
            "labels": np.concatenate([targets, weights[:, None]], axis=1).tolist(),
        }
    )


def loss(logits: Tensor, labels: Tensor, focal_gamma: float | None = None) -> Tensor:
    """Return the weighted mean cross-entropy, or focal loss, of `logits` (B, 4) against `labels` (B, 5)."""
    targets, weights = labels[:, :-1].float(), labels[:, -1]
    log_probabilities = F.log_softmax(logits.float(), dim=-1)
    terms = targets * log_probabilities
    if focal_gamma is not None:
        terms = terms * (1 - log_probabilities.exp()) ** focal_gamma
    return -(terms.sum(dim=-1) * weights).mean()


class LengthGrouped(Sampler[int]):
    """Sentences in an order that `seed` and `epoch` decide, those of one batch of similar length.

    `batch_size` is that of a whole step. Any number of devices, and of passes a step, that divides it
    takes the same sentences for the same step. What does not fill a last batch, other sentences each
    epoch, is left out: devices would share it unevenly.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = np.asarray(lengths), batch_size, seed
        self.epoch = 0
        if len(lengths) < batch_size:
            raise ConfigError(
                f"optimizer.batch_size is {batch_size}; there are {len(lengths)} sentences only"
            )

    def __len__(self) -> int:
        return len(self.lengths) // self.batch_size * self.batch_size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))[: len(self)]
        pool = self.batch_size * _POOL
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
            batches += [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        # Longest first within a pool; shuffled again, or every pool would end on headlines.
        yield from np.concatenate([batches[i] for i in rng.permutation(len(batches))]).tolist()


class _SetEpoch(TrainerCallback):
    """Tell the sampler the epoch, through however many loaders it is wrapped in."""

    def __init__(self, sampler: LengthGrouped) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.sampler.epoch = round(state.epoch or 0)  # checkpoints lie between epochs


class FineTuner(Trainer):
    """transformers' trainer with this module's loss and order of sentences."""

    def __init__(self, *, objective: Objective, sampler: LengthGrouped, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.objective, self.sampler = objective, sampler
        # The loss below is a mean over the pass: the trainer is to divide it by the passes of a step.
        self.model_accepts_loss_kwargs = False
        self.add_callback(_SetEpoch(sampler))

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGrouped:
        return self.sampler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        value = loss(outputs["logits"], labels, self.objective.focal_gamma)
        return (value, outputs) if return_outputs else value


def compile_layers(model: nn.Module, backend: str = "inductor") -> None:
    """Compile the encoder's layers in place, for batches and lengths of any size.

    Being alike, they share one graph: seconds of compiling, where that of the whole model takes minutes
    (PyTorch's recipe of regional compilation). Names of weights stay as they are.
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for layer in module:
                layer.compile(dynamic=True, backend=backend)


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


def fine_tune(recipe: Recipe, seed: int, corpus: Corpus, output: Path) -> float:
    """Fine-tune with one seed, keep the best epoch in `output / "checkpoint"`, and return its macro-F1 on the
    validation split.

    A run that was killed goes on from its last whole epoch; one that is done is not run again.
    """
    checkpoint = output / "checkpoint"
    if (checkpoint / FACTS_FILE).exists():  # written last
        return _validation_score(checkpoint)
    set_seed(seed)
    tokenizer, model = load_encoder(recipe.model)
    if recipe.speed.compile:
        compile_layers(model)
    train_set, validation_set = _datasets(recipe, seed, corpus, tokenizer)
    arguments = training_arguments(recipe, seed, output / "trainer")
    gpu = arguments.device.type == "cuda"
    collator = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if gpu else None)
    settings = recipe.optimizer
    callbacks: list[TrainerCallback] = []
    if arguments.process_index == 0:
        callbacks.append(TensorBoardCallback(SummaryWriter(str(output / "tensorboard"))))
    if settings.patience is not None:
        callbacks.append(EarlyStoppingCallback(settings.patience))
    trainer = FineTuner(
        objective=recipe.objective,
        sampler=LengthGrouped(list(train_set["length"]), settings.batch_size, seed),
        model=model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=validation_set,
        data_collator=collator,
        compute_metrics=_validation_metrics,
        callbacks=callbacks,
        optimizers=(
            torch.optim.AdamW(parameter_groups(model, settings), lr=settings.learning_rate, fused=True),
            None,
        ),
    )
    last = last_whole_checkpoint(output / "trainer", arguments.world_size)
    best_folder = output / "best"
    if last is not None and (stopped := _stopped_early(last, settings.patience)):
        best_folder = output / "trainer" / f"checkpoint-{stopped.best_global_step}"
        trainer.state = stopped
    else:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
        trainer.save_model(str(best_folder))  # every process takes part, for a model may lie in shards
    if trainer.is_world_process_zero():
        history = json.dumps(trainer.state.log_history, indent=1)
        write_text_atomically(output / HISTORY_FILE, history + "\n")
        best = AutoModelForSequenceClassification.from_pretrained(best_folder, dtype=torch.float32)
        logits = predict_logits(best.to(arguments.device), validation_set, collator)
        _write_checkpoint(recipe, seed, best, tokenizer, corpus, logits, checkpoint)
    trainer.accelerator.wait_for_everyone()
    return _validation_score(checkpoint)


def training_arguments(recipe: Recipe, seed: int, output: Path) -> TrainingArguments:
    """Return what transformers' trainer calls its arguments, for the devices at hand."""
    settings, gpu = recipe.optimizer, torch.cuda.is_available()
    precision = recipe.speed.precision
    native = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_share,  # under 1: a share of all steps
        max_grad_norm=settings.clip_norm,
        per_device_eval_batch_size=64,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        restore_callback_states_from_checkpoint=True,  # the patience of early stopping
        logging_steps=50,
        logging_nan_inf_filter=False,  # it waits for the GPU at each step, and hides a loss that is lost
        bf16=precision == "bf16" or (precision == "auto" and native),
        dataloader_num_workers=recipe.speed.loader_workers,
        dataloader_pin_memory=gpu,
        use_cpu=not gpu,
        seed=seed,
        report_to="none",  # TensorBoard is added with a folder of its own
    )
    if arguments.n_gpu > 1:  # the trainer would fall back to DataParallel, in float32 and uncompiled
        raise ConfigError(
            f"found {arguments.n_gpu} GPUs and one process; start with 'accelerate launch', or show it one "
            "GPU (CUDA_VISIBLE_DEVICES=0)"
        )
    micro, passes = settings.micro_batch(arguments.world_size)
    arguments.per_device_train_batch_size = micro
    arguments.gradient_accumulation_steps = passes
    return arguments


def last_whole_checkpoint(folder: Path, processes: int) -> Path | None:
    """Return the newest of the trainer's checkpoints that all `processes` wrote to its end, or None.

    Raises `ConfigError` where another number of processes wrote it, whose random states are of no use.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))  # written last
        except (OSError, ValueError):
            continue
        found_states = {state.name for state in path.glob("rng_state*.pth")}
        if found_states == _random_states(processes):
            return path
        if "rng_state.pth" in found_states or processes == 1:
            raise ConfigError(
                f"{path}: was not written by {processes} process(es); start as many as before, or take "
                "another --output"
            )
    return None


def _stopped_early(checkpoint: Path, patience: int | None) -> TrainerState | None:
    """Return the trainer's state where early stopping had ended the run when it was killed.

    The trainer itself forgets that on resuming, and would go on.
    """
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    callbacks: Any = state.stateful_callbacks  # a dictionary by class name, once it was written and read
    callback = (callbacks or {}).get("EarlyStoppingCallback", {})
    waited = callback.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return state if patience is not None and waited >= patience else None


def _random_states(processes: int) -> set[str]:
    return {"rng_state.pth"} if processes == 1 else {f"rng_state_{i}.pth" for i in range(processes)}


def load_encoder(config: Model) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load tokenizer and encoder, or raise `ConfigError`.

    The head for the four labels is new, but for a checkpoint that was fine-tuned for them already.
    """
    try:
        # First: without a network the others try long.
        shape = AutoConfig.from_pretrained(
            config.encoder,
            num_labels=len(LABELS),
            id2label={label.id: str(label) for label in LABELS},
            label2id={str(label): label.id for label in LABELS},
        )
        for name in _DROPOUTS:
            if hasattr(shape, name):
                setattr(shape, name, config.dropout)
        tokenizer = AutoTokenizer.from_pretrained(config.encoder)
        model = AutoModelForSequenceClassification.from_pretrained(
            config.encoder,
            config=shape,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # a classifier of other labels: its head is left behind
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.encoder {config.encoder!r}: neither a checkpoint folder here nor to be had from the hub "
            f"({(str(error).splitlines() or [type(error).__name__])[0]})"
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"model.encoder {config.encoder!r}: found a slow tokenizer, expected a tokenizer.json"
        )
    if tokenizer.pad_token is None:  # a checkpoint of ours keeps no tokenizer_config.json beside it
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(model.config.pad_token_id)
    longest = getattr(model.config, "max_position_embeddings", config.max_length)
    if config.max_length > longest:
        raise ConfigError(
            f"model.max_length is {config.max_length}; {config.encoder!r} reads {longest} tokens at most"
        )
    return tokenizer, model


def _datasets(
    recipe: Recipe, seed: int, corpus: Corpus, tokenizer: PreTrainedTokenizerBase
) -> tuple[Dataset, Dataset]:
    def labelled(rows: list[Example], share: float) -> Dataset:
        return tokenised(
            respelled([e.text for e in rows], share, seed),
            targets(rows, recipe.objective),
            weights(rows, recipe.objective.class_weight_power),
            tokenizer,
            recipe.model.max_length,
        )

    train_set = labelled(corpus.train, recipe.data.respelled)
    if corpus.soft_texts:
        soft_weights = np.full(len(corpus.soft_texts), recipe.data.soft_weight, dtype=np.float32)
        taught = tokenised(
            respelled(corpus.soft_texts, recipe.data.respelled, seed),
            corpus.soft_scores,
            soft_weights,
            tokenizer,
            recipe.model.max_length,
        )
        train_set = concatenate_datasets([train_set, taught])
    return train_set, labelled(corpus.validation, 0.0)


def predict_logits(
    model: PreTrainedModel, dataset: Dataset, collator: DataCollatorWithPadding
) -> NDArray[np.float32]:
    """Return (N, 4) logits in the dataset's order."""
    batches = DataLoader(dataset.select_columns(["input_ids", "attention_mask"]), 64, collate_fn=collator)  # type: ignore[arg-type]
    model.eval()
    with torch.inference_mode():
        rows = [
            model(**{name: value.to(model.device) for name, value in batch.items()}).logits
            for batch in batches
        ]
    return torch.cat(rows).float().cpu().numpy()


def _validation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    labels = np.asarray(prediction.label_ids)[:, :-1].argmax(axis=1)
    chosen = np.asarray(prediction.predictions).argmax(axis=1)
    return {"macro_f1": macro_f1(labels, chosen), "accuracy": float((labels == chosen).mean())}


def _write_checkpoint(
    recipe: Recipe,
    seed: int,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    logits: NDArray[np.float32],
    folder: Path,
) -> None:
    gold = np.array([example.label.id for example in corpus.validation])
    predicted = logits.argmax(axis=1)
    temperature = fit_temperature(logits, gold)
    scores = softmax(logits / np.float32(temperature))
    threshold = fit_secondary_threshold(
        scores,
        scores.argmax(axis=1),
        np.array([-1 if e.secondary is None else e.secondary.id for e in corpus.validation]),
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.config._name_or_path = ""  # pyright: ignore[reportPrivateUsage]
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(folder / WEIGHTS_FILE, lambda path: save_file(tensors, path, {"format": "pt"}))
    write_text_atomically(folder / CONFIG_FILE, model.config.to_json_string(use_diff=False))
    backend: Any = tokenizer.backend_tokenizer  # type: ignore[attr-defined]
    backend.no_truncation()  # which fine-tuning turned on; inference cuts by the checkpoint's facts
    backend.no_padding()
    write_text_atomically(folder / TOKENIZER_FILE, backend.to_str())
    write_facts(
        folder,
        name=recipe.model.name,
        max_length=recipe.model.max_length,
        temperature=temperature,
        secondary_threshold=threshold,
        training={
            # Of paths the last part alone: where they lie on one machine is no fact of the model.
            "config": json.loads(json.dumps(_shareable(to_table(recipe)))),
            "seed": seed,
            "sentences": {
                "train": len(corpus.train),
                "validation": len(corpus.validation),
                "soft": len(corpus.soft_texts),
            },
            "validation_macro_f1": macro_f1(gold, predicted),
            "libraries": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        },
    )


def _validation_score(checkpoint: Path) -> float:
    facts = json.loads((checkpoint / FACTS_FILE).read_text(encoding="utf-8"))
    return facts["training"]["validation_macro_f1"]


def _shareable(value: Any) -> Any:
    """Return nested plain values with local paths cut to their last part; hub names stay whole."""
    if isinstance(value, dict):
        return {key: _shareable(item) for key, item in value.items()}
    local = isinstance(value, Path) or (isinstance(value, str) and Path(value).exists())
    return Path(value).name if local else value
