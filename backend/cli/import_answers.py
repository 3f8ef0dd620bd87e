"""``import``: existing labels into a project, as human answers."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextlabel.connectors.errors import ConfigError

from .common import (
    AsJson,
    DatasetSplit,
    Delimiter,
    FileEncoding,
    LabelColumns,
    LabelledData,
    NoHeader,
    RecipeName,
    Separator,
    bars,
    command_group,
    examples,
    has_store,
    names_in,
    print_json,
    say,
)
from .ending import ends_in_time
from .run import OtherPlatform, Project, Wanted, _agree, chosen_recipe, start_settings

if TYPE_CHECKING:
    from nextlabel.backend.recipe.existing import ExistingAnswers
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.service.answer_plan import AnswerPlan
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import ImportCounts

FORMATS = "table, nextlabel, label-studio, label-studio-min, argilla, argilla-dataset, doccano, prodigy, spacy, conll"

app = command_group()


@app.command(
    "import",
    epilog=examples(
        "nextlabel import reviews.yaml labelled.csv --label sentiment --dry-run",
        "nextlabel import reviews.yaml votes.csv --annotator worker --label answer --time when",
        "nextlabel import reviews.yaml votes.csv --annotator-columns 'anna,ben' --as anna=anna@example.com",
        "nextlabel import reviews.yaml project-7-export.json --as 1=anna@example.com --make-accounts",
        "nextlabel import entities.yaml train.spacy",
    ),
)
def import_answers(
    recipe: RecipeName,
    file: LabelledData,
    format_: Annotated[
        str | None,
        typer.Option("--format", help=f"What it is, where it can't be told: {FORMATS}.", show_default=False),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Column of the answers; or the question of another tool's export.", show_default=False),
    ] = None,
    label_columns: LabelColumns = None,
    annotator: Annotated[
        str | None, typer.Option(help="Column that says who answered: a row per answer.", show_default=False)
    ] = None,
    annotator_columns: Annotated[
        list[str] | None,
        typer.Option(help="A column per annotator: names or patterns, as in 'anna,ben' or 'a*'.", metavar="NAMES"),
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column that says when.", show_default=False)] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column with the ids of records.", show_default=False)
    ] = None,
    separator: Separator = None,
    empty_is_none: Annotated[
        bool, typer.Option("--empty-is-none", help="No label is an answer: that none applies.")
    ] = False,
    rename: Annotated[
        list[str] | None, typer.Option(help="A label of the file, and what it is called here.", metavar="OLD=NEW")
    ] = None,
    accounts: Annotated[
        list[str] | None,
        typer.Option(
            "--as", help="Whose account an annotator of the file is: name, email or id.", metavar="NAME=ACCOUNT"
        ),
    ] = None,
    given_by: Annotated[
        str | None,
        typer.Option(
            help="Account of the answers of which the file names nobody; that of the API key.", show_default=False
        ),
    ] = None,
    make_accounts: Annotated[
        bool, typer.Option("--make-accounts", help="Make accounts for annotators who have none.")
    ] = False,
    known_only: Annotated[bool, typer.Option("--known-only", help="Add no records.")] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Records of the audit slice may have these answers, and stay there.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Try those again, too, that the platform did not take.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    project: Project = None,
    platform: OtherPlatform = None,
    delimiter: Delimiter = None,
    encoding: FileEncoding = None,
    no_header: NoHeader = False,
    split: DatasetSplit = "train",
    as_json: AsJson = False,
) -> None:
    """Take labels that you have already into a project.

    They come in as human answers. A table with one label column, a column per annotator or a row per answer; exports
    of Label Studio, Argilla, doccano, Prodigy and spaCy; CoNLL. What it is, is found. They become annotations of their
    annotators on the platform, and are learned from. Nothing is overwritten, and nothing comes twice: run it again
    whenever you like, also after it was stopped midway. The service may be running: then it does the work. What is
    imported counts in no figure of the audit slice.
    """
    from nextlabel.backend.recipe.existing import ExistingAnswers

    spec = _checked(
        ExistingAnswers,
        file=file,
        format=format_,
        label=label,
        label_columns=names_in(label_columns, "--label-columns") if label_columns else (),
        annotator=annotator,
        annotator_columns=[name for one in annotator_columns or () for name in names_in(one, "--annotator-columns")],
        time=time,
        id=id_column,
        separator=separator,
        empty_is_none=empty_is_none,
        rename=_pairs(rename, "--rename"),
        accounts=_pairs(accounts, "--as"),
        given_by=given_by,
        make_accounts=make_accounts,
        known_only=known_only,
        audit=audit,
        split=split,
        delimiter=delimiter,
        encoding=encoding,
        header=not no_header,
    )
    settings = start_settings(None, None)
    chosen = chosen_recipe(recipe, Wanted(project, platform), settings)
    with ends_in_time():
        if dry_run:
            _show(_planned_dry(chosen, settings, spec), None, as_json=as_json)
            return
        plan, counts = _imported(chosen, settings, spec, yes=yes, again=again)
    if as_json:
        _show(plan, counts, as_json=True)


def _checked(model: type[ExistingAnswers], **values: Any) -> ExistingAnswers:
    from pydantic import ValidationError

    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"{option}: {str(first['msg']).removeprefix('Value error, ')}") from None


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """NAME=VALUE, several. Raises ConfigError."""
    found = {}
    for one in given or ():
        name, parted, value = one.partition("=")
        if not parted or not name.strip() or not value.strip():
            raise ConfigError(f"{option} {one!r} can't be read; write {option} NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def _planned_dry(recipe: Recipe, settings: Settings, spec: ExistingAnswers) -> AnswerPlan:
    """The plan alone: made on a store that is thrown away, unless the project's is in use already."""
    from nextlabel.backend.loop.record_import import NEWEST
    from nextlabel.backend.service.answer_plan import plan_answers
    from nextlabel.backend.service.existing_answers import take_up_without_audit
    from nextlabel.backend.service.opening import image_rules, import_plan, load_records, open_store
    from nextlabel.backend.service.project import find_project
    from nextlabel.backend.store import Store

    with ExitStack() as opened:
        store = opened.enter_context(open_store(recipe, settings)) if has_store(recipe, settings) else None
        if store is None or store.get_meta(NEWEST) is None:
            folder = opened.enter_context(TemporaryDirectory())
            scratch = opened.enter_context(Store.open(Path(folder) / "dry.sqlite"))
            recipe, found = find_project(recipe, settings, store or scratch)
            load_records(recipe, scratch, settings)
            store = scratch
            if found is not None:
                opened.enter_context(closing(found))
                take_up_without_audit(store, found, import_plan(recipe, settings))
        else:
            recipe, found = find_project(recipe, settings, store)
            if found is not None:
                opened.enter_context(closing(found))
        rules, plan = image_rules(recipe, settings), import_plan(recipe, settings)
        return plan_answers(recipe, store, found, spec, plan.rule, rules)


