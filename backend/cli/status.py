"""``status``: ask the running service how it is doing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from .common import AsJson, call, examples, print_json, print_table
from .compare import sentence


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("nextlabel status", "nextlabel status --json | jq .labelled"))(status)


def status(
    url: Annotated[
        str | None, typer.Option(help="Address of the service; http://HOST:PORT if not given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the running service is doing.

    Labels, model, queue, latency, audit accuracy, the last error.
    """
    from nextlabel.backend.settings import Settings

    answer = call(url or Settings.load().address(), "GET", "/api/status")
    if as_json:
        print_json(answer)
        return
    print_table(("", ""), rows(answer))


def rows(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The status as lines of a table."""
    project = answer["project"] or {}
    doing = answer["state"] + (f" {answer['done']:,} of {answer['total']:,}" if answer["total"] else "")
    lines = [
        ("project", f"{project.get('title', '')}  {project.get('link', '')}"),
        *((f"link: {name}", link) for name, link in answer.get("links", {}).items()),
        ("doing", doing if answer["leader"] else "standing by, to take over from who leads"),
        ("leads", leading(answer.get("lease", {}))),
        ("platform", "reachable" if answer["platform_reachable"] else "not reachable"),
        ("records", f"{answer['records']:,}, {answer['pushed']:,} on the platform"),
        ("labelled", f"{answer['labelled']:,}, {answer['audit_labelled']:,} of them for the audit"),
        ("second opinions", f"{again:,} records wait for one" if (again := answer.get("asked_again", 0)) else ""),
        ("labels", answer.get("labeling", "")),
        ("by label", ", ".join(f"{label} {count:,}" for label, count in answer["label_counts"].items())),
        ("model", answer["model_version"]),
        ("queue", f"{answer['generation']}, knows {answer['generation_log_head']} of {answer['log_head']} log rows"),
        ("label to queue", _latency(answer["label_to_queue_p50"], answer["label_to_queue_p95"])),
        ("comparison", sentence(answer.get("comparison", {}))),
        ("audit accuracy", _audit(answer["audit"])),
        ("training", _training(answer.get("training", {}))),
        ("last error", answer["last_error"]),
        *((f"note: {topic}", text) for topic, text in answer["notes"].items()),
    ]
    return [(name, text) for name, text in lines if text.strip()]


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


def _audit(audit: Mapping[str, float | None]) -> str:
    accuracy, low, high, n = (audit.get(name) for name in ("accuracy", "low", "high", "n"))
    if accuracy is None or low is None or high is None:
        return ""
    return f"{accuracy:.3f} (95%: {low:.3f} to {high:.3f}, {n or 0:.0f} records)"


def _training(training: Mapping[str, Any]) -> str:
    """What is trained, or how the last training ended."""
    if "stage" in training:
        return (
            f"{training.get('candidate', '')} {training['stage']} {training['step']:,} of {training['steps']:,}".strip()
        )
    said = (training.get(name, "") for name in ("verdict", "error", "unable"))
    return next((text for text in said if text), "")
