"""``doctor``: what would silently break the loop, and the fix."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.backend.recipe import find_recipe
from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.errors import ConfigError, ConnectorError, StoreError

from .common import AsJson, command_group, console, examples, existing_store, has_store, print_json
from .first_look import before_first_run
from .progress import StartProgress
from .status_words import leading, sentence

if TYPE_CHECKING:
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.service.opening import Stage
    from nextlabel.backend.settings import Settings
    from nextlabel.connectors.base import Connector, Finding

LEAST_FREE = 200 * 2**20
"""Bytes on the disk under our home below which the doctor says that it is full."""
_MARKS = {"error": ("✗", "red"), "warning": ("!", "yellow"), "ok": ("✓", "green")}

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel doctor reviews.yaml",
        "nextlabel doctor --project 7 --json",
        "nextlabel doctor --platform argilla --project reviews",
    )
)
def doctor(
    recipe: Annotated[
        str | None, typer.Argument(help="The recipe whose project to look at.", show_default=False)
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Or the project: its id, or the name of an Argilla dataset.", show_default=False)
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            help="`label-studio` or `argilla`. Default: the recipe's, or the one that the settings have an address of.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of our service, if it is not http://HOST:PORT.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find what would silently break the loop, and the fix.

    Looks at the live platform and at our settings; changes nothing. Before the first run it looks at the recipe, its
    data, its model and what is installed, and asks the platform whether it will do. Exits with 1 if the loop can't work
    as it should (✗); what could be better (!) leaves it at 0.
    """
    from nextlabel.backend.logging import configure
    from nextlabel.backend.settings import Settings

    settings = Settings.load()
    configure("error", settings.log_format)  # what is found is told as findings
    if url:
        settings = settings.model_copy(update={"public_url": url.rstrip("/")})
    with StartProgress() as progress:
        findings = list(_findings(recipe, project, platform, settings, progress.show))
    if as_json:
        print_json([{"code": f.code, "severity": f.severity, "message": f.message, "fix": f.fix} for f in findings])
    else:
        _show(findings)
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(1)


def _findings(
    recipe: str | None, project: str | None, platform: str | None, settings: Settings, stage: Stage
) -> Iterator[Finding]:
    from nextlabel.backend.credentials import FILE, credentials
    from nextlabel.connectors.platforms import PLATFORMS

    yield from _own_findings(settings)
    address, first = None, recipe is not None and project is None and not _was_run(recipe, platform, settings)
    try:
        shown = credentials(settings, create=False)
        address = BackendAddress(settings.address(), shown.user, shown.password, shown.webhook_secret)
    except ConfigError as error:
        if first and not (settings.home / FILE).exists():
            yield Finding.ok("credentials", f"the first start makes them, in {settings.home}")
        else:
            yield Finding("credentials", Severity.ERROR, str(error), "nextlabel run RECIPE")
    if first and recipe is not None:
        yield from before_first_run(_chosen(recipe, platform), settings, address, stage)
        return
    try:
        connector = _connector(recipe, project, platform, settings)
    except ConnectorError as error:
        yield Finding("platform", Severity.ERROR, f"{type(error).__name__}: {error}")
        return
    if recipe is not None:
        yield _compared(recipe, platform, settings)
        yield from _told(recipe, platform, settings)
    try:
        yield from connector.diagnose(address)
        yield from _images(recipe if project is None else None, platform, settings, connector)
        if connector.project.platform in PLATFORMS:
            yield from PLATFORMS[connector.project.platform].diagnose(settings)
    except ConnectorError as error:
        yield Finding("platform", Severity.ERROR, f"{type(error).__name__}: {error}")
    finally:
        connector.close()
    if recipe is not None and project is None:
        yield _leader(recipe, settings)
        yield _store(recipe, settings)


def _chosen(recipe: str, platform: str | None) -> Recipe:
    found = find_recipe(recipe)
    return found if platform is None else found.on(platform)


def _was_run(recipe: str, platform: str | None, settings: Settings) -> bool:
    """Whether a store has a project for the recipe."""
    from nextlabel.backend.service.project import PROJECT

    chosen = _chosen(recipe, platform)
    if not has_store(chosen, settings):
        return False
    with existing_store(chosen, settings) as store:
        return store.get_meta(PROJECT) is not None


