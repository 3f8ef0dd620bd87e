"""Which project on the platform is a store's: attached to, or made, and the same for whoever starts.

A project is made by one process at a time, the one that has the lease. The others wait for it and attach. Between
"made on the platform" and "noted in the store" a process may die, and its request may arrive late: what is made carries
the store's instance as a mark, and is looked for before anything is made. The first note counts, for ever.
"""

from __future__ import annotations

import time

import structlog

from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector, NewProject, ProjectRef, closed_on_failure
from nextlabel.connectors.errors import ConfigError, ConnectorError
from nextlabel.connectors.platforms import DEFAULT, PLATFORMS
from nextlabel.connectors.records import Labeling, differences

log = structlog.get_logger(__name__)

PROJECT = "project"
PLATFORM = "platform"
STRAYS = "project_strays"
"""Not empty while the platform may have more than one project with our mark."""
LOOK_EVERY = 0.5
"""Seconds between two looks of a process that waits for the project."""


def open_connector(recipe: Recipe, settings: Settings, store: Store, leadership: Leadership) -> Connector:
    """The project on the platform: the one this store belongs to, the one the recipe names, or a new one.

    Waits while another process has the lease and has yet to make it. Raises ConfigError if the store belongs to another
    project or platform, or if the platform's variables are not set; LabelingMismatch if the project asks something
    else; ConnectorError if it can't be reached.
    """
    check_platform(recipe, settings, store)
    PLATFORMS[recipe.platform].access(settings)
    waiting = False
    while True:
        known = store.get_meta(PROJECT)
        connector = _attach(recipe, settings, store, known) if known or recipe.project else None
        connector = connector or _make(recipe, settings, store, leadership)
        if connector is not None:
            with closed_on_failure(connector):
                _tidy(recipe, settings, store, leadership)
            return connector
        if not waiting:
            log.info("waiting for the project, which another process makes", leader=leadership.leader)
            waiting = True
        time.sleep(LOOK_EVERY)


def check_platform(recipe: Recipe, settings: Settings, store: Store) -> None:
    """One store is one project on one platform. Raises ConfigError if ``recipe`` was moved to another."""
    known = platform_of(store)
    if known is not None and known != recipe.platform:
        raise ConfigError(
            f"{recipe.name} is a project on {_title(known)}, and the recipe now says {_title(recipe.platform)}: give "
            "the recipe another name, set NEXTLABEL_HOME to another folder, or "
            f"{_fresh(recipe, settings)} to start over"
        )


def platform_of(store: Store) -> str | None:
    """The platform of the project in ``store``, None before there is one."""
    known = store.get_meta(PLATFORM)
    if known is None and store.get_meta(PROJECT):  # stores from before there was a second platform don't say
        return DEFAULT
    return known


def _title(platform: str) -> str:
    return PLATFORMS[platform].title if platform in PLATFORMS else platform


def _attach(recipe: Recipe, settings: Settings, store: Store, known: str | None) -> Connector:
    """The project that is ``known``, or the one that the recipe names, which is the store's from now on."""
    connector = _attached(recipe, settings, known or recipe.project or "")
    with closed_on_failure(connector):
        wanted, found = recipe.project, connector.project
        if known and wanted and wanted not in (found.id, found.title):
            raise ConfigError(_mismatch(recipe, settings, known, wanted))
        noted = store.claim_meta({PROJECT: found.id, PLATFORM: recipe.platform})
        if noted != {PROJECT: found.id, PLATFORM: recipe.platform}:  # by another start, a moment ago
            raise ConfigError(_mismatch(recipe, settings, noted[PROJECT], found.id))
        if "overlap" in recipe.model_fields_set and connector.overlap != recipe.overlap:
            log.warning("the project keeps its overlap", project=connector.overlap, recipe=recipe.overlap)
        return connector


def _make(recipe: Recipe, settings: Settings, store: Store, leadership: Leadership) -> Connector | None:
    """A project of our own, noted in the store. None if another process has the lease, or was faster."""
    with leadership.kept() as leads:
        if not leads or store.get_meta(PROJECT) is not None:
            return None
        mark = store.instance
        platform = PLATFORMS[recipe.platform]
        found = platform.marked(settings, mark)
        if found:
            log.info("going on with the project that an earlier start made", project=found[0])
        connector = _attached(recipe, settings, found[0]) if found else _created(recipe, settings, mark)
        with closed_on_failure(connector):
            ours = {PROJECT: connector.project.id, PLATFORM: recipe.platform}
            if store.claim_meta(ours | {STRAYS: "yes"}).items() >= ours.items():
                return connector
        # While it was made, our lease was over, and somebody else had it.
        store.set_meta(STRAYS, "yes")
        connector.close()
        return None


def _created(recipe: Recipe, settings: Settings, mark: str) -> Connector:
    new = NewProject(
        recipe.title or recipe.name, recipe.labeling(), recipe.overlap, recipe.opinions, mark, recipe.workspace
    )
    return PLATFORMS[recipe.platform].create(settings, new)


def _attached(recipe: Recipe, settings: Settings, project: str) -> Connector:
    """A connector to ``project``, which asks what the recipe says."""
    question = recipe.question if "question" in recipe.model_fields_set else None  # to choose among several
    platform = PLATFORMS[recipe.platform]
    connector = platform.attach(settings, project, workspace=recipe.workspace, question=question)
    with closed_on_failure(connector):
        connector.expect(recipe.labeling())
        return connector


def _tidy(recipe: Recipe, settings: Settings, store: Store, leadership: Leadership) -> None:
    """Delete what was made beside the project, if anything was: see the connectors for how that comes about."""
    if not store.get_meta(STRAYS):
        return
    with leadership.kept() as leads:
        if not leads:
            return  # then it is up to whoever leads
        try:
            PLATFORMS[recipe.platform].marked(settings, store.instance, tidy=store.get_meta(PROJECT))
            store.set_meta(STRAYS, "")
        except ConnectorError as error:
            log.warning("can't look whether the project was made twice; the next start does", reason=str(error))


def _mismatch(recipe: Recipe, settings: Settings, known: str, wanted: str) -> str:
    return (
        f"{recipe.name} belongs to project {known}, the recipe names {wanted}: give the recipe another name, or "
        f"{_fresh(recipe, settings)} to start over"
    )


def _fresh(recipe: Recipe, settings: Settings) -> str:
    if settings.store:
        return "name an empty database in NEXTLABEL_STORE"
    return f"remove {settings.home / recipe.name}"


def another_project(store: Store, ours: ProjectRef) -> str:
    """Why a service for ``ours`` has to end: the store names another, whose answers it would take in. "" if not."""
    noted = store.get_meta(PROJECT)
    if noted is None or noted == ours.id:
        return ""
    return (
        f"the store's project is {noted} now, and this service works for {ours.id}: it ends; start it again, and it "
        f"works for {noted}"
    )


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
