"""Predictions for everybody: ``curl -H "Authorization: Bearer $TOKEN" --json '{"text": "..."}' .../api/predict``."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from nextlabel.connectors.records import FieldKind, Labeling, Record, Span, Suggestion

from .body import read_json, validate
from .edge import EdgeDep
from .openapi import json_body, problems

router = APIRouter(prefix="/api", tags=["nextlabel"])

MAX_TEXTS: Final = 1000
MAX_CHARACTERS: Final = 1_000_000


class Texts(BaseModel):
    """One of ``text``, ``texts`` and ``records``."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    texts: list[str] | None = Field(default=None, min_length=1, max_length=MAX_TEXTS)
    records: list[dict[str, str]] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TEXTS,
        description="Field name -> content, for records of several fields.",
    )


# Said by hand, because "exactly one of" can't be said by the model.
_TEXT: Final = {"type": "string", "pattern": r"\S", "description": f"{MAX_CHARACTERS:,} characters at most."}
_RECORD: Final = {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}
_LIST: Final = {"type": "array", "minItems": 1, "maxItems": MAX_TEXTS}
_SCHEMA: Final = {
    "title": "Texts",
    "description": "Exactly one of text, texts and records (field name -> content).",
    "type": "object",
    "properties": {"text": _TEXT, "texts": {**_LIST, "items": _TEXT}, "records": {**_LIST, "items": _RECORD}},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}


class Guess(BaseModel):
    """What the model says about one text. ``label`` is None where ``labels`` are none or several."""

    label: str | None
    labels: list[str]
    spans: list[dict[str, Any]] = Field(default_factory=list, description="For span labeling: start, end, label.")
    score: float = Field(description="Confidence in [0, 1].")


class Guesses(BaseModel):
    """One guess a text, in order."""

    model_version: str
    predictions: list[Guess]


@router.post(
    "/predict",
    summary="Predict texts",
    responses=problems(400, 401, 413, 415, 422, 503),
    openapi_extra=json_body(
        _SCHEMA,
        one_text={"text": "The striker scored twice in the second half."},
        several={"texts": ["Shares fell by two per cent.", "The minister resigned."]},
    ),
)
async def predict_texts(request: Request, edge: EdgeDep) -> Guesses:
    """The newest model's answer. Texts sent together, or at the same moment, share one forward pass."""
    records = _records(validate(Texts, await read_json(request)), edge.backend.labeling)
    suggestions = await edge.predict(records, "/api/predict")
    version = edge.backend.serving_version
    return Guesses(model_version=version, predictions=[_guess(suggestion) for suggestion in suggestions])


def _records(asked: Texts, labeling: Labeling) -> list[Record]:
    if sum(part is not None for part in (asked.text, asked.texts, asked.records)) != 1:
        raise HTTPException(422, "give exactly one of text, texts and records")
    names = [field.name for field in labeling.fields]
    if asked.records is not None:
        contents = asked.records
        if unknown := sorted({name for fields in contents for name in fields} - set(names)):
            raise HTTPException(422, f"records: no such field: {unknown[0]!r:.80}; fields are {', '.join(names)}")
    else:
        text_field = next((field.name for field in labeling.fields if field.kind is FieldKind.TEXT), None)
        if text_field is None:
            raise HTTPException(422, f"this project has no text field; send records with {', '.join(names)}")
        contents = [{text_field: text} for text in asked.texts or [asked.text or ""]]
    for number, fields in enumerate(contents):
        if not any(value.strip() for value in fields.values()):
            raise HTTPException(422, f"text number {number} is blank")
        if any(len(value) > MAX_CHARACTERS for value in fields.values()):
            raise HTTPException(422, f"text number {number} is longer than {MAX_CHARACTERS} characters")
    return [Record(uid="", fields=fields) for fields in contents]


def _guess(suggestion: Suggestion | None) -> Guess:
    if suggestion is None:
        return Guess(label=None, labels=[], score=0.0)
    spans = [value for value in suggestion.value if isinstance(value, Span)]
    labels = list(dict.fromkeys(value.label if isinstance(value, Span) else value for value in suggestion.value))
    return Guess(
        label=labels[0] if len(labels) == 1 and not spans else None,
        labels=labels,
        spans=[{"start": span.start, "end": span.end, "label": span.label} for span in spans],
        score=suggestion.score,
    )
