"""Export a fine-tuned checkpoint for inference without torch: ONNX, quantised to int8.

    python training/export.py runs/compact/checkpoint --output models/compact

Weights of matrix products become int8 with one scale a column, rounded so that they err least on real
sentences (`rounding.py`); activations are quantised as they come, one
scale a token ("dynamic"). onnxruntime's own dynamic quantisation takes one scale for the whole batch, so
that a sentence's scores would depend on the sentences beside it (by 0.1 in the logits of the compact model);
with one scale a token they do not, and the error is smaller. The embedding table has one scale a token, too.

The attention of BERT and ModernBERT becomes onnxruntime's own operators, one for the rotation and one for
the rest, where the exporter would leave some forty small ones a layer.
"""

import argparse
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load, load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.modernbert.modeling_modernbert import ModernBertAttention

import data
import rounding
import runs
from tasrih.checkpoint import (
    CONFIG_FILE,
    FACTS_FILE,
    ONNX_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    CheckpointError,
    write_facts,
)
from tasrih.files import write_atomically
from tasrih.normalise import normalise

OPSET = 20
_MICROSOFT = "com.microsoft"
# Seven bits for the weights: onnxruntime's AVX2 kernels add two products of 8 by 8 bits in 16 bits, which
# saturates with eight. With seven, every x86 processor gives the same integers.
_WEIGHT_LIMIT = 63
_ACTIVATION_LIMIT = 127
_CALIBRATION = 256  # training sentences: some 10,000 tokens, thrice as many as a base model's layers are wide
_LONGEST = 128  # tokens of each


class _Logits(nn.Module):
    """The model as a function of ids and mask, (B, T) each, to logits (B, 4)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int, scale: float) -> Tensor:
    """softmax(q k^T scale + mask) v, by head, of (B, T, W) each and a mask (B, 1, T, T), as one operator."""
    return torch.onnx.ops.symbolic(
        f"{_MICROSOFT}::MultiHeadAttention",
        [q, k, v, None, None, mask],
        {"num_heads": heads, "scale": scale},
        dtype=q.dtype,
        shape=q.shape,
        version=1,
    )


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the heads of `x` (B, T, W) by position (Su et al. 2021); `cos` and `sin` are (T, D / 2)."""
    first = torch.zeros(1, dtype=torch.int64)
    return torch.onnx.ops.symbolic(
        f"{_MICROSOFT}::RotaryEmbedding", [x, first, cos, sin], dtype=x.dtype, shape=x.shape, version=1
    )


