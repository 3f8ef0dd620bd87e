"""``status``, ``login``, ``compare``, ``train``, ``relabel``: ask the running service, or have it do something now."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
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

EVERY_S = 0.5
NOTICES = 5
"""So many notices a table shows."""
TIMEOUT_S = 600
"""Seconds to wait: the platform may take a tenth of a second per record."""

ServiceUrl = Annotated[
    str | None, typer.Option(help="Address of the service; http://HOST:PORT if not given.", show_default=False)
]

LEVEL = re.compile(r"level_\d+_accuracy")
"""What the audit says of the parents of labels in a tree, by level."""

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


def troubles(answer: Mapping[str, Any]) -> list[str]:
    """What is wrong by a status, a line each: what keeps the loop from working. What could be better is none."""
    lease, compared = answer.get("lease", {}), answer.get("comparison", {})
    found = [
        answer.get("not_ready", ""),
        "" if answer["platform_reachable"] else "the platform is not reachable",
        f"leads: {leading(lease)}" if answer["project"] and not lease.get("left_s") else "",
        "" if compared.get("agree", True) else sentence(compared),
        "" if answer["last_error"] in answer.get("errors", {}).values() else answer["last_error"],
        *(f"{what}: {why}" for what, why in answer.get("errors", {}).items()),
    ]
    return list(dict.fromkeys(filter(None, found)))


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


def rows(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The status as lines of a table."""
    project = answer["project"] or {}
    if answer["project"] is None:
        return [("doing", answer["not_ready"])]
    doing = answer["state"] + (f" {answer['done']:,} of {answer['total']:,}" if answer["total"] else "")
    lines = [
        ("project", f"{project.get('title', '')}  {project.get('link', '')}"),
        *((f"link: {name}", link) for name, link in answer.get("links", {}).items()),
        ("not ready", answer.get("not_ready", "")),
        ("doing", doing if answer["leader"] else "standing by, to take over from who leads"),
        ("leads", leading(answer.get("lease", {}))),
        ("platform", "reachable" if answer["platform_reachable"] else "not reachable"),
        ("records", f"{answer['records']:,}, {answer['pushed']:,} on the platform"),
        ("labelled", f"{answer['labelled']:,} records, {answer['audit_labelled']:,} of them for the audit"),
        ("answers", _answers(answer.get("answers", {}), answer.get("skips", 0))),
        ("from elsewhere", _imported(answer.get("imported", {}))),
        ("second opinions", f"{again:,} records wait for one" if (again := answer.get("asked_again", 0)) else ""),
        ("settled", f"{settled:,} records, for good" if (settled := answer.get("settled", 0)) else ""),
        ("labels", answer.get("labeling", "")),
        *((f"suggester: {one['name']}", suggester(one)) for one in answer.get("suggesters", ())),
        ("by label", ", ".join(f"{label} {count:,}" for label, count in answer["label_counts"].items())),
        ("by parent", ", ".join(f"{label} {count:,}" for label, count in answer.get("parent_counts", {}).items())),
        ("model", answer["model_version"]),
        ("queue", f"{answer['generation']}, knows {answer['generation_log_head']} of {answer['log_head']} log rows"),
        ("label to queue", _latency(answer["label_to_queue_p50"], answer["label_to_queue_p95"])),
        ("comparison", sentence(answer.get("comparison", {}))),
        ("audit accuracy", _audit(answer["audit"])),
        ("held-out accuracy", _audit(answer.get("held_out", {}), " answered before, kept from training")),
        ("training", _training(answer.get("training", {}))),
        *((f"notice: {one['kind']}", told(one)) for one in answer.get("notices", ())[:NOTICES]),
        ("notices", _more(answer.get("notice_counts", {}))),
        ("last error", answer["last_error"]),
        *((f"error: {name}", why) for name, why in _others(answer.get("errors", {}), answer["last_error"])),
        *((f"note: {topic}", text) for topic, text in answer["notes"].items()),
    ]
    return [(name, text) for name, text in lines if text.strip()]


def _imported(found: Mapping[str, int]) -> str:
    """Answers that were imported."""
    if not found:
        return ""
    left = f", {found['waiting']:,} are on their way" if found["waiting"] else ""
    refused = f", {found['refused']:,} it does not take" if found["refused"] else ""
    return f"{found['there']:,} of {found['answers']:,} imported answers are on the platform{left}{refused}"


