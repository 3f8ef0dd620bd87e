"""Open a model by what it is: a folder that we trained or exported, or a classifier of transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.fusion import is_fused
from nextlabel.backend.encoders.model_folder import find_folder
from nextlabel.backend.encoders.multimodal import for_requests
from nextlabel.backend.models.card import read_or_make_card
from nextlabel.backend.models.export.export import is_span_model
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.questions import Question, question_of
from nextlabel.connectors.errors import EncoderNotFound, LearningError
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind

from .base import FrozenModel
from .exported import is_exported, open_exported
from .transformers_models import open_classifier

TEXT, IMAGE = Field("text"), Field("image", FieldKind.IMAGE)


def open_model(name: str, spec: EncoderSpec, *, threads: int | None = None) -> FrozenModel:
    """The model called ``name``: a folder, or a name on the Hugging Face hub.

    A folder is one that ``nextlabel models export`` wrote, in any of its forms, or any other that transformers reads as
    a classifier of texts or of tokens. ``spec`` says how texts and images are read, but for the encoder's name.
    Raises LearningError with the reason, MissingExtra.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if (path / HEAD_FILE).is_file():
            return _ours(path, replace(spec, name=str(path)), threads)
        if is_exported(path):
            return open_exported(path, threads)
    try:
        folder = find_folder(name)
    except EncoderNotFound as error:
        raise LearningError(f"there is no model {name!r}: name a folder, or OWNER/NAME on the hub ({error})") from None
    return open_classifier(folder, name)


def _ours(folder: Path, spec: EncoderSpec, threads: int | None) -> FrozenModel:
    """A folder as we keep models: an encoder, and a head beside it."""
    head = folder / HEAD_FILE
    if is_span_model(folder):
        kind, known = LabelKind.SPAN, SpanProbe.load(head).labels
        card = read_or_make_card(folder, known, SOFTMAX)
    else:
        probe = Probe.load(head)
        card = read_or_make_card(folder, probe.names, probe.activation)
        kind, known = probe.activation.kind, probe.names or card.labels
    if not known:
        raise LearningError(f"{folder}: which labels its head stands for is noted nowhere; export the model anew")
    fields = (TEXT, IMAGE) if is_fused(folder) else (TEXT,)
    spec = replace(spec, max_length=card.max_length or spec.max_length, windows=card.windows)
    version = card.version or folder.name
    return with_head(version, question_of(Labeling(kind, known, fields)), head, spec, threads)


def with_head(version: str, question: Question, head: Path, spec: EncoderSpec, threads: int | None) -> FrozenModel:
    """The head in a file on the encoder that ``spec`` names. Raises LearningError if the two don't fit."""
    encoder = question.load_encoder(spec, threads)
    loaded = question.load(head, encoder)
    if loaded is None:
        raise LearningError(f"{version} knows none of the labels {', '.join(question.labeling.labels)}")
    strict = for_requests(encoder)
    return FrozenModel(version, question, question.reader(strict), loaded, strict, f"{version}, on {spec.name}")
