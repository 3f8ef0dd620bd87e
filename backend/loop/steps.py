"""Things that one thread does in turn, of which none keeps another from being done."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from nextlabel.connectors.errors import NextlabelError

log = structlog.get_logger(__name__)


class Steps:
    """``errors``: the name of each step that failed the last time -> why. Any thread may read it.

    What a step does has to be level-triggered: it is tried again in the next round, and that is all the recovery.
    """

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}

    def take(
        self, name: str, step: Callable[[], object], *, passed_on: type[Exception] | tuple[type[Exception], ...] = ()
    ) -> bool:
        """Do this; whether it succeeded. Raises nothing but errors that are ``passed_on``."""
        try:
            step()
        except passed_on:
            raise
        except Exception as error:
            self.failed(name, in_words(error, name))
            return False
        self.failed(name, "")
        return True

    def failed(self, name: str, why: str) -> None:
        """The step did not succeed, or only in part; "" if nothing is wrong with it any more."""
        others = {other: error for other, error in self.errors.items() if other != name}
        self.errors = {**others, name: why} if why else others


def in_words(error: Exception, doing: str) -> str:
    """Log a failure of what was done, and say it in a line."""
    if isinstance(error, NextlabelError):
        log.warning("failed, to be tried again", doing=doing, error=str(error), kind=type(error).__name__)
        return f"{type(error).__name__}: {error}"
    # A defect of ours: it must be seen, and must not end the loop.
    log.exception("failed unexpectedly, to be tried again", doing=doing)
    return f"unexpected {type(error).__name__}: {error}"
