"""A trained model for others to use: a folder that transformers loads, an ONNX file, or the folder as we have it.

What is written is loaded again and compared with our own probabilities before it appears: a folder is there whole, or
not at all, and never says something else than the model that it was made of.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.card import ModelCard, read_or_make_card
from nextlabel.backend.learning.export_files import ONNX_USAGE, need, new_folder, pipeline_usage, write_tokenizer
from nextlabel.backend.learning.extra_layer import layer_count_name, lost_direction, obstacle, write_extra_layer
from nextlabel.backend.learning.label_names import LABELS_FILE
from nextlabel.backend.learning.model_folder import LEARNED, POOLER_FILE, ModelFolder, read_folder
from nextlabel.backend.learning.multimodal.fused import fused_on, is_fused
from nextlabel.backend.learning.onnx_classifier import run_onnx, trace_classifier
from nextlabel.backend.learning.onnx_export import SAMPLE
from nextlabel.backend.learning.pooled_model import load_body, pooled_model
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.spans.export import export_spans, is_span_model
from nextlabel.backend.learning.tokenising import Tokeniser, batches_by_length, pad, tokenizer_file
from nextlabel.backend.learning.training.saving import HEAD_FILE
from nextlabel.connectors.errors import LearningError

Format: TypeAlias = Literal["transformers", "nextlabel", "onnx"]
Form: TypeAlias = Literal["transformers", "custom-code", "nextlabel", "onnx"]

LARGEST_DIFFERENCE = 1e-3  # of any probability of any text
FEWEST_TEXTS = 64  # fewer are topped up with texts of random tokens
MOST_TEXTS = 512
BATCH = 32
MODELLING_FILE = "modeling_nextlabel.py"

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Exported:
    """``difference``: the largest of a probability from ours, over ``texts`` texts; ``note`` is for the reader."""

    path: Path
    form: Form
    difference: float
    texts: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Model:
    """Everything that the folder of a trained model holds."""

    folder: ModelFolder
    head: Probe
    labels: tuple[str, ...]
    card: ModelCard
    tokenizer: Path


def export_model(folder: Path, out: Path, form: Format = "transformers", texts: Sequence[str] = ()) -> Exported:
    """Write the trained model in ``folder`` to the new folder ``out``. ``texts``: some of the kind it is for.

    Raises LearningError if the model can't be read or written so, or ``out`` is there; MissingExtra without torch.
    """
    if form != "nextlabel" and is_fused(folder):
        raise LearningError(
            f"{folder.name} is a head on the vectors of a text and an image encoder, which no {form} pipeline for "
            "texts holds; take --format nextlabel: the head, and the name of the encoder that it goes with"
        )
    if is_span_model(folder):
        return Exported(out, form, 0.0, 0, export_spans(folder, out, form))
    writers: dict[Format, Callable[..., Exported]] = {
        "transformers": export_transformers,
        "nextlabel": lambda folder, out, texts: export_nextlabel(folder, out),
        "onnx": export_onnx,
    }
    return writers[form](folder, out, texts)


def export_transformers(folder: Path, out: Path, texts: Sequence[str] = (), *, allow_code: bool = True) -> Exported:
    """A folder for ``pipeline("text-classification", model=out)``.

    BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA and DistilBERT with mean or cls pooling become transformers' own classes,
    with one more layer (see extra_layer). Others, and those whose probabilities would differ by more than
    LARGEST_DIFFERENCE, come with a modelling file of ours and load with ``trust_remote_code=True``, unless
    ``allow_code`` is false. Errors as in export_model.
    """
    need("torch", "transformers")
    with new_folder(out) as work, TemporaryDirectory() as scratch:
        model = _read(folder, Path(scratch))
        ids = Tokeniser(model.folder, Path(scratch))(_sample(model, texts))
        vectors = _vectors(model.folder, ids)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        form: Form = "transformers"
        reason, difference = obstacle(config, model.folder.pooling), float("nan")
        if not reason:
            _write_plain(model, work, vectors[::2])  # chosen on one half, checked on the other
            difference = _difference(model, work, vectors[1::2], ids[1::2])
            if not difference <= LARGEST_DIFFERENCE:
                reason = f"in transformers' own classes a probability would differ by {difference:.1g}"
        if reason and not allow_code:
            raise LearningError(f"{folder} can't be exported without code of its own: {reason}")
        if reason:
            shutil.rmtree(work)
            work.mkdir()
            form = "custom-code"
            _write_custom(model, config, work)
            difference = _difference(model, work, vectors[1::2], ids[1::2])
        if not difference <= LARGEST_DIFFERENCE:
            raise LearningError(f"{folder} was exported, but a probability differs by {difference:.1g}: not kept")
        write_tokenizer(model.folder, model.tokenizer, work)
        needs = [f"Loads with `trust_remote_code=True` only: {reason}."] if reason else []
        note = " ".join([*needs, *_first_window(model)])
        (work / "README.md").write_text(model.card.page(pipeline_usage(bool(reason)), note), encoding="utf-8")
    return Exported(out, form, difference, len(ids) // 2, note)


def export_nextlabel(folder: Path, out: Path) -> Exported:
    """A copy of the folder, as nextlabel and sentence-transformers (the encoder) read it. Errors as in export_model."""
    with new_folder(out) as work, TemporaryDirectory() as scratch:
        if not is_fused(folder):
            _read(folder, Path(scratch))
        shutil.copytree(folder, work, dirs_exist_ok=True)
    note = f"Goes with the encoder {fused_on(folder)}, which is not in the folder." if is_fused(folder) else ""
    return Exported(out, "nextlabel", 0.0, 0, note)


def export_onnx(folder: Path, out: Path, texts: Sequence[str] = ()) -> Exported:
    """model.onnx: (input_ids, attention_mask), int64 [b, t] -> probabilities float32 [b, c]; with the tokenizer.

    Errors as in export_model.
    """
    need("torch", "transformers", "onnx", "onnxruntime")
    with new_folder(out) as work, TemporaryDirectory() as scratch:
        model = _read(folder, Path(scratch))
        ids = Tokeniser(model.folder, Path(scratch))(_sample(model, texts))
        trace_classifier(model.folder, model.head, work / "model.onnx", ids[:4])
        found = run_onnx(work / "model.onnx", ids, len(model.labels))
        difference = float(np.abs(found - model.head.predict_proba(_vectors(model.folder, ids))).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise LearningError(f"{folder} was exported, but a probability differs by {difference:.1g}: not kept")
        write_tokenizer(model.folder, model.tokenizer, work)
        shutil.copyfile(folder / LABELS_FILE, work / LABELS_FILE)
        note = " ".join(_first_window(model))
        (work / "README.md").write_text(model.card.page(ONNX_USAGE, note), encoding="utf-8")
    return Exported(out, "onnx", difference, len(ids), note)


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(folder: Path, scratch: Path) -> _Model:
    described = read_folder(folder)
    head = Probe.load(folder / HEAD_FILE)
    try:
        names = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
        labels, multi_label = tuple(map(str, names["labels"])), bool(names["multi_label"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LearningError(f"{folder / LABELS_FILE} can't be read: {error}") from error
    shape = (len(labels), described.dimension)
    if head.weights.shape != shape or head.multi_label != multi_label:
        raise LearningError(f"{folder}: the head is {list(head.weights.shape)}, the labels and the body {list(shape)}")
    if head.names != labels:
        raise LearningError(f"{folder}: the head knows {', '.join(head.names)}; {LABELS_FILE} says {', '.join(labels)}")
    card = read_or_make_card(folder, labels, multi_label)
    return _Model(described, head, labels, card, tokenizer_file(described, scratch))


def _sample(model: _Model, texts: Sequence[str]) -> list[str]:
    """``texts``, some fixed ones, and random tokens if these are few."""
    from tokenizers import Tokenizer

    chosen = [*dict.fromkeys(texts)][:MOST_TEXTS] + list(SAMPLE)
    rng, tokenizer = np.random.default_rng(0), Tokenizer.from_file(str(model.tokenizer))
    while len(chosen) < FEWEST_TEXTS:
        chosen.append(tokenizer.decode(rng.integers(0, tokenizer.get_vocab_size(), rng.integers(1, 40)).tolist()))
    return chosen


def _vectors(folder: ModelFolder, ids: Sequence[Sequence[int]]) -> Matrix:
    """Unit vectors float32 [n, d] from our own network."""
    model = pooled_model(folder)
    return _in_batches(ids, folder.dimension, lambda *batch: model(*batch))


def _in_batches(ids: Sequence[Sequence[int]], width: int, run: Callable[..., Any]) -> Matrix:
    import torch

    out = np.empty((len(ids), width), np.float32)
    for batch in batches_by_length(ids, BATCH):
        with torch.inference_mode():
            out[batch] = run(*map(torch.from_numpy, pad([ids[row] for row in batch]))).numpy()
    return out


def _difference(model: _Model, out: Path, vectors: Matrix, ids: Sequence[Sequence[int]]) -> float:
    """How far the classifier in ``out`` is from our probabilities."""
    import torch
    from transformers import AutoModelForSequenceClassification

    kind: Any = AutoModelForSequenceClassification
    if (out / MODELLING_FILE).is_file():
        from nextlabel.backend.learning.hub_model import NextlabelForSequenceClassification

        kind = NextlabelForSequenceClassification
    theirs = kind.from_pretrained(out, local_files_only=True, use_safetensors=True, dtype=torch.float32).eval()

    def probabilities(input_ids: Any, attention_mask: Any) -> Any:
        logits = theirs(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits.sigmoid() if model.head.multi_label else logits.softmax(-1)

    found = _in_batches(ids, len(model.labels), probabilities)
    return float(np.abs(found - model.head.predict_proba(vectors)).max())


def _first_window(model: _Model) -> list[str]:
    """What a reader has to know where the model itself reads more of a text than the exported folder can."""
    if model.card.windows == 1:
        return []
    length = model.folder.max_length
    return [
        f"This folder reads the first {length} tokens of a text. nextlabel reads up to {model.card.windows} windows of "
        f"{length} tokens and pools them, so its probabilities, and the figures below, differ for longer texts."
    ]


# -- writing ---------------------------------------------------------------------------------------------------------


def _classes(model: _Model) -> dict[str, Any]:
    """The part of a configuration that is about labels."""
    return {
        "id2label": dict(enumerate(model.labels)),
        "label2id": {label: i for i, label in enumerate(model.labels)},
        "problem_type": "multi_label_classification" if model.head.multi_label else "single_label_classification",
    }


def _write_plain(model: _Model, out: Path, vectors: Matrix) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    body = load_body(model.folder, attention="eager")
    config = AutoConfig.from_pretrained(model.folder.path, local_files_only=True, **_classes(model))
    count = layer_count_name(config.to_dict())
    setattr(config, count, getattr(config, count) + 1)
    config.dtype = torch.float32
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    base = getattr(classifier, classifier.base_model_prefix)
    unknown = [
        name for name in base.load_state_dict(body.state_dict(), strict=False).unexpected_keys if "pooler" not in name
    ]
    if unknown:
        raise LearningError(
            f"{model.folder.path} has weights that {type(classifier).__name__} has no place for: {unknown}"
        )
    q, kept = lost_direction(body, model.head, vectors.astype(np.float64))
    write_extra_layer(classifier, cast(Any, model.folder.pooling), model.head, q, kept)
    classifier.save_pretrained(out)


def _write_custom(model: _Model, config: dict[str, Any], out: Path) -> None:
    import torch
    from transformers import AutoConfig

    from nextlabel.backend.learning import hub_model

    encoder = AutoConfig.from_pretrained(model.folder.path, local_files_only=True).to_diff_dict()
    settings = hub_model.NextlabelConfig(
        encoder={**encoder, "model_type": config["model_type"]},
        pooling=model.folder.pooling,
        architectures=["NextlabelForSequenceClassification"],
        auto_map={
            "AutoConfig": "modeling_nextlabel.NextlabelConfig",
            "AutoModelForSequenceClassification": "modeling_nextlabel.NextlabelForSequenceClassification",
        },
        **_classes(model),
    )
    classifier = hub_model.NextlabelForSequenceClassification(settings).eval()
    body = load_body(model.folder, attention="eager")
    classifier.encoder.load_state_dict(body.state_dict())
    if model.folder.pooling in LEARNED:
        from safetensors.torch import load_file

        classifier.pooler.load_state_dict(load_file(model.folder.path / POOLER_FILE))
    with torch.no_grad():
        classifier.classifier.weight.copy_(torch.from_numpy(model.head.weights / np.float32(model.head.temperature)))
        classifier.classifier.bias.copy_(torch.from_numpy(model.head.bias / np.float32(model.head.temperature)))
    classifier.save_pretrained(out)
    shutil.copyfile(Path(hub_model.__file__), out / MODELLING_FILE)
