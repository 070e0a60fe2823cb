"""Rounding weights to integers by what they do to real activations: GPTQ (Frantar et al. 2022).

Rounded one by one to the nearest integer, the weights of a column err independently. Where inputs go
together, as those of an encoder do, the error of one weight can be made up for by those that are not rounded
yet. It takes the inputs' second moments, from a few hundred sentences.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

_BLOCK = 128  # rows whose corrections are gathered before the rest of the matrix gets them
_DAMPING = 0.01  # of the mean diagonal, added to it, so that the moments can be inverted


@dataclass
class Moments:
    """The sum of x x^T (I, I) over `count` inputs x of a matrix product."""

    total: NDArray[np.float32]
    count: int

    @property
    def enough(self) -> bool:
        """Whether there are inputs enough to tell which of their numbers go together."""
        return self.count >= 2 * len(self.total)


def moments(
    model: onnx.ModelProto, names: list[str], batches: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> dict[str, Moments]:
    """Run `model` over `batches` of ids and mask, (B, T) each, and gather the moments of its values `names`.

    A value is (B, T, I), of which padding is left out, or (B, I).
    """
    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    del open_model.graph.output[:]
    open_model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # Weights in a file of their own: a float32 model of 2 GB or more fits in no protobuf message.
        onnx.save(open_model, path, save_as_external_data=True)
        session = onnxruntime.InferenceSession(path)
    found: dict[str, Moments] = {}
    for ids, mask in batches:
        values = [np.asarray(v) for v in session.run(names, {"input_ids": ids, "attention_mask": mask})]
        for name, value in zip(names, values, strict=True):
            rows = value[mask == 1] if value.ndim == 3 else value
            part = Moments(rows.T @ rows, len(rows))
            if name in found:
                found[name].total += part.total
                found[name].count += part.count
            else:
                found[name] = part
    return found


def rounded(
    matrix: NDArray[np.float32], scale: NDArray[np.float32], limit: int, inputs: Moments
) -> NDArray[np.int8]:
    """Return integers q (I, O) from -`limit` to `limit`, for which x (q * scale) is near x `matrix` for such
    `inputs` x; `scale` (O,) is that of the columns."""
    second = inputs.total.astype(np.float64)
    second[np.diag_indices_from(second)] += _DAMPING * np.diag(second).mean() + 1e-12
    order = np.argsort(-np.diag(second), kind="stable")  # what weighs most is rounded while all can make up
    inverse = np.linalg.inv(second[np.ix_(order, order)])
    spread = np.linalg.cholesky(inverse).T  # upper: inverse = spread^T spread
    rest = matrix[order].astype(np.float64)
    result = np.empty(matrix.shape, dtype=np.int8)
    for start in range(0, len(rest), _BLOCK):
        end = min(start + _BLOCK, len(rest))
        errors = np.empty((end - start, rest.shape[1]))
        for row in range(start, end):
            integers = np.clip(np.round(rest[row] / scale), -limit, limit)
            result[order[row]] = integers
            errors[row - start] = (rest[row] - integers * scale) / spread[row, row]
            rest[row + 1 : end] -= np.outer(spread[row, row + 1 : end], errors[row - start])
        rest[end:] -= spread[start:end, end:].T @ errors
    return result
