"""Answers that a team has already, into a project: planned, noted, and given to the platform by whoever leads."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import structlog

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.loop.answer_import import AnswerImport
from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.loop.record_import import ImportPlan, take_up
from nextlabel.backend.recipe.existing import ExistingAnswers
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.store import ImportCounts, Store
from nextlabel.connectors.base import Connector, Progress
from nextlabel.connectors.errors import ConfigError

from .answer_plan import AnswerPlan, note_plan, plan_answers, refuse_missing

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
"""Seconds between two looks at how far the service is that gives the answers."""
STUCK_S = 120.0
"""Seconds without an answer more after which it is said that the service does not go on."""
TAKEN = "existing answers {}"
"""Where the store keeps that the answers in a file were taken in: under a hash of it and of how it is read."""


def take_up_without_audit(store: Store, connector: Connector, plan: ImportPlan) -> None:
    """Where nothing runs on ``store``: note what the platform has. The audit slice is drawn once answers are noted."""
    take_up(store, connector, replace(plan, audit_share=0.0))


def take_existing(
    recipe: Recipe, rules: ImageRules, store: Store, connector: Connector, leadership: Leadership, plan: ImportPlan
) -> None:
    """Note the answers that the recipe names, each file once; whoever leads gives them to the platform.

    Does nothing where another process leads, which does it. Raises ConfigError, DataError or ConnectorError.
    """
    waiting = [(spec, key) for spec in recipe.existing_answers if not store.get_meta(key := _key(spec))]
    if not waiting:
        return
    with leadership.kept() as leads:
        if not leads:
            return
        take_up_without_audit(store, connector, plan)
        for spec, key in waiting:
            found = plan_answers(recipe, store, connector, spec, plan.rule, rules)
            refuse_missing(found)
            for line in found.lines():
                log.info(line)
            note_plan(found, store, connector)
            store.set_meta(key, "taken in")


def _key(spec: ExistingAnswers) -> str:
    digest = hashlib.sha256(spec.model_dump_json().encode())
    path = Path(spec.file).expanduser()
    if path.is_file():
        digest.update(path.read_bytes())
    return TAKEN.format(digest.hexdigest()[:32])


def carry_out(
    found: AnswerPlan,
    store: Store,
    connector: Connector,
    leadership: Leadership,
    plan: ImportPlan,
    progress: Progress,
) -> ImportCounts:
    """Note what was planned, and see that the platform gets it: by the service that runs, or here.

    Raises ConfigError where somebody has no account, or the service that leads does not go on; ConnectorError.
    """
    note_plan(found, store, connector)
    with leadership.kept() as leads:
        if leads:
            store.draw_audit(plan.audit_share, plan.audit_size)
    give_waiting(store, connector, leadership, progress)
    return store.import_counts()


def give_waiting(store: Store, connector: Connector, leadership: Leadership, progress: Progress) -> None:
    """See that the platform gets the answers that wait: here, or by who leads."""
    importer = AnswerImport(store, connector, lambda changes, as_of: store.append(changes, as_of=as_of))
    total = left = store.import_counts().waiting
    moved = time.monotonic()
    while left:
        with leadership.kept() as leads:
            if leads:
                importer.run(progress, lambda: leadership.held)
                if leadership.held:
                    return  # what waits still has a record that the platform does not take
        before, left = left, store.import_counts().waiting
        progress(total - left, total)
        if left < before:
            moved = time.monotonic()
        elif time.monotonic() - moved > STUCK_S:
            raise ConfigError(
                f"{left:,} answers wait, and the service that runs on this store ({leadership.leader}) does not put "
                "them on the platform, or that does not take their records; see: nextlabel status. They are noted, and "
                "nothing is lost"
            )
        if left:
            time.sleep(LOOK_EVERY_S)
