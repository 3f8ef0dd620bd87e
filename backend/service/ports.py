"""What the HTTP edges may ask of the service. Tests of the routes fake it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nextlabel.backend.questions import Prediction
from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.records import Hint, Labeling, Record, Suggestion

from .image_copies import ImageCopy


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the running loop, cheap enough to ask for at any time.

    Times are seconds. ``state`` is what the loop does just now; ``done`` of ``total`` is how far it is with it,
    where that is known. ``last_error``: the worst of what is wrong; ``errors``: each part of the loop that failed when
    it was last tried -> why. ``leader`` is False on a replica that stands by. ``lease`` says who leads (``owner``,
    ``ours``), ``since`` when, and ``until`` when and for how long (``left_s``) unless it renews; empty if nobody
    does. ``asked_again``: records that wait for one more opinion; ``settled``: that an adjudicator, or a mark on the
    platform, settled. ``audit`` holds accuracy, low, high and n, or is
    empty while the audit slice has no label; ``held_out`` likewise, on answers that were there before we came and are
    kept from training. ``labelled``: records with an answer that counts, each once, copies of it not at all;
    ``answers``: annotator's name -> how many they have submitted; ``skips``: how many were skipped.
    ``links``: annotator's name -> the address at which that person gets records in our order;
    empty where ``project.link`` is everybody's. ``training``: ``ended``, trainings since the
    start; ``candidate``, ``stage``, ``step``, ``steps``, ``epoch``, ``seconds``, ``pid`` of the one that runs;
    ``verdict`` on the last one; ``error``, why one failed; ``unable``, why nothing can be trained here; ``asked``,
    when one that was asked for begins; ``made``, whether the last one made a model. ``comparison``: ``answers`` on
    the platform, rows ``found`` by it, how many are ``withheld`` or ``kept``, whether both ``agree``, ``ended_at`` and
    ``age_s`` of the last one; ``ended``, how many since the start; ``running``. ``labeling``: how labels of platform,
    recipe and trained model differ, and what to do about it; empty where they don't. ``notices``: the newest of what
    was set aside or has happened (``kind``, ``message``, ``fix``, ``since``); ``notice_counts``, how many of each kind
    there are. ``not_ready``: why annotators get no queue of ours yet, without anything that strangers may not read;
    empty once the first queue is on the platform. ``poll_age_s``: since the last look at the platform ended;
    ``queue_age_s``: since this process last published a queue; None before. ``waiting_s``: since the oldest answer came
    in that no queue knows yet, 0 without one. ``label_to_queue``: seconds -> how many answers have waited no longer for
    a queue since the start, up to ``+Inf``, and the ``sum`` of what they waited. ``imported``: of the answers from
    elsewhere, how many there are (``answers``), are on the platform (``there``), wait to be put there (``waiting``),
    and are ``refused`` by it; empty where nothing was imported. ``suggesters``: of each model or rule that suggests,
    ``name``, ``source``, of how many ``records`` it was ``asked``, the share of these that it says something of
    (``coverage``), how often people say the same (``agreeing``, ``blind``: ``accuracy``, ``low``, ``high``, ``n``), its
    ``weight`` beside the head, ``trouble``, and ``foreign`` labels that stand for none of ours.
    """

    project: ProjectRef | None
    leader: bool
    state: str
    records: int
    pushed: int
    labelled: int
    audit_labelled: int
    log_head: int
    model_version: str
    generation: str
    generation_log_head: int
    label_to_queue_p50: float | None
    label_to_queue_p95: float | None
    platform_reachable: bool
    done: int = 0
    total: int = 0
    last_error: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    asked_again: int = 0
    settled: int = 0
    lease: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, float] = field(default_factory=dict)
    held_out: dict[str, float] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    skips: int = 0
    label_counts: dict[str, int] = field(default_factory=dict)
    parent_counts: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    comparison: dict[str, Any] = field(default_factory=dict)
    labeling: str = ""
    notices: list[dict[str, str]] = field(default_factory=list)
    notice_counts: dict[str, int] = field(default_factory=dict)
    not_ready: str = ""
    poll_age_s: float | None = None
    queue_age_s: float | None = None
    waiting_s: float = 0.0
    label_to_queue: dict[str, float] = field(default_factory=dict)
    imported: dict[str, int] = field(default_factory=dict)
    suggesters: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def starting(cls, state: str, done: int = 0, total: int = 0) -> Status:
        """Of a service that is not open yet, and knows of nothing else."""
        not_ready = progress_text(state, done, total)
        counts: dict[str, Any] = dict.fromkeys(("records", "pushed", "labelled", "audit_labelled", "log_head"), 0)
        texts: dict[str, Any] = dict.fromkeys(("model_version", "generation"), "")
        return cls(
            project=None,
            leader=False,
            state=state,
            done=done,
            total=total,
            generation_log_head=0,
            label_to_queue_p50=None,
            label_to_queue_p95=None,
            platform_reachable=True,
            not_ready=not_ready,
            **counts,
            **texts,
        )


