"""Checkpoints that are damaged, and checkpoints made to do harm: `CheckpointError`, and nothing else happens.

Damage: every byte range of every file flipped and cut in turn. Harm: whoever makes a checkpoint also makes
its hashes, so that `forge` puts fitting ones beside each attack. TASRIH_NIGHTLY=1 takes narrower ranges and
more mutations.
"""

import copy
import json
import os
import pickle
import random
import re
import shutil
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasrih import CheckpointError, Classifier, Prediction
from tasrih.checkpoint import Checkpoint, write_facts
from tasrih.hub import download
from tasrih.predict import shipped_model

NIGHTLY = os.environ.get("TASRIH_NIGHTLY") == "1"
TEXTS = ["نفت الوزارة صحة ما تداولته مواقع التواصل", "اتهم الوزير المعارضة."]
FILES = {"onnx": ["tokenizer.json", "model.int8.onnx"], "torch": ["config.json", "model.safetensors"]}
NAMES = [*FILES["onnx"], *FILES["torch"]]


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Twelve gigabytes more than at the start: a defence that fails is to fail its test, not the machine."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + (12 << 30)  # torch maps some of it when imported, unfilled
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard)
    )
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the model that ships, its facts written anew."""
    source = Checkpoint.read(shipped_model())
    shutil.copytree(source.folder, tmp_path / "shipped")
    facts = {
        key: getattr(source, key) for key in ("name", "max_length", "temperature", "secondary_threshold")
    }
    write_facts(tmp_path / "shipped", training=source.training, **facts)
    return tmp_path / "shipped"


def ranges(size: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of ranges that together cover `size` bytes."""
    width = max(1, -(-size // count))
    for start in range(0, size, width):
        yield start, min(size, start + width)


def damaged(content: bytes, count: int) -> Iterator[bytes]:
    """Yield `content` with each range in turn flipped in one bit and whole, cut out, and cut off after."""
    for start, end in ranges(len(content), count):
        middle = (start + end) // 2
        yield content[:middle] + bytes([content[middle] ^ 1 << start % 8]) + content[middle + 1 :]
        yield content[:start] + bytes(byte ^ 0xFF for byte in content[start:end]) + content[end:]
        yield content[:start] + content[end:]
        yield content[:start]
    yield content + b"\n"
    yield content + content


def refused(folder: Path, backend: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        Classifier.load(folder, backend=backend)
    return str(caught.value)


def test_damage_to_any_byte_of_the_facts(folder: Path) -> None:
    """They vouch for the other files, and hold what changes answers without a trace: the temperature."""
    path = folder / "checkpoint.json"
    content = path.read_bytes()
    cases = list(damaged(content, len(content)))
    for changed in cases:
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            Checkpoint.read(folder)
    print(f"{len(cases)} cases")


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_damage_to_any_byte_range_of_any_file(folder: Path, backend: Any) -> None:
    cases = 0
    for name in ["checkpoint.json", "tokenizer.json", *FILES[backend]]:
        path = folder / name
        content = path.read_bytes()
        for changed in damaged(content, 4000 if NIGHTLY else 50):
            path.write_bytes(changed)
            assert str(path) in refused(folder, backend)
            cases += 1
        path.write_bytes(content)
    Classifier.load(folder, backend=backend)  # whole again
    print(f"{backend}: {cases} cases")


@pytest.mark.parametrize("name", ["checkpoint.json", *NAMES])
def test_damage_to_the_model_that_ships(shipped: Path, name: str) -> None:
    path = shipped / name
    content = path.read_bytes()
    checkpoint = Checkpoint.read(shipped)
    cases = 0
    if name == "checkpoint.json":
        cuts = damaged(content, len(content) if NIGHTLY else 300)
    else:  # the hash of 20 MB takes a while
        cuts = damaged(content, 200 if NIGHTLY else 3)
    for changed in cuts:
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            Checkpoint.read(shipped) if name == "checkpoint.json" else checkpoint.read_file(name)
        cases += 1
    print(f"shipped {name}: {cases} cases")


def forge(folder: Path, name: str, content: bytes) -> Path:
    """Put `content` in place, with a hash that fits."""
    (folder / name).write_bytes(content)
    found = Checkpoint.read(folder)
    write_facts(
        folder, name=found.name, max_length=found.max_length, temperature=found.temperature,
        secondary_threshold=found.secondary_threshold, training=found.training,
    )  # fmt: skip
    return folder


def forge_facts(folder: Path, text: str) -> None:
    (folder / "checkpoint.json").write_text(text, encoding="utf-8", errors="surrogatepass")


def facts_of(folder: Path) -> dict[str, Any]:
    facts = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
    del facts["sha256"]
    return facts


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("temperature", "1" + "0" * 400, "'temperature' is 1"),
        ("temperature", "1" + "0" * 5000, "not JSON (Exceeds the limit"),
        ("temperature", "1e999", "'temperature' is inf"),
        ("temperature", "NaN", "'temperature' is nan"),
        ("temperature", "1e-300", "'temperature' is 1e-300"),
        ("secondary_threshold", "1" + "0" * 400, "'secondary_threshold' is 1"),
        ("secondary_threshold", "-Infinity", "'secondary_threshold' is -inf"),
        ("max_length", "1000000000000", "'max_length' is 1000000000000"),
        ("max_length", "-1", "'max_length' is -1"),
        ("max_length", "64.0", "'max_length' is 64.0"),
        ("name", '"\\ud800"', "'name' is '\\ud800'"),
        ("name", '"\\u001b[2J"', "'name' is '\\x1b[2J'"),
        ("name", '"\\u202egnp.exe"', "'name' is '\\u202egnp.exe'"),
        ("name", '"' + "x" * 201 + '"', "'name' is 'xxx"),
        ("name", "[" * 900 + "]" * 900, "'name' is [[["),
        ("training", "[" * 200_000, "not JSON"),
        ("training", '{"a": "' + "x" * (1 << 20) + '"}', "expected at most 1,048,576"),
        ("files", "{}", "tokenizer.json: not part of this checkpoint, which holds no file"),
        *(
            ("files", json.dumps({name: "0" * 64}), "'files' is {")
            for name in ("../tokenizer.json", "/etc/passwd", "C:\\x", "a/b", ".", "\0", "pytorch_model.bin")
        ),
        ("files", '{"tokenizer.json": "' + "Z" * 64 + '"}', "'files' is {"),
        ("trust_remote_code", "true", "'trust_remote_code' is True, expected nothing of that name"),
        ("sha256", '"1"', "'sha256' is '1', expected a SHA-256 hash"),
    ],
)  # fmt: skip
def test_facts_made_to_do_harm(folder: Path, key: str, value: str, message: str) -> None:
    facts = facts_of(folder)
    facts[key] = "VALUE"
    forge_facts(folder, json.dumps(facts).replace('"VALUE"', value))
    assert message in refused(folder, "onnx")


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ["checkpoint.json", *NAMES]:
        outside = tmp_path / "outside"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)
        for link in (folder / name, tmp_path / "to_link"):
            if link != folder / name:  # through a second one
                link.symlink_to(folder / name)
            assert refused(folder, "torch" if name in FILES["torch"] else "onnx") == (
                f"{folder / name}: found a link that leads out of the folder, expected a plain file; it is "
                "refused: put a copy of the file in its place"
            )
        (tmp_path / "to_link").unlink()
        (folder / name).unlink()
        outside.rename(folder / name)
    (tmp_path / "link").symlink_to(folder)  # the folder itself may be one
    Classifier.load(tmp_path / "link")


