"""Marks and proposals by what became of them, worked out by hand."""

from __future__ import annotations

from nextlabel.backend.evaluation.span_errors import KINDS, kinds_of, surest_wrong
from nextlabel.backend.models.spans.decoding import ScoredSpan
from nextlabel.connectors.records import Span

TEXT = "from Lima to Oslo on Monday"


def test_each_mark_goes_with_its_likest_proposal_and_with_one_only() -> None:
    marked = [Span(5, 9, "city"), Span(13, 17, "city"), Span(21, 27, "day")]
    proposed = [
        ScoredSpan(5, 9, "city", 0.9),  # right
        ScoredSpan(13, 20, "city", 0.8),  # the right label, too long
        ScoredSpan(21, 27, "city", 0.7),  # the right place
        ScoredSpan(0, 4, "city", 0.6),  # nothing is there
    ]
    assert kinds_of([proposed], [marked]) == {
        "right": 1, "other label": 1, "other place": 1, "both": 0, "invented": 1, "missed": 0,
    }  # fmt: skip
    both = [ScoredSpan(12, 20, "day", 0.5), ScoredSpan(14, 16, "day", 0.5)]
    assert kinds_of([both], [[Span(13, 17, "city")]]) == dict.fromkeys(KINDS, 0) | {"both": 1, "invented": 1}
    assert kinds_of([[]], [marked])["missed"] == 3


def test_texts_are_listed_by_how_sure_the_worst_wrong_proposal_was() -> None:
    marked = [Span(5, 9, "city")]
    right, sure, unsure = ([ScoredSpan(5, 9, label, score)] for label, score in (("city", 1), ("day", 0.9), ("x", 0.4)))
    found = surest_wrong([TEXT] * 3, [right, unsure, sure], [marked] * 3)
    assert [(one.proposed, one.probability) for one in found] == [(("Lima (day)",), 0.9), (("Lima (x)",), 0.4)]
    assert found[0].marked == ("Lima (city)",)
