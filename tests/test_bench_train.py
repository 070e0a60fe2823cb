import json
from pathlib import Path

import pytest
from transformers import BertConfig, BertForSequenceClassification

import bench_train


def test_flops_are_six_a_weight_and_token_and_the_attention() -> None:
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=50,
            hidden_size=8,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=4,
        )
    )
    layer = 4 * (8 * 8 + 8) + 2 * (8 * 16) + 16 + 8 + 4 * 8
    weights = 3 * layer + (8 * 8 + 8) + (8 * 4 + 4)
    assert bench_train.flops(model, [10, 20]) == 6 * weights * 30 + 12 * 3 * 8 * (100 + 400)


def test_both_ways_are_measured_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench_train.json"
    bench_train.main(["--shape", "tiny", "--batch-size", "4", "--steps", "2", "--output", str(path)])
    figures = json.loads(path.read_text(encoding="utf-8"))
    plain, ours = figures["plain"], figures["tasrih"]
    ratio = ours["sentences_per_second"] / plain["sentences_per_second"]
    assert figures["ratio"] == pytest.approx(ratio, abs=0.01)
    assert 0 < ours["padding_share"] < plain["padding_share"] < 1
    assert figures["matrix_rate_tflops"] > 0
    assert '"ratio"' in capsys.readouterr().out