def suggester(found: Mapping[str, Any]) -> str:
    """How a model or rule that suggests does, in words."""
    parts = [found["trouble"] and f"fails: {found['trouble']}"]
    if found.get("asked"):
        some = "" if found["asked"] == found["records"] else f" of {found['asked']:,} asked so far"
        parts.append(f"suggests something for {found['coverage']:.0%} of {found['records']:,} records{some}")
    parts += [_agreeing(found.get("agreeing", {}), ""), _agreeing(found.get("blind", {}), " that saw no suggestion")]
    if (weight := found.get("weight")) is not None:
        parts.append(f"weight {weight:.2f}" if weight else "not heard: what is learned does better without it")
    if found.get("foreign"):
        shown = ", ".join(found["foreign"][:NOTICES])
        parts.append(f"says labels that stand for none of ours ({shown}): map them with `labels:`")
    return "; ".join(filter(None, parts)) or "has said nothing yet"


def _agreeing(found: Mapping[str, float], whose: str) -> str:
    """How often people say what is suggested."""
    if "accuracy" not in found:
        return ""
    interval = f"95%: {found['low']:.3f} to {found['high']:.3f}, {found['n']:.0f} suggestions"
    return f"right by {found['accuracy']:.3f} of people's answers{whose} ({interval})"


def told(notice: Mapping[str, str]) -> str:
    """A notice in one line."""
    return "; to mend it: ".join(part for part in (notice["message"], notice["fix"]) if part)


def _others(errors: Mapping[str, str], shown: str) -> list[tuple[str, str]]:
    """What else failed, by name, than the error that is ``shown`` already."""
    return [(name, why) for name, why in errors.items() if why != shown]


def _more(counts: Mapping[str, int]) -> str:
    """How many notices there are in all, if they are not all shown."""
    if sum(counts.values()) <= NOTICES:
        return ""
    kinds = ", ".join(f"{count:,} of kind {kind}" for kind, count in counts.items())
    return f"{kinds}; the newest: nextlabel status --json; all of them: nextlabel doctor RECIPE --json"


def _answers(by: Mapping[str, int], skips: int) -> str:
    """How many were given, and by whom."""
    who = ", ".join(f"{name} {count:,}" for name, count in by.items())
    return f"{sum(by.values()):,} ({who}), {skips:,} skipped" if by else ""


def leading(lease: Mapping[str, Any]) -> str:
    """Who runs the loop, since when, and until when."""
    if not lease:
        return "nobody; the queue stands still"
    who = f"this service ({lease['owner']})" if lease.get("ours") else lease["owner"]
    since, until = (datetime.fromisoformat(lease[name]).astimezone() for name in ("since", "until"))
    if not lease["left_s"]:
        return f"nobody since {until:%Y-%m-%d %H:%M:%S}; {who} did not renew its lease, who stands by takes over"
    return f"{who}, since {since:%Y-%m-%d %H:%M:%S}; until {until:%H:%M:%S} unless it renews its lease"


def _latency(p50: float | None, p95: float | None) -> str:
    return "" if p50 is None or p95 is None else f"p50 {p50:.2f} s, p95 {p95:.2f} s"


def _audit(audit: Mapping[str, float | None], which: str = "") -> str:
    accuracy, low, high, n = (audit.get(name) for name in ("accuracy", "low", "high", "n"))
    if accuracy is None or low is None or high is None:
        return ""
    doubted = audit.get("doubted") or 0
    slips = f"; the model takes {doubted:.0f} of the answers for slips: see `nextlabel report`" if doubted else ""
    levels = [(name.split("_")[1], value) for name, value in audit.items() if LEVEL.fullmatch(name)]
    tree = "".join(f"; at level {level} of the tree {value:.3f}" for level, value in levels)
    return f"{accuracy:.3f} (95%: {low:.3f} to {high:.3f}, {n or 0:.0f} records{which}){tree}{slips}"


def _training(training: Mapping[str, Any]) -> str:
    """What is trained, or how the last training ended."""
    if "stage" in training:
        return (
            f"{training.get('candidate', '')} {training['stage']} {training['step']:,} of {training['steps']:,}".strip()
        )
    said = (training.get(name, "") for name in ("verdict", "error", "unable"))
    return next((text for text in said if text), "")


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


def sentence(found: Mapping[str, Any]) -> str:
    """What the last comparison came to, in words; empty before the first."""
    if "answers" not in found:
        return "being compared for the first time" if found.get("running") else ""
    when = f"compared {_ago(found['age_s'])} ago"
    if not found["agree"]:
        differ = f"log and platform differ in {found['withheld']:,} answers or records, {when}"
        from nextlabel.backend.loop.withheld import DECIDE

        return f"{differ}; {DECIDE}"
    news = f", {found['found']:,} rows were found by it" if found["found"] else ""
    kept = f", {found['kept']:,} that it lacks are kept" if found.get("kept") else ""
    return f"log and platform agree: {found['answers']:,} answers, {when}{news}{kept}"


def _ago(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


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