def _own_findings(settings: Settings) -> Iterator[Finding]:
    """What can be seen without the platform."""
    from nextlabel.backend.settings import unknown_variables

    unknown = unknown_variables()
    for told in unknown:
        yield Finding("settings", Severity.WARNING, told, "correct or unset it")
    if not unknown:
        yield Finding("settings", Severity.OK, "every NEXTLABEL_ variable is one that is read")
    free = shutil.disk_usage(next(one for one in (settings.home, *settings.home.parents) if one.exists())).free
    if free < LEAST_FREE:
        told = f"only {free / 2**20:,.0f} MiB are free under {settings.home}"
        yield Finding.error("disk", told, f"make room: it needs {LEAST_FREE / 2**20:,.0f} MiB for models and vectors")
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.public_url.startswith("https://"):
        yield Finding(
            "network",
            Severity.WARNING,
            f"the service listens on {settings.host}, and passwords travel in clear",
            "put a proxy with TLS in front and set NEXTLABEL_PUBLIC_URL to its https:// address",
        )


def _compared(recipe: str, platform: str | None, settings: Settings) -> Finding:
    """What the last comparison of log and platform came to."""
    from nextlabel.backend.loop.sync import last_comparison

    try:
        with existing_store(_chosen(recipe, platform), settings) as store:
            last = last_comparison(store)
    except ConfigError:  # attached by hand: there is no log yet
        last = None
    if last is None:
        return Finding("comparison", Severity.OK, "log and platform were not compared yet; the running service does it")
    if last.agree:
        return Finding("comparison", Severity.OK, sentence(last.as_json()))
    return Finding("comparison", Severity.ERROR, sentence(last.as_json()), "nextlabel compare, or compare --believe")


def _told(recipe: str, platform: str | None, settings: Settings) -> Iterator[Finding]:
    """What was set aside, or has happened; only what somebody can mend is wrong."""
    try:
        with existing_store(_chosen(recipe, platform), settings) as store:
            notices = store.notices()
    except ConfigError:  # attached by hand: nothing was read yet
        return
    for one in notices:
        yield Finding(one.kind, Severity.WARNING if one.fix else Severity.OK, one.message, one.fix)


def _images(recipe: str | None, platform: str | None, settings: Settings, connector: Connector) -> Iterator[Finding]:
    """How the project's images stand on the platform."""
    from nextlabel.backend.service.image_checks import image_findings
    from nextlabel.backend.service.image_copies import image_copies

    copies = None if recipe is None else image_copies(_chosen(recipe, platform), settings)
    yield from image_findings(connector, copies, recipe or "RECIPE")


def _leader(recipe: str, settings: Settings) -> Finding:
    """Whether a service runs the loop on the recipe's store."""
    from nextlabel.backend.loop.leadership import LEASE, facts

    with existing_store(find_recipe(recipe), settings) as store:
        lease = store.lease(LEASE)
    if lease is None or not lease.left:
        return Finding("leader", Severity.ERROR, f"runs the loop: {leading(facts(lease))}", f"nextlabel run {recipe}")
    return Finding("leader", Severity.OK, f"runs the loop: {leading(facts(lease))}")


def _store(recipe: str, settings: Settings) -> Finding:
    """Whether the recipe's store can be written to."""
    fix = "end the process that holds it, make room, or correct NEXTLABEL_STORE"
    try:
        with existing_store(find_recipe(recipe), settings) as store:
            hindrance = store.hindrance()
    except StoreError as error:
        hindrance = str(error)
    return Finding.error("store", hindrance, fix) if hindrance else Finding.ok("store", "it can be written to")


def _connector(recipe: str | None, project: str | None, platform: str | None, settings: Settings) -> Connector:
    """The project as it is: nothing is created or changed. Raises ConfigError or ConnectorError."""
    from nextlabel.backend.service.project import PROJECT, attach, check_platform
    from nextlabel.connectors.platforms import platform_for

    if recipe is None:
        if project is None:
            raise ConfigError("name a recipe, or a project with --project")
        return platform_for(platform, project, settings).attach(settings, project)
    chosen = _chosen(recipe, platform)
    if project is None:
        with existing_store(chosen, settings) as store:
            check_platform(chosen, settings, store)
            return attach(chosen, settings, store, store.get_meta(PROJECT) or "")
    question = chosen.question if "question" in chosen.model_fields_set else None
    found = platform_for(chosen.platform, project, settings)
    return found.attach(settings, project, workspace=chosen.workspace, question=question)


def _show(findings: list[Finding]) -> None:
    from rich.text import Text

    terminal = console()
    for finding in findings:
        mark, colour = _MARKS[finding.severity]
        terminal.print(
            Text.assemble((f"{mark} ", colour), (f"{finding.code}: ", "bold"), finding.message), soft_wrap=True
        )
        if finding.fix:
            terminal.print(Text(f"    fix: {finding.fix}"), soft_wrap=True)
    found = Counter(finding.severity for finding in findings)
    wrong, better = found[Severity.ERROR], found[Severity.WARNING]
    colour = "red" if wrong else "yellow" if better else "green"
    terminal.print(Text(f"{len(findings)} things looked at, {wrong} wrong, {better} could be better", colour))
