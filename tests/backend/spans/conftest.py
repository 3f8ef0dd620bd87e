"""A tiny encoder with random weights, and texts whose spans it can learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.connectors.records import Span
from tests.backend.tiny_bert import letters, tiny_bert
from tests.backend.torch_threads import one_torch_thread


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of a tiny network wait for each other longer than they work."""
    with one_torch_thread():
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers, random weights, 24 tokens at most; words of one letter and of letters after a letter."""
    characters = letters("abcdefghijklmnopqrstuvwxyz0123456789")
    folder = tmp_path_factory.mktemp("spans") / "tiny"
    return tiny_bert(folder, words=characters, positions=24, spread=0.3, model_max_length=24)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_folder: Path) -> ModelFolder:
    """The same as an encoder to start from."""
    return read_folder(tiny_folder)


def bookings(count: int, first: int = 0) -> SpanExamples:
    """Texts such as "bob at 7 pm": who, and when; every third names nobody."""
    names, texts, spans = ["bob", "ann", "zoe", "kim", "max"], [], []
    for number in range(first, first + count):
        hour, name = f"{number % 9 + 1} pm", names[number % len(names)]
        text = f"table at {hour}" if number % 3 == 0 else f"for {name} at {hour}"
        where = text.index(hour)
        marked = [Span(where, where + len(hour), "time")]
        if number % 3:
            marked.append(Span(4, 7, "name"))
        texts.append(text)
        spans.append(tuple(marked))
    return SpanExamples(tuple(texts), tuple(spans), ("name", "time"))
