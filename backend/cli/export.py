"""``export``: what came of each record, as a file to train on or to take elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from nextlabel.backend.pool.export_files import write_list, write_rows
from nextlabel.connectors.content import text_of
from nextlabel.connectors.errors import ConfigError, DataError, LearningError, MissingExtra
from nextlabel.connectors.platforms import PLATFORMS

from .common import Project, RecipeName, command_group, examples, project_of, say

if TYPE_CHECKING:
    from nextlabel.backend.data.records import Sources
    from nextlabel.backend.pool.export import Truths
    from nextlabel.backend.recipe.recipe import Recipe

app = command_group()

Format = Literal["csv", "jsonl", "parquet", "datasets", "label-studio", "argilla", "conll", "spacy"]


@app.command(
    epilog=examples(
        "nextlabel export reviews.yaml",
        "nextlabel export reviews.yaml -o labels.parquet --annotators",
        "nextlabel export reviews.yaml -o everything.jsonl --all",
        "nextlabel export reviews.yaml -o folder --format datasets --push-to-hub OWNER/NAME",
        "nextlabel export reviews.yaml -o tasks.json --format label-studio",
        "nextlabel export names.yaml -o names.spacy",
        "nextlabel export reviews.yaml -o votes.jsonl --each",
    )
)
def export(
    recipe: RecipeName,
    output: Annotated[Path, typer.Option("--output", "-o", help="File, or folder of `datasets`, to write.")] = Path(
        "answers.csv"
    ),
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Of the file; by its ending, if not given: .csv, .jsonl, .parquet, .conll, .spacy. A folder is one of "
            "`datasets`, and a .json file is of the recipe's platform.",
            show_default=False,
        ),
    ] = None,
    annotators: Annotated[bool, typer.Option("--annotators", help="With what each annotator answered.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Records without an answer, too, with the model's prediction.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without the model: no predictions, and the majority in every case.")
    ] = False,
    each: Annotated[bool, typer.Option("--each", help="One row per answer, in place of one row per record.")] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Pictures as copies that annotators see, in place of their files' names.")
    ] = False,
    push_to: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub", metavar="OWNER/NAME", help="Upload the data set to the hub, too.", show_default=False
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository on the hub public.")] = False,
) -> None:
    """Write what came of each record, with how sure that is.

    One row per labelled record: the consensus (`answer`) by the rule of the recipe, the probability that it is right
    (`likely`), how many answered and how far they agree, whether an adjudicator settled it, what the model predicts,
    with its version and whether it had seen the answers, whether the record was in the audit slice, fields, metadata.

    Exact copies that only the data has get the label of the record that was pushed for them; those that the platform
    has, too, have their own. Pictures are named as in the data. Files for Label Studio and Argilla can be imported
    there; CoNLL and spaCy files hold the consensus. The platform need not run: everything comes from our own log.
    """
    from nextlabel.backend.pool.export import ANSWER_COLUMNS, answer_rows

    with project_of(recipe) as project:
        if each:
            written = write_rows(lambda: answer_rows(project.store), output, ANSWER_COLUMNS)
            say(f"{written:,} answers written to {output}, skips included")
            return
        kind = _format(output, form, project.recipe.platform)
        if push_to is not None and kind != "datasets":
            raise ConfigError(f"--push-to-hub uploads a data set: write one with --format datasets, not {kind}")
        truths = _truths(project, quick=quick, everything=everything)
        for line in Export(project, truths, annotators, everything, pictures).write(kind, output, push_to, not public):
            say(line)


def _format(output: Path, given: Format | None, platform: str) -> Format:
    """What is to be written. Raises ConfigError for an ending that says nothing."""
    if given is not None:
        return given
    suffix = output.suffix.lower()
    by_ending: dict[str, str] = {"": "datasets", ".json": platform}
    by_ending |= {f".{name}": name for name in ("csv", "jsonl", "parquet", "conll", "spacy")}
    if suffix not in by_ending:
        raise ConfigError(
            f"{output}: what is {suffix}? End the name in {', '.join(one for one in by_ending if one)}, or say --format"
        )
    return cast(Format, by_ending[suffix])


def _truths(project: Project, *, quick: bool, everything: bool) -> Truths:
    """What came of each record, under the model in use; without one where it can't be used, which is told."""
    from nextlabel.backend.loop.truth import truths
    from nextlabel.backend.questions import question_of
    from nextlabel.backend.service.opening import open_model

    recipe, settings, store = project
    model = None
    try:
        model = None if quick else open_model(recipe, settings, store)
    except (LearningError, MissingExtra, DataError, ConfigError) as error:
        say(f"without the model, so answers are those of the majority: {error}")
    found: Truths = truths(store, question_of(recipe.labeling()), model, recipe.consensus, everything=everything)
    return found


