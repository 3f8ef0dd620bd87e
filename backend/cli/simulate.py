"""``simulate``: strategies replayed on labelled data, against random, before anybody pays for labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nextlabel.backend.data.cells import MISSING
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
    Separator,
    TextColumn,
    Windows,
    bars,
    check_folder,
    check_read_columns,
    check_separator,
    column_and_values,
    command_group,
    examples,
    flag_columns,
    image_places,
    names_in,
    print_json_line,
    print_table,
    reading_options,
    say,
    seeing,
)
from .heads import HeadName, HeadOptions, chosen_head
from .spans import SpansColumn, marked_columns, refuse

if TYPE_CHECKING:
    from nextlabel.backend.data.labelled import LabelledColumns
    from nextlabel.backend.intervals import Interval
    from nextlabel.backend.simulation import Plan, Request, Simulation
    from nextlabel.backend.simulation.data import Asked
    from nextlabel.backend.simulation.plan import MetricName

MetricOption = Literal["accuracy", "macro-f1"]
RungOption = Literal["probe", "fusion", "few-shot", "fine-tune"]
OrderOption = Literal["seed", "file"]
METRIC_NAMES: Mapping[MetricOption, MetricName] = {"accuracy": "accuracy", "macro-f1": "macro_f1"}
DEFAULT = "margin-diverse,margin,badge,representative,random"
MARKED = "margin-diverse,margin,least-sure-span,representative,random"

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel simulate reviews.csv --text review --label stars",
        "nextlabel simulate posts.csv --text text --label hateful --group user_id --budget 1000 --batch 40",
        "nextlabel simulate all.csv --text text --annotator-columns 'a*' --metric accuracy --seeds 10",
        "nextlabel simulate answers.csv --text text --label said --annotator worker",
        "nextlabel simulate votes.csv --text text --label said --annotator who --id uid --metric accuracy "
        "--start 200 --start-opinions 2 --strategies activelab/crowdlab,margin,random-relabel      ask again, or not",
        "nextlabel simulate reviews.csv --text review --label stars --noise 0.2 --strategies margin,badge",
        "nextlabel simulate memes.csv --text caption --image file --label hateful",
        "nextlabel simulate tickets.jsonl --text body --spans marks --group customer",
        "nextlabel simulate train.conll --budget 300                       tokens and tags",
        "nextlabel simulate reviews.csv --text review --label stars --rung few-shot --seeds 3 --strategies margin",
        "nextlabel simulate reviews.csv --text review --label stars --cost-per-label 0.12 --seconds-per-label 15",
        "nextlabel simulate all.csv --text text --label label --split part=train:test --json",
    )
)
def simulate(
    data: LabelledData,
    text: TextColumn = None,
    label: LabelColumn = None,
    label_columns: LabelColumns = None,
    image: ImageColumn = None,
    spans: SpansColumn = None,
    annotator_columns: Annotated[
        str | None,
        typer.Option(
            help="One column per annotator, in place of --label: names or patterns, as in 'anna,ben' or 'a*'."
        ),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Column that names who answered: rows with the same text are one record.")
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option("--id", help="With --annotator: rows with the same value in this column are one record."),
    ] = None,
    group: GroupColumn = None,
    separator: Separator = None,
    missing_is_label: MissingIsLabel = False,
    strategies: Annotated[
        str,
        typer.Option(
            help="Strategies by name; random is always there. NAME/crowdlab or NAME/dawid-skene: what several answers "
            "come to, if not the majority; with -soft behind it, how likely each label is. Of --spans, least-sure-span "
            "comes in the place of badge."
        ),
    ] = DEFAULT,
    budget: Annotated[
        int, typer.Option(min=1, help="Labels in all, each one person's answer, those to start with included.")
    ] = 500,
    batch: Annotated[int, typer.Option(min=1, help="Labels between two fits.")] = 20,
    start: Annotated[
        int, typer.Option(min=0, help="Labels given at random at the beginning; 0 is the cold start.")
    ] = 0,
    start_opinions: Annotated[
        int, typer.Option(min=1, help="Answers to each of the records to start with, where there are as many.")
    ] = 1,
    opinions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Answers to a record at most, by strategies that ask again; by default as many as there are.",
            show_default=False,
        ),
    ] = None,
    answer_order: Annotated[
        OrderOption, typer.Option(help="Whose answer to a record comes first: drawn by the seed, or as in the file.")
    ] = "seed",
    seeds: Annotated[int, typer.Option(min=1, help="How often everything is replayed, with other chances.")] = 5,
    noise: Annotated[float, typer.Option(help="Share of answers that are flipped; never of those tested on.")] = 0.0,
    metric: Annotated[
        MetricOption, typer.Option(help="What is measured on the test records; of --spans it is span F1.")
    ] = "macro-f1",
    target: Annotated[
        str, typer.Option(help="Score to reach: 0.9, or 95% for that share of what all labels give.")
    ] = "95%",
    test_share: Annotated[float, typer.Option(help="Share of the records that is tested on.")] = 0.25,
    split: Annotated[
        str | None,
        typer.Option(metavar="COLUMN=POOL:TEST", help="Which rows to choose from, and which to test on in all seeds."),
    ] = None,
    cost_per_label: Annotated[float | None, typer.Option(help="Money that a label costs, in any currency.")] = None,
    seconds_per_label: Annotated[float | None, typer.Option(help="Seconds of work that a label takes.")] = None,
    encoder: Encoder = TEXTS,
    engine: Engine = "auto",
    max_length: MaxLength = 128,
    windows: Windows = 1,
    rung: Annotated[
        RungOption,
        typer.Option(
            help="What is trained in every replay, as the labels grow: the encoder, or with --image a `fusion` head on "
            "it; `probe`: nothing."
        ),
    ] = "probe",
    train_from: Annotated[
        int, typer.Option(min=10, help="With --rung: labels at which the encoder is trained for the first time.")
    ] = 100,
    train_growth: Annotated[
        float, typer.Option(help="With --rung: by how much labels must have grown to train it again; 0.5 is half.")
    ] = 0.5,
    head: HeadName = None,
    head_option: HeadOptions = None,
    dataset_split: DatasetSplit = "train",
    delimiter: Delimiter = None,
    encoding: FileEncoding = None,
    no_header: NoHeader = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Replays at a time; as many as there are cores.")] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the page, the pictures and the figures are written.")
    ] = Path("simulation"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Replay anew what an earlier run has left.")] = False,
    as_json: AsJson = False,
) -> None:
    """See which strategy would have saved labels on labelled data.

    Every strategy is replayed with the model of the loop, several times, on the same chances as random, and tested on
    records that nobody labelled. Figures come with 95% intervals. A strategy is recommended only if it is shown to
    beat random. A run that was stopped goes on where it was. With --json, the last line of stdout is one JSON object.

    With several people's answers to a record (--annotator-columns or --annotator), each label is one person's answer.
    activelab and random-relabel may ask another person about a record that has answers; all others ask about new ones.
    Models are tested against the majority of all answers to records that nobody was asked about.

    With --spans, or a file of tokens and tags, a label is a text with all its marks, and models are tested by span F1.
    """
    from nextlabel.backend.data.labelled import LabelledColumns
    from nextlabel.backend.encoders.base import default_cache_dir, usable_cores
    from nextlabel.backend.reports.simulation_page import write
    from nextlabel.backend.simulation import Plan, Request
    from nextlabel.backend.simulation import simulate as simulate_labels
    from nextlabel.backend.simulation.plan import Target
    from nextlabel.backend.simulation.request import Price
    from nextlabel.backend.simulation.spans import simulate_spans
    from nextlabel.backend.training.spec import TrainingSpec

    if train_growth <= 0:
        raise ConfigError(f"--train-growth is {train_growth}; it must be above 0, 0.5 is usual")
    column, parts = _parts(split)
    flags, verbatim = flag_columns(label_columns, separator), MISSING if missing_is_label else ()
    reading = reading_options(delimiter, encoding, no_header, dataset_split)
    named = {"--label": label, "--label-columns": label_columns, "--image": image, "--group": group, "--split": split}
    text, spans = marked_columns(
        data, text, spans, named | {"--annotator-columns": annotator_columns, "--annotator": annotator}, reading
    )
    text = text if text == "" else check_read_columns(text, image)
    if spans is not None:
        refuse(
            {"--label": label, "--label-columns": label_columns, "--image": image, "--separator": separator}
            | {"--annotator-columns": annotator_columns, "--annotator": annotator, "--id": id_column}
            | {"--noise": noise, "--metric accuracy": metric == "accuracy", "--rung": rung != "probe"}
        )
        strategies = MARKED if strategies == DEFAULT else strategies
    columns = LabelledColumns(
        text, label or spans or ", ".join(flags), group, separator, column, verbatim, flags, image=image
    )
    check_folder("--out", out)
    own = chosen_head(head, head_option)
    plan = Plan(
        budget=budget,
        batch=batch,
        start=start,
        noise=noise,
        metric="span_f1" if spans is not None else METRIC_NAMES[metric],
        test_share=test_share,
        start_opinions=start_opinions,
        opinions=opinions,
        order=answer_order,
    )
    request = Request(
        data=data,
        asked=_asked(columns, label or spans, annotator_columns, annotator, id_column),
        cache=default_cache_dir(),
        strategies=names_in(strategies, "--strategies"),
        plan=plan,
        seeds=seeds,
        target=Target.parse(target),
        price=Price(cost_per_label, seconds_per_label),
        encoder=seeing(encoder, image),
        engine=engine,
        max_length=max_length,
        windows=windows,
        parts=parts,
        reading=reading,
        jobs=jobs or usable_cores(),
        fresh=fresh,
        rung=rung,
        training=TrainingSpec(start_at=train_from, growth=train_growth, **({} if own is None else own.keys)),
        images=None if image is None else image_places(data),
    )
    found = _watched(request, simulate_spans if spans is not None else simulate_labels)
    for remark in found.remarks:
        say(f"note: {remark}")
    say(f"page: {write(found, out)}")
    if as_json:
        print_json_line(found.to_json())
    else:
        _show(found, plan)


def _asked(
    columns: LabelledColumns,
    label: str | None,
    annotator_columns: str | None,
    annotator: str | None,
    id_column: str | None,
) -> Asked:
    """Where the answers are. Raises ConfigError for options that contradict each other."""
    from nextlabel.backend.simulation.data import Asked

    if sum(map(bool, (label, columns.flags, annotator_columns))) != 1:
        raise ConfigError(
            "give either --label, the column with the labels, or a column each: --label-columns or --annotator-columns"
        )
    if annotator is not None and label is None:
        raise ConfigError("--annotator goes with --label: a row is then one answer of one annotator")
    if id_column is not None and annotator is None:
        raise ConfigError("--id goes with --annotator: it tells which answers are about one record")
    if columns.separator is not None and (annotator or annotator_columns):
        raise ConfigError("--separator means several labels per text, which several annotators can't be replayed with")
    check_separator(columns.separator)
    names = names_in(annotator_columns, "--annotator-columns") if annotator_columns else ()
    return Asked(columns, names, annotator, id_column)


def _parts(split: str | None) -> tuple[str | None, tuple[str, str] | None]:
    if split is None:
        return None, None
    form = "COLUMN=POOL:TEST, like part=train:test"
    column, values = column_and_values(split, "--split", form, count=2)
    if values[0] == values[1]:
        raise ConfigError(f"--split {split!r} can't be read; write {form}")
    return column, (values[0], values[1])


def _watched(request: Request, simulate: Callable[..., Simulation]) -> Simulation:
    """Run it under bars on stderr: texts embedded, curves finished, the training at work."""
    from rich.progress import TimeRemainingColumn

    from nextlabel.backend.simulation.retraining import Step
    from nextlabel.backend.simulation.runs import Finished

    with bars(TimeRemainingColumn()) as progress:
        texts = progress.add_task("texts embedded", total=None)
        curves = progress.add_task("curves", total=None, visible=False)
        training = progress.add_task("", total=None, visible=False)

        def on_text(done: int, total: int) -> None:
            progress.update(texts, completed=done, total=total or None)

        def on_curve(one: Finished) -> None:
            progress.update(texts, visible=False)
            progress.update(curves, visible=True, completed=one.done, total=one.total)

        def on_step(one: Step) -> None:
            what = f"{one.strategy}, seed {one.seed}, {one.labels:,} labels: "
            if one.progress is None:
                progress.update(training, visible=False)
            else:
                step, steps = one.progress.step, one.progress.steps or None
                named = what + one.progress.stage
                progress.update(training, visible=True, description=named, completed=step, total=steps)

        try:
            return simulate(request, on_text=on_text, on_curve=on_curve, on_step=on_step)
        except KeyboardInterrupt:
            say("stopped; finished curves are kept, and the same command goes on where it was")
            raise


def _show(found: Simulation, plan: Plan) -> None:
    from nextlabel.backend.simulation.arms import RANDOM
    from nextlabel.backend.simulation.plan import METRICS

    summary, several = found.summary, found.counts["most_answers"] > 1
    rows = []
    for name, one in sorted(summary.strategies.items(), key=lambda row: -row[1].area.mean):
        itself = name == RANDOM
        rows.append(
            [
                name,
                _range(one.final),
                _range(one.area),
                "" if itself else _range(one.gain, "+.3f"),
                str(one.labels_to_target),
                "" if itself else _range(one.error_ratio, ".2f"),
                *[f"{one.records.mean:,.0f}"] * several,
            ]
        )
    what = METRICS[plan.metric]
    columns = ["strategy", f"{what} at {plan.budget:,}", "area", "gain in area", "labels to target"]
    print_table(
        [*columns, "error to random's", *["records"] * several],
        rows,
        title=f"{what}, {plan.budget:,} labels, {found.request.seeds} seeds; target {summary.target.mean:.3f} "
        f"({found.request.target})",
    )
    chosen = summary.recommended
    say(f"recommended: {chosen}; {summary.why}" if chosen is not None else f"recommended: none; {summary.why}")
    if summary.worse:
        say(f"shown to lose to random here: {', '.join(summary.worse)}")


def _range(one: Interval, form: str = ".3f") -> str:
    return f"{one.mean:{form}}" + (f" [{one.low:{form}}, {one.high:{form}}]" if one.low == one.low else "")
