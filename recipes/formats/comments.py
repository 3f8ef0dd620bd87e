"""Comments, one per row in the column ``text``; or 2,000 made-up ones, of which one in 100 names a book.

A column ``label`` may hold the true answer, for simulated annotators. The made-up comments are there to see the search
work before there is data: they are far easier than what people write.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from nextlabel.backend.data.tables import Row, Table, open_table

BOOK, OTHER = "book", "other"
COUNT, EVERY = 2_000, 100
TITLES = ("The Silent Harbour", "A Field Guide to Doubt", "Nine Winters", "The Compiler's Daughter", "Salt and Iron")
PRAISE = (
    "I just finished reading {}",
    "{} changed how I think",
    "try the novel {}",
    "{}, chapter three, says the same",
)
TALK = ("the new release broke my build", "this is slower than it was", "great write-up", "does it run on ARM?")
AFTER = ("and it was worth it", "last week", "for what it's worth", "as somebody said above", "to be fair")


def open_comments(source: str = "") -> Table:
    """The comments in the file ``source``, or the made-up ones if it is empty. Raises DataError."""
    if not source:
        return Table("made-up comments", "line", ("text", "label"), made_up(), "no --data given: made-up comments")
    table = open_table(source, ["text"])
    columns = table.columns if "label" in table.columns else (*table.columns, "label")
    return replace(table, columns=columns)


def made_up(count: int = COUNT, seed: int = 0) -> Iterator[Row]:
    """``count`` rows, the same for the same ``seed``; in every hundred there is one book, anywhere."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    place = 0
    for number in range(count):
        if number % EVERY == 0:
            place = number + chance.randrange(EVERY)
        book = number == place
        said = chance.choice(PRAISE).format(chance.choice(TITLES)) if book else chance.choice(TALK)
        text = f"{said} {chance.choice(AFTER)}, thread {chance.randrange(10**6)}"
        yield Row(number + 1, {"text": text, "label": BOOK if book else OTHER})
