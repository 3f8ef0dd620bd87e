"""Encoding with ONNX Runtime on a CPU: no torch in the process, ready in a fraction of a second.

The ONNX file is made from a folder of weights, once for each set of weights. That needs torch and half a gigabyte, so
a process of its own does it, ``python -m nextlabel.backend.encoders.onnx``, but where torch is loaded already.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import numpy as np

from nextlabel.backend.files import atomic_path
from nextlabel.backend.lifeline import end_with
from nextlabel.backend.plugins import first_line
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

from .base import EncoderSpec, FloatMatrix, installed, need, torch_is_loaded
from .elsewhere import Ended, refuse, run_elsewhere
from .library import read_json
from .model_folder import ModelFolder, read_folder
from .tokenizer import Tokeniser, batches_by_length, encode_windows, pad
from .torch import pooled_model

Precision: TypeAlias = Literal["fp32", "int8"]
RECIPE = "v2"  # changes whenever the same weights would give another file
OPSET = 17
SECONDS = 900  # an export that takes longer hangs
LARGEST_DIFFERENCE = 1e-3  # of an entry of a unit vector in full precision
LENGTHS = (3, 5, 40, 130, 300)  # tokens that a file is checked with, beside those that it was made with
LONGEST_CHECKED = 600
SMALLEST_LIKENESS = 0.9  # mean cosine to the full-precision vectors under which 8 bits are refused
SAMPLE = (
    "The quick brown fox jumps over the lazy dog.",
    "Shares fell by 3% after the company cut its forecast for the year, citing weak demand in Europe.",
    "I can't believe how rude that was!",
    "",
)
NEEDED = ("onnx", "onnxruntime")
PREPARING = "preparing %s for ONNX Runtime (%s); this is done once"
log = logging.getLogger(__name__)

# Texts of like length that share a run. With 8-bit activations a run has one scale for all that is in it, so a
# text's vector would depend on its neighbours: alone, it is always the same, and nothing is padded.
BATCH = {"fp32": 8, "int8": 1}
_EXPORTING = threading.Lock()


def onnx_file(folder: ModelFolder, precision: Precision, cache: Path) -> Path:
    """Where the ONNX file of this model in this precision is kept."""
    return cache / "onnx" / f"{folder.kind(cache)}-{RECIPE}-{precision}.onnx"


def exported(folder: ModelFolder, precision: Precision, cache: Path) -> Path:
    """The ONNX file of this model in this precision, made now if it is not there yet.

    Two processes may do this at once. Raises LearningError if the model can't be exported, or if 8 bits change
    its vectors too much; MissingExtra without torch, transformers or onnx (needed the first time only).
    """
    target = onnx_file(folder, precision, cache)
    if target.is_file():
        return target
    refusal = target.with_suffix(".refused")
    if refusal.is_file():
        raise LearningError(refusal.read_text(encoding="utf-8"))
    need("torch", "transformers", "onnx")
    log.info(PREPARING, folder.name, precision)
    if torch_is_loaded():
        with _EXPORTING:  # the tracer has one state for the whole process
            fault = _fault_here(folder, precision, cache)
    else:
        fault = _fault_elsewhere(folder, precision, cache)
    if refusal.is_file():
        raise LearningError(refusal.read_text(encoding="utf-8"))
    if fault or not target.is_file():
        raise LearningError(f"{folder.name} can't be exported to ONNX ({fault}); engine 'torch' may still work")
    return target


def _fault_here(folder: ModelFolder, precision: Precision, cache: Path) -> str:
    """Do the export in this process; why it failed, or empty."""
    try:
        export_to(cache, folder, precision)
    except Exception as error:  # of torch, onnx or ONNX Runtime, whatever the model's own class makes them raise
        return first_line(error)
    return ""


def read_and_export(path: Path, spec: EncoderSpec, precision: Precision) -> None:
    """Have one process find out how a new model reads texts and make its ONNX file, where two would load torch twice.

    Nothing is done where torch is here, nor without the libraries: whoever needs the one or the other asks for it.
    ``path`` is the model's folder, ``spec`` says how it is read. Raises LearningError if it can't be used.
    """
    if torch_is_loaded() or not all(map(installed, ("torch", "transformers", "sentence_transformers", *NEEDED))):
        return
    log.info(PREPARING, spec.name, precision)
    done = _elsewhere(path, spec.max_length, spec.prompt, precision, spec.cache)
    if done.refused:
        raise LearningError(done.reason)


def _fault_elsewhere(folder: ModelFolder, precision: Precision, cache: Path) -> str:
    """Have another process do the export; why it failed, or empty."""
    done = _elsewhere(folder.path, folder.max_length, folder.prompt, precision, cache)
    return done.reason if done.failed else ""


def _elsewhere(path: Path, max_length: int | None, prompt: str | None, precision: Precision, cache: Path) -> Ended:
    order = {"path": str(path), "max_length": max_length, "prompt": prompt, "cache": str(cache)}
    order |= {"precision": precision, "parent": os.getpid()}
    return run_elsewhere("nextlabel.backend.encoders.onnx", json.dumps(order), seconds=SECONDS)


def export_to(cache: Path, folder: ModelFolder, precision: Precision) -> None:
    """Do the export in this process. Where 8 bits are refused the file in full precision is made, which is next."""
    export(folder, {precision: onnx_file(folder, precision, cache)}, instead=onnx_file(folder, "fp32", cache))


def export(folder: ModelFolder, targets: Mapping[Precision, Path], instead: Path | None = None) -> None:
    """Do the export in this process, once for all precisions. Leaves each target, or the reason beside it as .refused.

    ``targets``: where the file of a precision is to be. ``instead``: where the one in full precision is put if 8 bits
    change the vectors too much.
    """
    with TemporaryDirectory(prefix="nextlabel-onnx-") as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about every shape that it takes for constant
        plain, network = Path(work) / "plain.onnx", pooled_model(folder, attention="eager")
        rows = lengths_of(_trace(folder, network, plain), folder)
        expected = vectors_of(network, rows)
        fault = tracing_fault(plain, rows, expected)
        for precision, target in targets.items():
            reason, made = fault, plain
            if not reason and precision == "int8":
                made = _quantised(plain, Path(work), folder)
                likeness = float((expected * _alone(open_session(made, 1), rows)).sum(axis=1).mean())
                if likeness < SMALLEST_LIKENESS:
                    reason = f"8-bit vectors are only {likeness:.2f} alike to torch's"
            target.parent.mkdir(parents=True, exist_ok=True)
            if reason:
                advice = "use engine 'onnx' or 'torch'" if precision == "int8" else "use engine 'torch'"
                target.with_suffix(".refused").write_text(f"{folder.name}: {reason}; {advice}", encoding="utf-8")
                if fault or instead is None or instead.is_file():
                    continue
                target, made = instead, plain
            with atomic_path(target) as temporary:
                temporary.write_bytes(made.read_bytes())


def lengths_of(rows: Sequence[list[int]], folder: ModelFolder) -> list[list[int]]:
    """``rows`` of token ids, and others made of them that are shorter and longer, up to the longest of ``folder``."""
    longest = max(rows, key=len)
    first, *inner, last = longest if len(longest) > 2 else longest * 3
    most = min(folder.reading.limit or LONGEST_CHECKED, LONGEST_CHECKED)
    lengths = sorted({length for length in (*LENGTHS, most) if length <= most})
    return [*rows, *([first, *islice(cycle(inner), length - 2), last] for length in lengths)]


def vectors_of(network: Any, rows: Sequence[list[int]]) -> FloatMatrix:
    """What a network of torch's makes of token ids, each row alone: float32 [n, d]."""
    import torch

    with torch.inference_mode():
        found = [network(*map(torch.from_numpy, pad([row]))).numpy() for row in rows]
    return np.concatenate(found)


