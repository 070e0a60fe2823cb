"""Measure the shipped model's speed beside `transformers.pipeline`, in one run on the same sentences.

    python training/bench.py --output benchmarks/inference.json

Reported: sentences a second in bulk and one at a time, latency, memory, the start of a fresh process to its
first answer; `transformers.pipeline` on the same compact checkpoint in float32, and on a model of
AraBERT-base's shape with random weights (its speed does not depend on what the weights are); that shape
exported to int8 and run by tasrih; how far int8 moves probabilities. Machines are noisy: rounds alternate,
medians are reported, and the ratios within the run are what to compare.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tokenizers import Tokenizer

import data
from tasrih import LABELS, Classifier
from tasrih.checkpoint import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, write_facts
from tasrih.files import write_text_atomically
from tasrih.normalise import normalise
from tasrih.predict import shipped_model

SENTENCE = "نفت الوزارة صحة ما تداولته مواقع التواصل"
ROUNDS = 3
# The large model takes a tenth of a second and more a sentence; this many keep the run to minutes.
SOME, FEW, FEWER = 512, 128, 32


def sentences() -> list[str]:
    """Return the authored sentences, which are in every clone: real prose of real lengths.

    Shuffled, so that a first part, all that slower systems are given, has the lengths of the whole.
    """
    texts = [example.text for path in data.AUTHORED for example in data.read(path)]
    Random(0).shuffle(texts)
    return texts


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fresh_process(code: str) -> float:
    """Return the seconds that a new interpreter takes to run `code`."""
    return seconds(
        lambda: subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    )


def peak_memory_mb(texts: int) -> float | None:
    """Return the peak resident memory of a fresh process that classifies `texts` authored sentences.

    From Linux's `VmHWM`, for `getrusage` hands a child its parent's peak; None on other systems.
    """
    if not Path("/proc/self/status").exists():
        return None
    code = (
        "import json, re, sys; from pathlib import Path; from tasrih import classify; "
        "texts = json.loads(sys.stdin.read()); classify(texts); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    some = sentences()
    given = json.dumps((some * (texts // len(some) + 1))[:texts])
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, check=True, capture_output=True, text=True
    )
    return round(int(done.stdout) / 1024)


def arabert_base_shape(folder: Path) -> Classifier:
    """Make a checkpoint of AraBERT-base's shape with random weights, export it to int8, and load it."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertForSequenceClassification

    from export import export_onnx

    torch.manual_seed(0)
    config = BertConfig(vocab_size=64_000)  # the rest is what BERT-base is by default
    config.num_labels = len(LABELS)
    model = BertForSequenceClassification(config)
    with torch.no_grad():  # as far apart as a trained head's, or int8 could change nothing
        model.classifier.weight.mul_(10)
    save_file(model.state_dict(), folder / WEIGHTS_FILE, {"format": "pt"})
    (folder / CONFIG_FILE).write_text(config.to_json_string(use_diff=False), encoding="utf-8")
    shutil.copyfile(shipped_model() / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    export_onnx(folder)
    write_facts(folder, name="shape", max_length=128, temperature=1.0, secondary_threshold=0.5, training={})
    return Classifier.load(folder)


def largest_change(folder: Path, texts: list[str]) -> float:
    """Return by how much int8 moves a probability of `texts` at most, against float32 by torch."""
    scores = [
        [list(prediction.scores.values()) for prediction in classifier.classify(texts)]
        for classifier in (Classifier.load(folder, backend=backend) for backend in ("onnx", "torch"))
    ]
    return round(float(np.abs(np.array(scores[0]) - np.array(scores[1])).max()), 4)


def pipelines(base_folder: Path) -> dict[str, Any]:
    """Return `transformers` pipelines on the compact checkpoint and on that of AraBERT-base's shape."""
    import safetensors.torch
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        PreTrainedTokenizerFast,
        TextClassificationPipeline,
    )

    folder = shipped_model()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / TOKENIZER_FILE),
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )

    def model(source: Path) -> Any:
        config = AutoConfig.for_model(**json.loads((source / CONFIG_FILE).read_text(encoding="utf-8")))
        result = AutoModelForSequenceClassification.from_config(config)
        weights = safetensors.torch.load_file(source / WEIGHTS_FILE)
        result.load_state_dict({name: value.float() for name, value in weights.items()})
        return result.eval()

    return {
        name: TextClassificationPipeline(model=model(source), tokenizer=tokenizer, device="cpu")
        for name, source in (("compact", folder), ("arabert_base_shape", base_folder))
    }


