"""A trained model for others to use: a folder that transformers loads, an ONNX file, or the folder as we have it.

What is written is loaded again and compared with our own probabilities before it appears: a folder is there whole, or
not at all, and never says something else than the model that it was made of. Beside the weights it holds the tokenizer
and a page on how to use the model. A probe is laid out with the encoder whose vectors it reads as one trained model.

The folder of a fine-tuned span model is one for ``pipeline("token-classification")`` already: its own classifier goes
with it. In the loop a probe stands in its place, refitted after every answer: that one is not exported, since a
pipeline has no place for the neighbours that it reads each token with.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SOFTMAX, activation_in
from nextlabel.backend.encoders.base import need
from nextlabel.backend.encoders.fusion import fused_on, is_fused, own_sides
from nextlabel.backend.encoders.heads import OWN_HEAD, saved_head
from nextlabel.backend.encoders.library import POOLER_FILE
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.encoders.network import LEARNED, POOLINGS
from nextlabel.backend.encoders.onnx import OPSET, SAMPLE, lengths_of, tracing_fault
from nextlabel.backend.encoders.tokenizer import Tokeniser, batches_by_length, pad
from nextlabel.backend.encoders.torch import load_body, pooled_model
from nextlabel.backend.models.card import PAGE_FILE, ModelCard, read_or_make_card
from nextlabel.backend.models.probe import CARD_FILE, LABELS_FILE, Probe
from nextlabel.backend.models.saving import HEAD_FILE, TRAINING_FILE
from nextlabel.backend.models.spans.encoder import LAYER_FILE
from nextlabel.backend.models.spans.model import SpanModel
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

from .extra_layer import obstacle, write_with_layer
from .folder import check_tokens, new_folder, write_tokenizer
from .usage import NOTE, ONNX_USAGE, USAGE, pipeline_usage

_OURS = {HEAD_FILE, LABELS_FILE, TRAINING_FILE, CARD_FILE, PAGE_FILE, LAYER_FILE}
Format: TypeAlias = Literal["transformers", "nextlabel", "onnx"]
ExportFormat: TypeAlias = Literal["transformers", "custom-code", "nextlabel", "onnx"]
LARGEST_DIFFERENCE = 1e-3  # of any probability of any text
FEWEST_TEXTS = 64  # fewer are topped up with texts of random tokens
MOST_TEXTS = 512
BATCH = 32
MODELLING_FILE = "modeling_nextlabel.py"
Matrix = npt.NDArray[np.float32]


def is_span_model(folder: Path) -> bool:
    """Whether the trained model in ``folder`` marks spans."""
    try:
        return bool(json.loads((folder / TRAINING_FILE).read_bytes())["kind"] == "spans")
    except (OSError, ValueError, TypeError, KeyError):
        return False


def export_spans(folder: Path, out: Path, form: str) -> str:
    """Write the model in ``folder`` to the new folder ``out``, and return a note for the reader.

    ``form`` as in export_model, whose errors these are. ``nextlabel`` copies the folder as it is.
    """
    if form == "onnx":
        raise LearningError(f"{folder.name} marks spans, and there is no ONNX form for it; take --format transformers")
    with new_folder(out) as work:
        for file in folder.iterdir():
            if file.is_file() and (form == "nextlabel" or file.name not in _OURS):
                shutil.copyfile(file, work / file.name)
        model = SpanModel.load(work)
        if form == "nextlabel":
            return ""
        card = replace(read_or_make_card(folder, model.labels, SOFTMAX), rung="spans")
        (work / PAGE_FILE).write_text(card.page(USAGE, NOTE), encoding="utf-8")
    return NOTE


@dataclass(frozen=True, slots=True)
class Exported:
    """``difference``: the largest of a probability from ours, over ``texts`` texts; ``note`` is for the reader."""

    path: Path
    form: ExportFormat
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


def export_model(folder: Path, out: Path, form: Format = "transformers", texts: Sequence[Readable] = ()) -> Exported:
    """Write the trained model in ``folder`` to the new folder ``out``. ``texts``: some of the kind it is for.

    Raises LearningError if the model can't be read or written so, or ``out`` is there; MissingExtra without torch.
    """
    if form != "nextlabel" and is_fused(folder):
        what = "with both encoders" if own_sides(folder) else "and the name of the encoder that it goes with"
        raise LearningError(
            f"{folder.name} is a head on the vectors of a text and an image encoder, which no {form} pipeline for "
            f"texts holds; take --format nextlabel: the head, {what}"
        )
    if is_span_model(folder):
        return Exported(out, form, 0.0, 0, export_spans(folder, out, form))
    writers: dict[Format, Callable[..., Exported]] = {
        "transformers": export_transformers,
        "nextlabel": lambda folder, out, texts: export_nextlabel(folder, out),
        "onnx": export_onnx,
    }
    return writers[form](folder, out, texts)


def export_transformers(
    folder: Path, out: Path, texts: Sequence[Readable] = (), *, allow_code: bool = True
) -> Exported:
    """A folder for ``pipeline("text-classification", model=out)``.

    BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA and DistilBERT with mean or cls pooling become transformers' own classes,
    with one more layer (see extra_layer). Others, and those whose probabilities would differ by more than
    LARGEST_DIFFERENCE, come with a modelling file of ours and load with ``trust_remote_code=True``, unless
    ``allow_code`` is false. Errors as in export_model.
    """
    need("torch", "transformers")
    with new_folder(out) as work:
        model = _read(folder)
        sample = _sample(model, texts)
        ids = Tokeniser(model.folder)(sample)
        vectors = _vectors(model.folder, ids)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        form: ExportFormat = "transformers"
        reason, difference = obstacle(config, model.folder.pooling), float("nan")
        if not reason:
            half = vectors[::2].astype(np.float64)  # chosen on one half, checked on the other
            write_with_layer(model.folder, model.head, _classes(model), half, work)
            difference = _difference(model, work, vectors[1::2], ids[1::2])
            if not difference <= LARGEST_DIFFERENCE:
                reason = f"in transformers' own classes a probability would differ by {difference:.1g}"
        if reason and not allow_code:
            raise LearningError(f"{folder} can't be exported without code of its own: {reason}")
        if reason and model.folder.pooling not in POOLINGS:
            raise LearningError(f"{folder} can't be exported so: {reason}; take --format onnx or nextlabel")
        if reason:
            shutil.rmtree(work)
            work.mkdir()
            form = "custom-code"
            _write_custom(model, config, work)
            difference = _difference(model, work, vectors[1::2], ids[1::2])
        needs = f"Loads with `trust_remote_code=True` only: {reason}." if reason else ""
        note = _finish(model, work, sample, difference, pipeline_usage(bool(reason)), needs)
    return Exported(out, form, difference, len(ids) // 2, note)


def export_nextlabel(folder: Path, out: Path) -> Exported:
    """A copy of the folder, as nextlabel and sentence-transformers (the encoder) read it. Errors as in export_model."""
    note = ""
    with new_folder(out) as work:
        if own_sides(folder):
            note = ""
        elif is_fused(folder):
            note = f"Goes with the encoder {fused_on(folder)}, which is not in the folder."
        elif _read(folder).folder.pooling == OWN_HEAD:
            head, package, _ = saved_head(folder)
            note = f"Needs the package {package}, whose head {head.name} it has; the package is not in the folder."
        shutil.copytree(folder, work, dirs_exist_ok=True)
    return Exported(out, "nextlabel", 0.0, 0, note)


def export_onnx(folder: Path, out: Path, texts: Sequence[Readable] = ()) -> Exported:
    """model.onnx: (input_ids, attention_mask), int64 [b, t] -> probabilities float32 [b, c]; with the tokenizer.

    Errors as in export_model.
    """
    need("torch", "transformers", "onnx", "onnxruntime")
    import onnxruntime

    with new_folder(out) as work:
        model = _read(folder)
        sample = _sample(model, texts)
        ids = Tokeniser(model.folder)(sample)
        _trace(model.folder, model.head, work / "model.onnx", ids[:4])
        rows = lengths_of(ids[:4], model.folder)
        expected = model.head.predict_proba(_vectors(model.folder, rows))
        if reason := tracing_fault(work / "model.onnx", rows, expected):
            raise LearningError(f"{folder} can't be exported to ONNX: {reason}")
        session = onnxruntime.InferenceSession(str(work / "model.onnx"), providers=["CPUExecutionProvider"])

        def run(input_ids: Matrix, attention_mask: Matrix) -> Any:
            return session.run(None, {"input_ids": input_ids, "attention_mask": attention_mask})[0]

        found = in_batches(ids, len(model.labels), run)
        difference = float(np.abs(found - model.head.predict_proba(_vectors(model.folder, ids))).max())
        note = _finish(model, work, sample, difference, ONNX_USAGE)
        shutil.copyfile(folder / LABELS_FILE, work / LABELS_FILE)
    return Exported(out, "onnx", difference, len(ids), note)


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(folder: Path) -> _Model:
    described = read_folder(folder)
    head = Probe.load(folder / HEAD_FILE)
    try:
        names = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
        labels, activation = tuple(map(str, names["labels"])), activation_in(names)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LearningError(f"{folder / LABELS_FILE} can't be read: {error}") from error
    shape = (len(labels), described.dimension)
    if head.weights.shape != shape or head.activation is not activation:
        raise LearningError(f"{folder}: the head is {list(head.weights.shape)}, the labels and the body {list(shape)}")
    if head.names != labels:
        raise LearningError(f"{folder}: the head knows {', '.join(head.names)}; {LABELS_FILE} says {', '.join(labels)}")
    card = read_or_make_card(folder, labels, activation)
    return _Model(described, head, labels, card)


def _sample(model: _Model, texts: Sequence[Readable]) -> list[Readable]:
    """``texts``, some fixed ones, and random tokens if these are few."""
    from tokenizers import Tokenizer

    chosen = [*dict.fromkeys(texts)][:MOST_TEXTS] + list(SAMPLE)
    rng, tokenizer = np.random.default_rng(0), Tokenizer.from_file(str(model.folder.tokenizer))
    while len(chosen) < FEWEST_TEXTS:
        chosen.append(tokenizer.decode(rng.integers(0, tokenizer.get_vocab_size(), rng.integers(1, 40)).tolist()))
    return chosen


def _vectors(folder: ModelFolder, ids: Sequence[Sequence[int]]) -> Matrix:
    """Unit vectors float32 [n, d] from our own network."""
    return in_batches(ids, folder.dimension, _on_arrays(pooled_model(folder, attention="eager")))


def _on_arrays(network: Callable[..., Any]) -> Callable[..., Matrix]:
    """A network of torch's as a function of arrays."""
    import torch

    def run(*batch: npt.NDArray[np.int64]) -> Matrix:
        with torch.inference_mode():
            found: Matrix = network(*map(torch.from_numpy, batch)).numpy()
        return found

    return run