def progress_text(state: str, done: int, total: int) -> str:
    """What is done now and how far it is, in words."""
    far = f"{done:,} of {total:,} records" if total else f"{done:,} records" if done else ""
    return ", ".join(filter(None, (state, far)))


class Predicting(Protocol):
    """What says something of records. Every method may be called from any thread."""

    @property
    def labeling(self) -> Labeling:
        """The question being asked."""
        ...

    @property
    def serving_version(self) -> str:
        """What /setup answers, and what predictions are stamped with: of a project, the generation in force."""
        ...

    async def classify(self, records: Sequence[Record]) -> list[Prediction | None]:
        """Like predict, with the probability of every label, or with what can't be read, and why.

        All answers of a call are of one model.
        """
        ...


class Backend(Predicting, Protocol):
    """The service as the routes see it."""

    @property
    def config(self) -> str:
        """The project's labeling config as the platform writes it; empty where it has no such text."""
        ...

    async def predict(self, records: Sequence[Record]) -> list[Suggestion | None]:
        """One suggestion per record, in order; None for one of the audit slice, which annotators see blind.

        And None for a record of which a picture can't be read.

        A record without a uid (a text sent with curl) is nobody's audit record. Requests that arrive together share
        one forward pass, and known texts cost none. Raises LearningError while there is no model.
        """
        ...

    def parse_event(self, body: dict[str, Any]) -> Hint:
        """Read a webhook body of the connected platform. Raises ValueError on a malformed one."""
        ...

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a webhook delivery comes from the connected platform. May ask the platform. Never raises."""
        ...

    def notify(self, hint: Hint) -> bool:
        """A webhook says that something happened: look at the platform, now. Whether there was room for it.

        Returns at once, and never raises: what is lost here is found by the next poll.
        """
        ...

    def compare(self, *, believe: bool = False, keep: bool = False) -> int:
        """Compare log and platform now; what was told instead of believed, ``believe`` of the platform, or ``keep``.

        Returns how many comparisons will have ended when this one has, as ``Status.comparison`` counts them. Raises
        Overloaded on a replica that stands by.
        """
        ...

    def ask_again(self, uids: Sequence[str], opinions: int | None = None) -> int:
        """Have these records answered by ``opinions`` annotators in all, soon; return how many records that is.

        None: by one more than by now. They come first in the queue, without a suggestion, and never to who answered
        them. Holds across restarts.
        Raises ConfigError if a record can't be asked about, ConnectorError if the platform doesn't do it, Overloaded
        on a replica that stands by.
        """
        ...

    def image(self, name: str) -> ImageCopy | None:
        """What a record shows at the signed address that ends with ``name``; None for any other name. Never raises."""
        ...

    def train(self) -> None:
        """Train the encoder now. Raises LearningError if there is nothing to train, Overloaded on a standby.

        And Overloaded as long as the answers are not read: only what the loop knows can be trained on.
        """
        ...

    def cancel_training(self) -> bool:
        """Cancel the training that runs; whether there was one."""
        ...

    def versions(self) -> list[str]:
        """Model versions, newest first."""
        ...

    def status(self) -> Status:
        """Where everything stands."""
        ...
