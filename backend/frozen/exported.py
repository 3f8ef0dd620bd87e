"""The ONNX file that ``nextlabel models export --format onnx`` writes: probabilities without torch in the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import activation_in
from nextlabel.backend.encoders.base import need, usable_cores
from nextlabel.backend.encoders.library import read_json
from nextlabel.backend.encoders.onnx import open_session
from nextlabel.backend.encoders.tokenizer import clean_text
from nextlabel.backend.models.export.export import in_batches
from nextlabel.backend.models.probe import LABELS_FILE
from nextlabel.backend.questions import question_of
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling

from .base import FrozenModel

MODEL_FILE = "model.onnx"


def is_exported(folder: Path) -> bool:
    """Whether it holds such a file, and the names of its labels."""
    return (folder / MODEL_FILE).is_file() and (folder / LABELS_FILE).is_file()


def open_exported(folder: Path, threads: int | None = None) -> FrozenModel:
    """The model in ``folder``. Raises LearningError if a file of it can't be read, MissingExtra."""
    need("onnxruntime", "tokenizers")
    from tokenizers import Tokenizer

    written = read_json(folder / LABELS_FILE)
    settings = read_json(folder / "tokenizer_config.json")
    try:
        question = question_of(Labeling(activation_in(written).kind, tuple(written["labels"])))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(settings["model_max_length"], direction=settings["truncation_side"])
        session = open_session(folder / MODEL_FILE, threads or usable_cores())
    except Exception as error:  # a file that one of the libraries can't make sense of
        raise LearningError(f"{folder} can't be read as an exported model: {error}") from error
    reader = _Session(tokenizer, session, len(question.labeling.labels))
    return FrozenModel(folder.name, question, reader, made_of=f"{folder}, an ONNX file")


@dataclass(frozen=True, slots=True)
class _Session:
    """Texts to probabilities float32 [n, c]."""

    tokenizer: Any
    session: Any
    classes: int

    def __call__(self, contents: Sequence[Readable]) -> npt.NDArray[np.float32]:
        texts = [clean_text(text_of(one)) for one in contents]
        rows = [encoding.ids or [0] for encoding in self.tokenizer.encode_batch(texts)]
        return in_batches(rows, self.classes, self._run)

    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return found
