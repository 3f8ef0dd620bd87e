"""From what a recipe says to suggesters that can be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling

from .base import Say, Suggester, listed, mapped, silence
from .classifiers import of_skops, of_spacy, of_transformers
from .columns import Predicted, of_column
from .endpoint import of_url
from .heuristics import of_expressions, of_function, of_keywords
from .spec import SuggesterSpec


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What suggesters are opened with: how models read, with how many threads, and where modules of one's own lie.

    ``predicted`` reads the columns of the data that a spec names; empty where there are no data.
    """

    encoder: EncoderSpec
    predicted: Callable[[SuggesterSpec], Predicted]
    threads: int | None = None
    folder: Path | None = None


def open_suggesters(specs: Sequence[SuggesterSpec], labeling: Labeling, around: Surroundings) -> list[Suggester]:
    """All of them, in order. Raises ConfigError with the fix, LearningError, MissingExtra."""
    names = _names(specs)
    return [_opened(spec, name, labeling, around) for spec, name in zip(specs, names, strict=True)]


def _names(specs: Sequence[SuggesterSpec]) -> list[str]:
    if twice := [name for name, times in Counter(spec.name for spec in specs if spec.name).items() if times > 1]:
        raise ConfigError(f"suggest_from: two are called {listed(twice)}; give each a name of its own")
    taken, found = Counter(spec.called for spec in specs), []
    seen: Counter[str] = Counter()
    for spec in specs:
        seen[spec.called] += 1
        found.append(spec.called if taken[spec.called] == 1 else f"{spec.called} {seen[spec.called]}")
    return found


def _opened(spec: SuggesterSpec, name: str, labeling: Labeling, around: Surroundings) -> Suggester:
    about, say = None, cast(Say, silence)
    known: tuple[str, ...] | None = None
    match spec.source:
        case "model":
            say, known = of_transformers(spec.model, around.encoder, around.threads)
        case "skops":
            say, known = of_skops(spec.skops, spec.trusted)
        case "spacy":
            say, known = of_spacy(spec.spacy)
        case "url":
            say = of_url(spec.url, spec.token, spec.timeout)
        case "column":
            about, known = of_column(spec.column, spec.probability, around.predicted(spec))
        case "keywords":
            say, known = of_keywords(spec.keywords)
        case "expressions":
            say, known = of_expressions(spec.expressions)
        case _:
            say, known = of_function(spec.function, around.folder)
    required = _required(spec, name, known)
    return Suggester(
        name=name,
        key=spec.key(),
        source=spec.source,
        labeling=labeling,
        say=say,
        ours=mapped(name, known, spec.labels, labeling.labels, filters=bool(required)),
        known=known,
        required=required,
        at_least=spec.at_least,
        batch=spec.batch,
        about=about,
        left_out=frozenset(label for label, ours in spec.labels.items() if not ours),
    )


def _required(spec: SuggesterSpec, name: str, known: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(spec.only, bool):
        return () if spec.only else None
    if known is not None and (unknown := [label for label in spec.only if label not in known]):
        raise ConfigError(f"suggest_from: {name}: only: it has no label {listed(unknown)}; it has {listed(known)}")
    return spec.only