@dataclass(frozen=True)
class Export:
    """What is exported of a project, and how much of it."""

    project: Project
    truths: Truths
    people: bool
    everything: bool
    pictures: bool

    def write(self, kind: Format, output: Path, push_to: str | None, private: bool) -> list[str]:
        """Write it; return sentences on what was written."""
        if kind in PLATFORMS:
            return self._records(kind, output)
        if kind in ("conll", "spacy"):
            return self._texts(kind, output)
        return self._table(kind, output, push_to, private)

    def _table(self, kind: Format, output: Path, push_to: str | None, private: bool) -> list[str]:
        from nextlabel.backend.pool import typed_export as typed
        from nextlabel.backend.pool.export import RECORD_COLUMNS, record_rows
        from nextlabel.backend.questions import question_of

        recipe, _, store = self.project
        labeling, sources = recipe.labeling(), {} if self.pictures else _sources(recipe)
        question, more = question_of(labeling), []

        def rows() -> Iterator[dict[str, Any]]:
            return record_rows(store, labeling, sources, self.truths, people=self.people, everything=self.everything)

        if kind == "datasets":
            made = typed.as_dataset(rows(), question)
            written = typed.write_dataset(made, output)
            if push_to is not None:
                more = [f"on the hub: {typed.push_dataset(made, push_to, private=private)}"]
        elif kind == "parquet":
            written = typed.write_parquet(rows(), output, question)
        else:
            written = write_rows(rows, output, RECORD_COLUMNS, kind)
        copies = sum(row["copy_of"] is not None for row in rows())
        also = f", and {copies:,} copies of them" if copies else ""
        which = "records" if self.everything else "labelled records"
        return [f"{written - copies:,} {which} written to {output}{also}", *more]

    def _records(self, kind: Format, output: Path) -> list[str]:
        from nextlabel.backend.pool.export import finished
        from nextlabel.backend.service.project import CONFIG, HAS_NONE

        recipe, _, store = self.project
        labeling, platform, own = recipe.labeling(), PLATFORMS[kind], kind == recipe.platform
        config = (store.get_meta(CONFIG) or "") if own else ""
        people = self.people and own
        none = own and bool(store.get_meta(HAS_NONE))
        written = write_list(
            (
                platform.exported(labeling, one, config, has_none=none)
                for one in finished(store, labeling, self.truths, people=people, everything=self.everything)
            ),
            output,
        )
        told = [f"{written:,} records written to {output}, to be imported in {platform.title}"]
        if self.people and not own:
            told.append(
                f"people of {PLATFORMS[recipe.platform].title} have no account there: the consensus stands alone"
            )
        return told

    def _texts(self, kind: Format, output: Path) -> list[str]:
        from nextlabel.backend.pool.export import settled_records
        from nextlabel.backend.pool.span_export import Marked, write_conll, write_spacy
        from nextlabel.backend.questions import question_of

        recipe, _, store = self.project
        labeling = recipe.labeling()
        if kind == "conll" and not question_of(labeling).reads_tokens:
            raise ConfigError(f"--format conll is for marked words, and {recipe.name} asks for labels of whole texts")
        texts = (
            Marked(text_of(labeling.content(one.item.record)), one.answer)
            for one in settled_records(store, labeling, self.truths)
            if one.answer is not None
        )
        done = write_conll(texts, output) if kind == "conll" else write_spacy(texts, output, labeling.labels)
        lost = f"; {done.lost:,} are left out, as they overlap longer ones" if done.lost else ""
        spans = f" with {done.spans:,} spans" if done.spans else ""
        return [f"{done.texts:,} texts{spans} written to {output}{lost}"]


def _sources(recipe: Recipe) -> Sources:
    """What the recipe's data call their pictures."""
    try:
        return recipe.image_sources()
    except DataError as error:
        say(f"the copies of the pictures are written, as the data can't be read: {error}")
        return {}