def run(base_folder: Path) -> dict[str, Any]:
    texts = sentences()
    classifier = Classifier.load()
    tokenizer = Tokenizer.from_file(str(shipped_model() / TOKENIZER_FILE))
    tokens = [
        len(encoding.ids) for encoding in tokenizer.encode_batch_fast([normalise(text) for text in texts])
    ]
    classifier.classify(texts)  # warm-up
    base = arabert_base_shape(base_folder)
    base.classify(texts[:FEWER])
    models = pipelines(base_folder)

    def pipeline(name: str, batch_size: int, count: int) -> Callable[[], object]:
        return lambda: models[name](texts[:count], batch_size=batch_size, truncation=True)

    def one_by_one(count: int) -> list[float]:
        return [seconds(lambda text=text: classifier.classify(text)) for text in texts[:count]]

    latencies: list[float] = []
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        rates.setdefault("tasrih bulk", []).append(len(texts) / seconds(lambda: classifier.classify(texts)))
        rates.setdefault("tasrih int8 arabert_base_shape bulk", []).append(
            SOME / seconds(lambda: base.classify(texts[:SOME]))
        )
        latencies += (times := one_by_one(300))
        rates.setdefault("tasrih one at a time", []).append(len(times) / sum(times))
        for name, counts in (("compact", (FEW, FEW)), ("arabert_base_shape", (FEWER, FEW))):
            for batch_size, count in zip((1, 32), counts, strict=True):
                key = f"pipeline {name} batch {batch_size}"
                rates.setdefault(key, []).append(count / seconds(pipeline(name, batch_size, count)))
    normalisation = statistics.median(
        seconds(lambda: [normalise(text) for text in texts]) for _ in range(ROUNDS)
    ) / len(texts)
    first = f"from tasrih import classify; classify({SENTENCE!r})"
    starts: dict[str, list[float]] = {"tasrih": [], "transformers": []}
    for _ in range(ROUNDS):
        starts["tasrih"].append(fresh_process(first))
        starts["transformers"].append(fresh_process("from transformers import pipeline"))
    median = {name: statistics.median(values) for name, values in rates.items()}
    start = {name: statistics.median(values) for name, values in starts.items()}
    base_best = max(
        median["pipeline arabert_base_shape batch 1"], median["pipeline arabert_base_shape batch 32"]
    )
    base_single = median["pipeline arabert_base_shape batch 1"]
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
        },
        "sentences": len(texts),
        "mean_tokens": round(statistics.mean(tokens), 1),
        "sentences_per_second": {name: round(value, 1) for name, value in median.items()},
        "latency_ms": {
            "median": round(1000 * statistics.median(latencies), 2),
            "95th percentile": round(1000 * statistics.quantiles(latencies, n=20)[-1], 2),
        },
        "normalisation_share_of_bulk": round(normalisation * median["tasrih bulk"], 4),
        "first_answer_seconds": {name: round(value, 3) for name, value in start.items()},
        "peak_memory_mb": {
            "1 sentence": peak_memory_mb(1),
            "100,000 sentences": peak_memory_mb(100_000),
        },
        "largest_change_of_a_probability_by_int8": {
            "compact": largest_change(shipped_model(), texts[::4]),
            "arabert_base_shape": largest_change(base_folder, texts[::64]),
        },
        "ratios": {
            "bulk to the best AraBERT-base-shaped pipeline": round(median["tasrih bulk"] / base_best, 1),
            "int8 of AraBERT-base's shape to its pipeline at batch 32": round(
                median["tasrih int8 arabert_base_shape bulk"]
                / median["pipeline arabert_base_shape batch 32"],
                1,
            ),
            "one at a time to that pipeline at batch 1": round(
                median["tasrih one at a time"] / base_single, 1
            ),
            "first answer to importing transformers' pipeline": round(
                start["tasrih"] / start["transformers"], 3
            ),
        },
    }


def table(report: dict[str, Any]) -> str:
    rows = [("sentences a second, " + name, value) for name, value in report["sentences_per_second"].items()]
    rows += [(f"latency, {name}, ms", value) for name, value in report["latency_ms"].items()]
    rows += [(f"first answer, {name}, s", value) for name, value in report["first_answer_seconds"].items()]
    rows += [(f"peak memory, {name}, MB", value) for name, value in report["peak_memory_mb"].items()]
    rows += [("normalisation, share of bulk time", report["normalisation_share_of_bulk"])]
    changes = report["largest_change_of_a_probability_by_int8"]
    rows += [(f"largest change of a probability by int8, {name}", value) for name, value in changes.items()]
    rows += [(f"ratio: {name}", value) for name, value in report["ratios"].items()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value!s:>10}" for name, value in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure speed beside transformers.pipeline.")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/inference.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder))
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    write_text_atomically(arguments.output, text)
    print(text)
    print(table(report))


if __name__ == "__main__":
    main()
