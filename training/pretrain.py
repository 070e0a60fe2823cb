"""Pre-train a compact encoder in AraBERT's style from a text file, one document a line.

    python training/pretrain.py configs/pretrain-compact.toml --output runs/pretrain

Steps, each kept in the run folder and skipped when it is there: tokenizer, token stream, skip-gram
vectors, encoder. A run that was killed goes on from its last checkpoint with the same batches in the same
order. What comes out, `OUTPUT/encoder`, is an ordinary transformers checkpoint that `training/train.py`
fine-tunes like any other: one of ModernBERT's shape (rotary positions, pre-norm, gated units), or, where the
configuration names a `start`, that encoder trained further, be it BERT, AraBERT or another.

Objectives: `mlm` predicts masked tokens (Devlin et al. 2019). `rtd` trains a small generator to do that,
puts its guesses into the text, and lets the encoder tell which tokens were replaced (ELECTRA, Clark et al.
2020) and what stood there (corrective language modelling, COCO-LM, Meng et al. 2021): the encoder learns
from every position, not from the masked ones alone.
"""

import argparse
import json
import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoModel, ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

import corpus
import runs
from config import ConfigError, load
from tasrih.checkpoint import TOKENIZER_FILE
from tasrih.files import write_atomically

LATEST, CONSTANT = "state.pt", "state-constant-rate.pt"


