"""Plots, each a matplotlib Figure of its own: no window, no state shared with other threads.

Text and axes are drawn in one colour that :func:`svg` turns into ``currentColor``, so that a page decides whether they
are dark or light. matplotlib is imported when something is drawn. A Picture is a plot with its caption.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets, activation_of
from nextlabel.backend.evaluation.summary import Bin
from nextlabel.backend.files import write_atomically
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import Predicted
from nextlabel.backend.training.spec import EpochFigures
from nextlabel.connectors.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK = "#5b6472"  # readable on white and on near-black
COLOURS = ("#3f83c8", "#d9813f", "#4ba283", "#b0629f", "#8a78d0", "#a0893a", "#4aa3b5", "#c95d63")
SHADE = "#245a96"  # of a matrix: dark enough for white numbers
MOST_CURVES = 8
OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "WenQuanYi Zen Hei"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *("Noto Sans Bengali", "Noto Sans Devanagari", "Noto Sans Tamil", "Noto Sans Thai", "Nirmala UI", "Leelawadee UI"),
    *("Arial Unicode MS", "Unifont"),
)
MOST_CELLS_WITH_NUMBERS = 12
_DRAWN_ALONE = Lock()
SIZE = (4.0, 3.1)  # inches
WIDE = (6.4, 3.9)


def precision_recall(
    predicted: Predicted, targets: Targets, labels: Sequence[str], shown: Sequence[int] | None = None
) -> Figure:
    """Precision against recall, a curve per label (of ``shown``; else the most frequent, if there are many)."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = canvas()
    true = activation_of(targets).flags(targets, predicted.shape[1])
    for colour, at in zip(COLOURS, _shown(predicted, targets, shown), strict=False):
        precision, recall, _ = precision_recall_curve(true[:, at], predicted[:, at])
        axes.step(recall, precision, where="post", color=colour, lw=1.6, label=literal(short(labels[at])))
    _frame(axes, "recall", "precision")
    legend(axes, "lower left")
    return figure


def roc(predicted: Predicted, targets: Targets, labels: Sequence[str], shown: Sequence[int] | None = None) -> Figure:
    """True against false positives, a curve per label as in ``precision_recall``, over the diagonal of no knowledge."""
    from sklearn.metrics import roc_curve

    figure, axes = canvas()
    true = activation_of(targets).flags(targets, predicted.shape[1])
    _diagonal(axes)
    for colour, at in zip(COLOURS, _shown(predicted, targets, shown), strict=False):
        false, hits, _ = roc_curve(true[:, at], predicted[:, at])
        axes.plot(false, hits, color=colour, lw=1.6, label=literal(short(labels[at])))
    _frame(axes, "false positive rate", "true positive rate")
    legend(axes, "lower right")
    return figure


