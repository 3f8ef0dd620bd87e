"""Which heads of other packages there are, and which one is meant. Without numpy: commands that only help read this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nextlabel.backend.plugins import Plugins

HEADS = Plugins("nextlabel.heads", "head")


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """Which head, by the name of its entry point, with which ``options`` of its factory."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, Any]:
        """It as keys of the section ``training`` of a recipe."""
        return {"head": self.name, "head_options": dict(self.options)}

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.options.items())})"