@dataclass(frozen=True)
class Shape:
    """The shape of an encoder, or of the generator beside it."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int

    def __post_init__(self) -> None:
        width, heads = self.hidden_size, self.heads
        if width % heads or (width // heads) % 2:
            raise ConfigError(f"width {width} over {heads} heads; rotary positions need an even whole number")


@dataclass(frozen=True)
class Tokenizer:
    """How the tokenizer is trained."""

    vocabulary_size: int
    every: int = 1  # take each n-th document


@dataclass(frozen=True)
class Schedule:
    """Batches and rates: warm-up, a constant rate on short blocks, then a decay to zero on longer ones.

    `tokens` is how many the run reads in all. It alone may be raised in an existing run folder: the run
    then goes on from where its rate was last constant.
    """

    tokens: int
    batch_tokens: int
    learning_rate: float
    warmup_tokens: int = 400_000
    decay_share: float = 0.2
    length: int = 64
    decay_length: int = 128
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.batch_tokens % self.length or self.batch_tokens % self.decay_length:
            raise ConfigError("schedule.batch_tokens must be a multiple of schedule.length and decay_length")
        if not 0 <= self.decay_share <= 1:
            raise ConfigError(f"schedule.decay_share is {self.decay_share}; expected a share from 0 to 1")

    @property
    def steps(self) -> int:
        return math.ceil(self.tokens / self.batch_tokens)

    @property
    def decay_start(self) -> int:
        return round(self.steps * (1 - self.decay_share))

    def length_at(self, step: int) -> int:
        return self.decay_length if step >= self.decay_start else self.length

    def rate_at(self, step: int) -> float:
        warmup = (step + 1) * self.batch_tokens / max(1, self.warmup_tokens)
        decay = (self.steps - step) / max(1, self.steps - self.decay_start)
        return self.learning_rate * min(1.0, warmup, decay)


@dataclass(frozen=True)
class Objective:
    """What is learned. `rate` is the share of positions that are masked or replaced."""

    kind: Literal["mlm", "rtd"]
    rate: float
    replaced_weight: float = 20.0  # of the replaced-token loss, in relation to the two language-model losses


@dataclass(frozen=True)
class PretrainConfig:
    """What a run needs: `shape` and `tokenizer` for an encoder whose first weights are random but for
    skip-gram embeddings; or `start`, a folder with a transformers checkpoint, fine-tuned or not, whose
    encoder and tokenizer are taken over.
    """

    corpus: Path
    seed: int
    schedule: Schedule
    objective: Objective
    shape: Shape | None = None
    generator: Shape = Shape(128, 2, 2, 256)  # of the objective "rtd"
    tokenizer: Tokenizer | None = None
    start: Path | None = None
    skip_gram_epochs: int = 0  # 0: random initial embeddings
    bf16: bool = False  # matrix products in bfloat16; slower on a CPU without avx512_bf16 or AMX
    compile: bool = False

    def __post_init__(self) -> None:
        if not (self.tokenizer is None) == (self.shape is None) != (self.start is None):
            raise ConfigError(
                "expected either [tokenizer] and [shape], for a new encoder, or 'start', to take one over"
            )
        if self.start is not None and self.skip_gram_epochs:
            raise ConfigError("'start' brings embeddings along; leave skip_gram_epochs out")


class LanguageModelHead(nn.Module):
    """Hidden states (N, width) to logits (N, vocabulary), through the shared embedding matrix."""

    def __init__(self, width: int, embedding_width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, embedding_width)
        self.norm = nn.LayerNorm(embedding_width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(hidden))), embeddings, self.bias)


class Pretrainer(nn.Module):
    """The encoder with the heads, and the generator, that only pre-training needs."""

    fixed: Tensor

    def __init__(self, config: PretrainConfig, vocabulary: int, special: dict[str, int]) -> None:
        super().__init__()
        self.objective = config.objective
        self.mask_id = special[corpus.MASK]
        fixed = torch.zeros(vocabulary, dtype=torch.bool)
        fixed[list(special.values())] = True
        self.register_buffer("fixed", fixed, persistent=False)
        length = config.schedule.decay_length
        if config.shape is not None:
            self.encoder: Any = ModernBertModel(encoder_config(config.shape, vocabulary, length, special))
        elif config.start is not None:
            self.encoder = _load_encoder(config.start, vocabulary, length)
        width: int = self.embeddings.shape[1]
        self.head = LanguageModelHead(width, width, vocabulary)
        if self.objective.kind == "rtd":
            small = config.generator
            # The generator reads the encoder's embeddings through a projection; its own table stays tiny.
            self.generator = ModernBertModel(encoder_config(small, 8, length, dict.fromkeys(special, 0)))
            self.generator.embeddings.tok_embeddings.requires_grad_(False)
            self.generator_in = nn.Linear(width, small.hidden_size)
            self.generator_head = LanguageModelHead(small.hidden_size, width, vocabulary)
            self.replaced_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    @property
    def embeddings(self) -> Tensor:
        return self.encoder.get_input_embeddings().weight

    def forward(self, ids: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Return the losses for `ids` (B, T); `noise` (B, T), uniform in [0, 1), chooses the positions."""
        count = max(1, round(self.objective.rate * ids.shape[1]))
        # A fixed number of positions a row keeps the shapes the same from step to step.
        chosen = noise.masked_fill(self.fixed[ids], -1.0).topk(count, dim=1).indices
        originals = ids.gather(1, chosen)
        masked = ids.scatter(1, chosen, self.mask_id)
        if self.objective.kind == "mlm":
            return {
                "mlm": self._predict(self.encoder(masked).last_hidden_state, chosen, originals, self.head)
            }
        inputs = self.generator_in(F.embedding(masked, self.embeddings))
        guesses = _at(self.generator(inputs_embeds=inputs).last_hidden_state, chosen)
        logits = self.generator_head(guesses, self.embeddings).float()
        losses = {"generator": F.cross_entropy(logits.flatten(0, 1), originals.flatten())}
        with torch.no_grad():  # by the inverse distribution function: one random number a position
            cumulative = logits.detach().softmax(dim=-1).cumsum(dim=-1)
            drawn = torch.rand_like(cumulative[..., :1]) * cumulative[..., -1:]
            sampled = torch.searchsorted(cumulative, drawn).squeeze(-1).clamp(max=cumulative.shape[-1] - 1)
        corrupted = ids.scatter(1, chosen, sampled)
        hidden = self.encoder(corrupted).last_hidden_state
        losses["corrective"] = self._predict(hidden, chosen, originals, self.head)
        replaced = self.replaced_head(hidden).squeeze(-1).float()
        losses["replaced"] = F.binary_cross_entropy_with_logits(replaced, (corrupted != ids).float())
        return losses

    def _predict(self, hidden: Tensor, chosen: Tensor, originals: Tensor, head: LanguageModelHead) -> Tensor:
        logits = head(_at(hidden, chosen), self.embeddings).float()
        return F.cross_entropy(logits.flatten(0, 1), originals.flatten())

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        weights = {"replaced": self.objective.replaced_weight}
        return torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    """Pick (B, K, W) out of `hidden` (B, T, W) at `positions` (B, K)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def encoder_config(shape: Shape, vocabulary: int, length: int, special: dict[str, int]) -> ModernBertConfig:
    return ModernBertConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=max(512, length),  # rotary: a limit to check against, not a table
        layer_types=["full_attention"] * shape.layers,  # news sentences are shorter than any local window
        pad_token_id=special[corpus.PAD],
        cls_token_id=special[corpus.CLS],
        sep_token_id=special[corpus.SEP],
        bos_token_id=special[corpus.CLS],
        eos_token_id=special[corpus.SEP],
        classifier_pooling="mean",
    )


class Batches:
    """Blocks of the stream in an order that the seed and the step alone decide, so that runs resume.

    Each epoch cuts the stream at another offset and shuffles the blocks anew.
    """

    def __init__(self, stream: NDArray[np.uint16], cls_id: int, batch_tokens: int, seed: int) -> None:
        self.stream = np.asarray(stream)
        self.cls_id, self.batch_tokens, self.seed = cls_id, batch_tokens, seed
        self._epoch: tuple[int, int] | None = None
        self._starts: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def at(self, tokens_seen: int, length: int) -> NDArray[np.int64]:
        """Return (batch, length) token ids, `[CLS]` first in each row, from where `tokens_seen` stands."""
        rows, body = self.batch_tokens // length, length - 1
        blocks = (len(self.stream) - body) // body
        first = tokens_seen // length
        ids = np.empty((rows, length), dtype=np.int64)
        ids[:, 0] = self.cls_id
        done = 0
        while done < rows:
            epoch, index = divmod(first + done, blocks)
            if self._epoch != (epoch, length):
                rng = np.random.default_rng([self.seed, epoch, length])
                self._starts = rng.permutation(blocks) * body + rng.integers(body)
                self._epoch = (epoch, length)
            starts = self._starts[index : index + rows - done]
            ids[done : done + len(starts), 1:] = self.stream[starts[:, None] + np.arange(body)]
            done += len(starts)
        return ids


def train(config: PretrainConfig, output: Path, device: torch.device, seconds: float | None = None) -> None:
    """Run all steps; what comes out lies in `output / "encoder"`.

    With `seconds`, the loop ends when they are over at the latest, its rate having fallen in time.
    """
    # The run may be made longer; with anything else changed, files of two configurations would mix.
    runs.claim(output, config, free=("schedule.tokens",))
    tokenizer = _tokenizer(config, output / TOKENIZER_FILE)
    special = corpus.special_ids(tokenizer)
    stream = corpus.tokenise_corpus(config.corpus, tokenizer, output / "stream.uint16")
    vocabulary = tokenizer.get_vocab_size()
    torch.manual_seed(config.seed)
    model = Pretrainer(config, vocabulary, special)
    if config.skip_gram_epochs:
        vectors = corpus.skip_gram(
            stream,
            vocabulary,
            model.embeddings.shape[1],
            config.skip_gram_epochs,
            config.seed,
            output / "skip-gram.npy",
        )
        with torch.no_grad():
            model.embeddings.copy_(torch.from_numpy(vectors))
    model.to(device)
    optimizer = _optimizer(model, config.schedule.weight_decay)
    step = _resume(output, model, optimizer, config.schedule, device)
    _loop(
        config,
        model,
        optimizer,
        Batches(stream, special[corpus.CLS], config.schedule.batch_tokens, config.seed),
        output,
        step,
        device,
        seconds,
    )
    _save_encoder(model, tokenizer, output / "encoder")


def _tokenizer(config: PretrainConfig, path: Path) -> tokenizers.Tokenizer:
    """Train the run's tokenizer, or copy that of the checkpoint it starts from, and keep it at `path`."""
    if config.tokenizer is not None:
        return corpus.train_tokenizer(
            config.corpus, config.tokenizer.vocabulary_size, config.tokenizer.every, path
        )
    if config.start is not None and not path.exists():
        source = config.start / TOKENIZER_FILE
        if not source.is_file():
            raise ConfigError(f"start {config.start}: found no {source.name}; expected a checkpoint folder")
        write_atomically(path, lambda temporary: shutil.copyfile(source, temporary))
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_truncation()  # a fine-tuned checkpoint's may cut: documents would end at their first lines
    tokenizer.no_padding()
    return tokenizer


