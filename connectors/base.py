"""What an annotation platform must be able to do for nextlabel. One protocol, fulfilled once a platform.

Connectors are synchronous and thread-safe, know nothing of models, and turn every failure into the errors
of :mod:`nextlabel.connectors.errors`. Each method may be repeated after a crash or a lost reply without
doubling anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, runtime_checkable

from nextlabel.connectors.image_addresses import AS_THEY_ARE, ImageAddresses
from nextlabel.connectors.records import (
    Annotation,
    Changes,
    Found,
    GivenAnswer,
    Hint,
    Labeling,
    QueueEntry,
    Record,
    RemoteRecord,
)

Progress = Callable[[int, int], None]
"""Called with (done, total) as long work goes on."""


def no_progress(done: int, total: int) -> None:
    """The default progress callback: says nothing."""


NO_ANSWERS: Mapping[str, Sequence[GivenAnswer]] = MappingProxyType({})
"""Nobody has answered the records that are pushed."""


@dataclass(frozen=True, slots=True)
class ProjectRef:
    """Which project on which server. ``link`` is the address that annotators are given."""

    platform: str
    url: str
    id: str
    title: str
    link: str


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project to make: what it is called, and what it asks.

    ``overlap`` annotators are asked about each record from the start, and up to ``opinions`` (None: no more than these)
    later, by :meth:`Connector.ask_again`. ``mark``, unless empty, is what it is found again by. ``workspace`` is a name
    or an id, on a platform that has such.
    """

    title: str
    labeling: Labeling
    overlap: int = 1
    opinions: int | None = None
    mark: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """How the platform reaches our service: base URL, basic auth for calls, and the secret for webhooks.

    ``owner``: the recipe that it works on, by which another recipe's service on the same project is known.
    """

    url: str
    user: str
    password: str
    webhook_secret: str
    owner: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Survey:
    """What a project holds, before anything is done to it.

    ``records`` there are, and ``answered`` ones among them, about. ``changes``: what hooking the service up and
    publishing will change in the project, a clause each; empty where all of it is so already.
    """

    records: int
    answered: int
    changes: tuple[str, ...] = ()


