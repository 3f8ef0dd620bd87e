"""What a start is about to do on the platform: told before it does it, and asked about where others' project grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nextlabel.connectors.base import Survey


@dataclass(frozen=True, slots=True)
class StartPlan:
    """What happens to the project called ``title`` on ``platform``, which may have been there before us (``attached``).

    ``survey``: what it holds; None if it is made now. ``rows``: records of the data, of which ``new`` are not there yet
    and are going to be. ``first``: we have done nothing to it so far.
    """

    platform: str
    title: str
    attached: bool
    survey: Survey | None
    rows: int
    new: int
    first: bool

    @property
    def grows(self) -> bool:
        """Whether records join those that others put there."""
        return self.attached and self.new > 0 and self.survey is not None and self.survey.records > 0

    def lines(self) -> list[str]:
        """It in sentences; none where there is nothing to tell."""
        if self.survey is None:
            return [f"{self.title!r} is made on {self.platform}, and gets {self.new:,} records"]
        lines = []
        if self.first:
            lines.append(f"{self.title!r} holds {self.survey.records:,} records, {self.survey.answered:,} answered")
        if self.rows and self.new:
            there = self.rows - self.new
            lines.append(f"of the data's {self.rows:,} records it has {there:,}, and lacks {self.new:,}, to be added")
        elif self.rows and self.first:
            lines.append(f"it has all {self.rows:,} records of the data")
        if self.first and self.survey.changes:
            lines.append("changed in the project: " + "; ".join(self.survey.changes))
        return lines


Agree = Callable[[StartPlan], None]
"""Told a plan before any of it is done; raises ConfigError if it shall not be."""
