"""YAML that knows its lines: every complaint about a recipe names the file, the line, and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from nextlabel.connectors.errors import ConfigError

Place: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML mapping: its values, all scalars as the text that stands there, and the line of each."""

    path: Path
    values: dict[str, Any]
    lines: dict[Place, int]

    @classmethod
    def read(cls, path: Path) -> Document:
        """Parse the file. Raises ConfigError."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise ConfigError(f"{path}: there is no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: can't be read: {error}") from None
        try:
            # Scalars stay text (`yes` is a label, not true); pydantic makes numbers of them where it wants numbers.
            root = yaml.compose(text, Loader=yaml.BaseLoader)
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            raise ConfigError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}:1: lines like `data: reviews.csv` are expected; see `nextlabel recipes show`")
        document = cls(path, {}, {})
        values = document._convert(root, ())
        document.values.update({key: value for key, value in values.items() if value != ""})
        return document

    def _convert(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if len(place) > 20:
            raise ConfigError(f"{self.path}:{self.lines[place]}: nested too deep")
        if isinstance(node, yaml.SequenceNode):
            return [self._convert(item, (*place, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            values = {}
            for key_node, value_node in node.value:
                key, line = key_node.value, key_node.start_mark.line + 1
                if not isinstance(key, str):
                    raise ConfigError(f"{self.path}:{line}: a key must be a single word")
                if key in values:
                    raise ConfigError(f"{self.path}:{line}: {key!r} is there twice")
                self.lines[(*place, key)] = line
                values[key] = self._convert(value_node, (*place, key))
            return values
        return node.value

    def check_keys(self, allowed: Sequence[str]) -> None:
        """Raise ConfigError for a key that is not ``allowed``, with the nearest one that is."""
        for key in self.values:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"keys are {', '.join(allowed)}"
                raise ConfigError(f"{self.path}:{self.lines[(key,)]}: there is no key {key!r}; {hint}")

    def error(self, error: ValidationError) -> ConfigError:
        """Pydantic's complaints as one ConfigError, a line each."""
        return ConfigError("\n".join(self._sentence(item["loc"], item) for item in error.errors(include_url=False)))

    def _sentence(self, location: Place, item: Any) -> str:
        reason = str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
        if item["type"] == "missing":
            reason = "is missing"
        elif item["type"] == "extra_forbidden":
            reason = "is not known here"
        if not location:  # from a check of the whole: the sentence may start with the key
            head = reason.partition(":")[0].partition(" ")[0]
            return f"{self.path}:{self.lines.get((head,), 1)}: {reason}"
        place = location
        while place and place not in self.lines:
            place = place[:-1]
        name = ".".join(str(part) for part in location if part != "[key]")
        return f"{self.path}:{self.lines.get(place, 1)}: {name}: {reason}"


def slug(value: str) -> str:
    """The value, if it can name a folder. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError("use letters, digits, dots and dashes only (it names a folder), 64 at most")
    return value


def named(value: str) -> str:
    """The value, if it can name a field or a question; each platform refuses more. Raises ValueError."""
    if not value or value != value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} can't be a name: write it without line breaks, and without blanks at its ends")
    return value


def number(value: Any) -> Any:
    """What stands in the file is text; an option may want a number, or true or false."""
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except (TypeError, ValueError):
            continue
    return value


def numbers(value: Any) -> Any:
    """The same of everything in lists and mappings."""
    if isinstance(value, dict):
        return {name: numbers(one) for name, one in value.items()}
    return list(map(numbers, value)) if isinstance(value, list) else number(value)
