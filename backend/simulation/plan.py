"""What shapes a replay beside the records, the strategy and the seed; and the score that is to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

from nextlabel.connectors.errors import ConfigError

from .asking import Order

MetricName: TypeAlias = Literal["accuracy", "macro_f1", "span_f1"]
METRICS: dict[MetricName, str] = {"accuracy": "accuracy", "macro_f1": "macro-F1", "span_f1": "span F1"}


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that shapes a curve beside the records, the strategy and the seed.

    ``budget`` labels in all, each one person's answer, of which ``start`` are drawn at random first (0: the cold start,
    from the labels' words alone), ``start_opinions`` to a record, and the rest chosen ``batch`` at a time. A record
    gets ``opinions`` answers at most, None: as many as there are; in an ``order`` that the seed draws, or the file's.
    ``noise`` is the share of answers that are flipped, ``test_share`` the share of records held out where the records
    don't say themselves which are. Raises ConfigError.
    """

    budget: int = 500
    batch: int = 20
    start: int = 0
    noise: float = 0.0
    metric: MetricName = "macro_f1"
    test_share: float = 0.25
    start_opinions: int = 1
    opinions: int | None = None
    order: Order = "seed"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch is {self.batch}; at least 1 label is needed between two fits")
        if self.start < 0:
            raise ConfigError(f"start is {self.start}; it can't be negative, 0 is the cold start")
        if self.budget <= self.start:
            raise ConfigError(
                f"budget is {self.budget} labels, of which {self.start} are drawn at random to start with: nothing is "
                "left to choose; raise the budget"
            )
        for name, opinions in (("start opinions", self.start_opinions), ("opinions", self.opinions)):
            if opinions is not None and opinions < 1:
                raise ConfigError(f"{name} is {opinions}; a record that is asked about has 1 answer at least")
        if self.opinions is not None and self.start_opinions > self.opinions:
            raise ConfigError(
                f"start opinions is {self.start_opinions}, and opinions, the most to a record, is {self.opinions}; "
                "raise it"
            )
        if self.order not in get_args(Order):
            raise ConfigError(f"order {self.order!r} is unknown; choose one of {', '.join(get_args(Order))}")
        if not 0 <= self.noise < 1:
            raise ConfigError(f"noise is {self.noise}; it is the share of answers flipped, from 0 to below 1, like 0.2")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"test share is {self.test_share}; it must lie between 0 and 1, 0.25 is usual")
        if self.metric not in get_args(MetricName):
            raise ConfigError(f"metric {self.metric!r} is unknown; choose one of {', '.join(METRICS)}")

    def points(self) -> list[int]:
        """Numbers of labels after which the model is fitted and measured, the first before anything is chosen."""
        return [*range(self.start, self.budget, self.batch), self.budget]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Target:
    """A score to reach: ``value`` itself, or that share of what all the pool's labels give (``of_full``)."""

    value: float = 0.95
    of_full: bool = True

    @classmethod
    def parse(cls, given: str) -> Target:
        """``0.9`` is a score, ``95%`` a share of the full-data score. Raises ConfigError for anything else."""
        text = given.strip()
        of_full = text.endswith("%")
        try:
            value = float(text.rstrip("%").strip()) / (100 if of_full else 1)
        except ValueError:
            value = float("nan")
        if not 0 < value <= 1:
            raise ConfigError(
                f"target {given!r} can't be reached or read: write a score like 0.9, or 95% for that share of what "
                "all labels give"
            )
        return cls(value, of_full)

    def of(self, full: Sequence[float]) -> list[float]:
        """The target of every seed, given its full-data score."""
        return [self.value * score if self.of_full else self.value for score in full]

    def __str__(self) -> str:
        return f"{self.value:.4g}" if not self.of_full else f"{100 * self.value:.4g}% of the full-data score"
