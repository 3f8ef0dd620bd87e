"""Encoding with ONNX Runtime on a CPU: no torch in the process, ready in a fraction of a second.

The ONNX file is made from a folder of weights, once for each set of weights. That needs torch and half a gigabyte, so
a process of its own does it: ``python -m nextlabel.backend.encoders.onnx``.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import numpy as np

from nextlabel.backend.files import atomic_path
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

from .base import FloatMatrix, need
from .model_folder import ModelFolder
from .tokenizer import Tokeniser, batches_by_length, encode_windows, pad
from .torch import pooled_model

Precision: TypeAlias = Literal["fp32", "int8"]
RECIPE = "v2"  # changes whenever the same weights would give another file
OPSET = 17
SECONDS = 900  # an export that takes longer hangs
SMALLEST_LIKENESS = 0.9  # mean cosine to the full-precision vectors under which 8 bits are refused
SAMPLE = (
    "The quick brown fox jumps over the lazy dog.",
    "Shares fell by 3% after the company cut its forecast for the year, citing weak demand in Europe.",
    "I can't believe how rude that was!",
    "",
)
log = logging.getLogger(__name__)

# Texts of like length that share a run. With 8-bit activations a run has one scale for all that is in it, so a
# text's vector would depend on its neighbours: alone, it is always the same, and nothing is padded.
BATCH = {"fp32": 8, "int8": 1}


def exported(folder: ModelFolder, precision: Precision, cache: Path) -> Path:
    """The ONNX file of this model in this precision, made now if it is not there yet.

    Two processes may do this at once. Raises LearningError if the model can't be exported, or if 8 bits change
    its vectors too much; MissingExtra without torch, transformers or onnx (needed the first time only).
    """
    target = cache / "onnx" / f"{folder.digest(cache)}-{folder.pooling}-{RECIPE}-{precision}.onnx"
    if target.is_file():
        return target
    refusal = target.with_suffix(".refused")
    if refusal.is_file():
        raise LearningError(refusal.read_text(encoding="utf-8"))
    need("torch", "transformers", "onnx")
    log.info("preparing %s for ONNX Runtime (%s); this is done once", folder.name, precision)
    order = {"folder": {**asdict(folder), "path": str(folder.path)}, "precision": precision, "target": str(target)}
    done = subprocess.run(  # the same interpreter and environment as ours
        [sys.executable, "-m", "nextlabel.backend.encoders.onnx", json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if refusal.is_file():
        raise LearningError(refusal.read_text(encoding="utf-8"))
    if done.returncode != 0 or not target.is_file():
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise LearningError(f"{folder.name} can't be exported to ONNX ({reason}); engine 'torch' may still work")
    return target


def export(folder: ModelFolder, precision: Precision, target: Path) -> None:
    """Do the export in this process. Leaves either ``target``, or the reason beside it as ``.refused``."""
    with TemporaryDirectory(prefix="nextlabel-onnx-") as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about every shape that it takes for constant
        plain = Path(work) / "plain.onnx"
        expected = _trace(folder, plain)
        made = plain if precision == "fp32" else _quantised(plain, Path(work), folder)
        likeness = float((expected * _run(_session(made, 1), _sample(folder))).sum(axis=1).mean())
        if not likeness >= SMALLEST_LIKENESS:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_suffix(".refused").write_text(
                f"{folder.name}: {precision} vectors from ONNX are only {likeness:.2f} alike to torch's; "
                "use engine 'onnx' or 'torch'",
                encoding="utf-8",
            )
            return
        with atomic_path(target) as temporary:
            temporary.write_bytes(made.read_bytes())


def _sample(folder: ModelFolder) -> list[list[int]]:
    with TemporaryDirectory() as scratch:
        return Tokeniser(folder, Path(scratch))(SAMPLE)


def _trace(folder: ModelFolder, file: Path) -> Any:
    """Write the model as plain ONNX and return torch's own vectors of the sample, float32 [4, d]."""
    import torch

    model = pooled_model(folder)
    inputs = tuple(torch.from_numpy(part) for part in pad(_sample(folder)))
    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            model,
            inputs,
            str(file),
            dynamo=False,  # the tracer's graph is the one whose patterns the BERT fusions know
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "vectors": {0: "texts"}},
        )
        return model(*inputs).numpy()


def _quantised(plain: Path, work: Path, folder: ModelFolder) -> Path:
    """Weights and activations in 8 bits, after fusing attention into one operator where the patterns match."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    source = plain
    config = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    heads = config.get("num_attention_heads", 0)  # 0 lets the optimizer guess, which it does not do for every layer
    try:
        fused = optimizer.optimize_model(str(plain), "bert", num_heads=heads, hidden_size=folder.dimension)
        fused.save_model_to_file(str(work / "fused.onnx"))
        source = work / "fused.onnx"
    except Exception as error:  # an architecture whose patterns it trips over: slower, not wrong
        log.warning("attention was not fused: %s", error)
    # One scale per column: with one scale per matrix the vectors of MiniLM fall from 0.99 to 0.95 alike.
    # DefaultTensorType (1 is float): after the fusion some tensors have no recorded type.
    target = work / "int8.onnx"
    quantize_dynamic(
        str(source), str(target), per_channel=True, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
    return target


class OnnxEncoder:
    """Encodes with ONNX Runtime.

    Many texts are spread over ``threads`` single-threaded runs at a time, which is faster than sharing the
    cores inside one run; a lone text gets all the cores.
    """

    def __init__(self, folder: ModelFolder, precision: Precision, cache: Path, *, threads: int) -> None:
        self.name = folder.name
        self.dimension = folder.dimension
        self.fingerprint = folder.fingerprint(cache, f"onnx-{precision}-{RECIPE}")
        self._file = exported(folder, precision, cache)
        self._tokenise = Tokeniser(folder, cache)
        self._batch = BATCH[precision]
        self._threads = threads
        self._narrow = _session(self._file, 1)
        self._wide = self._narrow if threads == 1 else _session(self._file, threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder."""
        return encode_windows(texts, self._tokenise, self._forward, self.dimension)

    def _forward(self, rows: list[list[int]]) -> FloatMatrix:
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        batches = batches_by_length(rows, self._batch)
        if len(batches) == 1:
            vectors[batches[0]] = _run(self._wide, [rows[index] for index in batches[0]])
        elif batches:
            self._spread(deque(batches), rows, vectors)
        return vectors

    def _spread(self, batches: deque[list[int]], rows: list[list[int]], vectors: FloatMatrix) -> None:
        failed = threading.Event()

        def work() -> None:
            while not failed.is_set():
                try:
                    batch = batches.popleft()
                except IndexError:
                    return
                try:
                    vectors[batch] = _run(self._narrow, [rows[index] for index in batch])
                except BaseException:
                    failed.set()
                    raise

        for done in [self._pool.submit(work) for _ in range(min(self._threads, len(batches)))]:
            done.result()


def _session(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that spin while they wait for the next run take the cores from everything else that serves a request.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _run(session: Any, rows: Sequence[Sequence[int]]) -> FloatMatrix:
    ids, mask = pad(rows)
    vectors: FloatMatrix = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    return vectors


def main() -> None:
    """Carry out the order in the first argument (JSON); see exported()."""
    order = json.loads(sys.argv[1])
    folder = ModelFolder(**{**order["folder"], "path": Path(order["folder"]["path"])})
    export(folder, order["precision"], Path(order["target"]))


if __name__ == "__main__":
    main()
