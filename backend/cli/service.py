"""``status``, ``login``, ``compare``, ``train``, ``relabel``: ask the running service, or have it do something now."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nextlabel.backend.training.tensorboard import EpochFiles
from nextlabel.connectors.certificates import trusted
from nextlabel.connectors.errors import ConfigError, LearningError, Overloaded, PlatformUnavailable, Unauthorized
from nextlabel.connectors.hiding import TERMINAL

from .common import (
    AsJson,
    RecipeName,
    bars,
    command_group,
    console,
    examples,
    print_json,
    print_line,
    print_table,
    project_of,
    say,
)
from .status_words import rows, sentence, troubles

EVERY_S = 0.5
TIMEOUT_S = 600
"""Seconds to wait: the platform may take a tenth of a second per record."""

ServiceUrl = Annotated[
    str | None, typer.Option(help="Address of the service; http://HOST:PORT if not given.", show_default=False)
]


app = command_group()


def _address(url: str | None) -> str:
    from nextlabel.backend.settings import Settings

    return url or Settings.load().address()


def call(url: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What the service at ``url`` answers, JSON.

    Raises PlatformUnavailable if nobody answers, Unauthorized, or with the service's reason ConfigError for a refusal
    and Overloaded for what it can't do now.
    """
    import httpx

    from nextlabel.backend.credentials import credentials
    from nextlabel.backend.settings import Settings

    token = credentials(Settings.load(), create=False).api_token
    try:
        reply = httpx.request(
            method,
            url.rstrip("/") + path,
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=10 if method == "GET" else TIMEOUT_S,
            trust_env=False,
            verify=trusted(),
        )
        if reply.status_code == 401:
            raise Unauthorized(
                f"{url} refuses our token; set NEXTLABEL_HOME or NEXTLABEL_API_TOKEN as the service has it"
            )
        if reply.status_code in (409, 422):
            raise ConfigError(str(reply.json()["detail"]))
        if reply.status_code == 503:
            raise Overloaded(str(reply.json()["detail"]))
        answer: dict[str, Any] = reply.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise PlatformUnavailable(f"no service answers at {url} ({reason}); start one: nextlabel run RECIPE") from None
    return answer


@app.command(
    epilog=examples(
        "nextlabel status",
        "nextlabel status --json | jq .labelled",
        "nextlabel status --check       for a script: the exit code tells",
    )
)
def status(
    check: Annotated[
        bool, typer.Option("--check", help="Print only what is wrong, and exit with 1 if anything is.")
    ] = False,
    url: ServiceUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what the running service is doing.

    Labels, model, queue, latency, audit accuracy, what fails, by name. Exits with 1 if nobody answers.
    """
    answer = call(_address(url), "GET", "/api/status")
    if check:
        wrong = troubles(answer)
        if as_json:
            print_json(wrong)
        else:
            print_line("\n".join(wrong) or "nothing is wrong")
        if wrong:
            raise typer.Exit(1)
    elif as_json:
        print_json(answer)
    else:
        print_table(("", ""), rows(answer))


@app.command(
    epilog=examples(
        "nextlabel login",
        'curl -H "Authorization: Bearer $(nextlabel login --token)" http://127.0.0.1:9090/api/status',
    )
)
def login(
    token: Annotated[bool, typer.Option("--token", help="Print the token alone, for a command line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show user, password and token of the service.

    User and password are for a browser, the token for your own calls. They were made at the first start, and lie in
    NEXTLABEL_HOME; what settings name counts instead.
    """
    from nextlabel.backend.credentials import credentials
    from nextlabel.backend.settings import Settings

    settings = Settings.load()
    shown = credentials(settings, create=False)
    TERMINAL.clear()  # to show them is what it was called for
    found = {"address": settings.address(), "user": shown.user, "password": shown.password, "token": shown.api_token}
    if token:
        print_line(shown.api_token)
    elif as_json:
        print_json(found)
    else:
        print_table(("", ""), found.items())


@app.command(epilog=examples("nextlabel compare", "nextlabel compare --believe", "nextlabel compare --keep"))
def compare(
    believe: Annotated[
        bool, typer.Option("--believe", help="The platform is right: what it lacks is left out here too.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="What is here is right: what the platform lacks counts on.")
    ] = False,
    url: ServiceUrl = None,
    as_json: AsJson = False,
) -> None:
    """Compare the annotation log with the platform now.

    The running service does it at its start, once an hour, and when the platform was away. The log follows the
    platform; but where most is gone or changed at once, or a backup of the platform was restored, nothing changes until
    you decide, and the exit code is 1.
    """
    if believe and keep:
        raise ConfigError("--believe the platform, or --keep what is here: not both")
    address = _address(url)
    found = _compared(address, call(address, "POST", "/api/compare", {"believe": believe, "keep": keep})["number"])
    if as_json:
        print_json(found)
    else:
        say(sentence(found))
    if not found["agree"]:
        raise typer.Exit(1)


def _compared(address: str, number: int) -> dict[str, Any]:
    with console(err=True).status("comparing log and platform"):
        while True:
            found: dict[str, Any] = call(address, "GET", "/api/status")["comparison"]
            if found["ended"] >= number:
                return found
            time.sleep(EVERY_S)


@app.command(epilog=examples("nextlabel train --wait", "nextlabel train --cancel"))
def train(
    wait: Annotated[bool, typer.Option("--wait", help="Show how far it is until it has ended.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the training that runs.")] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --wait: write loss and held-out figures of every epoch for TensorBoard, in a new folder in this "
            "one.",
            show_default=False,
        ),
    ] = None,
    url: ServiceUrl = None,
    as_json: AsJson = False,
) -> None:
    """Train the encoder now, however little the labels have grown.

    Needs the running service, which goes on answering meanwhile. Where a training runs already, or the records are
    being encoded for another model, it says so, and this one follows. The result is used if it is not worse. With
    --wait, the exit code is 1 if no model came of it.
    """
    if tensorboard is not None and not wait:
        raise ConfigError("--tensorboard writes what --wait sees; add --wait")
    files = None if tensorboard is None else EpochFiles(tensorboard, "train")
    address = _address(url)
    if cancel:
        answer = call(address, "DELETE", "/api/train")
        say("cancelled" if answer["cancelled"] else "no training was running")
    else:
        call(address, "POST", "/api/train")
        answer = call(address, "GET", "/api/status")["training"]
        begins = answer.get("asked") or "the training has started"
        say(begins if wait else f"{begins}; see: nextlabel status")
        if wait:
            answer = _watch(address, _ended_after(answer), files)
            say(answer.get("verdict", ""))
    if as_json:
        print_json(answer)
    if wait and not answer.get("made", True):
        raise typer.Exit(1)


