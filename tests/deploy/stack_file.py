"""docker-compose.yml as Docker Compose reads it, as far as we use the format: anchors, merges, ``${NAME:-default}``."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<rest>[^}]*))?\})")


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """``value`` with every variable replaced. Raises KeyError with the message of a required one that is missing."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        given = variables.get(match["name"], "")
        if not given and match["kind"] == ":?":
            raise KeyError(f"{match['name']}: {match['rest']}")
        return given or (match["rest"] if match["kind"] == ":-" else "")

    return _VARIABLE.sub(replacement, value)


def raw() -> dict[str, Any]:
    """The file as it stands, anchors and merges resolved."""
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return read


def load(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services by name, with ``variables`` put in."""
    found: dict[str, dict[str, Any]] = interpolate(raw()["services"], variables)
    return found


def used_variables() -> dict[str, set[str]]:
    """Name of each variable in the file -> the ways it is used: ``:-default``, ``:?message``."""
    found: dict[str, set[str]] = {}
    for match in _VARIABLE.finditer(COMPOSE.read_text()):
        if match["name"]:
            kind = ":?" if match["kind"] == ":?" else f"{match['kind'] or ''}{match['rest'] or ''}"
            found.setdefault(match["name"], set()).add(kind)
    return found


def example_values() -> dict[str, str]:
    """What .env.example sets; empty for what people have to fill in."""
    return {name: value or "" for name, value in dotenv_values(EXAMPLE).items()}


def fill_in(folder: Path) -> dict[str, str]:
    """The .env that the command in .env.example makes, run as a person would run it in a folder with a copy of it."""
    (folder / ".env.example").write_text(EXAMPLE.read_text())
    (command,) = re.findall(r"^#\s+(awk .*)$", EXAMPLE.read_text(), re.MULTILINE)
    subprocess.run(command, shell=True, check=True, cwd=folder, timeout=60)
    return {name: value or "" for name, value in dotenv_values(folder / ".env").items()}
