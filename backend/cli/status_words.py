"""What a running service says of itself, in words: the table of ``nextlabel status``, and what is wrong by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

NOTICES = 5
"""So many notices a table shows."""
LEVEL = re.compile(r"level_\d+_accuracy")
"""What the audit says of the parents of labels in a tree, by level."""


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
        ("audit accuracy", audited(answer["audit"])),
        ("held-out accuracy", audited(answer.get("held_out", {}), " answered before, kept from training")),
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


def audited(audit: Mapping[str, float | None], which: str = "") -> str:
    """A measured accuracy with its interval; "" where there is none."""
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