def _load_encoder(folder: Path, vocabulary: int, length: int) -> nn.Module:
    """Return the encoder of a fine-tuned or pre-trained checkpoint in `folder`, without its head."""
    try:
        encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"start {folder}: not a transformers checkpoint: {error}") from None
    if encoder.config.vocab_size != vocabulary:
        raise ConfigError(
            f"start {folder}: found {encoder.config.vocab_size} embeddings, and {vocabulary} tokens in "
            "tokenizer.json"
        )
    if encoder.config.max_position_embeddings < length:
        raise ConfigError(
            f"schedule.decay_length is {length}; {folder} reads {encoder.config.max_position_embeddings} "
            "tokens at most"
        )
    return encoder


def _loop(
    config: PretrainConfig,
    model: Pretrainer,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    output: Path,
    step: int,
    device: torch.device,
    seconds: float | None,
) -> None:
    schedule, gpu = config.schedule, device.type == "cuda"
    if gpu:
        torch.set_float32_matmul_precision("high")
    forward = torch.compile(model, dynamic=False) if config.compile else model
    generator = torch.Generator(device=device)
    begun = saved = logged = time.monotonic()
    window = 0
    with tqdm(total=schedule.steps, initial=step, unit=" steps", desc="pre-train", mininterval=5) as progress:
        while step < schedule.steps:
            if step == schedule.decay_start:
                _save_state(output / CONSTANT, model, optimizer, step, schedule.decay_start)
            length = schedule.length_at(step)
            ids = torch.from_numpy(batches.at(step * schedule.batch_tokens, length))
            if gpu:  # pinned: from other memory the copy would wait for the step before
                ids = ids.pin_memory().to(device, non_blocking=True)
            # Noise from the step's own seed: a resumed run masks what the unbroken one masks.
            generator.manual_seed(config.seed * 1_000_003 + step)
            torch.manual_seed(config.seed * 1_000_003 + step)
            noise = torch.rand(ids.shape, generator=generator, device=device)
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate_at(step)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bf16):
                losses = forward(ids, noise)
            loss = model.total(losses)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
            optimizer.step()
            step += 1
            window += 1
            progress.update()
            if step % 100 == 0 or step == schedule.steps:
                if not torch.isfinite(loss):
                    raise RuntimeError(f"loss {loss.item()} at step {step}; lower schedule.learning_rate")
                now = time.monotonic()
                figures = {name: round(value.item(), 4) for name, value in losses.items()}
                figures |= {
                    "step": step,
                    "tokens": step * schedule.batch_tokens,
                    "tokens_per_second": round(window * schedule.batch_tokens / (now - logged)),
                }
                with open(output / "log.jsonl", "a", encoding="utf-8") as log:
                    log.write(json.dumps(figures) + "\n")
                progress.set_postfix(figures, refresh=False)
                logged, window = now, 0
                if seconds is not None:
                    schedule = in_time(schedule, step, (now - begun) / seconds)
                    progress.total = schedule.steps
            if time.monotonic() - saved > schedule.checkpoint_minutes * 60 or step == schedule.steps:
                _save_state(output / LATEST, model, optimizer, step, schedule.decay_start)
                saved = time.monotonic()