def _bert_attention(
    self: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    q, k, v = (layer(hidden_states) for layer in (self.query, self.key, self.value))
    return _attention(q, k, v, attention_mask, self.num_attention_heads, self.scaling), None


def _modernbert_attention(
    self: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    width = self.config.hidden_size
    q, k, v = self.Wqkv(hidden_states).split(width, dim=-1)
    cos, sin = (table[0, :, : self.head_dim // 2] for table in position_embeddings)
    q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
    return self.Wo(_attention(q, k, v, attention_mask, width // self.head_dim, self.head_dim**-0.5)), None


@contextmanager
def _fused_attention() -> Generator[None]:
    """Have the encoders that we know attend by onnxruntime's operators, for as long as they are exported."""
    known: list[tuple[Any, Any]] = [
        (BertSelfAttention, _bert_attention),
        (ModernBertAttention, _modernbert_attention),
    ]
    originals = [kind.forward for kind, _ in known]
    try:
        for kind, forward in known:
            kind.forward = forward
        yield
    finally:
        for (kind, _), original in zip(known, originals, strict=True):
            kind.forward = original


def float_onnx(folder: Path) -> onnx.ModelProto:
    """Return the checkpoint's transformers model as a float32 ONNX graph with free batch and length."""
    config = AutoConfig.for_model(**json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    # "eager": plain matrix products and a softmax, which onnxruntime knows best
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    model.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS_FILE).items()})
    ids = torch.randint(5, config.vocab_size, (3, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    longest = config.max_position_embeddings
    free = {
        0: torch.export.Dim("batch", min=1, max=1 << 16),
        1: torch.export.Dim("length", min=2, max=longest),
    }
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as temporary, _fused_attention():
        warnings.simplefilter("ignore")  # of the exporter's own making, about its insides
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program: Any = torch.onnx.export(
            _Logits(model.eval()),
            (ids, mask),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes=(free, free),
        )
        path = Path(temporary) / "model.onnx"
        program.save(str(path))
        return onnx.load(path)


def calibration(tokenizer: Tokenizer) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return batches of ids and mask, (B, T) each: authored training sentences of all kinds, by length."""
    texts = [e.text for path in data.AUTHORED for e in data.read(path) if e.split == "train"]
    texts = texts[:: len(texts) // _CALIBRATION][:_CALIBRATION]
    tokenizer.no_padding()
    encoded = [e.ids[:_LONGEST] for e in tokenizer.encode_batch([normalise(text) for text in texts])]
    encoded.sort(key=len)
    batches: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for rows in (encoded[start : start + 16] for start in range(0, len(encoded), 16)):
        lengths = np.array([len(row) for row in rows])
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
        ids = np.zeros_like(mask)
        ids[mask == 1] = np.concatenate(rows)
        batches.append((ids, mask))
    return batches


def product_inputs(model: onnx.ModelProto) -> list[str]:
    """Return the names of what is multiplied with a constant matrix."""
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    nodes = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in matrices]
    return sorted({node.input[0] for node in nodes})


def quantised(model: onnx.ModelProto, moments: Mapping[str, rounding.Moments]) -> onnx.ModelProto:
    """Return `model` with its constant matrix products and its embedding table in int8.

    `moments` are those of the products' inputs, by name.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    added: dict[str, onnx.TensorProto] = {}
    scaled: dict[str, tuple[str, str]] = {}  # an activation, to its int8 values and each row's largest
    for node in graph.node:
        matrix = constants.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        if matrix is not None and len(matrix.dims) == 2:
            inputs = moments[node.input[0]]
            nodes += _integer_product(node, numpy_helper.to_array(matrix), inputs, scaled, added)
        elif table is not None and len(table.dims) == 2 and table.data_type == TensorProto.FLOAT:
            nodes += _integer_lookup(node, numpy_helper.to_array(table), added)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *(tensor for name, tensor in added.items() if name in used)])
    del graph.value_info[:]  # shapes of values that are gone
    for part in [result, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]:
        del part.metadata_props[:]  # the exporter's stack traces, with the paths of the machine it ran on
        part.doc_string = ""
    versions = {opset.domain: opset.version for opset in result.opset_import} | {_MICROSOFT: 1}
    del result.opset_import[:]
    result.opset_import.extend(helper.make_opsetid(*opset) for opset in versions.items())
    return result


def _integer_product(
    node: onnx.NodeProto,
    matrix: NDArray[np.float32],
    inputs: rounding.Moments,
    scaled: dict[str, tuple[str, str]],
    added: dict[str, onnx.TensorProto],
) -> list[onnx.NodeProto]:
    """x @ W, as (x 127 / row's largest) in int8 times (W / column scale) in int8, scaled back."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if attributes.get("transA") or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        return [node]
    if attributes.get("transB"):
        matrix = matrix.T
    x, name, output = node.input[0], node.input[1], node.output[0]
    column_scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12).astype(np.float32) / _WEIGHT_LIMIT
    if inputs.enough:
        integers = rounding.rounded(matrix, column_scale, _WEIGHT_LIMIT, inputs)
    else:  # the head, which sees one input a sentence
        integers = np.ascontiguousarray(np.round(matrix / column_scale)).astype(np.int8)
    _add(added, f"{name}_int8", integers)
    _add(added, f"{name}_scale", column_scale / _ACTIVATION_LIMIT)
    _add(added, "tasrih_one", np.array(1.0, dtype=np.float32))
    _add(added, "tasrih_zero", np.array(128, dtype=np.uint8))  # unsigned: signed ones have no fast kernel
    nodes: list[onnx.NodeProto] = []
    if x not in scaled:
        _add(added, "tasrih_last_axis", np.array([-1], dtype=np.int64))
        _add(added, "tasrih_limit", np.array(_ACTIVATION_LIMIT, dtype=np.float32))
        _add(added, "tasrih_tiny", np.array(1e-10, dtype=np.float32))
        nodes += [
            helper.make_node("Abs", [x], [f"{x}_abs"]),
            helper.make_node("ReduceMax", [f"{x}_abs", "tasrih_last_axis"], [f"{x}_largest"], keepdims=1),
            helper.make_node("Max", [f"{x}_largest", "tasrih_tiny"], [f"{x}_range"]),
            helper.make_node("Div", ["tasrih_limit", f"{x}_range"], [f"{x}_inverse"]),
            helper.make_node("Mul", [x, f"{x}_inverse"], [f"{x}_scaled"]),  # not Div: it takes twice as long
            helper.make_node("QuantizeLinear", [f"{x}_scaled", "tasrih_one", "tasrih_zero"], [f"{x}_int8"]),
        ]
        scaled[x] = (f"{x}_int8", f"{x}_range")
    values, row_range = scaled[x]
    bias = list(node.input[2:3])
    nodes += [
        helper.make_node(
            "MatMulIntegerToFloat",
            [values, f"{name}_int8", "tasrih_one", f"{name}_scale", "tasrih_zero"],
            [f"{output}_unscaled"],
            domain=_MICROSOFT,
        ),
        helper.make_node("Mul", [f"{output}_unscaled", row_range], [f"{output}_product" if bias else output]),
    ]
    if bias:
        nodes.append(helper.make_node("Add", [f"{output}_product", bias[0]], [output]))
    return nodes


def _integer_lookup(
    node: onnx.NodeProto, table: NDArray[np.float32], added: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    name, ids, output = node.input[0], node.input[1], node.output[0]
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / _ACTIVATION_LIMIT
    _add(added, f"{name}_int8", np.round(table / scale).astype(np.int8))
    _add(added, f"{name}_scale", scale)
    return [
        helper.make_node("Gather", [f"{name}_int8", ids], [f"{output}_int8"]),
        helper.make_node("Gather", [f"{name}_scale", ids], [f"{output}_scale"]),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
    ]


def _add(added: dict[str, onnx.TensorProto], name: str, array: NDArray[Any]) -> None:
    added[name] = numpy_helper.from_array(array, name)


def export_onnx(folder: Path) -> None:
    """Write `model.int8.onnx` into a checkpoint folder, from the transformers files beside it."""
    exact = float_onnx(folder)
    batches = calibration(Tokenizer.from_file(str(folder / TOKENIZER_FILE)))
    model = quantised(exact, rounding.moments(exact, product_inputs(exact), batches))
    onnx.checker.check_model(model, check_custom_domain=False)
    write_atomically(folder / ONNX_FILE, lambda path: path.write_bytes(model.SerializeToString()))


def export(source: Checkpoint, output: Path) -> Checkpoint:
    """Write the checkpoint that ships: int8 ONNX, float16 weights to fine-tune from, tokenizer, facts.

    A checkpoint that is in `output` already stays until the new one is whole, on the disk beside it.
    """
    output.mkdir(parents=True, exist_ok=True)
    weights = source.read_file(WEIGHTS_FILE)
    with tempfile.TemporaryDirectory(dir=output, prefix=".export.") as name:
        made = Path(name)
        if source.folder.resolve() != output.resolve():
            weights = save({name: value.half() for name, value in load(weights).items()}, {"format": "pt"})
        contents = {file: source.read_file(file) for file in (TOKENIZER_FILE, CONFIG_FILE)}
        for file, content in (*contents.items(), (WEIGHTS_FILE, weights)):
            write_atomically(made / file, lambda path, content=content: path.write_bytes(content))
        export_onnx(made)
        write_facts(
            made,
            name=source.name,
            max_length=source.max_length,
            temperature=source.temperature,
            secondary_threshold=source.secondary_threshold,
            training=source.training,
        )
        for file in (*contents, WEIGHTS_FILE, ONNX_FILE, FACTS_FILE):
            (made / file).replace(output / file)
    return Checkpoint.read(output)


def main() -> None:
    parser = argparse.ArgumentParser(description="Export a fine-tuned checkpoint as int8 ONNX.")
    parser.add_argument("checkpoint", type=Path, help="folder that training/train.py wrote")
    parser.add_argument("--output", type=Path, help="folder to write; the checkpoint's own when left out")
    arguments = parser.parse_args()
    output = arguments.output or arguments.checkpoint
    try:
        done = export(Checkpoint.read(arguments.checkpoint), output)
    except CheckpointError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{runs.unwritten(error, output)}; what was there before is as it was")
    size = (done.folder / ONNX_FILE).stat().st_size / 1e6
    print(f"{done.folder / ONNX_FILE}: {size:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