def _imported(
    recipe: Recipe, settings: Settings, spec: ExistingAnswers, *, yes: bool, again: bool
) -> tuple[AnswerPlan, ImportCounts]:
    """Plan, ask, and carry out. Raises ConfigError if it shall not be."""
    from nextlabel.backend.loop.leadership import Leadership
    from nextlabel.backend.service.answer_plan import plan_answers, refuse_missing
    from nextlabel.backend.service.existing_answers import carry_out, take_up_without_audit
    from nextlabel.backend.service.opening import image_rules, import_plan, open_store, read_agreed, read_texts
    from nextlabel.backend.service.project import PROJECT, find_project, settle_project, skips_empty_answers

    with ExitStack() as opened:
        store = opened.enter_context(open_store(recipe, settings))
        recipe, found = find_project(recipe, settings, store)
        if found is not None:
            opened.enter_context(closing(found))
            read_texts(found, recipe, settings)
        leadership = Leadership(store)
        leads = opened.enter_context(leadership.kept(patient=True))
        if leads and store.get_meta(PROJECT) is None:
            read_agreed(recipe, settings, store, found, agree=partial(_agree, yes=yes))
        connector = settle_project(recipe, settings, store, leadership, found)
        opened.callback(connector.close)
        plan = import_plan(recipe, settings)
        if leads:
            store.skip_empty_answers(skips_empty_answers(recipe, store, connector))
            say("reading what the platform has")
            take_up_without_audit(store, connector, plan)
        else:
            say(f"the service that runs ({leadership.leader}) puts them on the platform")
        planned = plan_answers(recipe, store, connector, spec, plan.rule, image_rules(recipe, settings))
        _show(planned, None)
        refuse_missing(planned)
        if again and (retried := store.retry_refused()):
            say(f"{retried:,} answers that were refused are tried again")
        if planned.changes:
            _confirm(planned, connector.project.title, yes=yes)
        with bars() as progress:
            bar = progress.add_task("importing answers", total=None)

            def show(done: int, total: int) -> None:
                progress.update(bar, completed=done, total=total or None)

            counts = carry_out(planned, store, connector, leadership, plan, show)
        _say_end(planned, counts)
        return planned, counts


def _confirm(plan: AnswerPlan, title: str, *, yes: bool) -> None:
    """Raises ConfigError if it shall not be done."""
    if yes:
        return
    what = f"{len(plan.answers):,} answers into {title!r}"
    if not sys.stdin.isatty():
        raise ConfigError(f"nothing was imported: to put {what}, say --yes; to see it only, --dry-run")
    if not typer.confirm(f"Put {what}?", err=True):
        raise ConfigError("nothing was imported")


def _show(plan: AnswerPlan, counts: ImportCounts | None, *, as_json: bool = False) -> None:
    from dataclasses import asdict

    if as_json:
        print_json(plan.as_json() | ({} if counts is None else {"imported": asdict(counts)}))
        return
    for line in plan.lines():
        say(line)


def _say_end(plan: AnswerPlan, counts: ImportCounts) -> None:
    refused = f", {counts.refused:,} it does not take: see `nextlabel status`" if counts.refused else ""
    if not plan.changes and not counts.waiting:
        say(f"nothing to do: all that can be taken of {plan.reading.name} is there{refused}")
        return
    left = f"; {counts.waiting:,} wait for records that it does not take: see `nextlabel status`"
    say(f"{counts.there:,} imported answers are on the platform{refused}{left if counts.waiting else ''}")