def tracing_fault(file: Path, rows: Sequence[list[int]], expected: FloatMatrix) -> str:
    """Why ``file``, made by tracing, isn't what was traced, float32 [n, d] for ``rows``; empty if it is.

    What the tracer took for constant shows with other lengths and batches than its own.
    """
    session = open_session(file, 1)
    try:
        found = [_alone(session, rows), _run(session, rows[::-1])[::-1]]
    except Exception as error:  # of ONNX Runtime, which has classes for each status and no common one
        return f"the ONNX file takes no texts of another length than it was made with ({first_line(error)})"
    worst = max(float(np.abs(one - expected).max()) for one in found)
    return "" if worst <= LARGEST_DIFFERENCE else f"vectors from ONNX differ from torch's by {worst:.1g}"


def _alone(session: Any, rows: Sequence[list[int]]) -> FloatMatrix:
    return np.concatenate([_run(session, [row]) for row in rows])


def _trace(folder: ModelFolder, network: Any, file: Path) -> list[list[int]]:
    """Write the model's ``network`` as plain ONNX, and return the token ids that it was traced with."""
    import torch

    rows = Tokeniser(folder)(SAMPLE)
    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            network,
            tuple(torch.from_numpy(part) for part in pad(rows)),
            str(file),
            dynamo=False,  # the tracer's graph is the one whose patterns the BERT fusions know
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "vectors": {0: "texts"}},
        )
    return rows


def _quantised(plain: Path, work: Path, folder: ModelFolder) -> Path:
    """Weights and activations in 8 bits, after fusing attention into one operator where the patterns match."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    source = plain
    config = read_json(folder.body / "config.json")
    heads = config.get("num_attention_heads", 0)  # 0 lets the optimizer guess, which it does not do for every layer
    try:
        fused = optimizer.optimize_model(str(plain), "bert", num_heads=heads, hidden_size=folder.width)
        fused.save_model_to_file(str(work / "fused.onnx"))
        source = work / "fused.onnx"
    except Exception as error:  # an architecture whose patterns it trips over: slower, not wrong
        log.warning("attention was not fused: %s", str(error))  # whoever keeps the log keeps no folders of it
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
        self._tokenise = Tokeniser(folder)
        self._batch = BATCH[precision]
        self._threads = threads
        self._narrow = open_session(self._file, 1)
        self._wide = self._narrow if threads == 1 else open_session(self._file, threads)
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


def open_session(file: Path, threads: int) -> Any:
    """A session of ONNX Runtime on the CPU."""
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


def main(order: dict[str, Any]) -> int:
    """Read a model and export it; one that can't be used is refused. See _elsewhere()."""
    end_with(order["parent"])
    import torch  # noqa: F401  # where it is loaded, a model that is new is read in the same process

    reads = {name: order[name] for name in ("max_length", "prompt")}
    try:
        folder = read_folder(Path(order["path"]), **reads, cache=Path(order["cache"]))
    except LearningError as error:
        return refuse(error)
    export_to(Path(order["cache"]), folder, order["precision"])
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
