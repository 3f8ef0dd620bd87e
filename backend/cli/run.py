"""``run``, ``serve``, ``push``, ``demo``: everything that starts the service or fills the platform."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.server import listen, make_server
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import ConfigError

from .common import RecipeName, command_group, console, examples, existing_store, say

if TYPE_CHECKING:
    from nextlabel.backend.loop.leadership import Leadership
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.service.service import Service
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import Store
    from nextlabel.connectors.base import Connector

Project = Annotated[
    str | None,
    typer.Option(help="Id of an existing project to attach to, in place of the recipe's.", show_default=False),
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
Seed = Annotated[int, typer.Option(help="Seed of everything drawn at random, the audit slice included.")]

_BATCH = 1000

app = command_group()


@app.command(
    epilog=examples(
        "export LABEL_STUDIO_URL=http://127.0.0.1:8080 LABEL_STUDIO_API_KEY=...",
        "nextlabel run bbc-news",
        "nextlabel run reviews.yaml --project 7",
        "export ARGILLA_API_URL=http://127.0.0.1:6900 ARGILLA_API_KEY=...",
        "nextlabel run bbc-news --platform argilla",
        "nextlabel run misogyny-es --data es_AMI_TrainingSet_NEW.csv",
    )
)
def run(
    recipe: RecipeName,
    data: OtherData = None,
    project: Project = None,
    platform: OtherPlatform = None,
    host: Host = None,
    port: Port = None,
    seed: Seed = 0,
) -> None:
    """Push the data, and keep the queue in the best order.

    Makes the project on the first run; goes on where it was on the next. Stop it with Ctrl-C: nothing is lost.
    """
    settings, chosen = _prepare(recipe, project, platform, host, port, data)
    _serve(chosen, settings, seed)


@app.command(epilog=examples("nextlabel serve reviews.yaml --port 9091"))
def serve(recipe: RecipeName, platform: OtherPlatform = None, host: Host = None, port: Port = None) -> None:
    """Serve a project that was pushed before.

    The data is not read again. On a store that another nextlabel works on, this one answers predictions and
    stands by to take over.
    """
    from nextlabel.backend.service.project import PROJECT

    settings, chosen = _prepare(recipe, None, platform, host, port)
    with existing_store(chosen, settings) as store:
        if store.get_meta(PROJECT) is None:
            raise ConfigError(f"nothing was pushed for {chosen.name} yet; start with: nextlabel run {recipe}")
    _serve(chosen.model_copy(update={"data": "", "records": tuple}), settings, seed=0)


@app.command(epilog=examples("nextlabel push reviews.yaml"))
def push(
    recipe: RecipeName,
    data: OtherData = None,
    project: Project = None,
    platform: OtherPlatform = None,
    seed: Seed = 0,
) -> None:
    """Push the data to the platform, and leave. `run` does this too.

    Records that are there already are recognised by their id; exact copies of a record are not pushed.
    """
    from nextlabel.backend.loop.leadership import Leadership
    from nextlabel.backend.service.opening import load_records, open_store
    from nextlabel.backend.service.project import check_platform, open_connector

    settings, chosen = _prepare(recipe, project, platform, None, None, data)
    with _ended_in_order(), open_store(chosen, settings, seed) as store:
        check_platform(chosen, settings, store)
        added = load_records(chosen, store, settings)
        say(f"{added.new:,} new records ({added.duplicates:,} of them copies), {added.known:,} known before")
        leadership = Leadership(store)
        with leadership.kept(patient=True) as leads:
            if not leads:
                raise ConfigError(
                    f"another nextlabel runs on this store ({leadership.leader}), and pushes by itself; stop it to "
                    "push by hand"
                )
            with closing(open_connector(chosen, settings, store, leadership)) as connector:
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


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Turn SIGTERM into an end that runs the ``finally``: what is held is given back."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare(
    name: str,
    project: str | None,
    platform: str | None,
    host: str | None,
    port: int | None,
    data: str | None = None,
) -> tuple[Settings, Recipe]:
    """Settings and recipe, checked, and logging set up. Raises ConfigError."""
    from nextlabel.backend.credentials import credentials
    from nextlabel.backend.logging import configure
    from nextlabel.backend.settings import Settings, unknown_variables
    from nextlabel.connectors.platforms import PLATFORMS

    settings = Settings.load(host=host, port=port)
    recipe = find_recipe(name)
    if data is not None:
        recipe = recipe.with_data(data)
    if project is not None:
        recipe = recipe.model_copy(update={"project": project})
    if platform is not None:
        recipe = recipe.on(platform)
    shown = credentials(settings)
    keys = [key for one in PLATFORMS.values() for key in one.secrets(settings)]
    configure(settings.log_level, settings.log_format, [shown.password, shown.api_token, shown.webhook_secret, *keys])
    for sentence in unknown_variables():
        say(f"warning: {sentence}")
    return settings, recipe


def _say_links(links: Mapping[str, str]) -> None:
    """Each annotator's own address, where everybody has one."""
    for name, link in links.items():
        say(f"  {name}: {link}")


def _serve(recipe: Recipe, settings: Settings, seed: int) -> None:
    from nextlabel.backend.service.opening import open_service

    # A taken port should be known before minutes are spent on encoding.
    with listen(settings.host, settings.port) as listener, _ended_in_order():
        service = open_service(recipe, settings, seed=seed)
        try:
            _run_server(service, settings, listener)
        finally:
            service.stop()


def _run_server(service: Service, settings: Settings, listener: socket.socket) -> None:
    from nextlabel.backend.app import create_app
    from nextlabel.backend.credentials import FILE, credentials

    shown = credentials(settings)
    url = settings.address(listener.getsockname()[1])
    server = make_server(create_app(service, settings, secrets=shown))
    address = BackendAddress(url, shown.user, shown.password, shown.webhook_secret)
    service.start(address, on_failure=lambda: setattr(server, "should_exit", True))
    say(f"label here:  {service.project.link}")
    _say_links(service.links)
    say(f"service:     {url}  (API page: {url}/docs; login {shown.user}, password in {settings.home / FILE})")
    server.run(sockets=[listener])
    if service.failure:
        raise service.failure
