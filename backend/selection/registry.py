"""Strategies by name: ours, and those that other packages announce as entry points ``nextlabel.strategies``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nextlabel.backend.plugins import Plugins
from nextlabel.connectors.errors import ConfigError

from .base import QueryStrategy

GROUP = "nextlabel.strategies"

_Factory = TypeVar("_Factory", bound=Callable[..., Any])
_factories: dict[str, Callable[..., QueryStrategy]] = {}
_strategies = Plugins(GROUP, "strategy", _factories)


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
    return _strategies.names()


def get_strategy(name: str, **options: Any) -> QueryStrategy:
    """Build the strategy called ``name``.

    Raises ConfigError for an unknown name, an option that it doesn't take, or a package whose strategy is broken.
    """
    strategy = _strategies.make(name, options=options)
    if not isinstance(strategy, QueryStrategy):
        raise ConfigError(f"strategy {name} is a {type(strategy).__name__} without a name or query(pool, k, rng)")
    return strategy