def in_time(schedule: Schedule, step: int, elapsed: float) -> Schedule:
    """Return `schedule`, shortened at `step` where `elapsed`, the share of the time that is over, asks it.

    The decay begins when the time for the constant rate is over, takes as many steps as its share of them,
    and ends early where they turn out slower.
    """
    if elapsed >= 1:
        steps = step
    elif step < schedule.decay_start and elapsed >= 1 - schedule.decay_share:
        steps = round(step / (1 - schedule.decay_share))
    else:
        return schedule
    return replace(schedule, tokens=min(steps, schedule.steps) * schedule.batch_tokens)


def _optimizer(model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, decay_start: int
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "decay_start": decay_start,
    }
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def _resume(
    output: Path, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule, device: torch.device
) -> int:
    """Load the last state that lies on this schedule's path and return its step, 0 where there is none."""
    for path in (output / LATEST, output / CONSTANT):
        if not path.exists():
            continue
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        # A state from the decay of a shorter run has a smaller rate than this run has at that step.
        if state["decay_start"] == schedule.decay_start or state["step"] <= state["decay_start"]:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            return state["step"]
    return 0


def _save_encoder(model: Pretrainer, tokenizer: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.encoder.config.architectures = [type(model.encoder).__name__]
    model.encoder.config.save_pretrained(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.encoder.state_dict().items()}
    write_atomically(folder / "model.safetensors", lambda path: save_file(weights, path, {"format": "pt"}))
    special = {id: token for token, id in tokenizer.get_vocab().items()}
    names = {role: special[id] for role, id in corpus.special_ids(tokenizer).items()}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=names[corpus.PAD],
        unk_token=names[corpus.UNK],
        cls_token=names[corpus.CLS],
        sep_token=names[corpus.SEP],
        mask_token=names[corpus.MASK],
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pre-train a compact encoder from a text file.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="run folder; resumed where it exists")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--seconds", type=float, help="end in time, with fewer tokens than configured")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    try:
        config = load(PretrainConfig, arguments.config, arguments.overrides)
        if not config.corpus.is_file():
            raise ConfigError(f"corpus {config.corpus}: no such file; expected text, one document a line")
        train(config, arguments.output, torch.device(arguments.device), arguments.seconds)
    except ConfigError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
