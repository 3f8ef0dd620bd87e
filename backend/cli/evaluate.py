"""``evaluate``: how good a model for labelled data is, honestly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nextlabel.backend.data.cells import MISSING
from nextlabel.backend.training.spec import TrainingProgress
from nextlabel.connectors.errors import ConfigError

from .common import (
    TEXTS,
    AsJson,
    DatasetSplit,
    Delimiter,
    Encoder,
    Engine,
    FileEncoding,
    GroupColumn,
    ImageColumn,
    LabelColumn,
    LabelColumns,
    LabelledData,
    MaxLength,
    MissingIsLabel,
    NoHeader,
    OnlyRows,
    Separator,
    TextColumn,
    Windows,
    bars,
    check_folder,
    check_page,
    check_read_columns,
    check_separator,
    column_and_values,
    command_group,
    examples,
    flag_columns,
    image_places,
    print_json_line,
    print_table,
    reading_options,
    say,
    seeing,
    write_page,
)
from .epochs import FoldEpochs, fold_epochs
from .evaluate_spans import evaluate_marked
from .evaluate_tree import show_tree
from .heads import HeadName, HeadOptions, chosen_head
from .spans import SpansColumn, marked_columns, refuse

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from nextlabel.backend.evaluation.curve import LearningCurve
    from nextlabel.backend.evaluation.keeping import Which
    from nextlabel.backend.evaluation.run import Evaluation, Request
    from nextlabel.backend.evaluation.summary import Summary
    from nextlabel.backend.intervals import Interval
    from nextlabel.backend.metrics import ClassFigures

RungOption = Literal["auto", "zero-shot", "probe", "fusion", "few-shot", "fine-tune"]
NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "roc_auc": "ROC-AUC", "average_precision": "average precision"}
MOST_CLASSES = 30  # shown in the terminal, the worst first

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel evaluate reviews.csv --text review --label stars",
        "nextlabel evaluate posts.csv --text text --label hateful --group user_id --report posts.html",
        "nextlabel evaluate posts.csv --text text --label hateful --random-folds      what leaking would show",
        "nextlabel evaluate posts.jsonl --text text --label topics --separator ';' --rung fine-tune --seeds 3",
        "nextlabel evaluate all.csv --text text --label label --split part=train:test --json",
        "nextlabel evaluate all.csv --text text --label label --only part=train:test --seeds 5",
        "nextlabel evaluate train.csv --test test.csv --text text --label label",
        "nextlabel evaluate comments.csv --text comment --label-columns toxic,insult,threat",
        "nextlabel evaluate memes.csv --text caption --image file --label hateful --rung fusion",
        "nextlabel evaluate tickets.jsonl --text body --spans marks --group customer",
        "nextlabel evaluate train.conll --test test.conll                             tokens and tags",
        "nextlabel evaluate posts.csv --text text --label topic --rung fine-tune --keep final --model topics-model",
        "nextlabel evaluate posts.csv --text text --label topic --rung fine-tune --tensorboard runs",
        "nextlabel evaluate posts.csv --text text --label topic --rung fine-tune --head gated-cnn",
        "nextlabel evaluate tweets.txt --no-header --delimiter tab --text 'column 2' --label 'column 1'",
    )
)
def evaluate(
    data: LabelledData,
    text: TextColumn = None,
    label: LabelColumn = None,
    label_columns: LabelColumns = None,
    image: ImageColumn = None,
    spans: SpansColumn = None,
    group: GroupColumn = None,
    separator: Separator = None,
    missing_is_label: MissingIsLabel = False,
    folds: Annotated[int, typer.Option(min=2, help="Parts, each predicted by a model of the others.")] = 5,
    rung: Annotated[
        RungOption,
        typer.Option(
            help="What is trained; `fusion` is for --image. `auto` chooses in every fold, by its own held-out texts."
        ),
    ] = "probe",
    encoder: Encoder = TEXTS,
    engine: Engine = "auto",
    max_length: MaxLength = 128,
    windows: Windows = 1,
    head: HeadName = None,
    head_option: HeadOptions = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often all of it is done, with other folds.")] = 1,
    split: Annotated[
        str | None,
        typer.Option(metavar="COLUMN=TRAIN:TEST", help="No folds: which rows to learn from, which to test on."),
    ] = None,
    test: Annotated[str | None, typer.Option(metavar="FILE", help="No folds: test on another file.")] = None,
    only: OnlyRows = None,
    dataset_split: DatasetSplit = "train",
    delimiter: Delimiter = None,
    encoding: FileEncoding = None,
    no_header: NoHeader = False,
    random_folds: Annotated[
        bool,
        typer.Option("--random-folds", help="Split groups and copies: shows how much that flatters, for comparison."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write one page with all figures and pictures.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--pictures", metavar="FOLDER", help="Write the pictures as PNG files, too.")
    ] = None,
    curve: Annotated[
        bool | None,
        typer.Option(
            "--learning-curve/--no-learning-curve",
            help="Learn from 1/16, 1/8, 1/4 and 1/2 of the labels too: would more of them help? About doubles the "
            "time; by default for the probe only.",
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL", help="Of two labels, the one that average precision is told of; by default the rarer."
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write loss and held-out figures of every epoch for TensorBoard, while it trains: a curve per fold, "
            "in a new folder in this one. See them with: tensorboard --logdir FOLDER",
        ),
    ] = None,
    keep: Annotated[
        Literal["best", "final"] | None,
        typer.Option(
            help="Leave a model in --model: `final` learns from all labels (with --split and --test, from those that "
            "are not tested on), `best` is the model of the fold with the highest macro-F1. It is trained once more.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder to make for --keep (`final`, if that is not given). What it is good for: nextlabel serve "
            "--model FOLDER.",
            show_default=False,
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Fit folds anew that an earlier run has left.")] = False,
    as_json: AsJson = False,
) -> None:
    """See how good a model for your labelled data is, honestly.

    Every text is predicted by a model that has not seen it, nor a copy of it, nor any text of its group. Figures come
    with 95% intervals, in which groups count as one. A run that was stopped goes on where it was.
    What trains in epochs has its losses by fold and epoch in the page and in the JSON.
    With --json, the last line of stdout is one JSON object.
    """
    from nextlabel.backend.data.labelled import LabelledColumns
    from nextlabel.backend.encoders.base import default_cache_dir
    from nextlabel.backend.evaluation.run import Request

    column, parts, values = _chosen_rows(split, test, only)
    check_page("--report", report)
    check_folder("--pictures", folder)
    check_separator(separator)
    reading = reading_options(delimiter, encoding, no_header, dataset_split)
    others = {"--label": label, "--label-columns": label_columns, "--image": image}
    others |= {"--group": group, "--split": split, "--only": only}
    text, spans = marked_columns(data, text, spans, others, reading)
    text = text if text == "" else check_read_columns(text, image)
    if sum(given is not None for given in (label, label_columns, spans)) != 1:
        raise ConfigError(
            "give either --label, the column with the labels, or --label-columns, one of 0 and 1 for each, or --spans, "
            "the column with what is marked"
        )
    flags, verbatim = flag_columns(label_columns, separator), MISSING if missing_is_label else ()
    request = Request(
        data=data,
        columns=LabelledColumns(
            text, label or spans or ", ".join(flags), group, separator, column, verbatim, flags, image=image
        ),
        cache=default_cache_dir() / "evaluate",
        rung=rung,
        encoder=seeing(encoder, image),
        engine=engine,
        max_length=max_length,
        windows=windows,
        folds=folds,
        seeds=seeds,
        random_folds=random_folds,
        parts=parts,
        only=values,
        test=test,
        reading=reading,
        fresh=fresh,
        curve=curve,
        positive=positive,
        images=None if image is None else image_places(data),
        head=chosen_head(head, head_option),
    )
    if spans is not None:
        refuse({"--image": image, "--separator": separator, "--positive": positive})
        refuse({"--tensorboard": tensorboard, "--keep": keep, "--model": model, "--head": head})
        evaluate_marked(request, as_json=as_json, report=report, folder=folder)
        return
    which = _checked_keep(request, keep, model)
    epochs = fold_epochs(tensorboard, request)
    found = _watched(request, epochs)
    say(found.how)
    for remark in found.remarks:
        say(f"note: {remark}")
    if as_json:
        print_json_line(found.to_json())
    else:
        _show(found)
    if epochs is not None:
        epochs.files.close()
        say(f"epochs: tensorboard --logdir {tensorboard}")
    _write(found, report, folder)  # last: figures that took long are shown, whatever becomes of a file
    if which is not None and model is not None:
        _keep(found, which, model)


def _chosen_rows(
    split: str | None, test: str | None, only: str | None
) -> tuple[str | None, tuple[str, str] | None, tuple[str, ...]]:
    """The column that chooses rows, its values to learn from and to test on, or its values to make folds of."""
    if sum(option is not None for option in (split, test, only)) > 1:
        raise ConfigError("--split, --test and --only say different things about which rows to use; give one of them")
    if only is not None:
        column, values = column_and_values(only, "--only", "COLUMN=VALUE, like part=train")
        return column, None, values
    if split is None:
        return None, None, ()
    column, values = column_and_values(split, "--split", "COLUMN=TRAIN:TEST, like part=train:test", count=2)
    if values[0] == values[1]:
        raise ConfigError(f"--split {split!r} tests on what was learned; name two different values")
    return column, (values[0], values[1]), ()


def _checked_keep(request: Request, keep: Which | None, model: Path | None) -> Which | None:
    """Which model is to be left, if any. Raises ConfigError if there is no place for it."""
    from nextlabel.backend.evaluation.keeping import check_keepable

    if model is None:
        if keep is not None:
            raise ConfigError(f"--keep {keep} needs a folder to make: add --model FOLDER")
        return None
    check_keepable(request, model)
    return keep or "final"


def _keep(found: Evaluation, which: Which, folder: Path) -> None:
    """Train the model to be left, under a bar."""
    from nextlabel.backend.evaluation.keeping import keep_model

    with bars() as progress:
        task = progress.add_task(f"the {which} model", total=None)
        kept = keep_model(found, which, folder, lambda one: _step(progress, task, one))
    say(f"model: {kept.folder} ({kept.rung}); {kept.says}; see: nextlabel serve --model {kept.folder}")


def _write(found: Evaluation, report: Path | None, folder: Path | None) -> None:
    """Write what was asked for. Raises ConfigError for a place that can't be written."""
    if report is None and folder is None:
        return
    from nextlabel.backend.reports.evaluation_page import drawn, page

    verdict = None if found.curve is None else found.curve.verdict
    figures = drawn(found.found, found.summary, found.curve)
    write_page(report, folder, figures, lambda: page(found.found, found.summary, found.about(), figures, verdict))