def in_batches(ids: Sequence[Sequence[int]], width: int, run: Callable[..., Matrix]) -> Matrix:
    """float32 [n, width]: what ``run`` makes of token ids and mask, both int64 [b, t]."""
    out = np.empty((len(ids), width), np.float32)
    for batch in batches_by_length(ids, BATCH):
        out[batch] = run(*pad([ids[row] for row in batch]))
    return out


def _difference(model: _Model, out: Path, vectors: Matrix, ids: Sequence[Sequence[int]]) -> float:
    """How far the classifier in ``out`` is from our probabilities."""
    import torch
    from transformers import AutoModelForSequenceClassification

    kind: Any = AutoModelForSequenceClassification
    if (out / MODELLING_FILE).is_file():
        from .modeling_nextlabel import NextlabelForSequenceClassification

        kind = NextlabelForSequenceClassification
    theirs = kind.from_pretrained(out, local_files_only=True, use_safetensors=True, dtype=torch.float32).eval()

    def probabilities(input_ids: Any, attention_mask: Any) -> Any:
        logits = theirs(input_ids=input_ids, attention_mask=attention_mask).logits
        return model.head.output.of_tensor(logits)

    found = in_batches(ids, len(model.labels), _on_arrays(probabilities))
    return float(np.abs(found - model.head.predict_proba(vectors)).max())


