"""``run``, ``push``, ``demo``: everything that starts the service or fills the platform."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.server import BackgroundServer, listen
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import ConfigError

from .common import Question, RecipeName, Workspace, command_group, console, examples, project_on, say
from .ending import ends_in_time
from .progress import FirstQueue, StartProgress

if TYPE_CHECKING:
    from nextlabel.backend.loop.leadership import Leadership
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.service.front import Front
    from nextlabel.backend.service.ports import Status
    from nextlabel.backend.service.service import Service
    from nextlabel.backend.service.start_plan import StartPlan
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import Store
    from nextlabel.connectors.base import Connector

Project = Annotated[
    str | None,
    typer.Option(
        help="Existing project to attach to, in place of the recipe's: its id, its name, or its address.",
        show_default=False,
    ),
]
OtherPlatform = Annotated[
    str | None,
    typer.Option(
        "--platform", help="`label-studio` or `argilla`, in place of the recipe's platform.", show_default=False
    ),
]
OtherData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Data of the recipe's form, in place of its own; name them again whenever you run it.",
        show_default=False,
    ),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on (NEXTLABEL_HOST).", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port to listen on (NEXTLABEL_PORT).", show_default=False)]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Add new records to a project that was there before us, without asking.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn at random, the audit slice included.")]

AnyRecipe = Annotated[
    str | None,
    typer.Argument(
        help="An installed recipe, or a .yaml or .py file of yours; not needed with --project.", show_default=False
    ),
]

_BATCH = 1000

app = command_group()


@app.command(
    epilog=examples(
        "export LABEL_STUDIO_URL=http://127.0.0.1:8080 LABEL_STUDIO_API_KEY=...",
        "nextlabel run bbc-news",
        "nextlabel run --project 7                  no recipe: all of it is in the project",
        "nextlabel run reviews.yaml --project http://127.0.0.1:8080/projects/7/data",
        "export ARGILLA_API_URL=http://127.0.0.1:6900 ARGILLA_API_KEY=...",
        "nextlabel run bbc-news --platform argilla",
        "nextlabel run misogyny-es --data es_AMI_TrainingSet_NEW.csv",
    )
)
def run(
    recipe: AnyRecipe = None,
    data: OtherData = None,
    project: Project = None,
    question: Question = None,
    workspace: Workspace = None,
    platform: OtherPlatform = None,
    yes: Yes = False,
    host: Host = None,
    port: Port = None,
    seed: Seed = 0,
) -> None:
    """Push the data, and keep the queue in the best order.

    Makes the project on the first run, or attaches to one that exists; goes on where it was on the next. Stop it with
    Ctrl-C at any moment: nothing is lost. A project that exists needs no recipe: its fields, question and labels are
    read from it, and its answers are learned from. `nextlabel init` writes them into a recipe, to change the rest.
    """
    settings = start_settings(host, port)
    serve_project(
        chosen_recipe(recipe, Wanted(project, platform, question, workspace, data), settings), settings, seed, yes=yes
    )


@app.command(epilog=examples("nextlabel push reviews.yaml"))
def push(
    recipe: RecipeName,
    data: OtherData = None,
    project: Project = None,
    question: Question = None,
    workspace: Workspace = None,
    platform: OtherPlatform = None,
    yes: Yes = False,
    seed: Seed = 0,
) -> None:
    """Push the data to the platform, and leave. `run` does this too.

    Records that are there already are recognised by their id or their content, and taken up; exact copies of a record
    are not pushed.
    """
    from nextlabel.backend.loop.leadership import Leadership
    from nextlabel.backend.loop.record_import import take_up
    from nextlabel.backend.service.opening import import_plan, open_store, read_agreed, read_texts
    from nextlabel.backend.service.project import find_project, settle_project

    settings = start_settings(None, None)
    chosen = chosen_recipe(recipe, Wanted(project, platform, question, workspace, data), settings)
    with ends_in_time(), ExitStack() as opened:
        store = opened.enter_context(open_store(chosen, settings, seed))
        chosen, found = find_project(chosen, settings, store)
        if found is not None:
            opened.enter_context(closing(found))
            read_texts(found, chosen, settings)
        added = read_agreed(chosen, settings, store, found, agree=partial(_agree, yes=yes))
        say(f"{added.new:,} new records ({added.duplicates:,} of them copies), {added.known:,} known before")
        leadership = Leadership(store)
        with leadership.kept(patient=True) as leads:
            if not leads:
                raise ConfigError(
                    f"another nextlabel runs on this store ({leadership.leader}), and pushes by itself; stop it to "
                    "push by hand"
                )
            with closing(settle_project(chosen, settings, store, leadership, found)) as connector:
                take_up(store, connector, import_plan(chosen, settings))
                _push(store, connector, leadership)
                say(f"project {connector.project.id}: {connector.project.link}")
                _say_links(connector.links())


@app.command(
    epilog=examples(
        "nextlabel demo",
        "nextlabel demo --platform argilla",
        "nextlabel demo --keep          label by hand, and watch the order change",
        "nextlabel demo --labels 400 --json",
    )
)
def demo(
    labels: Annotated[int, typer.Option(min=10, help="How many labels the simulated annotators give.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn at random.")] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running, and print the addresses and the login.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what --keep left running.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one line of JSON at the end.")] = False,
    platform: Annotated[str, typer.Option(help="Where to label: `label-studio` or `argilla`.")] = "label-studio",
    recipe: Annotated[str, typer.Option(help="A recipe that knows the true labels.")] = "bbc-news",
    data: Annotated[
        Path | None, typer.Option(help="Data of the recipe's form, in place of its own.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the store, the picture and the figures.", show_default="HOME/demo")
    ] = None,
) -> None:
    """See the whole loop work, on a real Label Studio or Argilla.

    Three simulated annotators label news articles through the platform's HTTP API; one of them is wrong 10% of
    the time. Then come the figures. Needs no Docker, no root, and no network once installed.
    """
    from nextlabel.backend.demo.annotators import DemoOptions
    from nextlabel.backend.demo.run import run_demo, stop_kept
    from nextlabel.backend.settings import Settings

    home = (output or Settings.load().home / "demo").absolute()
    if stop:
        say("stopped" if stop_kept(home) else "nothing is running")
        return
    chosen = find_recipe(recipe)
    if data is not None:
        chosen = chosen.with_data(str(data.absolute()))
    options = DemoOptions(recipe=chosen, home=home, platform=platform, labels=labels, seed=seed, keep=keep)
    terminal = console(err=as_json)
    figures = run_demo(options, terminal)
    figures.show(terminal)
    if as_json:
        sys.stdout.write(figures.to_json() + "\n")


def _push(store: Store, connector: Connector, leadership: Leadership) -> None:
    """Everything that the platform has yet to get, with a bar."""
    from rich.progress import Progress

    from nextlabel.backend.loop.pushing import Pusher

    counts = store.record_counts()
    left = counts["records"] - counts["duplicates"] - counts["pushed"]
    with Progress(console=console(err=True)) as progress:
        bar = progress.add_task("Pushing", total=max(left, 0))
        pusher = Pusher(store, connector)
        while batch := pusher.next(_BATCH):
            if not leadership.held:
                raise ConfigError("another nextlabel took this store over, and pushes the rest by itself")
            progress.advance(bar, len(pusher.push(batch)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What options say in place of the recipe; None and "" say nothing."""

    project: str | None = None
    platform: str | None = None
    question: str | None = None
    workspace: str | None = None
    data: str | None = None


