"""The answers as rows: one per record, with the majority's answer, or one per answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TextIO

from nextlabel.backend.annotators.names import annotator_names
from nextlabel.backend.questions import as_json, question_of
from nextlabel.backend.store import Store
from nextlabel.connectors.content import text_of
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, Value

RECORD_COLUMNS: Final = ("uid", "answer", "answers", "audit", "copy_of")
ANSWER_COLUMNS: Final = (
    "uid",
    "annotation",
    "annotator",
    "annotator_id",
    "status",
    "answer",
    "updated_at",
    "seen_version",
)


def record_rows(
    store: Store, labeling: Labeling, sources: Mapping[str, Mapping[str, str]] = MappingProxyType({})
) -> Iterator[dict[str, Any]]:
    """One row per labelled record: uid, answer, number of answers, audit, copy_of, then fields and metadata.

    ``sources``: uid -> field -> what stands in place of the copy of a picture that annotators are shown.
    A copy that the platform has by itself has its own answer; one that it lacks has that of the first with its content.
    The order is that of the data.
    """
    answers, question = _by_record(store), question_of(labeling)
    labels: dict[str, tuple[Value, int]] = {}
    for item in store.records():
        given = answers.get(item.remote_id or "", [])
        decided = question.as_given(given, text_of(labeling.content(item.record)))
        if decided is not None:
            labels[item.record.uid] = (decided, sum(one.status is AnnotationStatus.SUBMITTED for one in given))
        found = labels.get(item.duplicate_of or "" if item.is_copy else item.record.uid)
        if found is not None:
            yield {
                "uid": item.record.uid,
                "answer": as_json(found[0]),
                "answers": found[1],
                "audit": "held-out" if item.held_out else item.audit,
                "copy_of": item.duplicate_of,
                **{
                    f"field.{name}": text
                    for name, text in {**labeling.seen(item.record), **sources.get(item.record.uid, {})}.items()
                },
                **{f"metadata.{name}": value for name, value in item.record.metadata.items()},
            }


def answer_rows(store: Store) -> Iterator[dict[str, Any]]:
    """One row per answer, skips included: record, annotator, status, answer, time, model version seen."""
    answers, names = _by_record(store), annotator_names(store)
    for item in store.records():
        for one in answers.get(item.remote_id or "", []):
            yield {
                "uid": item.record.uid,
                "annotation": one.id,
                "annotator": names.get(one.annotator, one.annotator),
                "annotator_id": one.annotator,
                "status": one.status.value,
                "answer": as_json(one.value),
                "updated_at": one.updated_at.isoformat(),
                "seen_version": one.seen_version,
            }


def write_rows(rows: Callable[[], Iterable[dict[str, Any]]], path: Path, columns: Sequence[str]) -> int:
    """Write what ``rows`` gives as .csv or .jsonl and return how many. An interrupted export leaves no half file.

    A CSV has every column that any row has, so its rows are asked for twice; those in ``columns`` come first and are
    there without a row too.
    Raises ConfigError for another ending, or a place that can't be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise ConfigError(f"{path}: the file must end in .csv or .jsonl")
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            count = _write_csv(rows, file, columns) if suffix == ".csv" else _write_lines(rows(), file)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return count


def _write_csv(rows: Callable[[], Iterable[dict[str, Any]]], file: TextIO, columns: Sequence[str]) -> int:
    names = dict.fromkeys(columns)
    for row in rows():
        names.update(dict.fromkeys(row))
    writer = csv.DictWriter(file, list(names), extrasaction="ignore")  # what came in between waits for the next export
    writer.writeheader()
    count = 0
    for row in rows():
        count += 1
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return count


def _write_lines(rows: Iterable[dict[str, Any]], file: TextIO) -> int:
    count = 0
    for row in rows:
        count += 1
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _by_record(store: Store) -> dict[str, list[Annotation]]:
    found: dict[str, list[Annotation]] = {}
    for annotation in store.answers():
        found.setdefault(annotation.remote_id, []).append(annotation)
    return found


def _cell(value: Any) -> Any:
    """Labels joined by "|" are easy to read in a spreadsheet; anything richer is JSON."""
    if isinstance(value, list) and all(isinstance(part, str) and "|" not in part for part in value):
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
