"""The page and its pictures: whole, self-contained, safe with any text, readable by machines that check HTML."""

from __future__ import annotations

import re
import threading
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.evaluation import Interval
from nextlabel.backend.evaluation.comparison import Difference
from nextlabel.backend.evaluation.crossvalidation import HeldOut, Run
from nextlabel.backend.evaluation.curve import CurvePoint, LearningCurve
from nextlabel.backend.evaluation.run import About
from nextlabel.backend.evaluation.summary import summarise
from nextlabel.backend.reports import plots
from nextlabel.backend.reports.evaluation_page import _cards, drawn, page
from nextlabel.backend.reports.plots import save

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


def a_curve(low: float = 0.01) -> LearningCurve:
    """Two points, with a gain whose interval begins at ``low``."""
    points = tuple(
        CurvePoint(share, labels, *[Interval(mean, mean - 0.1, mean + 0.1)] * 2)
        for share, labels, mean in ((0.5, 50, 0.5), (1.0, 100, 0.6))
    )
    return LearningCurve(points, Difference(0.1, low, 0.2, 0.0))


def checked(found: HeldOut, curve: LearningCurve | None = None) -> tuple[str, Checker]:
    about = About(EVIL, "probe", {"Data": EVIL, "How": "3 folds"}, (EVIL,))
    summary = summarise(found)
    html = page(found, summary, about, drawn(found, summary, curve), EVIL if curve is not None else None)
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
    value = summarise(held_out()).headline["macro_f1"]
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


def test_a_learning_curve_is_drawn_where_there_is_one():
    html, _ = checked(held_out(), a_curve())
    assert "Learning curve" in html
    assert "Macro-F1 against labels learned from: 0.500 [0.400, 0.600] with 50, 0.600 [0.500, 0.700] with 100." in html
    assert html.index("&#34;quoted&#34; $what ${title} \u202e.</p>") < html.index("Label by label"), "the verdict"
    assert "Learning curve" not in checked(held_out())[0]


def test_every_picture_says_what_it_shows_to_those_who_can_not_see_it(html: str):
    found = held_out()
    matrix = summarise(found).confusion
    said = re.findall(r'<svg role="img" aria-label="([^"]+)"', html)
    assert len(said) == html.count("<svg") == 5
    assert said[0].startswith(f"Confusion matrix: {np.trace(matrix)} of 60 texts are on the diagonal")


def test_of_two_labels_the_caption_says_whose_curve_it_is():
    found = held_out(2)
    for label in found.examples.labels:
        summary = summarise(found, label)
        captions = {one.name: one.says for one in drawn(found, summary)}
        assert label in captions["roc"]
        assert label in captions["precision-recall"]
        name, value = next((one.name, one.value) for one in _cards(summary) if one.name.startswith("Average precision"))
        assert name == f"Average precision of {label}"
        own = next(one.average_precision for one in summary.classes if one.label == label)
        assert value == f"{own:.3f}"
    assert found.examples.labels[1] in captions["precision-recall"]


def test_the_points_of_a_curve_are_where_its_figures_are():
    points = a_curve().points
    scores = [one.macro_f1 for one in points]
    axes = plots.learning_curve([one.labels for one in points], scores, "macro-F1").axes[0]
    (line,) = axes.lines
    assert np.asarray(line.get_xydata()).tolist() == [[50, 0.5], [100, 0.6]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["50", "100"]


def test_pictures_are_saved_as_png_files_over_older_ones(tmp_path: Path):
    found = held_out()
    album = drawn(found, summarise(found), a_curve())
    for _ in range(2):
        paths = save(album, tmp_path / "new" / "folder")
    names = ["confusion", "precision-recall", "roc", "calibration", "learning-curve", "folds"]
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") for path in paths)
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)


def test_pictures_take_the_colour_of_the_page_and_their_ids_do_not_meet():
    found = held_out()
    figure = plots.roc(found.predicted[0], found.examples.targets, found.examples.labels)
    shown = plots.svg(figure, "a", 'of "a" & <b>')
    assert shown.startswith('<svg role="img" aria-label="of &quot;a&quot; &amp; &lt;b&gt;" ')
    assert "currentColor" in shown
    assert plots.INK not in shown
    ids = set(re.findall(r'\bid="([^"]*)"', shown))
    assert ids
    assert all(name.startswith("a-") for name in ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', shown)) <= ids


def test_drawing_leaves_no_trace_in_matplotlib_and_threads_do_not_meet():
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    found, shown = held_out(), []

    def draw() -> None:
        picture = plots.precision_recall(found.predicted[0], found.examples.targets, found.examples.labels)
        shown.append(plots.svg(picture, "p", "a curve"))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shown) == 4
    assert dict(matplotlib.rcParams) == before
    assert _pylab_helpers.Gcf.figs == {}


def test_a_large_matrix_shows_shares_without_numbers():
    size = 60
    counts = np.eye(size, dtype=np.int64) * 7
    figure = plots.confusion_matrix(counts, [f"label {at}" for at in range(size)])
    (axes,) = figure.axes
    assert list(axes.texts) == []
    small = plots.confusion_matrix(counts[:3, :3], ["a", "b", "c"])
    assert len(small.axes[0].texts) == 9


@pytest.mark.parametrize("label", ["好评", "とても良い", "좋아요", "ভালো", "$5 & <b>"])
def test_labels_in_every_script_are_text_in_a_picture(label: str) -> None:
    pytest.importorskip("matplotlib")
    figure = plots.confusion_matrix(np.eye(2, dtype=np.int64), [label, "other"])
    assert f">{escape(label, quote=False)}<" in plots.svg(figure, "p", "a matrix")
    assert plots.png(figure), "and nobody is warned"