def start_settings(host: str | None, port: int | None) -> Settings:
    """The settings, and logging set up as they say. Raises ConfigError."""
    from nextlabel.backend.credentials import credentials, image_key
    from nextlabel.backend.home import make_privately
    from nextlabel.backend.logging import configure
    from nextlabel.backend.settings import Settings, unknown_variables

    settings = Settings.load(host=host, port=port)
    make_privately(settings)
    shown = credentials(settings)
    secrets = [shown.password, shown.api_token, shown.webhook_secret, image_key(settings), *settings.secrets()]
    configure(settings.log_level, settings.log_format, secrets)
    for sentence in unknown_variables():
        say(f"warning: {sentence}")
    return settings


def chosen_recipe(name: str | None, wanted: Wanted, settings: Settings) -> Recipe:
    """The recipe called ``name``, or without one that of the project alone, as the options change it.

    Raises BadParameter without either, ConfigError, or ConnectorError where a project is looked up.
    """
    if name is None and wanted.project is None:
        raise typer.BadParameter("name one, or a project that exists with --project", param_hint="RECIPE")
    recipe = _bare(wanted, settings) if name is None else find_recipe(name)
    if wanted.data is not None:
        recipe = recipe.with_data(wanted.data)
    if wanted.platform is not None:
        recipe = recipe.on(wanted.platform)
    said = {"question": wanted.question, "workspace": wanted.workspace}
    if name is not None:
        said["project"] = wanted.project
    return recipe.model_copy(update={key: value for key, value in said.items() if value is not None})


