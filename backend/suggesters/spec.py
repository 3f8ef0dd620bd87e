"""What a recipe says under ``suggest_from``: which model or rule suggests, and how its labels are called here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SOURCES: Final = ("model", "skops", "spacy", "url", "column", "keywords", "expressions", "function")
"""The keys of which each suggester has one."""
FOLDERS: Final = ("model", "skops", "spacy")
"""Those whose value may be a file or folder beside the recipe."""


class SuggesterSpec(BaseModel):
    """One model or rule that suggests. Exactly one of the first keys says which."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="",
        description="A classifier of texts or tokens of transformers, or one that nextlabel exported: folder or hub "
        "name.",
    )
    skops: str = Field(default="", description="A file with a scikit-learn pipeline that takes texts, saved by skops.")
    spacy: str = Field(
        default="", description="A spaCy pipeline with `ner`, `spancat` or `textcat`: folder or package."
    )
    url: str = Field(default="", description="An address that answers POST of texts, like `nextlabel serve --model`.")
    column: str = Field(default="", description="A column of the data with predicted labels.")
    keywords: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Label -> words or phrases that speak for it: whole words, in any case."
    )
    expressions: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Label -> regular expressions that speak for it, in any case."
    )
    function: str | Callable[[str], Any] = Field(
        default="",
        description="`MODULE:FUNCTION` of your own, which gets a text; a module may lie beside the recipe.",
    )
    name: str = Field(default="", description="How it is called in figures; made from the above, if not given.")
    labels: Mapping[str, str] = Field(
        default_factory=dict,
        description="Its label -> ours; what is left out, or empty, says nothing. Without it, labels of the same name.",
    )
    only: bool | tuple[str, ...] = Field(
        default=False,
        description="`true`: of the data only records that it suggests something for are taken; or a list of its "
        "labels, of which it has to find one.",
    )
    at_least: float = Field(default=0.0, ge=0, le=1, description="What it says with a lower probability is not heard.")
    probability: str = Field(default="", description="With `column`: the column that says how likely that is, 0 to 1.")
    trusted: tuple[str, ...] = Field(
        default=(), description="With `skops`: types in the file that may be loaded besides scikit-learn's own."
    )
    token: str = Field(
        default="", description="With `url`: the environment variable that holds the bearer token, if it wants one."
    )
    timeout: float = Field(default=30.0, gt=0, description="With `url`: seconds that an answer may take.")
    batch: int = Field(default=32, ge=1, le=1000, description="Texts that it gets at a time.")
    version: str = Field(
        default="",
        description="Change it to have everything asked anew: of an address nobody sees that its model changed.",
    )

    @field_validator("keywords", "expressions", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {label: [one] if isinstance(one, str) else one for label, one in given.items()}
        return given

    @field_validator("only", mode="before")
    @classmethod
    def _yes_or_labels(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) and given.lower() not in ("true", "false", "yes", "no") else given

    @model_validator(mode="after")
    def _fits_together(self) -> SuggesterSpec:
        given = [name for name in SOURCES if getattr(self, name)]
        if len(given) != 1:
            says = f"this one has {' and '.join(given)}" if given else "this one has none"
            raise ValueError(f"a suggester has exactly one of {', '.join(SOURCES)}; {says}")
        for key, needs in (("probability", "column"), ("trusted", "skops"), ("token", "url")):
            if getattr(self, key) and given != [needs]:
                raise ValueError(f"{key}: goes with {needs}, and this one has {given[0]}")
        return self

    @property
    def source(self) -> str:
        """Which of SOURCES it has."""
        return next(name for name in SOURCES if getattr(self, name))

    @property
    def called(self) -> str:
        """Its name."""
        if self.name:
            return self.name
        value = getattr(self, self.source)
        if self.source in FOLDERS:
            return Path(value).name or value
        if self.source == "function":
            return value if isinstance(value, str) else value.__name__
        return value if isinstance(value, str) else self.source

    def key(self) -> str:
        """A digest of all that its answers go by: where it changes, everything is asked anew."""
        said = self.model_dump(mode="json", exclude={"name", "only", "timeout", "batch", "function", "token"})
        parts = [json.dumps(said, sort_keys=True, ensure_ascii=False), str(self.function)]
        if callable(self.function):
            parts[1] = f"{self.function.__module__}:{self.function.__qualname__}"
        if self.source in FOLDERS:
            parts += _files(Path(getattr(self, self.source)).expanduser())
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _files(path: Path) -> list[str]:
    """The files of a model, with sizes and times: another one in its place has others."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return [f"{one.name} {(stat := one.stat()).st_size} {stat.st_mtime_ns}" for one in files]
