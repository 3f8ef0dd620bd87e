"""Decoding: held against the list of all tag sequences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.backend.models.spans.decoding import decode, log_softmax
from nextlabel.backend.models.spans.tagging import Scheme, TagSet
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span


def bounds(count: int) -> np.ndarray:
    return np.array([[2 * at, 2 * at + 1] for at in range(count)], np.int64).reshape(-1, 2)


def lawful(tags: TagSet, path: tuple[int, ...]) -> bool:
    """The rules of BIO and BILOU, said once more in words of their own."""
    names = [tags.names[index] for index in path]
    bilou = any(name.startswith("L-") for name in tags.names)
    for before, name in zip(["O", *names], names, strict=False):
        begun = before[2:] if before[:1] == "B" or before[:1] == "I" else ""
        if name[:1] in "IL" and begun != name[2:]:
            return False
        if bilou and begun and name[:1] not in "IL":
            return False
    return not (bilou and names[-1][:1] in "BI")


@pytest.mark.parametrize("scheme", ["bio", "bilou"])
@given(seed=st.integers(0, 10_000), length=st.integers(1, 4), scale=st.sampled_from([0.1, 2.0, 8.0]))
def test_decoding_is_what_going_through_all_sequences_finds(
    scheme: Scheme, seed: int, length: int, scale: float
) -> None:
    tags = TagSet.of(("x", "y"), scheme)
    logits = np.random.default_rng(seed).normal(0, scale, (length, len(tags)))
    logs = log_softmax(logits)
    mass = {
        path: float(np.exp(sum(logs[at, tag] for at, tag in enumerate(path))))
        for path in itertools.product(range(len(tags)), repeat=length)
        if lawful(tags, path)
    }
    total = sum(mass.values())
    best = max(mass, key=lambda path: mass[path])
    places = bounds(length)
    # In company of a longer and a shorter text, so that padding is in play.
    others = [np.random.default_rng(1).normal(size=(size, len(tags))) for size in (6, 1, 0)]
    found = decode([others[0], logits, *others[1:]], [bounds(6), places, bounds(1), bounds(0)], tags)
    assert [Span(s.start, s.end, s.label) for s in found[1].spans] == list(tags.decode(places, best))
    assert found[1].uncertainty == pytest.approx(1 - (mass[best] / total) ** (1 / length), abs=1e-9)
    for span in found[1].spans:
        bearing = sum(
            m for path, m in mass.items() if Span(span.start, span.end, span.label) in tags.decode(places, path)
        )
        assert span.score == pytest.approx(bearing / total, abs=1e-9)
    assert (found[3].spans, found[3].uncertainty) == ((), 0.0)


def test_a_text_alone_and_in_a_batch_are_the_same() -> None:
    tags, rng = TagSet.of(("x", "y", "z")), np.random.default_rng(0)
    logits = [rng.normal(0, 3, (int(size), len(tags))) for size in rng.integers(0, 30, 600)]
    places = [bounds(len(one)) for one in logits]
    together = decode(logits, places, tags)
    for row in range(0, 600, 37):
        (alone,) = decode([logits[row]], [places[row]], tags)
        assert [(s.start, s.end, s.label) for s in alone.spans] == [
            (s.start, s.end, s.label) for s in together[row].spans
        ]
        assert alone.uncertainty == pytest.approx(together[row].uncertainty)


def test_greedy_tags_that_break_the_rules_are_mended_by_what_is_likely() -> None:
    tags = TagSet.of(("x", "y"))
    # Unit by unit the likeliest are B-x, I-y: two spans. No sequence with I-y after B-x is lawful.
    logits = np.log([[0.02, 0.9, 0.02, 0.04, 0.02], [0.1, 0.02, 0.4, 0.03, 0.45]])
    (found,) = decode([logits], [bounds(2)], tags)
    assert [(s.start, s.end, s.label) for s in found.spans] == [(0, 3, "x")]


def test_extreme_and_broken_numbers_give_probabilities() -> None:
    tags = TagSet.of(("x",))
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0], [np.nan, 0, 0], [np.inf, 0, 0], [0, 0, 1e4]])
    (found,) = decode([logits], [bounds(5)], tags)
    assert 0 <= found.uncertainty <= 1
    assert found.spans
    assert all(0 <= span.score <= 1 for span in found.spans)


def test_a_sure_text_is_less_uncertain_than_a_doubtful_one_of_any_length() -> None:
    tags = TagSet.of(("x",))
    sure, doubtful = [8.0, 0.0, 0.0], [0.1, 0.0, 0.0]
    long_sure, short_doubtful = np.array([sure] * 200), np.array([doubtful] * 2)
    one, other = decode([long_sure, short_doubtful], [bounds(200), bounds(2)], tags)
    assert one.uncertainty < 0.01 < 0.5 < other.uncertainty


@pytest.mark.parametrize("scheme", ["bio", "bilou"])
def test_tags_from_a_configuration(scheme: Scheme) -> None:
    tags = TagSet.of(("a-b", "c"), scheme)
    assert TagSet.from_config({str(index): name for index, name in enumerate(tags.names)}).names == tags.names
    assert tags.labels == ("a-b", "c")


def test_bioes_is_bilou_in_other_letters() -> None:
    tags = TagSet.from_config(dict(enumerate(["O", "B-x", "I-x", "E-x", "S-x"])))
    assert tags.decode(bounds(4), [1, 2, 3, 4]) == (Span(0, 5, "x"), Span(6, 7, "x"))
    encoded, _ = tags.encode(bounds(4), [Span(0, 5, "x"), Span(6, 7, "x")])
    assert encoded.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("names", [["POSITIVE", "NEGATIVE"], ["B-x", "I-x"], ["O", "I-x"]])
def test_other_labels_are_refused(names: list[str]) -> None:
    with pytest.raises(LearningError, match="no BIO or BILOU tags"):
        TagSet.from_config(dict(enumerate(names)))


def test_tags_that_break_the_rules_begin_a_span() -> None:
    tags = TagSet.of(("x", "y"))  # O, B-x, I-x, B-y, I-y
    assert tags.decode(bounds(4), [2, 2, 4, 0]) == (Span(0, 3, "x"), Span(4, 5, "y"))


def test_two_spans_cut_inside_one_unit_share_it_by_order() -> None:
    tags = TagSet.of(("x", "y"))
    places = np.array([[0, 4], [5, 9]], np.int64)
    encoded, lost = tags.encode(places, [Span(2, 9, "y"), Span(0, 2, "x")])
    assert (tags.decode(places, encoded), lost) == ((Span(0, 4, "x"), Span(5, 9, "y")), 0)
    encoded, lost = tags.encode(places, [Span(2, 4, "y"), Span(0, 2, "x")])
    assert (tags.decode(places, encoded), lost) == ((Span(0, 4, "x"),), 1)


def test_a_label_without_tags_is_refused() -> None:
    with pytest.raises(LearningError, match="'z' is none of x"):
        TagSet.of(("x",)).encode(bounds(1), [Span(0, 1, "z")])
