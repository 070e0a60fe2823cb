import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import average
from tasrih import CheckpointError, Classifier
from tasrih.checkpoint import WEIGHTS_FILE, Checkpoint, write_facts


@pytest.fixture
def other(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint, each weight half as much again."""
    folder = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, folder)
    tensors = {name: 1.5 * value for name, value in load_file(folder / WEIGHTS_FILE).items()}
    save_file(tensors, folder / WEIGHTS_FILE, {"format": "pt"})
    write_facts(
        folder, name="other", max_length=64, temperature=1.0, secondary_threshold=0.2, training={"seed": 8}
    )  # fmt: skip
    return folder


def test_weights_are_averaged_and_calibrated_anew(
    tiny_checkpoint: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    average.main([str(tiny_checkpoint), str(other), "--output", str(tmp_path / "mean")])
    given, found = load_file(tiny_checkpoint / WEIGHTS_FILE), load_file(tmp_path / "mean" / WEIGHTS_FILE)
    for name, tensor in given.items():
        np.testing.assert_allclose(found[name], 1.25 * tensor, rtol=1e-5)
    facts = Checkpoint.read(tmp_path / "mean")
    assert [run["seed"] for run in facts.training["average_of"]] == [7, 8]
    assert facts.temperature != 1.0
    assert not facts.has("model.int8.onnx")  # that of one of them would not be theirs together
    assert Classifier.load(tmp_path / "mean").classify("نفى الوزير الخبر").confidence >= 0.25
    assert "validation macro-F1 0." in capsys.readouterr().err


def test_checkpoints_of_different_encoders_are_refused(
    tiny_checkpoint: Path, other: Path, tmp_path: Path
) -> None:
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps({**config, "pad_token_id": 1}), encoding="utf-8")
    changed = write_facts(
        other, name="other", max_length=64, temperature=1.0, secondary_threshold=0.2, training={}
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="average fine-tunings of one encoder"):
        average.average([Checkpoint.read(tiny_checkpoint), changed], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