def confusion_matrix(counts: npt.NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Answers down, predictions across, each row shaded by its shares. ``counts`` int64 [c, c]."""
    from matplotlib.colors import to_rgb

    size = len(labels)
    side = min(2.6 + 0.25 * size, 9.0)
    figure, axes = canvas((side + 0.6, side))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.empty((size, size, 4))
    shade[..., :3] = to_rgb(SHADE)
    shade[..., 3] = 0.06 + 0.9 * shares
    axes.imshow(shade, aspect="equal", interpolation="nearest")
    axes.set_xlabel("predicted")
    axes.set_ylabel("answer")
    if size <= 40:
        names = [literal(short(label, 18)) for label in labels]
        axes.set_xticks(range(size), names, rotation=40 if size > 2 else 0, ha="right" if size > 2 else "center")
        axes.set_yticks(range(size), names)
    if size <= MOST_CELLS_WITH_NUMBERS:
        for row in range(size):
            for column in range(size):
                colour = "#ffffff" if shares[row, column] > 0.55 else INK
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=9)
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.tick_params(length=0)
    return figure


def reliability_diagram(table: Sequence[Bin]) -> Figure:
    """How often predictions of a confidence were right; on the diagonal, a probability means what it says."""
    figure, axes = canvas()
    _diagonal(axes)
    claimed, true = [one.confidence for one in table], [one.accuracy for one in table]
    for one in table:
        axes.plot([one.confidence] * 2, [one.confidence, one.accuracy], color=COLOURS[1], lw=1.2, alpha=0.7)
    axes.plot(claimed, true, color=COLOURS[0], lw=1.4, marker="o", ms=5)
    _frame(axes, "confidence", "share that was right")
    return figure


def fold_scores(names: Sequence[str], scores: Sequence[Interval], whole: Interval, what: str) -> Figure:
    """One score per fold with its interval, over the band of the whole."""
    figure, axes = canvas((SIZE[0], max(2.2, 0.9 + 0.27 * len(names))))
    if whole.told:
        axes.axvspan(whole.low, whole.high, color=COLOURS[0], alpha=0.14, lw=0)
    axes.axvline(whole.mean, color=COLOURS[0], lw=1.2)
    for place, score in enumerate(scores):
        row(axes, place, score, COLOURS[0], line=INK, lw=1.2)
    name_rows(axes, names, what)
    return figure


def learning_curve(at: Sequence[int], scores: Sequence[Interval], what: str, of: str = "labels") -> Figure:
    """A score with its band against how many labels, or what ``of`` says, were learned from.

    Each doubling is a step of the same width.
    """
    figure, axes = canvas()
    draw_curve(axes, at, scores, COLOURS[0], alpha=0.16, lw=1.7, marker="o", ms=4)
    axes.set_xscale("log")
    axes.set_xticks(at, [f"{labels:,}" for labels in at])
    axes.set_xticks([], minor=True)
    name_axes(axes, f"{of} learned from", what)
    return figure


def epoch_curves(trainings: Sequence[Sequence[EpochFigures]], lines: Mapping[str, str], up: str) -> Figure:
    """Figures of each of ``trainings`` by epoch, thin, over their mean; ``lines``: name of a figure -> what it is."""
    figure, axes = canvas()
    for colour, (key, name) in zip(COLOURS, lines.items(), strict=False):
        at: dict[float, list[float]] = {}
        for epochs in trainings:
            known = [(entry["epoch"], entry[key]) for entry in epochs if key in entry]
            if len(trainings) > 1:
                axes.plot(*zip(*known, strict=True), color=colour, lw=0.7, alpha=0.4) if known else None
            for epoch, value in known:
                at.setdefault(epoch, []).append(value)
        middle = [(epoch, float(np.mean(values))) for epoch, values in sorted(at.items())]
        if middle:
            axes.plot(*zip(*middle, strict=True), color=colour, lw=1.7, marker="o", ms=3.5, label=literal(name))
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(axes, "epoch", up)
    legend(axes, "best")
    return figure


def svg(figure: Figure, prefix: str, alt: str) -> str:
    """The figure as an ``<svg>`` element to stand inside a page, for those who can't see it with ``alt`` in its place.

    ``prefix`` keeps its ids apart from others'.
    """
    stream = io.StringIO()
    with _drawing():
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\bid="', f'id="{prefix}-', drawn)
    drawn = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", drawn)
    drawn = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", drawn))
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as a PNG on white, for slides and model cards."""
    stream = io.BytesIO()
    with _drawing():
        figure.savefig(stream, format="png", dpi=dpi, facecolor="white")
    return stream.getvalue()


@cache
def _families() -> list[str]:
    """Fonts by the order in which a letter is looked for in them: those of other scripts that this machine has."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in installed), "sans-serif"]


@contextmanager
def _drawing() -> Iterator[None]:
    """Matplotlib's settings, and Python's for warnings, as they are wanted here; one thread at a time has them.

    Text in a page stays text: a browser has letters for labels in every script, where a font of ours may have none.
    In a PNG file such a letter is a box, and nobody has to be warned of each.
    """
    import matplotlib

    with _DRAWN_ALONE, matplotlib.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s).*missing from (current )?font")
        yield


def canvas(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    """An empty picture in our looks, ``size`` in inches. Raises MissingExtra (matplotlib)."""
    try:
        from matplotlib import rcParams
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "train") from None
    rcParams["font.family"] = _families()
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
        axes.spines[side].set_alpha(0.5)
    axes.tick_params(colors=INK, labelsize=8.5, width=0.6)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=(0, (4, 4)), alpha=0.6)


def _frame(axes: Axes, across: str, up: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    name_axes(axes, across, up)


def name_axes(axes: Axes, across: str, up: str) -> None:
    """What the axes measure, over a grid."""
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color=INK, alpha=0.18, lw=0.6)


def draw_curve(
    axes: Axes,
    at: Sequence[int],
    scores: Sequence[Interval],
    colour: str,
    *,
    alpha: float,
    name: str = "",
    **looks: Any,
) -> None:
    """Scores by number of labels ``at``, over the band of their intervals where they have some."""
    if scores[0].low == scores[0].low:
        low, high = [one.low for one in scores], [one.high for one in scores]
        axes.fill_between(at, low, high, color=colour, alpha=alpha, lw=0)
    axes.plot(at, [one.mean for one in scores], color=colour, label=literal(name) or None, **looks)


def row(
    axes: Axes, place: int, score: Interval, colour: str, *, line: str = "", lw: float = 2.0, ms: float = 5, **ends: Any
) -> None:
    """A point and its interval, if it has one, on the line ``place``."""
    if score.low == score.low:
        axes.plot([score.low, score.high], [place, place], color=line or colour, lw=lw, **ends)
    axes.plot([score.mean], [place], marker="o", ms=ms, color=colour)


def name_rows(axes: Axes, names: Sequence[str], across: str, *, first_above: bool = True) -> None:
    """Whose each line is, and what is measured across."""
    axes.set_yticks(range(len(names)), [literal(name) for name in names])
    axes.set_ylim(*((len(names) - 0.4, -0.6) if first_above else (-0.6, len(names) - 0.4)))
    axes.set_xlabel(across)
    axes.grid(axis="x", color=INK, alpha=0.18, lw=0.6)


def legend(axes: Axes, place: Any) -> None:
    """A legend, where there is more than one thing to tell apart."""
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc=place, frameon=False, fontsize=8.5, labelcolor=INK)


def _shown(predicted: Predicted, targets: Targets, wanted: Sequence[int] | None) -> list[int]:
    """The classes to draw: ``wanted``, else the most frequent, at most eight; those that some but not all rows have."""
    true = activation_of(targets).flags(targets, predicted.shape[1])
    drawn = [
        at
        for at in wanted or activation_of(targets).curve_columns(predicted.shape[1])
        if true[:, at].any() and not true[:, at].all()
    ]
    return sorted(drawn, key=lambda at: -int(true[:, at].sum()))[:MOST_CURVES]


def short(text: str, most: int = 24) -> str:
    """Not too long to be drawn."""
    return text if len(text) <= most else text[: most - 1] + "…"


def literal(text: str) -> str:
    """As matplotlib may draw it: no formulas."""
    return text.replace("$", r"\$")


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with its file name (no suffix), title, a line below it, and the text that stands for it."""

    name: str
    title: str
    says: str
    alt: str
    figure: Figure


def save(album: list[Picture], folder: Path) -> list[Path]:
    """Write each picture to ``folder`` as NAME.png, over what may be there; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{picture.name}.png" for picture in album]
    for path, picture in zip(paths, album, strict=True):
        write_atomically(path, png(picture.figure))
    return paths
