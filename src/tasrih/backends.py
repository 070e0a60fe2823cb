"""Logits from a batch of token ids: onnxruntime, which the core install has, or torch."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tasrih.checkpoint import CONFIG_FILE, ONNX_FILE, WEIGHTS_FILE, Checkpoint, CheckpointError
from tasrih.labels import LABELS

# What would have transformers fetch or run code, or make another model than the weights are of.
_REFUSED: Final = re.compile(
    "auto_map|trust_remote_code|custom_pipelines|quantization_config|use_kernels?|kernel_config|"
    "_?(attn|experts)_implementation(_internal)?"
)
_LARGEST_BUFFERS: Final = 1 << 26  # values that are computed, not loaded: positions and the like
_LARGEST_LOGIT: Final = 1e30  # of float32: divided by the least temperature, 0.01, still a number

BackendName = Literal["auto", "onnx", "torch"]
Device = Literal["auto", "cpu", "cuda"]


class Backend(Protocol):
    """A loaded model. `batch_tokens` is the padded size at which it is fastest, `workers` how many
    batches it should be given at once."""

    batch_tokens: int
    workers: int

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (B, 4) logits for `ids` (B, T) and `mask` (B, T), 1 where there is a token."""
        ...


def load(checkpoint: Checkpoint, backend: BackendName, device: Device) -> Backend:
    """Load the checkpoint's model. `auto` takes onnxruntime on a CPU where the checkpoint has an ONNX
    file, torch otherwise. Raises `ImportError` naming the extra, `ValueError` or `CheckpointError`."""
    if backend not in ("auto", "onnx", "torch"):
        raise ValueError(f"backend: found {backend!r}, expected 'auto', 'onnx' or 'torch'")
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: found {device!r}, expected 'auto', 'cpu' or 'cuda'")
    if backend == "auto":  # where neither is there, the one that needs no extra says what is missing
        to_torch = device == "cuda" or (checkpoint.has(WEIGHTS_FILE) and not checkpoint.has(ONNX_FILE))
        backend = "torch" if to_torch else "onnx"
    return OnnxBackend(checkpoint, device) if backend == "onnx" else TorchBackend(checkpoint, device)


class OnnxBackend:
    """int8 on the CPU. Each batch runs in one thread, as many batches at once as there are cores: small
    matrices scale better so than with one batch cut over the cores."""

    batch_tokens = 256  # larger ones leave the cache, smaller ones pay more for each call

    def __init__(self, checkpoint: Checkpoint, device: Device) -> None:
        if device == "cuda":
            raise ValueError("device: found 'cuda' for backend 'onnx', expected 'cpu'; take backend='torch'")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False  # a plan for each shape: 180 MB more, and no faster
        options.log_severity_level = 4  # errors are raised; onnxruntime would print them as well
        # By its content it would take the file for its other format, whose reader is less guarded.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        self.workers = _cores()
        self._path = checkpoint.folder / ONNX_FILE
        content = checkpoint.read_file(ONNX_FILE)
        # ONNX names a file of weights, or a place in memory, under the key "location"; which of them
        # onnxruntime follows depends on its version.
        if b"location" in content:
            raise CheckpointError(
                f"{self._path}: found weights outside of it, expected all inside; {_EXPORT}"
            )
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            names = {node.name for node in self._session.get_inputs()}
        except Exception as error:  # onnxruntime's own classes share no base but Exception
            raise CheckpointError(f"{self._path}: onnxruntime refuses it: {error}") from None
        if names != {"input_ids", "attention_mask"}:
            raise CheckpointError(
                f"{self._path}: found inputs {sorted(names)}, expected input_ids and attention_mask; "
                f"{_EXPORT}"
            )

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            (result,) = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        except Exception as error:
            raise CheckpointError(_failed(self._path, ids, error)) from error
        return _checked(self._path, ids, result)


