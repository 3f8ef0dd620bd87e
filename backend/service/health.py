"""How the service's threads are doing, and what in the answers could not be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.connectors.labelings import differences
from nextlabel.connectors.records import Labeling


@dataclass
class Health:
    """The last error of each thread; empty strings mean well."""

    errors: dict[str, str] = field(default_factory=dict)

    def reporter(self, name: str) -> Callable[[str], None]:
        """What the thread ``name`` tells how its last piece of work ended."""
        return lambda message: self.errors.__setitem__(name, message)

    def worst(self) -> str:
        """One of the errors, if there is any."""
        return next((message for message in self.errors.values() if message), "")

    @property
    def platform_reachable(self) -> bool:
        """Whether no thread was refused or left without an answer."""
        return not any(message.startswith(("PlatformUnavailable", "Unauthorized")) for message in self.errors.values())


def unknown_labels(pool: PoolState) -> str:
    """Which labels were given that the question lacks; "" if there are none."""
    if not pool.unknown_labels:
        return ""
    return (
        f"answers with labels that the labeling lacks are logged, not learned: {', '.join(sorted(pool.unknown_labels))}"
    )


def labeling_text(platform: Labeling, recipe: Labeling, space: EmbeddingSpace | None = None) -> str:
    """How the labels of platform, recipe and the model in ``space`` differ, and what to do; "" if they don't."""
    parts = []
    if found := differences(platform, recipe):
        parts.append(
            f"the platform asks something else than the recipe: {'; '.join(found)}. What it can't show is not "
            "suggested, what the recipe lacks is not learned. Change one of them, then start the service again"
        )
    if space is not None and space.note:
        parts.append(f"{space.version} was trained for other labels: {space.note}")
    return ". ".join(parts)