# -- writing ---------------------------------------------------------------------------------------------------------


def _finish(
    model: _Model, out: Path, sample: Sequence[Readable], difference: float, usage: str, needs: str = ""
) -> str:
    """Write tokenizer and page beside the weights, and return the note on the page.

    The note says what a reader ``needs``, and where the model itself reads more of a text than the folder can. Raises
    LearningError for weights that say something else than ours, or a tokenizer that does of the ``sample``.
    """
    if not difference <= LARGEST_DIFFERENCE:
        path = model.folder.path
        raise LearningError(f"{path} was exported, but a probability differs by {difference:.1g}: not kept")
    write_tokenizer(model.folder, out)
    check_tokens(model.folder, out, sample)
    length, windows = model.folder.max_length, model.card.windows
    parts = [needs] if needs else []
    if windows > 1:
        parts.append(
            f"This folder reads the first {length} tokens of a text. nextlabel reads up to {windows} windows of "
            f"{length} tokens and pools them, so its probabilities, and the figures below, differ for longer texts."
        )
    if model.folder.prompt:
        parts.append(f"The prompt {model.folder.prompt!r} is put before every text that is not empty.")
    note = " ".join(parts)
    (out / PAGE_FILE).write_text(model.card.page(usage, note), encoding="utf-8")
    return note


