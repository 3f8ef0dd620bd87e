"""Positives to start from: records that contain a keyword, resemble an example, or are near to a phrase."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import regex
import structlog

from nextlabel.backend.data.expressions import SLOWEST_S, compiled, whole_words
from nextlabel.connectors.errors import ConfigError

from .base import Floats, to_unit

log = structlog.get_logger(__name__)

KEYWORD = 2.0
"""What a keyword counts for: more than the very text of an example, which counts 1."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """What somebody knows of the label that is looked for.

    ``keywords``: words or phrases, found as whole words whatever their case; between slashes, a regular expression.
    ``examples``: texts that have the label, or would have. ``phrase``: what such texts are about.
    Raises ConfigError if nothing is given, or for an expression that is wrong.
    """

    keywords: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    phrase: str = ""

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # a key of a recipe that is none of these is a slip

    def __post_init__(self) -> None:
        if not any(word.strip() for word in (*self.keywords, *self.examples, self.phrase)):
            raise ConfigError("seeds: give keywords, examples or a phrase")
        keyword_patterns(self.keywords)

    @property
    def queries(self) -> list[str]:
        """The texts that records are compared with: they go through the encoder."""
        return [text for text in (*self.examples, self.phrase) if text.strip()]


def keyword_patterns(keywords: Sequence[str]) -> list[regex.Pattern[str]]:
    """A pattern for each keyword. Raises ConfigError for a wrong expression."""
    patterns = []
    for word in filter(str.strip, keywords):
        is_expression = len(word) > 2 and word.startswith("/") and word.endswith("/")
        written = word[1:-1] if is_expression else whole_words(word)
        patterns.append(compiled(written, f"seeds: the keyword {word}"))
    return patterns


def keyword_scores(texts: Sequence[str], keywords: Sequence[str]) -> Floats:
    """float32 [n]: 2 for each text that contains a keyword, else 0.

    An expression that takes longer than SLOWEST_S on one text is told and finds nothing from there on.
    """
    found = np.zeros(len(texts), dtype=bool)
    for pattern in keyword_patterns(keywords):
        try:
            for number, text in enumerate(texts):
                found[number] |= pattern.search(text, timeout=SLOWEST_S, concurrent=True) is not None
        except TimeoutError:
            log.warning("a keyword of the seeds takes too long on a text: write it simpler", keyword=pattern.pattern)
    return np.where(found, KEYWORD, 0.0).astype(np.float32)


def similarity_scores(vectors: npt.NDArray[Any], queries: npt.NDArray[Any]) -> Floats:
    """float32 [n] in [0, 1]: the cosine of each of ``vectors`` [n, d] to the nearest of ``queries`` [q, d]."""
    if len(queries) == 0 or len(vectors) == 0:
        return np.zeros(len(vectors), dtype=np.float32)
    nearest = (to_unit(vectors) @ to_unit(queries).T).max(axis=1)
    return np.asarray(np.clip(nearest, 0.0, 1.0), dtype=np.float32)


def seed_scores(
    seeds: Seeds,
    texts: Sequence[str],
    vectors: npt.NDArray[Any],
    encode: Callable[[Sequence[str]], npt.NDArray[Any]],
) -> Floats:
    """float32 [n], how well each record matches; 0 is not at all. For ``Pool.seeds``.

    ``vectors`` float [n, d] are those of ``texts``, ``encode`` makes such vectors of the examples and the phrase.
    """
    scores = keyword_scores(texts, seeds.keywords)
    if seeds.queries:
        scores += similarity_scores(vectors, encode(seeds.queries))
    return scores


def find_seeds(
    seeds: Seeds,
    texts: Sequence[str],
    vectors: npt.NDArray[Any],
    encode: Callable[[Sequence[str]], npt.NDArray[Any]],
    most: int = 20,
) -> npt.NDArray[np.int64]:
    """int64 [at most ``most``]: the records that match best, best first. Records that don't match are left out."""
    scores = seed_scores(seeds, texts, vectors, encode)
    order = np.argsort(-scores, kind="stable")[:most]
    return order[scores[order] > 0].astype(np.int64)
