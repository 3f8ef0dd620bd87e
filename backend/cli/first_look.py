"""What the doctor can see before the first run: recipe, data, model, installed packages, platform. Nothing is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.errors import DataError, NextlabelError

if TYPE_CHECKING:
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.service.opening import Stage
    from nextlabel.backend.settings import Settings


def before_first_run(
    recipe: Recipe, settings: Settings, address: BackendAddress | None, stage: Stage
) -> Iterator[Finding]:
    """Each finding as it is made; what depends on a thing that is wrong is left out.

    ``stage`` is told what is looked at: an encoder's first loading takes up to a minute.
    """
    from nextlabel.backend.service.opening import ASKING, LOADING, READING
    from nextlabel.backend.service.project import find_project
    from nextlabel.backend.store import Store
    from nextlabel.connectors.platforms import PLATFORMS

    platform = PLATFORMS[recipe.platform]
    stage(ASKING.format(platform.title), 0, 0)
    with TemporaryDirectory() as folder, Store.open(Path(folder) / "look.sqlite") as store:
        try:
            recipe, connector = find_project(recipe, settings, store)
        except NextlabelError as error:
            yield Finding.error("platform", str(error), "nextlabel doctor again, once that is mended")
            connector = None
        else:
            if connector is None:
                title = recipe.title or recipe.name
                yield Finding.ok("platform", f"{platform.title} answers, and a new project {title!r} can be made there")
    if connector is not None:
        with closing(connector):
            yield from connector.diagnose(address)
    yield from platform.diagnose(settings)
    if recipe.labels:
        stage(LOADING.format(recipe.encoder), 0, 0)
        yield _looked("encoder", lambda: _encoder(recipe, settings))
    if recipe.brings_records:
        stage(READING, 0, 0)
        yield _looked("data", lambda: _data(recipe, settings))
    yield _training(recipe, settings)


def _looked(code: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding.ok(code, look())
    except NextlabelError as error:
        return Finding.error(code, str(error), "change the recipe, or what it names")


def _encoder(recipe: Recipe, settings: Settings) -> str:
    from nextlabel.backend.service.opening import open_encoder

    encoder = open_encoder(recipe, settings)
    return f"{recipe.encoder} loads; {encoder.dimension} numbers per record"


def _data(recipe: Recipe, settings: Settings) -> str:
    from nextlabel.backend.data.records import ReadReport
    from nextlabel.backend.service.opening import image_rules

    report = ReadReport()
    for _ in recipe.read(report, rules=image_rules(recipe, settings)):
        pass
    if not report.records:
        raise DataError(f"{recipe.data or recipe.name} has no records")
    return "; ".join(report.lines())


def _training(recipe: Recipe, settings: Settings) -> Finding:
    from nextlabel.backend.service.opening import no_training, untrainable

    if find_spec("torch") is not None and find_spec("transformers") is not None:
        if recipe.training.rung in ("zero-shot", "probe"):
            return Finding.ok("training", no_training(recipe))
        if reason := no_training(recipe) or (untrainable(recipe, settings) if recipe.labels else ""):
            return Finding("training", Severity.OK, reason, "name another encoder to have it trained")
        return _looked("training", lambda: _head(recipe, settings))
    told = (
        "torch and transformers are not installed: the encoder stays as it is, what learns are the heads on its vectors"
    )
    return Finding("training", Severity.OK, told, "pip install 'nextlabel[train]' to train it, too")


def _head(recipe: Recipe, settings: Settings) -> str:
    from nextlabel.backend.service.opening import refuse_head

    refuse_head(recipe, settings)
    return "the encoder can be trained here" + (
        f", with the head {recipe.training.head}" if recipe.training.head else ""
    )