def _classes(model: _Model) -> dict[str, Any]:
    """The part of a configuration that is about labels."""
    return {
        "id2label": dict(enumerate(model.labels)),
        "label2id": {label: i for i, label in enumerate(model.labels)},
        "problem_type": model.head.output.problem_type,
    }


def _write_custom(model: _Model, config: dict[str, Any], out: Path) -> None:
    import torch
    from transformers import AutoConfig

    from . import modeling_nextlabel as hub_model

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
    if type(classifier.encoder) is not type(body):
        kind = type(body).__name__
        raise LearningError(f"a {kind} has no place in a pipeline of transformers; take --format onnx or nextlabel")
    classifier.encoder.load_state_dict(body.state_dict())
    if model.folder.pooling in LEARNED:
        from safetensors.torch import load_file

        classifier.pooler.load_state_dict(load_file(model.folder.path / POOLER_FILE))
    with torch.no_grad():
        classifier.classifier.weight.copy_(torch.from_numpy(model.head.weights / np.float32(model.head.temperature)))
        classifier.classifier.bias.copy_(torch.from_numpy(model.head.bias / np.float32(model.head.temperature)))
    classifier.save_pretrained(out)
    shutil.copyfile(Path(hub_model.__file__), out / MODELLING_FILE)


def _trace(folder: ModelFolder, head: Probe, file: Path, ids: Sequence[Sequence[int]]) -> None:
    """Write body, pooling and head to ``file``; ``ids`` are some texts to trace with."""
    import torch

    network = pooled_model(folder, attention="eager")
    weights, bias = (torch.from_numpy(part / np.float32(head.temperature)) for part in (head.weights, head.bias))

    class Classifier(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            logits = self.network(input_ids, attention_mask) @ weights.T + bias
            return head.output.of_tensor(logits)

    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about every shape that it takes for constant
        torch.onnx.export(
            Classifier().eval(),
            tuple(map(torch.from_numpy, pad(ids))),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["probabilities"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "probabilities": {0: "texts"}},
        )