def _bare(wanted: Wanted, settings: Settings) -> Recipe:
    from nextlabel.backend.recipe.attached import bare_recipe

    with closing(project_on(settings, wanted.platform, wanted.project or "", wanted.workspace, wanted.question)) as it:
        recipe = bare_recipe(it.project.platform, it.project.id)
        say(f"attaching to {it.project.title}; as a recipe it is called {recipe.name}: nextlabel export {recipe.name}")
        return recipe


def _say_links(links: Mapping[str, str]) -> None:
    """Each annotator's own address, where everybody has one."""
    for name, link in links.items():
        say(f"  {name}: {link}")


def _agree(plan: StartPlan, *, yes: bool) -> None:
    """Tell what is about to be done; ask where it adds to what others have. Raises ConfigError if it shall not be."""
    for line in plan.lines():
        say(line)
    if not plan.grows or yes:
        return
    what = f"{plan.new:,} record{'s' if plan.new > 1 else ''} to {plan.title!r}, which was there before us"
    if not sys.stdin.isatty():
        raise ConfigError(f"nothing was changed: to add {what}, say --yes; to leave it as it is, drop the data")
    if not typer.confirm(f"Add {what}?", err=True):
        raise ConfigError("nothing was changed: without the data (drop `data:`) the project is left as it is")


def serve_project(recipe: Recipe, settings: Settings, seed: int, *, yes: bool) -> None:
    """Run the service; again, with what the project asks then, where a recipe without labels follows it."""
    while _serve_until_outdated(recipe, settings, seed, yes=yes):
        say("the project asks otherwise now: going on with what it asks")
        yes = True  # it was asked


def _serve_until_outdated(recipe: Recipe, settings: Settings, seed: int, *, yes: bool) -> bool:
    from nextlabel.backend.service.front import Front
    from nextlabel.backend.service.image_copies import image_copies
    from nextlabel.backend.service.opening import open_service

    with ExitStack() as stack:
        # A taken port should be known before minutes are spent on encoding.
        listener = stack.enter_context(listen(settings.host, settings.port))
        ending, progress = stack.enter_context(ends_in_time()), stack.enter_context(StartProgress())
        front = Front(image_copies(recipe, settings))
        server = stack.enter_context(_answering(front, settings, listener))

        def show(stage: str, done: int, total: int) -> None:
            progress.show(stage, done, total)
            front.show(stage, done, total)

        def agree(plan: StartPlan) -> None:
            with progress.paused():
                _agree(plan, yes=yes)

        service = open_service(recipe, settings, seed=seed, stage=show, agree=agree)
        ending.at_last = service.give_up
        front.open(service)
        try:
            _run_service(service, settings, listener, progress, server)
        finally:
            server.stop()
            if not service.stop(ending.left_s()) and ending.signal:
                ending.leave()
        return service.outdated and not ending.signal


def _answering(front: Front, settings: Settings, listener: socket.socket) -> BackgroundServer:
    from nextlabel.backend.app import create_app
    from nextlabel.backend.service.ports import Backend

    return BackgroundServer(create_app(cast(Backend, front), settings), listener)


def _run_service(
    service: Service,
    settings: Settings,
    listener: socket.socket,
    progress: StartProgress,
    server: BackgroundServer,
) -> None:
    """Until the service can't go on, the server ends, or a signal comes."""
    from nextlabel.backend.credentials import credentials

    shown = credentials(settings)
    url = settings.address(listener.getsockname()[1])
    address = BackendAddress(url, shown.user, shown.password, shown.webhook_secret)
    service.start(address, on_failure=server.begin_stop)
    say(f"label here:  {service.project.link}")
    _say_links(service.links)
    say(f"service:     {url}  (API page: {url}/docs; to log in: nextlabel login)")
    first = FirstQueue(service.status, progress, _say_ready)
    first.start()
    try:
        server.wait()
    finally:
        first.stop()
    if service.failure:
        raise service.failure


def _say_ready(status: Status) -> None:
    """What to do now that there is a queue, and what happens then."""
    from nextlabel.connectors.platforms import PLATFORMS

    say(f"ready:       {status.records:,} records, {status.labelled:,} of them answered; the best ones come first")
    if status.project is not None and status.project.platform in PLATFORMS:
        say(f"to label:    {status.project.link}: {PLATFORMS[status.project.platform].begin}")
    say("then:        every answer is learned from within seconds, and the queue follows; see: nextlabel status")
