"""What is replayed side by side: a strategy, and the rule by which several answers to a record become one label."""

from __future__ import annotations

from dataclasses import dataclass

from nextlabel.backend.annotators.consensus import METHODS, Method
from nextlabel.backend.selection import QueryStrategy, get_strategy
from nextlabel.connectors.errors import ConfigError

RANDOM = "random"
"""What everything is compared with: a new record at random, and the majority."""
FULL = "(all labels)"
"""In place of a strategy: no choice at all, every record of the pool is labelled."""
_SOFT = "-soft"


@dataclass(frozen=True, slots=True)
class Arm:
    """A ``strategy`` by name, and the ``consensus`` that the model learns; ``soft``: how likely each label is by it.

    Written ``activelab/crowdlab-soft``; without a consensus, as in ``margin``, it is the majority.
    """

    strategy: str
    consensus: Method = "majority"
    soft: bool = False

    @classmethod
    def parse(cls, given: str) -> Arm:
        """Raises ConfigError for an unknown strategy or consensus."""
        strategy, slash, rule = given.partition("/")
        if strategy != FULL:
            get_strategy(strategy)
        if not slash:
            return cls(strategy)
        found = next((one for one in METHODS if one == rule.removesuffix(_SOFT)), None)
        if found is None:
            raise ConfigError(
                f"{given!r}: there is no consensus {rule!r}; write {strategy}/ and one of {', '.join(METHODS)}, with "
                f"{_SOFT} behind it to learn how likely each label is"
            )
        return cls(strategy, found, rule.endswith(_SOFT))

    @property
    def name(self) -> str:
        """As it is written, in short: the majority goes without saying."""
        rule = self.consensus + _SOFT * self.soft
        return self.strategy if rule == "majority" else f"{self.strategy}/{rule}"

    def chooser(self) -> QueryStrategy:
        """The strategy itself."""
        return get_strategy(self.strategy)
