"""Models that a team has, as suggesters: of transformers, of scikit-learn, of spaCy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.encoders.base import EncoderSpec, installed
from nextlabel.backend.frozen import open_model
from nextlabel.backend.questions import ASSUMED, Proposal
from nextlabel.connectors.errors import ConfigError, LearningError, MissingExtra

from .base import NOTHING, Say, listed, marked, whole_text

SPACY = ("ner", "entity_ruler", "span_ruler", "spancat", "spancat_singlelabel", "textcat", "textcat_multilabel")
"""Names of spaCy's factories that are listened to."""


def of_transformers(name: str, spec: EncoderSpec, threads: int | None) -> tuple[Say, tuple[str, ...]]:
    """A model as :func:`open_model` opens it, and its labels. Raises LearningError, MissingExtra."""
    model = open_model(name, spec, threads=threads)
    labels = model.question.labeling.labels

    def say(texts: Sequence[str]) -> list[Proposal]:
        outputs = model.outputs(model.read(texts))
        if not model.question.scores:
            return [marked((one.start, one.end, one.label, one.score) for one in text.spans) for text in outputs]
        return [whole_text(dict(zip(labels, row, strict=True))) for row in outputs.tolist()]

    return say, labels


def of_skops(file: str, trusted: Sequence[str]) -> tuple[Say, tuple[str, ...]]:
    """A pipeline that takes texts, and its labels. Raises ConfigError for types that are not ``trusted``, MissingExtra.

    Unlike a pickle, such a file says which types it holds before any is made; those that are not scikit-learn's or
    numpy's own are refused by name.
    """
    if not installed("skops"):
        raise MissingExtra("skops", "skops")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"suggest_from: there is no file {path}; `skops:` names one that skops.io.dump wrote")
    from skops.io import get_untrusted_types, load

    try:
        unknown = [one for one in get_untrusted_types(file=path) if one not in trusted]
    except Exception as error:  # whatever a file that is none makes it raise
        raise ConfigError(f"suggest_from: {path} can't be read as a file of skops: {error}") from None
    if unknown:
        raise ConfigError(
            f"suggest_from: {path} holds types that are not known to be harmless: {listed(unknown)}. If you trust who "
            f"made the file, name them in the recipe: trusted: [{', '.join(unknown)}]"
        )
    try:
        pipeline = load(path, trusted=list(trusted))
    except Exception as error:
        raise ConfigError(f"suggest_from: {path} can't be loaded: {error}") from None
    classes = getattr(pipeline, "classes_", None)
    if classes is None or isinstance(classes, list):
        raise ConfigError(f"suggest_from: {path} is no fitted classifier with one set of labels: it has no `classes_`")
    labels = tuple(map(str, classes))
    return lambda texts: _predicted(pipeline, path, labels, texts), labels


def _predicted(pipeline: Any, path: Path, labels: Sequence[str], texts: Sequence[str]) -> list[Proposal]:
    try:
        if hasattr(pipeline, "predict_proba"):
            rows = np.asarray(pipeline.predict_proba(list(texts)), np.float64)
            return [whole_text(dict(zip(labels, row, strict=True))) for row in rows.tolist()]
        found = np.asarray(pipeline.predict(list(texts)))
    except Exception as error:  # a step of it wants something else than texts
        raise LearningError(f"{path} can't predict a list of texts: {error}") from error
    if found.ndim == 1:
        return [Proposal({str(label): ASSUMED}) for label in found.tolist()]
    return [Proposal({labels[at]: ASSUMED for at in np.flatnonzero(row)}) for row in found]


def of_spacy(name: str) -> tuple[Say, tuple[str, ...]]:
    """A pipeline's marks and categories, and its labels. Raises ConfigError, MissingExtra."""
    if not installed("spacy"):
        raise MissingExtra("spacy", "spacy")
    import spacy

    try:
        nlp = spacy.load(name)
    except Exception as error:  # OSError for a name that is none, and whatever a broken folder brings
        raise ConfigError(f"suggest_from: spaCy can't load {name}: {error}") from None
    pipes = [(one, nlp.get_pipe(one)) for one in nlp.pipe_names if nlp.get_pipe_meta(one).factory in SPACY]
    if not pipes:
        raise ConfigError(
            f"suggest_from: the spaCy pipeline {name} has {listed(nlp.pipe_names) or 'no parts'}, and none of "
            f"{listed(SPACY)}: it suggests nothing"
        )
    labels = tuple(dict.fromkeys(label for _, pipe in pipes for label in pipe.labels))
    keys = [pipe.key for _, pipe in pipes if hasattr(pipe, "key")]

    def say(texts: Sequence[str]) -> list[Proposal]:
        return [_of_doc(doc, keys) for doc in nlp.pipe(texts)]

    return say, labels


def _of_doc(doc: Any, keys: Sequence[str]) -> Proposal:
    spans = [(one.start_char, one.end_char, one.label_, ASSUMED) for one in doc.ents]
    for key in keys:
        group = doc.spans.get(key, ())
        scores = group.attrs.get("scores", [ASSUMED] * len(group)) if len(group) else ()
        spans += [(one.start_char, one.end_char, one.label_, float(p)) for one, p in zip(group, scores, strict=True)]
    marks = marked(spans).marks
    found = whole_text(doc.cats).probabilities
    return Proposal(found, marks) if found or marks else NOTHING
