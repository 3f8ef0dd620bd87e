"""What other packages announce by name, as entry points: found, loaded, and made with a recipe's options."""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nextlabel.connectors.errors import ConfigError, NextlabelError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Factory: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Package:
    """A distribution as pip knows it; both are empty where that is not known."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}=={self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True)
class Plugins:
    """The entry points of a ``group``, each a factory of a ``what``; ``ours`` by name, which come first."""

    group: str
    what: str
    ours: Mapping[str, Factory] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All that there are, sorted."""
        from importlib.metadata import entry_points  # 10 ms that `--help` need not wait for

        return sorted({*self.ours, *(point.name for point in entry_points(group=self.group))})

    def check(self, name: str) -> None:
        """Raise ConfigError if there is none called ``name``. Nothing is imported."""
        if name not in self.ours:
            self._point(name)

    def make(self, name: str, given: Sequence[Any] = (), options: Mapping[str, Any] | None = None) -> Any:
        """What the factory called ``name`` makes of the arguments ``given`` and its ``options``.

        Raises ConfigError for an unknown name, an option that it doesn't take, or a package that is broken.
        """
        factory, options = self.ours.get(name) or self._loaded(name), options or {}
        try:
            signature = inspect.signature(factory)
        except (TypeError, ValueError):
            raise ConfigError(f"{self.what} {name} is a {type(factory).__name__}, which can't be called") from None
        try:
            signature.bind(*given, **options)
        except TypeError as error:
            taken = ", ".join([*signature.parameters][len(given) :]) or "none"
            raise ConfigError(f"{self.what} {name}: {error}; its options: {taken}") from error
        try:
            return factory(*given, **options)
        except NextlabelError:
            raise
        except Exception as error:  # whatever another package does with an option
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ConfigError(f"{self.what} {name}: {kind}{error}") from error

    def package(self, name: str) -> Package:
        """Which package announces it. Raises ConfigError for an unknown name."""
        point = self._point(name)
        return Package(point.dist.name, point.dist.version) if point.dist else Package("", "")

    def identity(self, name: str) -> str:
        """What changes whenever another package, version or source file stands behind ``name``.

        For keys of what is kept. Of the source it is the module that the entry point names, not what that imports.
        Raises ConfigError for an unknown name.
        """
        point = self._point(name)
        try:
            source = Path(str(find_spec(point.module).origin)).read_bytes()  # type: ignore[union-attr]
        except Exception:  # no such module, none with a file, or whatever its package does while it is imported
            source = b""
        return f"{self.package(name)} {point.value} {hashlib.blake2b(source, digest_size=8).hexdigest()}"

    def _loaded(self, name: str) -> Factory:
        point = self._point(name)
        try:
            factory: Factory = point.load()
        except Exception as error:  # whatever another package does while it is imported
            package = point.dist.name if point.dist else point.value
            raise ConfigError(
                f"{self.what} {name} of the package {package} can't be loaded: {type(error).__name__}: {error}; "
                "upgrade the package, or remove it"
            ) from error
        return factory

    def _point(self, name: str) -> EntryPoint:
        from importlib.metadata import entry_points

        for point in entry_points(group=self.group, name=name):
            return point
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        if not names:
            hint = f"no installed package announces any (entry points {self.group})"
        raise ConfigError(f"there is no {self.what} {name!r}; {hint}")


def first_line(error: Exception) -> str:
    """What an error of another package says, in a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
