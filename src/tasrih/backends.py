"""Logits from a batch of token ids: onnxruntime, which the core install has, or torch."""

import json
import os
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tasrih.checkpoint import CONFIG_FILE, ONNX_FILE, WEIGHTS_FILE, Checkpoint, CheckpointError
from tasrih.labels import LABELS

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
    if backend == "auto":
        backend = "onnx" if checkpoint.has(ONNX_FILE) and device != "cuda" else "torch"
    return OnnxBackend(checkpoint, device) if backend == "onnx" else TorchBackend(checkpoint, device)


class OnnxBackend:
    """int8 on the CPU. Each batch runs in one thread, as many batches at once as there are cores: small
    matrices scale better so than with one batch cut over the cores."""

    batch_tokens = 2048  # larger ones leave the cache, smaller ones pay more for each call

    def __init__(self, checkpoint: Checkpoint, device: Device) -> None:
        if device == "cuda":
            raise ValueError("device: found 'cuda' for backend 'onnx', expected 'cpu'; take backend='torch'")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False  # a plan for each shape: 180 MB more, and no faster
        options.log_severity_level = 3
        self.workers = _cores()
        content = checkpoint.read_file(ONNX_FILE)
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            names = {node.name for node in self._session.get_inputs()}
        except Exception as error:  # onnxruntime's own classes share no base but Exception
            raise CheckpointError(
                f"{checkpoint.folder / ONNX_FILE}: onnxruntime refuses it: {error}"
            ) from None
        if names != {"input_ids", "attention_mask"}:
            raise CheckpointError(
                f"{checkpoint.folder / ONNX_FILE}: found inputs {sorted(names)}, expected input_ids and "
                "attention_mask; export it with training/export.py"
            )

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        (result,) = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(result, dtype=np.float32)


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
        if "auto_map" in config:
            raise CheckpointError(f"{path}: found 'auto_map', code to run from the checkpoint; it is refused")
        try:
            weights = safetensors.torch.load(checkpoint.read_file(WEIGHTS_FILE))
            model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config))
            model.load_state_dict({name: value.float() for name, value in weights.items()})
        except CheckpointError:
            raise
        except (safetensors.SafetensorError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: config and weights do not make a model: {error}") from None
        if model.config.num_labels != len(LABELS):
            raise CheckpointError(f"{path}: found {model.config.num_labels} labels, expected {len(LABELS)}")
        self._torch, self._device = torch, chosen
        self._model = model.eval().to(chosen, torch.bfloat16 if chosen == "cuda" else torch.float32)
        self.batch_tokens = 65_536 if chosen == "cuda" else 4096

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        torch = self._torch
        with torch.inference_mode():
            output = self._model(
                input_ids=torch.from_numpy(ids).to(self._device),
                attention_mask=torch.from_numpy(mask).to(self._device),
            )
        return output.logits.float().cpu().numpy()


def _cores() -> int:
    """The cores that this process may use, which containers and taskset make fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
