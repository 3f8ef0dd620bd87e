"""What ``evaluate --spans`` shows: how well marks are found in texts that no model has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nextlabel.backend.training.spec import TrainingProgress
from nextlabel.connectors.errors import ConfigError

from .common import bars, print_json_line, print_table, say

if TYPE_CHECKING:
    from nextlabel.backend.evaluation.run import Request
    from nextlabel.backend.intervals import Interval


def refuse(given: Mapping[str, object]) -> None:
    """Raise ConfigError for the first option of ``given``, by name, that is there and means nothing for spans."""
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} is not for --spans, where parts of texts are marked; leave it out")


def evaluate_marked(request: Request, *, as_json: bool) -> None:
    """Evaluate and print. Raises as evaluate_spans does."""
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
        return
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
    if found.gain.low > 0:
        say(f"the last step brought {found.gain} in span F1: more labels are likely to help")


def _shown(one: Interval) -> tuple[str, str]:
    return _three(one.mean), "not defined here" if one.mean != one.mean else f"{one.low:.3f} – {one.high:.3f}"


def _three(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