def test_links_as_the_cache_of_the_hub_has_them(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    (tmp_path / "models--a--b" / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ["checkpoint.json", *NAMES]:
        (folder / name).rename(tmp_path / "models--a--b" / "blobs" / f"{name}-hash")
        (snapshot / name).symlink_to(Path("../../blobs") / f"{name}-hash")
    Classifier.load(snapshot)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_sockets_devices_and_folders_are_refused_without_waiting(folder: Path) -> None:
    def bind(path: Path) -> None:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 107 bytes
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
        os.chdir(here)

    made: list[Callable[[Path], object]] = [
        os.mkfifo, bind, Path.mkdir, lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path.name),
    ]  # fmt: skip
    for name in ["checkpoint.json", *FILES["onnx"]]:
        content = (folder / name).read_bytes()
        for make in made:
            (folder / name).unlink()
            make(folder / name)
            message = refused(folder, "onnx")
            assert "found what is no plain file, expected one" in message or "cannot be read (" in message
            (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink()
            (folder / name).write_bytes(content)


def test_files_too_large_to_be_true_are_not_read(folder: Path) -> None:
    sizes = {"checkpoint.json": 1 << 20, "config.json": 1 << 20, "tokenizer.json": 64 << 20,
             "model.int8.onnx": 2 << 30, "model.safetensors": 4 << 30}  # fmt: skip
    for name, largest in sizes.items():
        content = (folder / name).read_bytes()
        os.truncate(folder / name, largest + 1)  # sparse: takes no room on the disk
        message = refused(folder, "torch" if name in FILES["torch"] else "onnx")
        assert f"{name}: found {largest + 1:,} bytes, expected at most {largest:,}" in message
        (folder / name).write_bytes(content)


class Planted:
    """Unpickled, it makes the file that the environment names."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ('echo ran > "$TASRIH_PLANTED"',))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_planted_pickle_never_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    import torch

    ran = tmp_path / "ran"
    monkeypatch.setenv("TASRIH_PLANTED", str(ran))
    payload = pickle.dumps(Planted(), protocol)
    pickle.loads(payload)
    assert ran.exists()  # the plant works
    ran.unlink()

    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.pkl", "sitecustomize.py",
                 "modeling_evil.py", "configuration_evil.py", "tokenizer.pkl"):  # fmt: skip
        (folder / name).write_bytes(payload)
    torch.save({"weight": Planted()}, folder / "pytorch_model.bin")
    for backend in ("onnx", "torch"):
        Classifier.load(folder, backend=backend).classify(TEXTS)  # type: ignore[arg-type]
    for name in NAMES:  # in the place of what is read; as torch's own archive, too
        content = (folder / name).read_bytes()
        for planted in (payload, (folder / "pytorch_model.bin").read_bytes()):
            forge(folder, name, planted)
            refused(folder, "torch" if name in FILES["torch"] else "onnx")
        forge(folder, name, content)
    # With the weights gone there must be no falling back on the pickle beside them.
    (folder / "model.safetensors").unlink()
    assert "model.safetensors: found no such file" in refused(folder, "torch")
    assert not ran.exists()


CONFIGS: dict[str, Any] = {
    "auto_map": {"AutoModelForSequenceClassification": "modeling_evil.Model"},
    "trust_remote_code": True,
    "custom_pipelines": {"x": {"impl": "evil.Pipeline"}},
    "attn_implementation": "evil-org/evil-kernel",
    "_attn_implementation": "evil-org/evil-kernel",
    "_attn_implementation_internal": "evil-org/evil-kernel",
    "experts_implementation": "evil-org/evil-kernel",
    "quantization_config": {"quant_method": "bitsandbytes"},
    "use_kernels": True,
}


@pytest.mark.parametrize("key", CONFIGS)
@pytest.mark.parametrize("where", ["outside", "inside"])
def test_code_in_a_config_is_refused(folder: Path, key: str, where: str) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    forged = {key: CONFIGS[key]}
    config |= forged if where == "outside" else {"text_config": [{"encoder": forged}]}
    forge(folder, "config.json", json.dumps(config).encode())
    assert f"found {key!r}, code to run from the checkpoint; it is refused" in refused(folder, "torch")


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**12}, {"hidden_size": 10**30}, {"vocab_size": 10**15}, {"vocab_size": -1},
        {"num_hidden_layers": 10**9}, {"num_hidden_layers": 10**9, "layer_types": ["full_attention"]},
        {"max_position_embeddings": 10**15, "model_type": "bert"}, {"num_attention_heads": 0},
        {"num_attention_heads": "2"}, {"model_type": "no-such"}, {"model_type": ["bert"]},
        {"model_type": None}, {"model_type": "gpt2"}, {"hidden_activation": "os.system"},
        {"hidden_activation": {"a": 1}}, {"intermediate_size": 10**12},
        {"id2label": {str(i): "x" for i in range(9)}}, {"id2label": 3},
        {"rope_parameters": []}, {"rope_parameters": {"full_attention": {"rope_type": "evil"}}},
        {"norm_eps": "x"}, {"dtype": "evil"}, {"dtype": "__import__('os')"}, {"pad_token_id": 10**20},
        {"self": 1}, {"__class__": "x"}, {"classifier_pooling": "evil"}, {"num_labels": 10**9},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)  # fmt: skip
def test_a_config_of_another_model_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    """Sizes beyond reason above all: nothing of theirs is made before the weights are seen to be as large."""
    config = json.loads((folder / "config.json").read_bytes()) | changes
    forge(folder, "config.json", json.dumps(config).encode())
    try:
        predictions = Classifier.load(folder, backend="torch").classify(TEXTS)
    except CheckpointError:
        return
    sound(predictions)  # a key that transformers passes over changes nothing


def sound(predictions: list[Prediction]) -> None:
    for prediction in predictions:
        assert abs(sum(prediction.scores.values()) - 1) < 1e-6


def lying_headers(content: bytes) -> Iterator[tuple[str, bytes]]:
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    first = next(name for name in header if name != "__metadata__")

    def packed(changed: Any, tail: bytes = data) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + tail

    def with_first(**fields: Any) -> bytes:
        changed = copy.deepcopy(header)
        changed[first] |= fields
        return packed(changed)

    yield "header of 2^63 bytes", struct.pack("<Q", 1 << 63) + content[8:]
    yield "header of 99 MB", struct.pack("<Q", 99_000_000) + content[8:]
    yield "header of no bytes", struct.pack("<Q", 0) + content[8:]
    yield "offsets past the end", with_first(data_offsets=[0, 1 << 50])
    yield "offsets backwards", with_first(data_offsets=[128, 0])
    yield "offsets below zero", with_first(data_offsets=[-8, 0])
    yield "a shape larger than its bytes", with_first(shape=[1 << 40, 1 << 40])
    yield "a shape whose size overflows", with_first(shape=[1 << 62, 4, 2])
    yield "a type unknown", with_first(dtype="OBJECT")
    yield "a type of another width", with_first(dtype="F64")
    yield "a tensor twice", packed({**header, "twice": header[first]})
    yield "a tensor fewer", packed({name: value for name, value in header.items() if name != first})
    yield "a hole", packed(header, data + b"\0" * 4096)
    yield "nested deeply", struct.pack("<Q", 20_000) + b'{"a":' * 4000 + content
    yield "no object", packed([])
    yield "not a number", packed(header, b"\xff" * len(data))


def test_weights_whose_header_lies_are_refused(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    for what, lie in lying_headers(content):
        forge(folder, "model.safetensors", lie)
        assert refused(folder, "torch"), what


def graph(
    nodes: list[onnx.NodeProto], initializers: list[TensorProto] | None = None, shape: Any = ("B", 4)
) -> onnx.ModelProto:
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"]) for name in names]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, [output], initializers or []),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )


def outside(location: str) -> onnx.ModelProto:
    """A model whose logits are bytes of the file `location`."""
    tensor = TensorProto(name="stolen", data_type=TensorProto.FLOAT, dims=[1, 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    return graph([helper.make_node("Identity", ["stolen"], ["logits"])], [tensor])


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "secret", "*/_ORT_MEM_ADDR_/*"])
def test_onnx_weights_outside_the_file_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    for secret in (folder / "secret", folder.parent / "secret"):
        secret.write_bytes(b"0123456789abcdef")
    monkeypatch.chdir(folder)
    forge(folder, "model.int8.onnx", outside(location).SerializeToString())
    message = refused(folder, "onnx")
    assert "model.int8.onnx: found weights outside of it, expected all inside; export it" in message


def hostile_graphs() -> Iterator[tuple[str, bytes]]:
    constant = numpy_helper.from_array
    node = helper.make_node
    small = constant(np.zeros((1, 4), np.float32), "c")
    large = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1 << 40, 4], raw_data=b"\0" * 16)
    overflowing = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1 << 62, 4], raw_data=b"\0" * 16)
    identity = node("Identity", ["c"], ["logits"])
    size = constant(np.array([1 << 28, 1 << 20], np.int64), "s")
    negative = constant(np.array([-5, -7], np.int64), "s")
    yield "a tensor larger than its bytes", graph([identity], [large]).SerializeToString()
    yield "a tensor whose size overflows", graph([identity], [overflowing]).SerializeToString()
    for what, dims in {"a petabyte of zeros": size, "a shape below zero": negative}.items():
        yield what, graph([node("ConstantOfShape", ["s"], ["logits"])], [dims]).SerializeToString()
    yield (
        "a petabyte of copies",
        graph([node("Expand", ["c", "s"], ["logits"])], [small, size]).SerializeToString(),
    )
    yield (
        "one row for all texts",
        graph([node("Cast", ["c"], ["logits"], to=10)], [small]).SerializeToString(),
    )
    yield (
        "ids in the place of logits",
        graph([node("Identity", ["input_ids"], ["logits"])]).SerializeToString(),
    )
    yield (
        "an operator unknown",
        graph([node("Evil", ["c"], ["logits"], domain="evil")], [small]).SerializeToString(),
    )
    python = node("PyOp", ["c"], ["logits"], domain="com.microsoft", module="os", compute="system")
    yield "Python's operator", graph([python], [small]).SerializeToString()
    context = node(
        "EPContext", ["c"], ["logits"], domain="com.microsoft", embed_mode=0, ep_cache_context="../x"
    )
    yield "a binary of an accelerator", graph([context], [small]).SerializeToString()
    yield (
        "a circle",
        graph(
            [node("Add", ["x", "c"], ["logits"]), node("Neg", ["logits"], ["x"])], [small]
        ).SerializeToString(),
    )
    yield "onnxruntime's other format", struct.pack("<I", 8) + b"ORTM" + b"\xff" * 4096
    nan = constant(np.full((1, 4), np.nan, np.float32), "c")
    yield (
        "logits that are no numbers",
        graph([node("Identity", ["c"], ["logits"])], [nan]).SerializeToString(),
    )
    huge = constant(np.array([[3e38, -3e38, 0, 0]], np.float32), "c")
    yield "logits beyond any", graph([node("Identity", ["c"], ["logits"])], [huge]).SerializeToString()
    yield "no graph", onnx.ModelProto(ir_version=10).SerializeToString()
    yield "no bytes", b""


def test_hostile_graphs_are_refused(folder: Path) -> None:
    for what, content in hostile_graphs():
        forge(folder, "model.int8.onnx", content)
        assert "model.int8.onnx" in refused(folder, "onnx"), what


def hostile_tokenizers(content: bytes) -> Iterator[tuple[str, bytes]]:
    original = json.loads(content)

    def changed(**parts: Any) -> bytes:
        return json.dumps({**original, **parts}).encode()

    def doubling(by: int) -> dict[str, Any]:
        return {"type": "Replace", "pattern": {"String": "ف"}, "content": "ف" * by}

    vocabulary = original["model"]["vocab"]
    extra = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    yield (
        "a bomb of replacements",
        changed(normalizer={"type": "Sequence", "normalizers": [doubling(1000)] * 12}),
    )
    yield "a bomb of one", changed(normalizer=doubling(1_000_000))
    yield (
        "more tokens than the model",
        changed(model={**original["model"], "vocab": [*vocabulary, *([f"x{i}", -9.0] for i in range(100))]}),
    )
    yield (
        "a token that the model has not",
        changed(added_tokens=[*original["added_tokens"], {"id": 4_000_000_000, "content": "ززززز", **extra}]),
    )
    yield "no vocabulary at all", changed(model=None)
    yield "no tokens", changed(model={**original["model"], "vocab": []})
    yield "an unknown id out of range", changed(model={**original["model"], "unk_id": 10**9})
    yield "no unknown id", changed(model={**original["model"], "unk_id": None})
    yield (
        "scores that are no numbers",
        json.dumps(
            {**original, "model": {**original["model"], "vocab": [[t, float("nan")] for t, _ in vocabulary]}}
        ).encode(),
    )
    yield "nested deeply", b'{"normalizer":' + b'{"type":"Sequence","normalizers":[' * 50_000
    yield (
        "a template without end",
        changed(
            post_processor={
                **original["post_processor"],
                "single": original["post_processor"]["single"] * 30_000,
            }
        ),
    )
    yield (
        "a regular expression that is none",
        changed(
            pre_tokenizer={
                "type": "Split",
                "pattern": {"Regex": "(("},
                "behavior": "Isolated",
                "invert": False,
            }
        ),
    )
    yield "a part unknown", changed(normalizer={"type": "Evil"})
    yield "no text", content[:1000] + b"\xff\xfe" + content[1000:]


def test_hostile_tokenizers_are_refused(folder: Path) -> None:
    content = (folder / "tokenizer.json").read_bytes()
    for what, hostile in hostile_tokenizers(content):
        forge(folder, "tokenizer.json", hostile)
        refused_as = "model.int8.onnx" if "the model" in what else "tokenizer.json"
        assert refused_as in refused(folder, "onnx"), what


def mutated(value: Any, chance: random.Random) -> Any:
    """Return a JSON value with one value in it, anywhere, in the place of another."""
    value = copy.deepcopy(value)
    odd = [
        None,
        True,
        -1,
        0,
        1,
        10**9,
        2**63,
        2**64,
        1e308,
        -0.0,
        "",
        "x",
        "\0",
        "ن",
        [],
        {},
        [[]],
        [None],
        ["x"],
    ]
    holder = value
    while True:
        key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or chance.random() < 0.15:
            break
        holder = holder[key]
    if chance.random() < 0.2:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(chance.choice(odd))
    return value


@pytest.mark.parametrize(("name", "backend"), [("tokenizer.json", "onnx"), ("config.json", "torch")])
def test_mutations_under_fitting_hashes(folder: Path, name: str, backend: Any) -> None:
    original = json.loads((folder / name).read_bytes())
    chance = random.Random(6)
    accepted = 0
    cases = 20_000 if NIGHTLY else 150
    cases //= 10 if backend == "torch" else 1
    for _ in range(cases):
        forge(folder, name, json.dumps(mutated(original, chance)).encode())
        try:
            classifier = Classifier.load(folder, backend=backend)
            predictions = classifier.classify(TEXTS)
        except CheckpointError:
            continue
        sound(predictions)
        accepted += 1
    print(f"{name}: {cases} cases, {accepted} of them usable all the same")


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_what_a_model_fails_on_later_is_an_error_of_the_checkpoint(folder: Path, backend: Any) -> None:
    model = Classifier.load(folder, backend=backend).backend
    with pytest.raises(
        CheckpointError, match="the model failed on 1 texts of at most 4 tokens with ids up to 999: "
    ):
        model.logits(np.full((1, 4), 999), np.ones((1, 4), dtype=np.int64))


def test_a_name_on_the_hub_is_no_path(tmp_path: Path) -> None:
    for name in ("../../etc", "a/../..", "./..", "a/b/c"):
        with pytest.raises(CheckpointError):
            download(name) if name != "a/b/c" else Classifier.load(tmp_path / name)
