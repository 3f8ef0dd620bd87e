"""Which project on the platform is a store's: attached to, or made, and the same for whoever starts.

First it is looked for (:func:`find_project`), which changes nothing anywhere, so that everything else can be checked
with what it asks. Then it is made, if there is none, and noted (:func:`settle_project`).

A project is made by one process at a time, the one that has the lease. The others wait for it and attach. Between
"made on the platform" and "noted in the store" a process may die, and its request may arrive late: what is made carries
the store's instance as a mark, and is looked for before anything is made. The first note counts, for ever.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress

import structlog
from pydantic import TypeAdapter

from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.loop.news import tell_of_labels
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.recipe.attached import completed
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector, NewProject, ProjectRef, closed_on_failure
from nextlabel.connectors.differences import differences
from nextlabel.connectors.errors import ConfigError, ConnectorError, ProjectNotFound
from nextlabel.connectors.platforms import DEFAULT, PLATFORMS
from nextlabel.connectors.records import Labeling, LabelKind

from .image_copies import image_copies

log = structlog.get_logger(__name__)

PROJECT = "project"
PLATFORM = "platform"
TITLE = "project_title"
"""Where the store keeps what its project was called at the last start."""
ASKED = "asked"
"""What the project asked at the last start, where it was there before us: the recipe need not say it."""
CONFIG = "project_config"
"""Its config as the platform writes it, where it has such: what is exported for the platform is of its form."""
HAS_NONE = "project_has_none"
"""Not empty where its question has an option for the empty answer."""
STRAYS = "project_strays"
"""Not empty while the platform may have more than one project with our mark."""
_LABELING = TypeAdapter(Labeling)
LOOK_EVERY = 0.5
"""Seconds between two looks of a process that waits for the project."""


def open_connector(recipe: Recipe, settings: Settings, store: Store, leadership: Leadership) -> Connector:
    """The project on the platform: the one this store belongs to, the one the recipe names, or a new one.

    Waits while another process has the lease and has yet to make it. Raises ConfigError if the store belongs to another
    project or platform, or if the platform's variables are not set; LabelingMismatch if the project asks something
    else; ConnectorError if it can't be reached.
    """
    recipe, found = find_project(recipe, settings, store)
    return settle_project(recipe, settings, store, leadership, found)


def find_project(recipe: Recipe, settings: Settings, store: Store) -> tuple[Recipe, Connector | None]:
    """The project that is there already, and the recipe with what it asks; None where one has to be made.

    Changes nothing. Raises as :func:`open_connector` does; also if the recipe does not say enough to make a project, or
    says what the platform can't ask.
    """
    check_platform(recipe, settings, store)
    platform = PLATFORMS[recipe.platform]
    platform.access(settings)
    known = store.get_meta(PROJECT)
    if known or recipe.project:
        return _attached(recipe, settings, store, known or recipe.project or "")
    recipe.check_complete()
    platform.check(settings, _new(recipe, store.instance))
    return recipe, None


def settle_project(
    recipe: Recipe, settings: Settings, store: Store, leadership: Leadership, connector: Connector | None
) -> Connector:
    """Note the project as the store's; without a ``connector`` to it, make it, or wait for another process to.

    Raises as :func:`open_connector` does. Closes the connector if it does.
    """
    waiting = False
    while connector is None:
        connector = _make(recipe, settings, store, leadership)
        if connector is None and (known := store.get_meta(PROJECT)):
            connector = _attached(recipe, settings, store, known)[1]
        elif connector is None:
            if not waiting:
                log.info("waiting for the project, which another process makes", leader=leadership.leader)
            waiting = True
            time.sleep(LOOK_EVERY)
    with closed_on_failure(connector):
        _note(recipe, settings, store, connector)
        _tidy(recipe, settings, store, leadership)
    return connector


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


def is_attached(recipe: Recipe, store: Store) -> bool:
    """Whether the project was there before us: then what the recipe leaves out is the project's."""
    return bool(recipe.project or store.get_meta(ASKED))


def as_attached(recipe: Recipe, store: Store) -> Recipe:
    """``recipe`` with what it leaves out as the project had it at the last start; as it is, where we made the project.

    For who works without the platform.
    """
    asked = store.get_meta(ASKED)
    return recipe if asked is None else completed(recipe, _LABELING.validate_json(asked))


def attach(recipe: Recipe, settings: Settings, store: Store, project: str) -> Connector:
    """A connector to ``project``. Raises as ProjectConnector does; with the way on, where the store's own is gone."""
    try:
        return _reach(recipe, settings, store, project)
    except ProjectNotFound:
        if project != store.get_meta(PROJECT):
            raise
        raise ProjectNotFound(_deleted(recipe, settings, store, project)) from None


