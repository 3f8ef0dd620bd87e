"""Answers that a team has already: how they are read, by keys of a recipe or options of ``nextlabel import``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nextlabel.backend.data.given import FORMATS, Wanted
from nextlabel.backend.data.reading import ReadingOptions, known_encoding, one_delimiter


def _known_format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    return name


class ExistingAnswers(BaseModel):
    """One file of answers from elsewhere, and how it is read. What is not said is found in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="A file, a web address, a folder of data, or a data set of the hub.")
    format: Annotated[str, AfterValidator(_known_format)] | None = Field(
        default=None, description=f"What it is, where it can't be told: {', '.join(f'`{name}`' for name in FORMATS)}."
    )
    label: str | None = Field(
        default=None, description="Column of the answers, or the question of another tool that they are about."
    )
    label_columns: tuple[str, ...] = Field(default=(), description="In its place: columns of 0 and 1, one per label.")
    annotator: str | None = Field(default=None, description="Column that says who answered, with a row per answer.")
    annotator_columns: tuple[str, ...] = Field(
        default=(), description="One column per annotator: names, or patterns like `a*`."
    )
    time: str | None = Field(default=None, description="Column that says when.")
    id: str | None = Field(default=None, description="Column with the ids of the records; the recipe's `id`.")
    separator: str | None = Field(default=None, description="What parts several labels in a cell, like `;`.")
    empty_is_none: bool = Field(default=False, description="No label is the answer that none applies.")
    rename: Mapping[str, str] = Field(default_factory=dict, description="Label of the file -> label of the recipe.")
    accounts: Mapping[str, str] = Field(
        default_factory=dict, description="Annotator of the file -> whose account that is: name, email or id."
    )
    given_by: str | None = Field(
        default=None, description="Whose answers they are where the file names nobody; the API key's owner's."
    )
    make_accounts: bool = Field(default=False, description="Annotators without an account on the platform get one.")
    known_only: bool = Field(default=False, description="No records are added.")
    audit: bool = Field(default=False, description="Records of the audit slice may have these answers, and stay there.")
    split: str = Field(default="train", description="Which split, where the data has several.")
    delimiter: Annotated[str, AfterValidator(one_delimiter)] | None = Field(default=None, description="Of a text file.")
    encoding: Annotated[str, AfterValidator(known_encoding)] | None = Field(default=None, description="Of a text file.")
    header: bool = Field(default=True, description="With `false` the first row is data.")

    def wanted(self, question: str, labels: tuple[str, ...], fields: Mapping[str, str], id_: str | None) -> Wanted:
        """What to look for in the file, but for the kind of question."""
        return Wanted(
            question,
            (*labels, *self.rename),
            fields,
            id=self.id or id_,
            id_said=self.id is not None,
            label=self.label,
            flags=self.label_columns,
            annotator=self.annotator,
            annotator_columns=self.annotator_columns,
            time=self.time,
            separator=self.separator,
            empty_is_none=self.empty_is_none,
            options=ReadingOptions(self.split, self.delimiter, self.encoding, self.header),
        )
