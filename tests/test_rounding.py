"""Rounding by activations: nearest where inputs are independent, better where they go together."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import data
from export import calibration, float_onnx, product_inputs
from rounding import Moments, moments, rounded
from tasrih.checkpoint import TOKENIZER_FILE
from tasrih.normalise import normalise

LIMIT = 63


def drawn(rows: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Inputs (rows, width) that a third as many numbers decide, but for some noise, as in an encoder."""
    mixed = rng.normal(size=(rows, width // 3)) @ rng.normal(size=(width // 3, width))
    return (mixed + 0.1 * rng.normal(size=(rows, width))).astype(np.float32)


def scale_of(matrix: np.ndarray) -> np.ndarray:
    return np.abs(matrix).max(axis=0) / LIMIT


def error(x: np.ndarray, integers: np.ndarray, scale: np.ndarray, matrix: np.ndarray) -> float:
    return float(np.square(x @ (integers * scale - matrix)).mean())


def test_independent_inputs_leave_the_nearest_integers() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(300, 7)).astype(np.float32)  # more rows than one block
    scale = scale_of(matrix)
    found = rounded(matrix, scale, LIMIT, Moments(np.diag(rng.uniform(1, 9, 300)).astype(np.float32), 999))
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, np.round(matrix / scale))


@pytest.mark.parametrize("width", [48, 300])
def test_inputs_that_go_together_halve_the_error_on_unseen_ones(width: int) -> None:
    rng = np.random.default_rng(width)
    x = drawn(8 * width, width, rng)
    seen, unseen = x[: 4 * width], x[4 * width :]
    matrix = rng.normal(size=(width, 20)).astype(np.float32)
    scale = scale_of(matrix)
    found = rounded(matrix, scale, LIMIT, Moments(seen.T @ seen, len(seen)))
    assert np.abs(found).max() <= LIMIT
    nearest = np.round(matrix / scale)
    assert error(unseen, found, scale, matrix) < error(unseen, nearest, scale, matrix) / 2


def test_near_the_best_of_all_roundings_of_a_small_column() -> None:
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(20):
        x = drawn(200, 6, rng)
        matrix = rng.normal(size=(6, 1)).astype(np.float32)
        scale = np.array([0.2], dtype=np.float32)
        floor = np.floor(matrix / scale)
        every = [floor + np.array(up)[:, None] for up in product((-1, 0, 1, 2), repeat=6)]
        best = min(error(x, integers, scale, matrix) for integers in every)
        found = error(x, rounded(matrix, scale, LIMIT, Moments(x.T @ x, len(x))), scale, matrix)
        nearest = error(x, np.round(matrix / scale), scale, matrix)
        ratios.append((found - best) / (nearest - best + 1e-12))
    assert np.median(ratios) < 0.25  # of the way from the best to the nearest


def test_moments_do_not_see_padding(tiny_checkpoint: Path) -> None:
    model = float_onnx(tiny_checkpoint)
    names = product_inputs(model)
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(5, 200, (3, 11)), np.ones((3, 11), dtype=np.int64)
    mask[1, 4:] = 0
    together = moments(model, names, [(ids, mask)])
    rows = [
        (ids[row : row + 1, : mask[row].sum()], mask[row : row + 1, : mask[row].sum()]) for row in range(3)
    ]
    apart = moments(model, names, rows)
    assert together.keys() == apart.keys()
    for name, found in together.items():
        assert found.count == apart[name].count
        np.testing.assert_allclose(found.total, apart[name].total, rtol=1e-3, atol=1e-3)
    assert {found.count for found in together.values()} >= {26}


def test_calibration_reads_training_sentences_alone(tiny_checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_checkpoint / TOKENIZER_FILE))
    batches = calibration(tokenizer)
    assert sum(len(ids) for ids, _ in batches) == 256
    assert all(ids.shape == mask.shape and (ids[mask == 0] == 0).all() for ids, mask in batches)
    held_out = [e for path in data.AUTHORED for e in data.read(path) if e.split != "train"]
    read = {tuple(row[kept == 1]) for ids, mask in batches for row, kept in zip(ids, mask, strict=True)}
    assert not read & {
        tuple(e.ids[:128]) for e in tokenizer.encode_batch([normalise(e.text) for e in held_out])
    }
