"""The page and its pictures: whole, self-contained, safe with any text, readable by machines that check HTML."""

from __future__ import annotations

import re
import threading
from html.parser import HTMLParser

import numpy as np
import pytest

from nextlabel.backend.learning.evaluation import Interval, pictures
from nextlabel.backend.learning.evaluation.crossvalidation import HeldOut, Run
from nextlabel.backend.learning.evaluation.page import About, page
from nextlabel.backend.learning.evaluation.pictures import CurvePoint
from nextlabel.backend.learning.evaluation.summary import summarise
from nextlabel.backend.learning.examples import Examples

EVIL = "<script>alert('x')</script> & \"quoted\" $what ${title} \u202e"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Checker(HTMLParser):
    """Every tag closed in order, no id twice, nothing fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if identifier := values.get("id"):
            self.ids.append(identifier)
        for name in ("src", "href", "xlink:href"):
            if target := values.get(name):
                assert target.startswith(("#", "data:")), target
        assert not any(name.startswith("on") for name in values)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html() -> str:
    """The page of three labels, checked."""
    return checked(held_out())[0]


def held_out(classes: int = 3, rows: int = 60, multi_label: bool = False, seed: int = 0) -> HeldOut:
    rng = np.random.default_rng(seed)
    texts = tuple(f"{EVIL} {at}" for at in range(rows))
    labels = tuple(f"label {at} {EVIL[:9]}$x_1$" for at in range(classes))
    predicted = rng.dirichlet(np.ones(classes), rows).astype(np.float32)
    targets = rng.uniform(size=(rows, classes)) < 0.4 if multi_label else rng.integers(0, classes, rows)
    runs = tuple(Run(number, np.arange(rows) % 3, predicted, 1.0) for number in range(2))
    return HeldOut(Examples(texts, targets, labels), runs, None)


def checked(found: HeldOut, **more: object) -> tuple[str, Checker]:
    about = About(EVIL, "probe", {"Data": EVIL, "How": "3 folds"}, (EVIL,))
    html = page(found, summarise(found, resamples=30), about, **more)
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    return html, checker


@pytest.mark.parametrize(("classes", "multi_label"), [(2, False), (14, False), (3, True)])
def test_the_page_is_whole_and_brings_all_it_needs(classes: int, multi_label: bool):
    html, checker = checked(held_out(classes, multi_label=multi_label))
    assert "script" not in checker.tags
    assert "link" not in checker.tags
    assert "@import" not in html
    assert html.count("<svg") == (4 if multi_label else 5)
    assert re.search(r"url\((?!#)", html) is None
    assert ("Mixed up most" in html) == (classes > 8)
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_texts_and_labels_stand_there_as_they_are_and_do_nothing(html: str):
    assert "alert(" in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "$what ${title}" in html, "a text is no template"


def test_the_headline_comes_first_with_its_interval(html: str):
    value = summarise(held_out(), resamples=30).headline["macro_f1"]
    assert html.index(f"<b>{value.mean:.3f}</b>") < html.index("Label by label")
    assert f"{value.low:.3f} to {value.high:.3f}" in html


def test_what_is_not_defined_is_a_dash():
    rows = 12
    predicted = np.tile(np.array([0.8, 0.2], np.float32), (rows, 1))
    one = Examples(tuple(map(str, range(rows))), np.zeros(rows, np.int64), ("a", "b"))
    html, _ = checked(HeldOut(one, (Run(0, np.zeros(rows, np.int64), predicted, 1.0),), None))
    assert "<b>–</b>" in html
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)
    assert "Nothing was wrong" in html


def test_learning_curves_are_drawn_where_there_are_any():
    points = [CurvePoint(labels, Interval(0.5, 0.4, 0.6)) for labels in (50, 100)]
    html, _ = checked(held_out(), curves={"active": points, "random": points})
    assert "Learning curve" in html


def test_pictures_take_the_colour_of_the_page_and_their_ids_do_not_meet():
    found = held_out()
    figure = pictures.roc(found.predicted[0], found.examples.targets, found.examples.labels)
    drawn = pictures.svg(figure, "a")
    assert drawn.startswith("<svg ")
    assert "currentColor" in drawn
    assert pictures.INK not in drawn
    ids = set(re.findall(r'\bid="([^"]*)"', drawn))
    assert ids
    assert all(name.startswith("a-") for name in ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', drawn)) <= ids


def test_a_png_is_a_png():
    figure = pictures.confusion_matrix(np.array([[5, 1], [0, 4]]), ["a", "b"])
    assert pictures.png(figure, dpi=40).startswith(b"\x89PNG\r\n")


def test_drawing_leaves_no_trace_in_matplotlib_and_threads_do_not_meet():
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    found, drawn = held_out(), []

    def draw() -> None:
        picture = pictures.precision_recall(found.predicted[0], found.examples.targets, found.examples.labels)
        drawn.append(pictures.svg(picture))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 4
    assert dict(matplotlib.rcParams) == before
    assert _pylab_helpers.Gcf.figs == {}


def test_a_large_matrix_shows_shares_without_numbers():
    size = 60
    counts = np.eye(size, dtype=np.int64) * 7
    figure = pictures.confusion_matrix(counts, [f"label {at}" for at in range(size)])
    (axes,) = figure.axes
    assert list(axes.texts) == []
    small = pictures.confusion_matrix(counts[:3, :3], ["a", "b", "c"])
    assert len(small.axes[0].texts) == 9
