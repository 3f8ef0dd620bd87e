"""What ``evaluate --spans`` shows: how well marks are found in texts that no model has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextlabel.backend.training.spec import TrainingProgress

from .common import bars, print_json_line, print_table, say, write_page

if TYPE_CHECKING:
    from pathlib import Path

    from nextlabel.backend.evaluation.run import Request
    from nextlabel.backend.evaluation.spans import SpanEvaluation
    from nextlabel.backend.intervals import Interval


def evaluate_marked(request: Request, *, as_json: bool, report: Path | None = None, folder: Path | None = None) -> None:
    """Evaluate, print and write what was asked for. Raises as evaluate_spans does; ConfigError for the disk."""
    from nextlabel.backend.evaluation.crossvalidation import FoldDone
    from nextlabel.backend.evaluation.spans import evaluate_spans

    with bars() as progress:
        whole = progress.add_task("folds", total=None)
        inner = progress.add_task("", total=None, visible=False)

        def on_fold(one: FoldDone) -> None:
            progress.update(inner, visible=False)
            progress.update(whole, completed=one.done, total=one.total)

        def on_step(one: TrainingProgress) -> None:
            progress.update(
                inner, visible=True, description="texts encoded", completed=one.step, total=one.steps or None
            )

        found = evaluate_spans(request, on_fold=on_fold, on_step=on_step)
    say(found.how)
    for remark in found.remarks:
        say(f"note: {remark}")
    if as_json:
        print_json_line(found.to_json())
    else:
        _show(found)
    _write(found, report, folder)  # last: figures that took long are shown, whatever becomes of a file


def _show(found: SpanEvaluation) -> None:
    print_table(
        ["label", "precision", "recall", "span F1", "95% interval", "spans"],
        [["all", "", "", *_shown(found.f1), f"{found.spans:,}"]]
        + [
            [one.label, _three(one.precision), _three(one.recall), *_shown(one.f1), f"{one.support:,}"]
            for one in found.by_label
        ],
        title=f"spans, {found.texts:,} texts",
    )
    if found.gain is None:
        return
    rows = [[f"{one.labels:,}", *_shown(one.f1)] for one in found.curve]
    print_table(["texts", "span F1", "95% interval"], rows, title="learning curve")
    if found.verdict is not None:
        say(found.verdict)


def _write(found: SpanEvaluation, report: Path | None, folder: Path | None) -> None:
    if report is None and folder is None:
        return
    from nextlabel.backend.reports.span_page import drawn, page

    figures = drawn(found)
    write_page(report, folder, figures, lambda: page(found, figures))


def _shown(one: Interval) -> tuple[str, str]:
    return _three(one.mean), "not defined here" if one.mean != one.mean else f"{one.low:.3f} – {one.high:.3f}"


def _three(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
