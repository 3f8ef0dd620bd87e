"""Strategies by name: ours, and those that other packages announce as entry points ``nextlabel.strategies``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from nextlabel.connectors.errors import ConfigError

from .base import QueryStrategy

GROUP = "nextlabel.strategies"

_Factory = TypeVar("_Factory", bound=Callable[..., Any])
_factories: dict[str, Callable[..., QueryStrategy]] = {}


def register(name: str) -> Callable[[_Factory], _Factory]:
    """Decorate a strategy class, or a function that builds one: ``get_strategy(name, **options)`` calls it."""

    def keep(factory: _Factory) -> _Factory:
        if name in _factories:
            raise ConfigError(f"two strategies are called {name}; rename one")
        _factories[name] = factory
        return factory

    return keep


def strategy_names() -> list[str]:
    """Every name that ``get_strategy`` knows, sorted."""
    return sorted({*_factories, *(point.name for point in entry_points(group=GROUP))})


def get_strategy(name: str, **options: Any) -> QueryStrategy:
    """Build the strategy called ``name``.

    Raises ConfigError for an unknown name, an option that it doesn't take, or a package whose strategy is broken.
    """
    factory = _factories.get(name) or _from_entry_point(name)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        taken = ", ".join(inspect.signature(factory).parameters) or "none"
        raise ConfigError(f"strategy {name}: {error}; its options: {taken}") from error
    try:
        strategy = factory(**options)
    except ValueError as error:
        raise ConfigError(f"strategy {name}: {error}") from error
    if not isinstance(strategy, QueryStrategy):
        raise ConfigError(f"strategy {name} is a {type(strategy).__name__} without a name or query(pool, k, rng)")
    return strategy


def _from_entry_point(name: str) -> Callable[..., QueryStrategy]:
    for point in entry_points(group=GROUP, name=name):
        try:
            factory: Callable[..., QueryStrategy] = point.load()
        except Exception as error:  # whatever another package does while it is imported
            package = point.dist.name if point.dist else point.value
            raise ConfigError(
                f"strategy {name} of the package {package} can't be loaded: {type(error).__name__}: {error}; "
                "upgrade the package, or remove it"
            ) from error
        return factory
    near = difflib.get_close_matches(name, strategy_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(strategy_names())}"
    raise ConfigError(f"there is no strategy {name!r}; {hint}")
