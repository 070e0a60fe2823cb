"""The training script as people run it: killed and resumed, on two processes, searched, from the hub."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from safetensors.torch import load_file

import card
import data
import train
from config import ConfigError, load
from recipe import Recipe
from tasrih import Classifier
from tasrih.checkpoint import Checkpoint

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "training" / "train.py"


@pytest.fixture(scope="module")
def config_file(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with twice the sentences, six steps an epoch, and with ranges to search."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(
        tiny_run.read_text(encoding="utf-8").replace("limit = 48", "limit = 96")
        + """
[search]
trials = 2
[search.ranges]
"optimizer.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"optimizer.epochs" = { low = 1, high = 2 }
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def unbroken(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "unbroken"
    train.main([str(config_file), "--output", str(output), "--set", "seeds=[1, 2]"])
    return output


def test_run_folder_holds_checkpoint_card_evaluation_and_facts(config_file: Path, unbroken: Path) -> None:
    classifier = Classifier.load(unbroken / "checkpoint")
    assert abs(sum(classifier.classify("نفت الوزارة الخبر").scores.values()) - 1) < 1e-6
    seeds = json.loads((unbroken / "seeds.json").read_text())
    scores = seeds["validation_macro_f1"]
    assert set(scores) == {"1", "2"}
    assert seeds["mean"] == pytest.approx(sum(scores.values()) / 2)
    assert seeds["standard_deviation"] == pytest.approx(abs(scores["1"] - scores["2"]) / 2**0.5)
    assert classifier.checkpoint.training["seed"] == seeds["best"] == int(max(scores, key=scores.__getitem__))
    environment = json.loads((unbroken / "environment.json").read_text())
    assert environment["libraries"]["transformers"]
    assert environment["git"] is None or len(environment["git"].split()[0]) == 40
    assert list((unbroken / "seed-1/tensorboard").glob("events.*"))
    assert (unbroken / "history.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((unbroken / "evaluation/report.json").read_text())
    assert report["split"] == "validation"
    assert list(report["sets"]) == ["authored"]  # the news that a user has rebuilt is not this run's
    text = (unbroken / "checkpoint/README.md").read_text(encoding="utf-8")
    assert "# tiny" in text
    assert f"| authored | {report['sets']['authored']['systems']['model']['n']} |" in text
    config = config_file.read_text(encoding="utf-8")
    encoder = Path(config.partition('encoder = "')[2].partition('"')[0])
    assert encoder.is_dir()
    for path in (unbroken / "checkpoint").iterdir():  # no paths of the machine
        content = path.read_bytes()
        for folder in (encoder, encoder.parent, unbroken, ROOT):
            assert str(folder).encode() not in content, path


def spawn(*arguments: str | Path) -> multiprocessing.process.BaseProcess:
    """Run the script in a process that has imported everything but computed nothing: kills are cheap."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train"])
    process = context.Process(target=train.main, args=([str(argument) for argument in arguments],))
    process.start()
    return process


def test_killed_three_times_a_run_ends_with_the_same_weights(
    config_file: Path, unbroken: Path, tmp_path: Path
) -> None:
    output = tmp_path / "broken"
    trainer = output / "seed-1" / "trainer"
    # While the first state is being written, after the second, and when all epochs are done.
    for appears in (
        trainer / "checkpoint-6",
        trainer / "checkpoint-12" / "rng_state.pth",
        output / "seed-1" / "best",
    ):
        process = spawn(config_file, "--output", output)
        limit = time.monotonic() + 120
        while not appears.exists():
            assert process.is_alive()
            assert time.monotonic() < limit
            time.sleep(0.002)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert not (output / "checkpoint" / "checkpoint.json").exists()
    process = spawn(config_file, "--output", output)
    process.join()
    assert process.exitcode == 0
    names = [folder / "seed-1/checkpoint/model.safetensors" for folder in (unbroken, output)]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_a_run_folder_keeps_to_its_configuration(config_file: Path, unbroken: Path) -> None:
    with pytest.raises(
        ConfigError, match="holds another configuration, or other data; take another --output"
    ):
        train.train(load(Recipe, config_file, ["optimizer.epochs=4"]), unbroken)


def test_a_finished_run_started_again_keeps_what_was_exported(
    config_file: Path, unbroken: Path, tmp_path: Path
) -> None:
    from export import export

    output = tmp_path / "copy"
    shutil.copytree(unbroken, output)
    export(Checkpoint.read(output / "checkpoint"), output / "checkpoint")
    (output / "checkpoint" / "README.md").write_text("a card of the test split")
    train.main([str(config_file), "--output", str(output), "--set", "seeds=[1, 2]"])
    assert Checkpoint.read(output / "checkpoint").has("model.int8.onnx")
    assert (output / "checkpoint" / "README.md").read_text() == "a card of the test split"


def test_before_anything_is_trained_a_folder_takes_another_configuration(
    config_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="neither a checkpoint folder"):
        train.train(load(Recipe, config_file, [f"model.encoder={tmp_path}/nowhere"]), tmp_path)
    assert train.train(load(Recipe, config_file, ["optimizer.epochs=1"]), tmp_path).is_dir()


def test_a_card_refuses_the_report_of_other_weights(unbroken: Path, tiny_checkpoint: Path) -> None:
    report = json.loads((unbroken / "evaluation/report.json").read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="the report is of other weights"):
        card.render(Checkpoint.read(tiny_checkpoint), report)
    with pytest.raises(ValueError, match="found no report"):
        card.render(Checkpoint.read(tiny_checkpoint), {"a": 1})


def test_two_processes_agree_with_one(config_file: Path, unbroken: Path, tmp_path: Path) -> None:
    output = tmp_path / "two"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
    ]
    command += [str(SCRIPT), str(config_file), "--output", str(output), "--set", "model.dropout=0.0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    train.main([str(config_file), "--output", str(tmp_path / "one"), "--set", "model.dropout=0.0"])
    one, two = (
        [
            row["eval_loss"]
            for row in json.loads((folder / "seed-1/history.json").read_text())
            if "eval_loss" in row
        ]
        for folder in (tmp_path / "one", output)
    )
    assert one == pytest.approx(two, rel=1e-3)
    first, second = (
        load_file(folder / "checkpoint/model.safetensors") for folder in (tmp_path / "one", output)
    )
    for name, weights in first.items():
        assert (weights - second[name]).abs().max() < 5e-3, name


def test_a_search_tries_values_in_their_ranges_and_goes_on(config_file: Path, tmp_path: Path) -> None:
    train.main([str(config_file), "--output", str(tmp_path), "--search", "--set", "data.limit=32"])
    found = json.loads((tmp_path / "search.json").read_text())
    assert len(found["trials"]) == 2
    for trial in found["trials"]:
        assert 1e-4 <= trial["values"]["optimizer.learning_rate"] <= 1e-2
        assert trial["values"]["optimizer.epochs"] in (1, 2)
    best = max(found["trials"], key=lambda trial: trial["macro_f1"])
    assert found["best"] == best["values"]
    before = (tmp_path / "search.json").read_text()
    train.main([str(config_file), "--output", str(tmp_path), "--search", "--set", "data.limit=32"])
    assert (tmp_path / "search.json").read_text() == before  # both trials are done


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve `folder` as every repository of a hub; yield its address and the list of what it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            path = folder / self.path.rpartition("/")[2]
            known = "/resolve/" in self.path and path.is_file()
            content = path.read_bytes() if known else b""
            self.send_response(200 if known else 404)
            for name, value in (
                ("Content-Length", len(content)),
                ("ETag", f'"{path.name}"'),
                ("X-Repo-Commit", "0" * 40),
                *([] if known else [("X-Error-Code", "EntryNotFound")]),
            ):
                self.send_header(name, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def from_hub(address: str, home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script against a hub of its own, with a cache of its own: no real AraBERT is replaced."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": address}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def arabert_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as AraBERT's on the hub: a WordPiece tokenizer with its special tokens and as many entries,
    and an encoder of its kind, but of two narrow layers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    folder = tmp_path_factory.mktemp("arabert")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[رابط]", "[بريد]", "[مستخدم]"]
    trainer = trainers.WordPieceTrainer(vocab_size=800, special_tokens=special)
    sentences = [example.text for example in data.read(data.AUTHORED[0])][:300]
    tokenizer.train_from_iterator(sentences, trainer)
    vocabulary = tokenizer.get_vocab() | {
        f"[unused{i}]": i for i in range(tokenizer.get_vocab_size(), 64_000)
    }
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    BertTokenizerFast(
        tokenizer_object=tokenizer,
        do_lower_case=False,
        additional_special_tokens=special[5:],
        model_max_length=512,
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=64_000, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_arabert_is_asked_of_the_hub_by_its_name_and_files(arabert_like: Path, tmp_path: Path) -> None:
    values = ["data.news=none", "data.limit=32", "optimizer.epochs=1", "model.max_length=32"]
    values += ["speed.compile=false", "speed.loader_workers=0"]
    options = [word for value in values for word in ("--set", value)]
    config = ROOT / "configs/arabertv02-base.toml"
    with hub(arabert_like) as (address, asked):
        done = from_hub(address, tmp_path / "home", config, "--output", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    repository = "/aubmindlab/bert-base-arabertv02"
    assert all(repository in line for line in asked if "/resolve/" in line), asked
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        assert f"GET {repository}/resolve/main/{name}" in asked, name
    checkpoint = Checkpoint.read(tmp_path / "run/checkpoint")
    assert checkpoint.training["config"]["model"]["encoder"] == "aubmindlab/bert-base-arabertv02"
    card_text = (tmp_path / "run/checkpoint/README.md").read_text(encoding="utf-8")
    assert "base_model: aubmindlab/bert-base-arabertv02" in card_text
    prediction = Classifier.load(tmp_path / "run/checkpoint").classify("نفى الوزير [رابط] http://a.example")
    assert 0.25 <= prediction.confidence <= 1


def test_no_network_is_one_clear_line(tmp_path: Path) -> None:
    start = time.monotonic()
    with hub(tmp_path) as (address, _):
        pass  # now nobody listens there
    config = ROOT / "configs/arabertv02-base.toml"
    done = from_hub(address, tmp_path / "home", config, "--output", tmp_path / "run")
    assert done.returncode == 2
    assert time.monotonic() - start < 60  # no hang: the hub is asked five times, then it is given up
    last = done.stderr.splitlines()[-1]
    assert (
        "'aubmindlab/bert-base-arabertv02': neither a checkpoint folder here nor to be had from the hub"
        in last
    )
    assert "Traceback" not in done.stderr


def test_a_hub_that_refuses_leaves_the_checkpoint_and_says_so(
    unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    uploaded: dict[str, object] = {}

    class Api:
        def create_repo(self, name: str, exist_ok: bool) -> None:
            uploaded["name"] = name

        def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> str:
            uploaded["files"] = sorted(allow_patterns)
            return f"https://hub.example/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert card.push(unbroken / "checkpoint", "me/mine").endswith("me/mine")
    assert uploaded == {
        "name": "me/mine",
        "files": ["README.md", "checkpoint.json", "config.json", "model.safetensors", "tokenizer.json"],
    }

    class Refusing(Api):
        def create_repo(self, name: str, exist_ok: bool) -> None:
            raise OSError("401 Unauthorized\nlong story")

    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    with pytest.raises(
        card.HubError, match=r"the hub did not take it \(401 Unauthorized\); the checkpoint lies whole"
    ):
        card.push(unbroken / "checkpoint", "me/mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.toml"], "absent.toml: no such file"),
        ([str(ROOT / "configs/smoke.toml"), "--set", "optimizer.lr=1"], "unknown key 'optimizer.lr'"),
        ([str(ROOT / "configs/smoke.toml"), "--search"], "no [search] table"),
    ],
)
def test_errors_are_one_line_and_exit_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main([*arguments, "--output", str(tmp_path / "run")])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
