import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

import corpus
import pretrain
from config import ConfigError
from pretrain import Batches, Objective, PretrainConfig, Schedule, Shape, Tokenizer, in_time, train
from tasrih.normalise import normalise

CPU = torch.device("cpu")
SHAPE, GENERATOR = Shape(32, 2, 2, 48), Shape(16, 1, 1, 32)


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = (
        (Path(__file__).parents[1] / "training/data/authored.jsonl").read_text(encoding="utf-8").splitlines()
    )
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(json.loads(row)["text"] for row in rows[:600]), encoding="utf-8")
    return path


def configuration(
    text_file: Path, kind: str = "rtd", tokens: int = 20 * 512, **schedule: float
) -> PretrainConfig:
    return PretrainConfig(
        corpus=text_file,
        seed=5,
        shape=SHAPE,
        generator=GENERATOR,
        tokenizer=Tokenizer(600),
        schedule=Schedule(tokens, 512, 5e-3, warmup_tokens=1024, length=32, decay_length=64, **schedule),  # type: ignore[arg-type]
        objective=Objective(kind, 0.15),
        skip_gram_epochs=1,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("kind", ["mlm", "rtd"])
def test_learns_and_writes_a_transformers_checkpoint(text_file: Path, tmp_path: Path, kind: str) -> None:
    config = configuration(text_file, kind, tokens=200 * 512)
    train(config, tmp_path, CPU)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first = "mlm" if kind == "mlm" else "generator"
    assert log[-1][first] < np.log(600) - 0.8  # chance is log(600)
    encoder = AutoModel.from_pretrained(tmp_path / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    encoded = tokenizer("نفت الوزارة الخبر [رابط]", return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])[-2:] == ["[رابط]", "[SEP]"]
    assert torch.isfinite(encoder(**encoded).last_hidden_state).all()


class Killed(Exception):
    pass


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Batches.at

    def at(self: Batches, tokens_seen: int, length: int) -> object:
        if tokens_seen == step * 512:
            raise Killed
        return original(self, tokens_seen, length)

    monkeypatch.setattr(Batches, "at", at)


def share_tokenizer(source: Path, target: Path) -> None:
    """Its training sums in threads and differs from folder to folder; within a run folder it is kept."""
    target.mkdir()
    shutil.copy(source / "tokenizer.json", target)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "encoder" / "model.safetensors")


