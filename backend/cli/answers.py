"""``annotators``: how good everybody's answers are."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.backend.data.cells import MISSING
from nextlabel.backend.data.reading import ReadingOptions
from nextlabel.backend.data.sources import is_file_name
from nextlabel.backend.data.tables import open_table
from nextlabel.connectors.errors import ConfigError

from .common import (
    AsJson,
    Delimiter,
    FileEncoding,
    MissingIsLabel,
    NoHeader,
    RecipeName,
    command_group,
    examples,
    names_in,
    print_json,
    print_table,
    project_of,
    reading_options,
    say,
)

if TYPE_CHECKING:
    from nextlabel.backend.annotators.opinions import Opinions
    from nextlabel.backend.annotators.quality import Annotator

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel annotators reviews.yaml",
        "nextlabel annotators reviews.yaml --json | jq '.annotators[] | select(.rank == null) | .name'",
        "nextlabel annotators votes.csv --id uid --annotator who --label answer",
        "nextlabel annotators votes.csv --id id --annotator-columns 'a*'",
    )
)
def annotators(
    recipe: RecipeName,
    id_column: Annotated[str, typer.Option("--id", help="A file: its column with the record's id.")] = "uid",
    annotator: Annotated[str, typer.Option(help="A file with a row per answer: who gave it.")] = "annotator",
    label: Annotated[str, typer.Option(help="A file with a row per answer: the label.")] = "answer",
    annotator_columns: Annotated[
        list[str] | None,
        typer.Option(
            help="A file with a column per annotator: names or patterns, as in 'anna,ben' or 'a*'.", metavar="NAMES"
        ),
    ] = None,
    missing_is_label: MissingIsLabel = False,
    delimiter: Delimiter = None,
    encoding: FileEncoding = None,
    no_header: NoHeader = False,
    as_json: AsJson = False,
) -> None:
    """Show how often each annotator agrees with the others.

    Everybody is held against the majority of the others on the same record, or against an adjudicator's answer. Who
    adjudicates (`adjudicators:` in the recipe) is not listed. Shares of few answers are drawn
    towards the crowd's, come with a wide interval, and give no rank. In place of a recipe, a .csv or .jsonl file
    with a row per answer (as `nextlabel export --each` writes it) or a column per annotator. The platform need not run.
    """
    from nextlabel.backend.annotators.quality import annotator_quality

    if is_file_name(recipe):
        options = reading_options(delimiter, encoding, no_header)
        verbatim = MISSING if missing_is_label else ()
        opinions = _from_file(recipe, options, id_column, annotator, label, annotator_columns, verbatim)
    else:
        opinions = _from_store(recipe)
    report = annotator_quality(opinions)
    if as_json:
        print_json(report.as_dict())
        return
    print_table(
        ("rank", "annotator", "answers", "compared", "agrees", "95%", "confusion"),
        [_row(one) for one in report.annotators],
    )
    say(f"{report.answers:,} answers about {report.records:,} records, {report.repeated:,} with more than one")
    if report.pair_agreement is None:
        say("no record has two answers, so nobody can be compared: ask for some with `nextlabel relabel`")
    else:
        say(f"two people who answered the same record agree in {report.pair_agreement:.0%} of cases")


def _from_file(
    path: str,
    options: ReadingOptions,
    id_column: str,
    annotator: str,
    label: str,
    columns: list[str] | None,
    verbatim: Collection[str],
) -> Opinions:
    from nextlabel.backend.annotators.opinions import read_columns, read_rows

    if columns:
        names = [name for given in columns for name in names_in(given, "--annotator-columns")]
        votes = read_columns(open_table(path, (id_column,), options), id_column, names, verbatim=verbatim)
    else:
        table = open_table(path, (id_column, annotator, label), options)
        votes = read_rows(table, id_column, annotator, label, verbatim=verbatim)
    for remark in votes.remarks:
        say(f"note: {remark}")
    return votes.opinions


def _from_store(name: str) -> Opinions:
    """Raises ConfigError if the project asks for anything else than one label per record."""
    from nextlabel.backend.annotators.names import annotator_names
    from nextlabel.backend.annotators.opinions import from_annotations
    from nextlabel.backend.questions import question_of

    with project_of(name) as (recipe, _, store):
        labeling = recipe.labeling()
        if not question_of(labeling).compares:
            raise ConfigError(
                f"{recipe.name} asks for {labeling.kind.value} labels; annotators are compared on single ones"
            )
        position = {item.remote_id: at for at, item in enumerate(store.records()) if item.remote_id}
        size = max(position.values(), default=-1) + 1
        names, settling = annotator_names(store), store.adjudicators()
        return from_annotations(store.answers(), position, size, labeling.labels, names, settling)


def _row(one: Annotator) -> tuple[str, ...]:
    rank = "" if one.rank is None else str(one.rank)
    confused = "; ".join(
        f"{true}: {other} {share:.0%}"
        for true, shares in one.confusion.items()
        for other, share in shares.items()
        if other != true and share >= 0.05
    )
    # Who was compared with nobody has what is assumed of everybody, and that is no finding.
    agrees, interval = (f"{one.agreement:.2f}", f"{one.low:.2f}-{one.high:.2f}") if one.compared else ("–", "–")
    return rank, one.name, f"{one.answers:,}", f"{one.compared:,}", agrees, interval, confused