def _ended_after(training: Mapping[str, Any]) -> int:
    """How many trainings will have ended once the one that was asked for has."""
    return int(training["ended"]) + bool(training.get("asked")) + ("labels" in training)


def _watch(address: str, ended: int, files: EpochFiles | None) -> dict[str, Any]:
    """A progress bar until so many trainings have ended; what the service says of the last.

    Raises LearningError if it won't begin any more.
    """
    with bars() as progress:
        bar = progress.add_task("waiting", total=1)
        while True:
            training: dict[str, Any] = call(address, "GET", "/api/status")["training"]
            if training["ended"] >= ended:
                return training
            if files is not None and training.get("epochs"):
                files.write(
                    re.sub(r"[^a-z0-9]+", "-", training.get("candidate", "model")).strip("-"), training["epochs"]
                )
            if _ended_after(training) < ended:
                raise LearningError(training.get("error") or "the training was cancelled, or the service stopped")
            text = f"{training.get('candidate', '')} {training.get('stage', 'waiting')}".strip()
            progress.update(bar, description=text, completed=training.get("step", 0), total=training.get("steps", 1))
            time.sleep(EVERY_S)


@app.command(epilog=examples("nextlabel relabel reviews.yaml 17 40", "nextlabel relabel reviews.yaml 17 --opinions 3"))
def relabel(
    recipe: RecipeName,
    uids: Annotated[
        list[str], typer.Argument(metavar="UID...", help="Ids of the records, as `nextlabel export` shows them.")
    ],
    opinions: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="How many annotators shall have answered each record in the end; one more than by now if not given.",
            show_default=False,
        ),
    ] = None,
    url: ServiceUrl = None,
    as_json: AsJson = False,
) -> None:
    """Ask other annotators about records that were answered.

    The records come first in the queue of everybody who did not answer them, without a suggestion. Needs the running
    service.
    """
    answer = ask_again(recipe, uids, opinions, url)
    how_many = f"{opinions} annotators in all" if opinions else "one annotator more than by now"
    if as_json:
        print_json(answer)
        return
    say(f"{answer['asked']:,} records will be answered by {how_many}; they come first in the queue")


def ask_again(recipe: str, uids: list[str], opinions: int | None, url: str | None) -> dict[str, Any]:
    """Have the service of ``recipe`` ask about these records again; what it answers.

    Raises ConfigError if the service at ``url`` works for another project, and as :func:`call`.
    """
    from nextlabel.backend.service.project import PROJECT

    with project_of(recipe) as (chosen, settings, store):
        project = store.get_meta(PROJECT)
    address = url or settings.address()
    served: dict[str, Any] = call(address, "GET", "/api/status")["project"] or {}
    if served.get("id") != project:
        raise ConfigError(
            f"the service at {address} works for {served.get('title') or 'no project'} ({served.get('id')}), not for "
            f"{chosen.name} ({project}); name its address with --url"
        )
    return call(address, "POST", "/api/relabel", {"uids": uids, "opinions": opinions})