class Severity(StrEnum):
    """How bad a finding of the doctor is. Only ``ERROR`` makes the command exit with 1."""

    ERROR = "error"  # the loop does not work
    WARNING = "warning"  # the loop works, not as well or as safely as it could
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the doctor looked at: a stable code, what was found, and the fix."""

    code: str
    severity: Severity
    message: str
    fix: str = ""

    @classmethod
    def ok(cls, code: str, message: str) -> Finding:
        """Nothing is wrong."""
        return cls(code, Severity.OK, message)

    @classmethod
    def warning(cls, code: str, message: str, fix: str) -> Finding:
        """The loop works, not as well or as safely as it could."""
        return cls(code, Severity.WARNING, message, fix)

    @classmethod
    def error(cls, code: str, message: str, fix: str) -> Finding:
        """The loop does not work."""
        return cls(code, Severity.ERROR, message, fix)


@runtime_checkable
class Connector(Protocol):
    """One project on one platform."""

    project: ProjectRef
    """The project this connector speaks for."""
    labeling: Labeling
    """The question as the platform had it at the last look."""
    overlap: int
    """How many annotators the platform asks about each record before it counts as labelled (1 or more)."""
    replace_suggestions: bool
    """Whether suggestions of other agents may be replaced in records that nobody has answered."""
    images: ImageAddresses = AS_THEY_ARE
    """What the platform has for images: what we push, and read of records, is turned by it."""
    live_predictions: bool
    """Whether the platform asks the service for a suggestion whenever a record is opened.

    Where it does not, what is not published has no suggestion.
    """

    @property
    def by_address(self) -> Collection[str]:
        """Fields of which the platform's records have an address, in place of the text."""
        return ()

    @property
    def config(self) -> str:
        """The project's labeling config as the platform writes it at the last look; empty where it has no such text."""

    @property
    def has_none(self) -> bool:
        """Whether an option stands for the answer that no label applies: then an empty answer was chosen as such."""

    def links(self) -> Mapping[str, str]:
        """Annotator's name -> the address at which that person gets records in our order.

        Empty where ``project.link`` is right for everybody.
        """

    def annotator_names(self) -> Mapping[str, str]:
        """Id, as ``Annotation.annotator`` has it -> name, of everybody who may answer here."""

    def survey(self) -> Survey:
        """What the project holds, and what we are about to change in it. Changes nothing."""

    def push(
        self,
        records: Sequence[Record],
        progress: Progress = no_progress,
        answers: Mapping[str, Sequence[GivenAnswer]] = NO_ANSWERS,
    ) -> dict[str, str]:
        """Put ``records`` on the platform, without suggestions; return uid -> remote id for each of them.

        Idempotent by uid: what is there already is found, not doubled. ``answers`` (by uid) from elsewhere may come
        with records that are new, where that is quicker; :meth:`give` tells which are there, and makes up for the rest.
        Raises RecordsRejected if the platform stored fewer than were sent, after trying again once.
        """

    def accounts(self) -> Mapping[str, str]:
        """Id -> name, of every account that an answer from elsewhere may be given to: at least those who may answer."""
        return self.annotator_names()

    def own_account(self) -> str:
        """The id of the account that we work as."""
        ...

    def make_accounts(self, names: Collection[str]) -> Mapping[str, str]:
        """Accounts for people who answered elsewhere; name -> id. Nobody can log in with one before it has a password.

        Who has an account by this name keeps it. Raises PlatformError, with the fix, where the token may make none.
        """
        ...

    def give(self, answers: Sequence[GivenAnswer], given: Callable[[Changes], object]) -> dict[str, str]:
        """Put ``answers`` that people gave elsewhere on the platform, as theirs.

        ``given`` is told, as the work goes on, what the platform has of them now. Somebody who has answered the record
        there keeps that answer: it is told in place of the other. Idempotent: what is there is found, not doubled.
        Returns key -> why, of those that the platform does not take. Raises ConnectorError; what was told until then is
        there.
        """
        ...

    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        """Every record of the project. One that we never pushed gets a uid derived from its remote id.

        ``newest_first``: those added last come first, and are read in small pages as the iterator is advanced, so
        that whoever wants the newest only may stop early.
        """

    def unread(self) -> Mapping[str, str]:
        """Records that are on the platform and could not be read, so that :meth:`records` leaves them out.

        Remote id -> why; where the platform does not tell the id, the words that name the record in its place.
        """
        return {}

    def read_again(self) -> Iterator[RemoteRecord]:
        """Of the records that could not be read, those that can be now."""
        return iter(())

    def reads_addresses(self, fetch: Callable[[str], str]) -> None:
        """Read texts of which records have the address with ``fetch``, which raises DataError."""
        return

    def image_addresses(self, most: int) -> Sequence[str]:
        """What the platform has for images in the newest ``most`` of its records, as it stands there."""
        return ()

    def turn_images(self, progress: Progress = no_progress) -> int:
        """Give all records of the platform what :attr:`images` now shows for theirs; how many had something else.

        Answers, and all else, stay. May be repeated. Raises ConnectorError, StoreError.
        """
        return 0

    def changes(self, cursor: str | None) -> Changes:
        """Every annotation touched since ``cursor`` (None: since the beginning), and the next cursor.

        Overlaps are allowed, gaps are not. ``Changes.complete`` shows what may have been deleted. Nothing is concluded
        from a platform's counters, which may be written late. Records that were made or corrected since ``cursor`` are
        listed too; none without a cursor, since :meth:`records` lists them all.
        """

    def look_after(self) -> None:
        """Mend, where it is time, what others did to queues and to who has one; cheap to ask for at every poll.

        Raises ConnectorError.
        """
        return

    def annotated(self) -> Iterator[Changes]:
        """Every record that has annotations, with all of them, in pages that are read as the iterator is advanced."""

    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Found | None]:
        """Each of the ``wanted`` annotations (id -> remote id of its record, where known), asked for by itself.

        None means that the platform was asked for exactly this annotation and has none in this project. One that
        could not be looked up is left out; one that is there and can't be read is Unreadable.
        """

    def has_gone_back(self, newest: Sequence[Annotation]) -> bool:
        """Whether the platform is as it was at an earlier time, before the ``newest`` answers that we know of.

        That is so after a backup was restored. Only what proves it counts; False where nobody can tell.
        """
        ...

    def departed(self, annotators: Collection[str]) -> Collection[str]:
        """Those of these annotators whose account was deleted, each asked for by itself: answers may go with it."""

    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        """Those of these records that are no longer on the platform: each of them was asked for by itself."""

    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        """Read one webhook body. Unknown events are an empty Hint. Raises ValueError on a malformed body."""

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a webhook delivery comes from the platform that :meth:`connect` hooked up. Never raises."""

    def in_hand(self) -> Collection[str]:
        """Remote ids of the records that annotators' pages already hold, as far as it is known.

        They keep their place whatever is published, so a new generation need not, and should not, count on them.
        """

    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Put ``entries`` first in every annotator's queue, in rank order, as generation ``version``.

        Atomically where the platform can; otherwise the first ranks first, and what an annotator's page holds
        already stays before them. Raises RecordsRejected, and leaves the previous generation in force, if not
        every entry was stored; single ones that the platform refuses may be left out (:meth:`refused`).
        """

    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Append ``entries`` (ranks after those published) to the generation in force."""

    def refused(self) -> Mapping[str, str]:
        """Remote id -> why, of the records that the platform gave no place in the queue, as of the last publishing.

        All others of their generation have theirs. They are tried again when they change, and now and then.
        """

    def retire(self, version: str) -> None:
        """Delete what is left of a generation that is no longer in force. Slow on some platforms; not for hot paths."""

    def generations(self) -> tuple[str, ...]:
        """The versions of ours that still have rows of their own on the platform, the one in force included.

        Empty where a generation leaves nothing behind.
        """

    def ask_again(self, remote_ids: Sequence[str], opinions: int) -> None:
        """Let each of these records be answered by ``opinions`` annotators in all, each of them once.

        Whoever answered a record is not asked about it again. Raises PlatformError, with the fix, where the
        platform no longer allows it.
        """

    def settle(self, remote_ids: Sequence[str]) -> None:
        """Ask nobody else about these records, whoever has answered them, where the platform can be told so.

        May be repeated. :meth:`ask_again` takes it back.
        """

    def connect(self, backend: BackendAddress) -> None:
        """Hook the service up: live predictions and webhooks. Idempotent; repairs what is out of step.

        Raises ProjectTaken, having changed nothing, where the project is another recipe's and can't be shared.
        """

    def settings(self) -> Mapping[str, Any]:
        """What the project has for the settings that we may change: plain values, by the platform's names."""

    def detach(
        self, before: Mapping[str, Any], asked_again: Collection[str], progress: Progress = no_progress
    ) -> Sequence[str]:
        """Take out all that we put in, besides records; return what was done, for people. May be repeated.

        The settings become what they were ``before`` (see :meth:`settings`); records that were ``asked_again`` want as
        many annotators as others. Answers, and what others put in, stay. Raises ConnectorError.
        """

    def repair(self, backend: BackendAddress) -> tuple[str, ...]:
        """Hook the service up again where somebody removed what :meth:`connect` made; what that was, in words."""

    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        """Look for what would silently break the loop. Changes nothing on the platform.

        ``backend`` is where the service is, or should be; without it, its checks are left out. A platform that can't
        be reached, or that refuses the token, is the last finding: the rest could not be looked at.
        """

    def expect(self, labeling: Labeling) -> None:
        """Raise LabelingMismatch, with the difference and the fix, unless the project asks ``labeling``."""

    def close(self) -> None:
        """Release connections."""


class Closable(Protocol):
    """Something that holds connections."""

    def close(self) -> None:
        """Release them."""


CloseableT = TypeVar("CloseableT", bound=Closable)


@contextmanager
def closed_on_failure(client: CloseableT) -> Iterator[CloseableT]:
    """``client``, closed if the block fails: whoever makes a connector keeps it otherwise."""
    try:
        yield client
    except BaseException:
        client.close()
        raise
