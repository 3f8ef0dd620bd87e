"""Encoding with ONNX Runtime on a CPU: no torch in the process, ready in a fraction of a second."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.learning.encoders import FloatMatrix
from nextlabel.backend.learning.model_folder import ModelFolder
from nextlabel.backend.learning.onnx_export import RECIPE, Precision, exported
from nextlabel.backend.learning.tokenising import Tokeniser, batches_by_length, pad
from nextlabel.backend.learning.windows import encode_windows

# Texts of like length that share a run. With 8-bit activations a run has one scale for all that is in it, so a
# text's vector would depend on its neighbours: alone, it is always the same, and nothing is padded.
BATCH = {"fp32": 8, "int8": 1}


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

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
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
