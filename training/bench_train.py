"""Measure fine-tuning: this project's settings beside a plain `Trainer`, in one run on the same sentences.

    python training/bench_train.py --output benchmarks/training.json

An encoder of AraBERT-base's shape with random weights learns the training sentences at hand, in their real
lengths: once as transformers' tutorials do it (float32, every sentence padded to 128 tokens), once as
`train.py` does (sentences of like length together; on a GPU bfloat16, a fused optimiser, a compiled model).
Reported: sentences a second, their ratio, padding, memory, and model-FLOPs utilisation: the arithmetic of
real tokens against the rate that one large bfloat16 matrix product reaches here (PaLM, Chowdhery et al. 2022,
appendix B). The weights are random because speed does not depend on what they are.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

import data
import runs
from finetune import FineTuner, LengthGrouped, compile_layers, parameter_groups, tokenised, training_arguments
from recipe import Model, Objective, Optimizer, Recipe, Speed
from tasrih.checkpoint import TOKENIZER_FILE
from tasrih.labels import LABELS
from tasrih.predict import shipped_model

MAX_LENGTH = 128
SHAPES: dict[str, dict[str, Any]] = {
    # AraBERT v0.2 base: 12 layers, 768 wide, 64,000 tokens.
    "base": {"vocab_size": 64_000},
    "tiny": {
        "vocab_size": 16_000, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64,
    },
}  # fmt: skip
# Steps not counted: allocation, and compiling, whose second graph, for a batch without padding, comes late.
WARM_UP, WARM_UP_COMPILED = 3, 30


class Clock(TrainerCallback):
    """The seconds from the end of the warm-up to that of the last step: waiting for a batch is part of it."""

    def __init__(self, device: torch.device, warm_up: int) -> None:
        self.device, self.warm_up, self.seconds = device, warm_up, 0.0
        self._begun = 0.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step not in (self.warm_up, state.max_steps):
            return  # to wait for the GPU at each step would itself take time
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds, self._begun = now - self._begun, now


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Return the FLOPs a second of one large matrix product, the best of ten."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def flops(model: nn.Module, lengths: list[int]) -> float:
    """Return the arithmetic of forward and backward for sentences of `lengths` tokens.

    Six operations a weight and token outside of the embedding tables, and twelve a layer, width and pair of
    positions for the attention scores and their use.
    """
    config: Any = model.config
    weights = sum(p.numel() for n, p in model.named_parameters() if "embeddings" not in n)
    tokens = sum(lengths)
    pairs = sum(length * length for length in lengths)
    return 6.0 * weights * tokens + 12.0 * config.num_hidden_layers * config.hidden_size * pairs


def rows_taken(sampler: LengthGrouped, count: int) -> list[int]:
    """Return the first `count` rows that a run with `sampler` reads, over as many epochs as that takes."""
    rows: list[int] = []
    for epoch in range(-(-count // len(sampler))):
        sampler.epoch = epoch
        rows += list(sampler)
    sampler.epoch = 0
    return rows[:count]


def measure(
    ours: bool, recipe: Recipe, shape: str, dataset: Dataset, collator: Any, steps: int
) -> dict[str, Any]:
    """Train for `steps` steps and return what that cost."""
    warm_up = WARM_UP_COMPILED if ours and recipe.speed.compile else WARM_UP
    torch.manual_seed(0)
    config = BertConfig(**SHAPES[shape])
    config.num_labels = len(LABELS)
    model = BertForSequenceClassification(config)
    lengths: list[int] = list(dataset["length"])
    with tempfile.TemporaryDirectory() as folder:
        if ours:
            arguments = training_arguments(recipe, 1, Path(folder))
        else:
            arguments = TrainingArguments(
                folder,
                per_device_train_batch_size=recipe.optimizer.batch_size,
                use_cpu=not torch.cuda.is_available(),
            )
        arguments.max_steps = warm_up + steps
        arguments.eval_strategy, arguments.save_strategy = "no", "no"  # type: ignore[assignment]
        arguments.load_best_model_at_end, arguments.report_to = False, []
        arguments.disable_tqdm = True
        clock = Clock(arguments.device, warm_up)
        common: dict[str, Any] = {
            "model": model,
            "args": arguments,
            "train_dataset": dataset,
            "callbacks": [clock],
        }
        if ours:
            sampler = LengthGrouped(lengths, recipe.optimizer.batch_size, 1)
            rows = rows_taken(sampler, (warm_up + steps) * recipe.optimizer.batch_size)
            if recipe.speed.compile:
                compile_layers(model)
            optimizer = torch.optim.AdamW(
                parameter_groups(model, recipe.optimizer), lr=recipe.optimizer.learning_rate, fused=True
            )
            trainer: Trainer = FineTuner(
                objective=recipe.objective,
                sampler=sampler,
                data_collator=collator,
                optimizers=(optimizer, None),
                **common,
            )
        else:
            rows = []  # every batch is padded to the same length: which sentences it has makes no difference
            trainer = Trainer(data_collator=collator, **common)
        if arguments.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
        memory = torch.cuda.max_memory_allocated() if arguments.device.type == "cuda" else None
    size = recipe.optimizer.batch_size
    taken = rows[warm_up * size : (warm_up + steps) * size]
    read = [lengths[row] for row in taken] or [round(float(np.mean(lengths)))] * (steps * size)
    padded = (
        sum(max(read[i : i + size]) * size for i in range(0, len(read), size))
        if ours
        else MAX_LENGTH * len(read)
    )
    return {
        "sentences_per_second": round(len(read) / clock.seconds, 2),
        "tokens_per_second": round(sum(read) / clock.seconds),
        "padding_share": round(1 - sum(read) / padded, 3),
        "model_flops_per_second": flops(model, read) / clock.seconds,
        "peak_memory_mb": None if memory is None else round(memory / 2**20),
    }


def run(shape: str, batch_size: int, steps: int) -> dict[str, Any]:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    recipe = Recipe(
        model=Model("random", "bench", MAX_LENGTH),
        optimizer=Optimizer(3e-5, 1, batch_size),
        objective=Objective(),
        speed=Speed(compile=gpu, loader_workers=2 if gpu else 0),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(shipped_model() / TOKENIZER_FILE),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    examples = [example for example in data.load() if example.split == "train"]
    rng = np.random.default_rng(0)
    examples = [
        examples[i] for i in rng.permutation(len(examples))[: (WARM_UP_COMPILED + steps) * batch_size]
    ]
    targets = np.eye(len(LABELS), dtype=np.float32)[[example.label.id for example in examples]]
    ones = np.ones(len(examples), dtype=np.float32)
    dataset = tokenised([e.text for e in examples], targets, ones, tokenizer, MAX_LENGTH)
    plain = Dataset.from_dict(
        {
            **{name: dataset[name] for name in ("input_ids", "attention_mask", "length")},
            "labels": [example.label.id for example in examples],
        }
    )
    figures = {
        "plain": measure(
            False, recipe, shape, plain,
            DataCollatorWithPadding(tokenizer, padding="max_length", max_length=MAX_LENGTH),
            min(steps, 8),  # each as long as the others
        ),
        "tasrih": measure(
            True, recipe, shape, dataset,
            DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if gpu else None), steps,
        ),
    }  # fmt: skip
    dtype = torch.bfloat16 if gpu else torch.float32
    rate = matrix_rate(device, dtype, 8192 if gpu else 2048)
    for measured in figures.values():
        measured["model_flops_utilisation"] = round(measured.pop("model_flops_per_second") / rate, 3)
    return {
        "environment": runs.environment(),
        "shape": shape,
        "sentences": len(examples),
        "mean_tokens": round(float(np.mean(dataset["length"])), 1),
        "batch_size": batch_size,
        "steps": steps,
        "matrix_rate_tflops": round(rate / 1e12, 3),
        "matrix_dtype": str(dtype).removeprefix("torch."),
        **figures,
        "ratio": round(
            figures["tasrih"]["sentences_per_second"] / figures["plain"]["sentences_per_second"], 2
        ),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure fine-tuning beside a plain Trainer.")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/training.json"))
    parser.add_argument("--shape", choices=list(SHAPES), default="base")
    gpu = torch.cuda.is_available()
    # A GPU is busy only with tens of thousands of tokens at once.
    parser.add_argument("--batch-size", type=int, default=512 if gpu else 16)
    parser.add_argument("--steps", type=int, default=50 if gpu else 6)
    arguments = parser.parse_args(argv)
    if arguments.batch_size < 1 or arguments.steps < 1:
        parser.error("--batch-size and --steps must be 1 or more")
    figures = run(arguments.shape, arguments.batch_size, arguments.steps)
    runs.write_json(arguments.output, figures)
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
