"""Recipes by name: those that installed packages offer (entry points ``nextlabel.recipes``), or a YAML file."""

from __future__ import annotations

import difflib
import sys
import traceback
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from nextlabel.connectors.errors import ConfigError, NextlabelError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

    from .recipe import Recipe

GROUP = "nextlabel.recipes"


def _points() -> EntryPoints:
    from importlib.metadata import entry_points  # 10 ms that `--help` need not wait for

    return entry_points(group=GROUP)


def names() -> list[str]:
    """Names of the installed recipes."""
    return sorted(point.name for point in _points())


def _find(name: str) -> EntryPoint:
    for point in _points():
        if point.name == name:
            return point
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"installed ones: {', '.join(names()) or 'none'}"
    raise ConfigError(f"there is no recipe {name!r} ({hint}); a recipe of your own is a file: nextlabel run my.yaml")


def find_recipe(name: str) -> Recipe:
    """The recipe in the file ``name`` (if it ends in .yaml, .yml or .py), or the installed one of that name.

    Or a project as it is, called PLATFORM-ID: ``label-studio-7``. Raises ConfigError.
    """
    from .attached import named_project
    from .recipe import Recipe

    if name.endswith((".yaml", ".yml")):
        return Recipe.from_yaml(name)
    if name.endswith(".py"):
        recipe, where = getattr(_imported(Path(name)), "recipe", None), name
    elif bare := named_project(name):
        return bare
    else:
        point = _find(name)
        recipe, where = point.load(), point.value
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"{where}: `recipe = Recipe(...)` is expected there, not a {type(recipe).__name__}")
    return recipe


def _imported(path: Path) -> ModuleType:
    """The module in a file, which may import its neighbours, as a script may. Raises ConfigError."""
    spec = spec_from_file_location(f"nextlabel_recipe_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    if (folder := str(path.absolute().parent)) not in sys.path:
        sys.path.append(folder)  # at the end: a neighbour called datasets.py must not stand in for the library
    sys.modules[spec.name] = module = module_from_spec(spec)  # where dataclasses and pickle look
    try:
        spec.loader.exec_module(module)
    except NextlabelError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, (SyntaxError, ValueError)) else f"{type(error).__name__}: "  # pydantic's say all
        raise ConfigError(f"{path}{_line(path, error)}: {kind}{error}") from error
    return module


def _line(path: Path, error: Exception) -> str:
    """Where in the file the error arose, as ``:3``; empty if that is not known."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.filename == str(path) else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def source_of(name: str) -> Path:
    """The file that an installed recipe is written in, to read or to copy. Raises ConfigError."""
    point = _find(name)
    spec = find_spec(point.module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{point.module} has no source file")
    return Path(spec.origin)