def _reach(recipe: Recipe, settings: Settings, store: Store, project: str) -> Connector:
    question = recipe.question if "question" in recipe.model_fields_set else None  # to choose among several
    found = PLATFORMS[recipe.platform].attach(settings, project, workspace=recipe.workspace, question=question)
    found.images = image_copies(recipe, settings, store)
    return found


def _deleted(recipe: Recipe, settings: Settings, store: Store, project: str) -> str:
    """What to say where the store's ``project`` is gone: it may have been made anew under the same name."""
    title = store.get_meta(TITLE) or recipe.project or recipe.title or recipe.name
    namesake = ""
    with suppress(ConnectorError), closing(_reach(recipe, settings, store, title)) as found:
        namesake = f" Another one has this name now ({found.project.id}), with records and answers of its own."
    return (
        f"{title!r} (project {project}), on which {recipe.name} worked, was deleted, or this key may not see it any "
        f"more.{namesake} What was answered there is kept: nextlabel export {recipe.name}. To go on with "
        f"{'that one' if namesake else 'another'}, give the recipe another name, or {_fresh(recipe, settings)} to "
        "start over; then run it again"
    )


def skips_empty_answers(recipe: Recipe, store: Store, connector: Connector) -> bool:
    """Whether nothing submitted is no answer: where the recipe says so, or was not there when the question was made."""
    if recipe.kind is LabelKind.SINGLE:
        return True
    if recipe.empty_answers is not None:
        return recipe.empty_answers == "skip"
    return is_attached(recipe, store) and not connector.has_none


def _attached(recipe: Recipe, settings: Settings, store: Store, project: str) -> tuple[Recipe, Connector]:
    """A connector to ``project``, which asks what the recipe says, and the recipe with what it leaves out."""
    platform = PLATFORMS[recipe.platform]
    connector = attach(recipe, settings, store, project)
    with closed_on_failure(connector):
        found, known = connector.project, store.get_meta(PROJECT)
        wanted = recipe.project and platform.named(settings, recipe.project)
        if known and wanted and wanted not in (found.id, found.title):
            raise ConfigError(_mismatch(recipe, settings, known, wanted))
        if is_attached(recipe, store):
            recipe = completed(recipe, connector.labeling)
        connector.expect(recipe.labeling())
        if "overlap" in recipe.model_fields_set and connector.overlap != recipe.overlap:
            log.warning("the project keeps its overlap", project=connector.overlap, recipe=recipe.overlap)
        return recipe, connector


def _note(recipe: Recipe, settings: Settings, store: Store, connector: Connector) -> None:
    """The project is the store's from now on. Raises ConfigError if another start noted another, a moment ago."""
    ours = {PROJECT: connector.project.id, PLATFORM: recipe.platform}
    attached = is_attached(recipe, store)
    noted = store.claim_meta(ours)
    if noted != ours:
        raise ConfigError(_mismatch(recipe, settings, noted[PROJECT], connector.project.id))
    if store.get_meta(TITLE) != connector.project.title:
        store.set_meta(TITLE, connector.project.title)
    for key, value in ((CONFIG, connector.config), (HAS_NONE, "yes" if connector.has_none else "")):
        if store.get_meta(key) != value:
            store.set_meta(key, value)
    if attached:
        store.set_meta(ASKED, _LABELING.dump_json(connector.labeling).decode())


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
        if found:
            connector = _attached(recipe, settings, store, found[0])[1]
        else:
            connector = platform.create(settings, _new(recipe, mark))
            connector.images = image_copies(recipe, settings, store)
        with closed_on_failure(connector):
            ours = {PROJECT: connector.project.id, PLATFORM: recipe.platform}
            if store.claim_meta(ours | {STRAYS: "yes"}).items() >= ours.items():
                return connector
        # While it was made, our lease was over, and somebody else had it.
        store.set_meta(STRAYS, "yes")
        connector.close()
        return None


def _new(recipe: Recipe, mark: str) -> NewProject:
    return NewProject(
        recipe.title or recipe.name, recipe.labeling(), recipe.overlap, recipe.opinions, mark, recipe.workspace
    )


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


def compare_labeling(store: Store, platform: Labeling, ours: Labeling, *, followed: bool) -> bool:
    """Tell people how the platform asks otherwise than we do, if so; whether. ``followed``: we do as it does, then."""
    if found := differences(platform, ours):
        log.warning(labeling_text(platform, ours))
    tell_of_labels(store, found, followed=followed)
    return bool(found)