class TorchBackend:
    """A transformers model: float32 on a CPU, bfloat16 on a GPU."""

    workers = 1

    def __init__(self, checkpoint: Checkpoint, device: Device) -> None:
        try:
            import safetensors
            import safetensors.torch
            import torch
            from transformers import AutoConfig, AutoModelForSequenceClassification
        except ImportError as error:
            raise ImportError(
                f'{error.name} is not installed; the torch backend needs: pip install "tasrih[torch]"'
            ) from error
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device: found 'cuda', but torch sees no GPU; take device='cpu'")
        chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        path = checkpoint.folder / CONFIG_FILE
        try:
            config = json.loads(checkpoint.read_file(CONFIG_FILE))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise CheckpointError(f"{path}: not JSON ({error}); export the checkpoint again") from None
        if not isinstance(config, dict):
            raise CheckpointError(f"{path}: found {type(config).__name__}, expected a JSON object")
        if refused := next(filter(_REFUSED.fullmatch, _keys(config)), None):
            raise CheckpointError(
                f"{path}: found {refused!r}, code to run from the checkpoint; it is refused: export the "
                "checkpoint again without it"
            )
        try:
            weights = safetensors.torch.load(checkpoint.read_file(WEIGHTS_FILE))
            if config.get("num_labels", len(LABELS)) != len(LABELS):  # transformers makes a name for each
                raise ValueError(f"found {config['num_labels']} labels, expected {len(LABELS)}")
            shape: Any = AutoConfig.for_model(**config)
            layers = getattr(shape, "num_hidden_layers", 0)
            if layers > len(weights):
                raise ValueError(f"found {len(weights)} tensors for {layers} layers")
            with torch.device("meta"):  # a model without memory, to see whether the weights are its own
                outline: Any = AutoModelForSequenceClassification.from_config(shape)
            outline.load_state_dict({name: value.to("meta") for name, value in weights.items()})
            if sum(buffer.numel() for buffer in outline.buffers()) > _LARGEST_BUFFERS:
                raise ValueError("the config asks for more memory than a model of this size needs")
            model: Any = AutoModelForSequenceClassification.from_config(shape)
            model.load_state_dict({name: value.float() for name, value in weights.items()})
        except CheckpointError:
            raise
        except Exception as error:  # a config that nobody foresaw fails wherever transformers first uses it
            reason = str(error) or type(error).__name__
            raise CheckpointError(f"{path}: config and weights do not make a model: {reason}") from None
        if model.config.num_labels != len(LABELS):
            raise CheckpointError(f"{path}: found {model.config.num_labels} labels, expected {len(LABELS)}")
        self._torch, self._device, self._path = torch, chosen, path
        self._process = os.getpid()
        self._model = model.eval().to(chosen, torch.bfloat16 if chosen == "cuda" else torch.float32)
        self.batch_tokens = 65_536 if chosen == "cuda" else 4096

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        torch = self._torch
        if self._process != os.getpid():
            # In a forked child OpenMP waits for ever for threads that only the parent has.
            torch.set_num_threads(1)
            self._process = os.getpid()
        try:
            with torch.inference_mode():
                output = self._model(
                    input_ids=torch.from_numpy(ids).to(self._device),
                    attention_mask=torch.from_numpy(mask).to(self._device),
                )
            result = output.logits.float().cpu().numpy()
        except Exception as error:
            raise CheckpointError(_failed(self._path, ids, error)) from error
        return _checked(self._path, ids, result)


_EXPORT: Final = "export it with training/export.py"


def _failed(path: Path, ids: NDArray[np.int64], error: Exception) -> str:
    count, length = ids.shape
    reason = str(error).strip() or type(error).__name__
    return (
        f"{path}: the model failed on {count} texts of at most {length} tokens with ids up to {ids.max()}: "
        f"{reason}; either memory ran out, or tokenizer, max_length and model do not belong together"
    )


def _checked(path: Path, ids: NDArray[np.int64], logits: Any) -> NDArray[np.float32]:
    """Return the logits as float32 (B, 4), or raise `CheckpointError` where no probabilities come of them."""
    result = np.asarray(logits)
    if result.shape != (len(ids), len(LABELS)) or result.dtype.kind != "f":
        raise CheckpointError(
            f"{path}: found logits {result.dtype} {result.shape} for {len(ids)} texts, expected float "
            f"{(len(ids), len(LABELS))}; {_EXPORT}"
        )
    result = result.astype(np.float32)
    if not (np.abs(result) < _LARGEST_LOGIT).all():
        raise CheckpointError(f"{path}: found logits that are no finite numbers; {_EXPORT}")
    return result


def _keys(value: object) -> Iterator[str]:
    """Yield the keys of a JSON value that are set, inner ones too."""
    if isinstance(value, dict):
        yield from (key for key, inner in value.items() if inner is not None)
        value = value.values()
    elif not isinstance(value, list):
        return
    for inner in value:
        yield from _keys(inner)


def _cores() -> int:
    """The cores that this process may use, which containers and taskset make fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
