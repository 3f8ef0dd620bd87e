"""What others' programs answer about one text, in all the forms that are usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nextlabel.backend.questions import ASSUMED, Proposal
from nextlabel.connectors.errors import DataError

from .base import NOTHING, marked, whole_text

SHORT = 120
"""Characters of an answer that a complaint quotes."""


def proposal_of(answer: Any) -> Proposal:
    """What ``answer``, plain values, says of a text, in its own labels.

    None, "" or an empty list: nothing. A label; a list of labels; label -> probability; ``{"label": ..., "score":
    ...}`` or a list of such, as pipelines of transformers answer; a list of marks, ``[start, end, label]`` or with a
    score; ``{"probabilities": {...}}``, ``{"labels": [...]}`` or ``{"spans": [{"start": ..., "end": ..., "label": ...,
    "score": ...}]}``, as our own /api/predict answers. Raises DataError for anything else.
    """
    try:
        return _read(answer)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise DataError(f"an answer can't be read as a label, probabilities or marks: {answer!r:.{SHORT}}") from None


def _read(answer: Any) -> Proposal:
    if answer is None or answer == "" or (isinstance(answer, Sequence | Mapping) and not answer):
        return NOTHING
    if isinstance(answer, str):
        return Proposal({answer: ASSUMED})
    if isinstance(answer, Mapping):
        return _of_mapping(answer)
    some = list(answer)
    if all(isinstance(one, str) for one in some):
        return Proposal(dict.fromkeys(some, ASSUMED))
    if all(isinstance(one, Mapping) for one in some):
        if any("start" in one or "start_offset" in one for one in some):
            return marked(_mark(one) for one in some)
        return whole_text({str(one["label"]): _probability(one.get("score", ASSUMED)) for one in some})
    return marked(
        (int(one[0]), int(one[1]), str(one[2]), _probability(one[3] if len(one) > 3 else ASSUMED)) for one in some
    )


def _of_mapping(answer: Mapping[str, Any]) -> Proposal:
    if answer.get("problem"):
        return NOTHING
    if answer.get("spans"):
        return marked(_mark(one) for one in answer["spans"])
    if answer.get("probabilities"):
        return whole_text({str(label): _probability(p) for label, p in answer["probabilities"].items()})
    if "label" in answer and isinstance(answer["label"], str) and answer["label"]:
        return whole_text({answer["label"]: _probability(answer.get("score", ASSUMED))})
    if isinstance(answer.get("labels"), Mapping | list):
        return _read(answer["labels"])
    if {"label", "labels", "spans", "probabilities"} & answer.keys():
        return NOTHING
    return whole_text({str(label): _probability(p) for label, p in answer.items()})


def _mark(one: Mapping[str, Any]) -> tuple[int, int, str, float]:
    start = one["start"] if "start" in one else one["start_offset"]
    end = one["end"] if "end" in one else one["end_offset"]
    label = one.get("label") or one.get("entity_group") or one["entity"]
    return int(start), int(end), str(label), _probability(one.get("score", ASSUMED))


def _probability(value: Any) -> float:
    found = float(value)
    if not 0 <= found <= 1:
        raise ValueError(value)
    return found
