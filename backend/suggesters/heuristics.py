"""Rules that label: words, expressions, and functions that somebody wrote."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import regex
import structlog

from nextlabel.backend.data.expressions import SLOWEST_S, compiled, whole_words
from nextlabel.backend.questions import ASSUMED, Proposal
from nextlabel.connectors.errors import ConfigError, LearningError

from .answers import proposal_of
from .base import NOTHING, Say, listed, marked

log = structlog.get_logger(__name__)


def of_keywords(words: Mapping[str, Sequence[str]]) -> tuple[Say, tuple[str, ...]]:
    """Labels by the words that speak for them. Raises ConfigError for a label without any."""
    return of_expressions({label: [whole_words(one) for one in some if one.strip()] for label, some in words.items()})


def of_expressions(written: Mapping[str, Sequence[str]]) -> tuple[Say, tuple[str, ...]]:
    """Labels by expressions. A text speaks for each label that has a match, and the matches are its marks.

    Raises ConfigError for an expression that is none. One that takes longer than SLOWEST_S on a text is told, and finds
    nothing in that text.
    """
    if empty := [label for label, some in written.items() if not any(one.strip() for one in some)]:
        raise ConfigError(f"suggest_from: there is nothing for the label {listed(empty)}")
    patterns = {label: [compiled(one, f"suggest_from: {one}") for one in some] for label, some in written.items()}
    slow: set[str] = set()

    def say(texts: Sequence[str]) -> list[Proposal]:
        return [_matches(text, patterns, slow) for text in texts]

    return say, tuple(written)


def _matches(text: str, patterns: Mapping[str, Sequence[regex.Pattern[str]]], slow: set[str]) -> Proposal:
    """Where something speaks for labels. Each that is found gets an equal part of what is assumed of a rule."""
    spans: list[tuple[int, int, str, float]] = []
    for label, some in patterns.items():
        for pattern in some:
            try:
                found = pattern.finditer(text, timeout=SLOWEST_S, concurrent=True)
                spans += [(one.start(), one.end(), label, ASSUMED) for one in found if one.end() > one.start()]
            except TimeoutError:
                if pattern.pattern not in slow:
                    slow.add(pattern.pattern)
                    log.warning("an expression takes too long on a text: write it simpler", expression=pattern.pattern)
    labels = dict.fromkeys(label for _, _, label, _ in spans)
    return Proposal(dict.fromkeys(labels, ASSUMED), marked(sorted(set(spans))).marks)


def of_function(given: str | Callable[[str], Any], folder: Path | None) -> tuple[Say, None]:
    """A function ``MODULE:FUNCTION``, whose module is looked for in ``folder``, too. Raises ConfigError.

    It gets a text, and returns what :func:`proposal_of` reads. Of a text on which it fails it says nothing, and that is
    logged; where it fails on all that it is asked about, LearningError is raised.
    """
    function = given if callable(given) else _imported(given, folder)
    name = given if isinstance(given, str) else given.__qualname__

    def say(texts: Sequence[str]) -> list[Proposal]:
        found, failed = [], 0
        for text in texts:
            try:
                found.append(proposal_of(function(text)))
            except Exception as error:  # whatever somebody's function raises
                reason = f"{name} failed on {text[:60]!r}: {type(error).__name__}: {error}"
                failed += 1
                if failed == len(texts):
                    raise LearningError(reason) from error
                log.warning("a function that suggests failed on a text", reason=reason)
                found.append(NOTHING)
        return found

    return say, None


def _imported(given: str, folder: Path | None) -> Callable[[str], Any]:
    module, colon, name = given.partition(":")
    if not colon or not module or not name:
        raise ConfigError(f"suggest_from: function: {given!r} can't be read; write MODULE:FUNCTION, like rules:is_spam")
    if folder is not None and (place := str(folder.absolute())) not in sys.path:
        sys.path.append(place)  # at the end: a neighbour called datasets.py must not stand in for the library
    try:
        found = getattr(importlib.import_module(module.removesuffix(".py")), name)
    except Exception as error:  # whatever the module does while it is imported
        raise ConfigError(
            f"suggest_from: function: {given} can't be imported: {type(error).__name__}: {error}"
        ) from None
    if not callable(found):
        raise ConfigError(f"suggest_from: function: {given} is a {type(found).__name__}, and no function")
    result: Callable[[str], Any] = found
    return result