def _step(progress: Progress, task: TaskID, one: TrainingProgress) -> None:
    """Show a report of a training on its bar."""
    loss = "" if one.loss is None else f", loss {one.loss:.3f}"
    held_out = "" if one.score is None else f", held-out log loss {one.score:.3f}"
    told = f"{one.stage}{loss}{held_out}"
    progress.update(task, visible=True, description=told, completed=one.step, total=one.steps or None)


def _watched(request: Request, epochs: FoldEpochs | None) -> Evaluation:
    """Run it under two bars on stderr: the folds, and what happens in the one at work."""
    from nextlabel.backend.evaluation.crossvalidation import FoldDone
    from nextlabel.backend.evaluation.run import evaluate

    with bars() as progress:
        whole = progress.add_task("folds", total=None)
        inner = progress.add_task("", total=None, visible=False)

        def on_fold(one: FoldDone) -> None:
            progress.update(whole, description=one.stage, completed=one.done, total=one.total)
            progress.update(inner, visible=False)
            if epochs is not None:
                epochs.on_fold(one)

        def on_step(one: TrainingProgress) -> None:
            _step(progress, inner, one)
            if epochs is not None:
                epochs.on_step(one)

        return evaluate(request, on_fold=on_fold, on_step=on_step)


def _show(found: Evaluation) -> None:
    print_table(
        ["figure", "value", "95% interval"],
        [[_named(name, found.summary), _three(one.mean), _within(one)] for name, one in found.summary.headline.items()]
        + [["calibration error", f"{found.summary.calibration_error:.3f}", ""]],
        title=f"{found.rung}, {len(found.found.examples):,} texts",
    )
    if found.curve is not None:
        _show_curve(found.curve)
    if found.summary.tree is not None:
        show_tree(found.summary.tree)
    worst = sorted(found.summary.classes, key=_f1_or_last)
    title = "by label" if len(worst) <= MOST_CLASSES else f"by label, the worst {MOST_CLASSES} of {len(worst)}"
    print_table(
        ["label", "precision", "recall", "F1", "ROC-AUC", "rows"],
        [
            [one.label, *map(_three, (one.precision, one.recall, one.f1, one.roc_auc)), f"{one.support:,}"]
            for one in worst[:MOST_CLASSES]
        ],
        title=title,
    )


def _show_curve(curve: LearningCurve) -> None:
    print_table(
        ["labels", "macro-F1", "95% interval"],
        [[f"{one.labels:,}", _three(one.macro_f1.mean), _within(one.macro_f1)] for one in curve.points],
        title="learning curve",
    )
    if curve.verdict is not None:
        say(curve.verdict)


def _named(name: str, summary: Summary) -> str:
    """A figure's name, with the label that it is told of where it is one of two."""
    of = f" of {summary.positive}" if name == "average_precision" and summary.positive else ""
    return NAMES[name] + of


def _within(one: Interval) -> str:
    from nextlabel.backend.intervals import TOO_FEW

    if one.mean != one.mean:
        return "not defined here"
    return f"{one.low:.3f} – {one.high:.3f}" if one.told else TOO_FEW


def _f1_or_last(one: ClassFigures) -> float:
    return one.f1 if one.f1 == one.f1 else 2.0


def _three(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