def test_a_killed_run_ends_like_an_unbroken_one(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(configuration(text_file, checkpoint_minutes=0.0), skip_gram_epochs=0)
    train(config, tmp_path / "unbroken", CPU)
    share_tokenizer(tmp_path / "unbroken", tmp_path / "broken")
    for step in (5, 17):  # once at the constant rate, once in the decay
        with monkeypatch.context() as patch:
            kill_at(step, patch)
            with pytest.raises(Killed):
                train(config, tmp_path / "broken", CPU)
    train(config, tmp_path / "broken", CPU)
    unbroken, broken = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(torch.equal(unbroken[name], broken[name]) for name in unbroken)


def test_a_longer_run_goes_on_from_the_constant_rate(text_file: Path, tmp_path: Path) -> None:
    # gensim's threads make skip-gram vectors differ from run to run; within a run folder they are kept.
    train(replace(configuration(text_file), skip_gram_epochs=0), tmp_path / "grown", CPU)
    longer = replace(configuration(text_file, tokens=30 * 512), skip_gram_epochs=0)
    train(longer, tmp_path / "grown", CPU)
    share_tokenizer(tmp_path / "grown", tmp_path / "whole")
    train(longer, tmp_path / "whole", CPU)
    grown, whole = weights(tmp_path / "grown"), weights(tmp_path / "whole")
    assert all(torch.equal(grown[name], whole[name]) for name in grown)


def test_another_configuration_in_the_same_folder_is_refused(text_file: Path, tmp_path: Path) -> None:
    train(configuration(text_file), tmp_path, CPU)
    with pytest.raises(ConfigError, match="holds another configuration"):
        train(configuration(text_file, "mlm"), tmp_path, CPU)


def test_rates_rise_hold_and_fall_to_zero() -> None:
    schedule = Schedule(100 * 512, 512, 1.0, warmup_tokens=10 * 512, decay_share=0.2)
    assert schedule.rate_at(4) == pytest.approx(0.5)
    assert schedule.rate_at(50) == 1.0
    assert schedule.rate_at(90) == pytest.approx(0.5)
    assert schedule.rate_at(100) == 0.0
    assert (schedule.length_at(79), schedule.length_at(80)) == (64, 128)


def test_a_run_that_must_end_in_time_lets_the_rate_fall_before(text_file: Path, tmp_path: Path) -> None:
    schedule = Schedule(100 * 512, 512, 1.0, warmup_tokens=512, decay_share=0.5)
    assert in_time(schedule, 20, 0.4) is schedule
    shorter = in_time(schedule, 20, 0.5)  # half of the time is over: the other half is for the decay
    assert (shorter.steps, shorter.decay_start) == (40, 20)
    assert in_time(shorter, 30, 0.9) is shorter
    assert in_time(shorter, 30, 1.0).steps == 30
    assert in_time(schedule, 60, 0.5) is schedule  # it decays by its tokens already
    train(configuration(text_file, "mlm", tokens=10_000 * 512), tmp_path, CPU, seconds=1e-6)
    assert (tmp_path / "encoder" / "model.safetensors").exists()
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"] == 100


def test_an_epoch_reads_every_block_once() -> None:
    stream = np.arange(1, 1000, dtype=np.uint16)
    batches = Batches(stream, cls_id=0, batch_tokens=64, seed=1)
    blocks = (len(stream) - 31) // 31
    seen = [tuple(row[1:]) for i in range(blocks // 2) for row in batches.at(i * 64, 32)]
    assert len(set(seen)) == len(seen)
    assert all(np.diff(row).tolist() == [1] * 30 for row in seen)


def test_corrupted_positions_are_never_special(text_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    special = {token: i for i, token in enumerate(corpus.SPECIAL_TOKENS)}
    model = pretrain.Pretrainer(configuration(text_file, "mlm"), 600, special)
    ids = torch.randint(8, 600, (4, 32))
    ids[:, 0], ids[:, 9] = 2, 3
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args, kwargs: seen.append(args[0]), with_kwargs=True)
    model(ids, torch.rand(ids.shape))
    changed = seen[0] != ids
    assert not changed[:, [0, 9]].any()
    assert (changed.sum(dim=1) == round(0.15 * 32)).all()
    assert (seen[0][changed] == 4).all()


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="width 30 over 4 heads"):
        Shape(30, 2, 4, 48)
    with pytest.raises(ConfigError, match="multiple"):
        Schedule(1000, 100, 1e-3, length=64)


def further(text_file: Path, start: Path, **changes: object) -> PretrainConfig:
    config = configuration(text_file, tokens=2 * 512)
    return replace(config, tokenizer=None, shape=None, skip_gram_epochs=0, start=start, **changes)


def test_a_run_may_start_from_a_checkpoint_and_its_tokenizer(
    text_file: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(tiny_checkpoint, start)
    cutting = tokenizers.Tokenizer.from_file(str(start / "tokenizer.json"))
    cutting.enable_truncation(8)
    cutting.save(str(start / "tokenizer.json"))
    still = Schedule(2 * 512, 512, 1e-30, warmup_tokens=1024, length=32, decay_length=64, weight_decay=0.0)
    train(further(text_file, start, schedule=still), tmp_path, CPU)
    # It reads documents whole, even with a tokenizer that fine-tuning had made to cut.
    sentences = text_file.read_text(encoding="utf-8")
    stream = np.fromfile(tmp_path / "stream.uint16", dtype=np.uint16)
    tokens = tokenizers.Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))
    tokens.no_truncation()
    ids = [tokens.encode(normalise(line), add_special_tokens=False).ids for line in sentences.splitlines()]
    assert len(stream) == sum(map(len, ids)) + len(ids)
    started = load_file(tiny_checkpoint / "model.safetensors")
    for name, tensor in weights(tmp_path).items():
        torch.testing.assert_close(tensor, started[f"model.{name}"])


def test_a_start_that_does_not_fit_or_stands_beside_a_tokenizer_is_refused(
    text_file: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    (broken / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a transformers checkpoint"):
        train(further(text_file, broken), tmp_path / "a", CPU)
    long = Schedule(2 * 1024, 1024, 1e-3, length=1024, decay_length=1024)
    with pytest.raises(ConfigError, match=r"decay_length is 1024; .* reads 512 tokens at most"):
        train(further(text_file, tiny_checkpoint, schedule=long), tmp_path / "c", CPU)
    with pytest.raises(ConfigError, match=r"found no tokenizer.json; expected a checkpoint folder"):
        train(further(text_file, tmp_path / "absent"), tmp_path / "b", CPU)
    for changes in ({"start": tiny_checkpoint}, {"shape": None}, {"tokenizer": None}):
        with pytest.raises(ConfigError, match="either"):
            replace(configuration(text_file), **changes)
    with pytest.raises(ConfigError, match="leave skip_gram_epochs out"):
        replace(further(text_file, tiny_checkpoint), skip_gram_epochs=1)
