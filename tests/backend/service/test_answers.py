"""Answers, counted by annotator, who are asked for by name once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nextlabel.backend.annotators.names import annotator_names
from nextlabel.backend.service.answers import AnswerCounts
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes, Labeling, LabelKind
from nextlabel.connectors.testing import MemoryConnector


def said(number: int, who: str, status: AnnotationStatus = AnnotationStatus.SUBMITTED) -> Annotation:
    return Annotation(f"a{number}", f"r{number}", who, ("x",), status, datetime(2026, 12, 1, 2, number, tzinfo=UTC))


def test_answers_are_counted_by_name_and_skips_apart(store: Store) -> None:
    platform = MemoryConnector(Labeling(LabelKind.SINGLE, ("x", "y")))
    given = [said(1, "7"), said(2, "7"), said(3, "8"), said(4, "8", AnnotationStatus.SKIPPED)]
    platform.answers.update({one.id: one for one in given})
    store.append(Changes(annotations=tuple(given)))
    counts = AnswerCounts(store, platform)
    platform.fail_next["annotator_names"] = PlatformUnavailable("down")
    with pytest.raises(PlatformUnavailable):
        counts.look()
    assert (counts.submitted(), counts.skips()) == ({"7": 2, "8": 1}, 1)
    counts.look()
    assert counts.submitted() == {"7@example.com": 2, "8@example.com": 1}
    assert annotator_names(store) == {"7": "7@example.com", "8": "8@example.com"}
    platform.fail_next["annotator_names"] = PlatformUnavailable("nobody is new, so nobody asks")
    counts.look()
    assert "annotator_names" in platform.fail_next
