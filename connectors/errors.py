"""Every error that nextlabel raises on purpose, as one tree under NextlabelError.

A message says what was found, where, and what to do about it. Errors of the libraries underneath
(httpx, SQLAlchemy, the platforms' SDKs) are turned into these in one place a room; anything else that
escapes is a defect in nextlabel.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class NextlabelError(Exception):
    """Root of the tree. Catch it to handle every failure that nextlabel foresees."""


class ConnectorError(NextlabelError):
    """Something went wrong between nextlabel and the annotation platform."""


class PlatformUnavailable(ConnectorError):
    """The platform can't be reached, timed out, or answered 5xx. Retrying later is right; nothing was lost.

    ``status`` is what it answered, 0 where it gave no answer.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotThePlatform(PlatformUnavailable):
    """Something in front of the platform answered in its place: a page to log in, a redirect. ``status`` is its own."""


class Unauthorized(ConnectorError):
    """The platform refused the token (401 or 403). Retrying is useless until somebody changes it."""


class ProjectNotFound(ConnectorError):
    """The project does not exist or is not visible with this token."""


class LabelingMismatch(ConnectorError):
    """The project's labeling config differs from the one asked for, or an answer names a label that is not in it."""


class ProjectTaken(ConnectorError):
    """The project is another recipe's, and this platform can't part it between two."""


class RecordsRejected(ConnectorError):
    """The platform stored fewer rows than were sent, with or without saying so.

    ``sent`` and ``stored`` count rows. Of a push: ``refused`` says what can't be stored, uid -> why, and ``found``
    where all that could is, uid -> remote id. Both are empty where it is not known which.
    """

    def __init__(
        self,
        message: str,
        *,
        sent: int,
        stored: int,
        refused: Mapping[str, str] = MappingProxyType({}),
        found: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.stored = stored
        self.refused = refused
        self.found = found


class PlatformError(ConnectorError):
    """The platform refused a request for a reason that has no class of its own.

    ``status`` is the HTTP status, ``body`` the (shortened) answer.
    """

    def __init__(self, message: str, *, status: int, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class ConfigError(NextlabelError):
    """A recipe, a YAML file, an option or an environment variable can't be used as it is."""


class DataError(NextlabelError):
    """A data file can't be used as it is. The message names the file, the line where known, and the fix."""


class MissingExtra(NextlabelError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'nextlabel[{extra}]'")
        self.package = package
        self.extra = extra


class StoreError(NextlabelError):
    """The durable state can't be read or written. What was committed before is intact."""


class StoreFull(StoreError):
    """The disk under the store is full. Nothing was half-written; free some space and go on."""


class StoreBusy(StoreError):
    """Another process writes to the store and does not end. Trying again later is right."""


class StoreTooNew(StoreError):
    """The store was migrated by a newer nextlabel than this one. Upgrade nextlabel."""


class LearningError(NextlabelError):
    """A model can't be built, loaded or fitted."""


class EncoderNotFound(LearningError):
    """The encoder's name is neither one that ships in a package, nor a folder, nor a reachable hub name."""


class Overloaded(NextlabelError):
    """Too many texts wait for a prediction, or the service is starting or stopping. Trying again later is right."""


class Stopping(NextlabelError):
    """The service ends: what was being done is left to its next start."""


class SelectionError(NextlabelError):
    """No next record can be chosen."""


class EmptyPool(SelectionError):
    """There is no record to choose from at all."""


class ExhaustedPool(SelectionError):
    """Fewer unlabelled records are left than were asked for. ``left`` says how many."""

    def __init__(self, *, asked: int, left: int) -> None:
        super().__init__(f"{asked} records asked for, {left} left in the pool")
        self.asked = asked
        self.left = left
