"""How a service is: what its parts know of themselves, in one snapshot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict

from nextlabel.backend.loop.controller import Controller
from nextlabel.backend.loop.intake import Intake
from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.loop.suggesting import Suggesting
from nextlabel.backend.loop.sync import Comparison
from nextlabel.backend.models.card import AUDIT, HELD_OUT, measured
from nextlabel.backend.retraining.retrainer import Retrainer
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector

from .answers import AnswerCounts
from .links import AnnotatorLinks
from .ports import Status, progress_text
from .predictor import Predictor
from .project import labeling_text, unknown_labels

REFUSED = ("PlatformUnavailable", "NotThePlatform", "Unauthorized")
"""Errors of a thread that was refused, or left without an answer."""
NOTICES = 20
"""So many of the newest notices a status shows."""


class StatusReport:
    """Asks the parts of one service how they are. From any thread.

    ``polled_at``: when the last look at the platform ended, of the monotonic clock; None before.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        leadership: Leadership,
        controller: Controller,
        *,
        predictor: Predictor,
        intake: Intake,
        comparison: Comparison,
        retrainer: Retrainer,
        links: AnnotatorLinks,
        answers: AnswerCounts,
        suggesting: Suggesting,
    ) -> None:
        self._store, self._connector, self._leadership, self._controller = store, connector, leadership, controller
        self._predictor, self._retrainer = predictor, retrainer
        self._intake, self._comparison = intake, comparison
        self._links, self._answers, self._suggesting = links, answers, suggesting
        self.polled_at: float | None = None

    def take(self, failure: str, errors: Mapping[str, str]) -> Status:
        """The snapshot. ``failure``: why the service ended, if it did; ``errors``: what fails in it now, see Status."""
        controller = self._controller
        pool, generation = controller.pool, controller.generation
        counts = pool.counts() | ({} if controller.ready else self._stored_counts())
        latency = controller.latency.quantiles()
        current = self._store.current_model()
        metrics = current.metrics if current else {}
        reachable = not any(why.startswith(REFUSED) for why in errors.values())
        error = failure or next(iter(errors.values()), "") or self._intake.withheld.told
        return Status(
            project=self._connector.project,
            leader=self._leadership.held,
            lease=self._leadership.facts(),
            state=controller.state,
            done=controller.progress[0],
            total=controller.progress[1],
            records=counts["records"],
            pushed=counts["pushed"],
            labelled=counts["labelled"],
            audit_labelled=counts["audited"],
            asked_again=counts["asked_again"],
            settled=counts["settled"],
            log_head=self._store.head(),
            model_version=self._predictor.version,
            generation=generation.version if generation else "",
            generation_log_head=generation.log_seq if generation else 0,
            label_to_queue_p50=latency[0] if latency else None,
            label_to_queue_p95=latency[1] if latency else None,
            platform_reachable=reachable,
            last_error=error or unknown_labels(pool) or controller.trouble,
            errors=dict(errors),
            audit=measured(metrics, AUDIT),
            held_out=measured(metrics, HELD_OUT),
            answers=self._answers.submitted(),
            skips=self._answers.skips(),
            label_counts=pool.label_counts(),
            parent_counts=pool.parent_counts(),
            links=self._links.known,
            training=self._retrainer.status(),
            comparison=self._comparison.status(),
            labeling=labeling_text(self._connector.labeling, pool.labeling, controller.space),
            notices=[one.as_json() for one in self._store.notices(NOTICES)],
            notice_counts=self._store.notice_counts(),
            not_ready=self._not_ready(reachable),
            poll_age_s=None if self.polled_at is None else time.monotonic() - self.polled_at,
            queue_age_s=controller.latency.age_s(),
            waiting_s=controller.latency.waiting_s(),
            label_to_queue=controller.latency.histogram(),
            suggesters=controller.suggesters(),
            imported=asdict(imported) if (imported := self._store.import_counts()).answers else {},
        )

    def _stored_counts(self) -> dict[str, int]:
        """What the store knows while the loop has not read it yet, or stands by."""
        found = self._store.counts()
        there = found.records - found.duplicates - found.gone
        return {"records": there, "pushed": found.pushed - found.gone, "labelled": found.labelled}

    def _not_ready(self, reachable: bool) -> str:
        controller = self._controller
        if controller.generation or self._store.latest_generation():
            return ""
        away = "" if reachable else "; the platform is not reachable"
        return progress_text(f"starting: {controller.state}", *controller.progress) + away
