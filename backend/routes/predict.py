"""Predictions for everybody: ``curl -H "Authorization: Bearer $TOKEN" --json '{"text": "..."}' .../api/predict``.

A picture is sent by its address, or inside the request as a data: URL::

    echo '{"image": "data:image/png;base64,'$(base64 -w0 cat.png)'"}' | curl ... --json @- .../api/predict
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from nextlabel.backend.questions import Prediction, labels_of, spans_of
from nextlabel.connectors.records import FieldKind, Labeling, Record

from .edge import JsonRoute, ModelEdgeDep, examples
from .openapi import problems

router = APIRouter(prefix="/api", tags=["nextlabel"], route_class=JsonRoute)

MAX_TEXTS: Final = 1000
MAX_CHARACTERS: Final = 1_000_000
MAX_IMAGE: Final = 16 * 2**20
"""Characters of a data: URL; base64 makes 4 of 3 bytes, so this is a picture of 12 MiB."""

# An address of the web or the picture itself, never a path: what a stranger sends must not open files here.
_IMAGE: Final = re.compile(r"https?://[^\s/]\S*|data:image/[\w.+-]{1,40};base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)


# Said by hand, because "exactly one of" can't be said by the model.
_TEXT: Final = {"type": "string", "pattern": r"\S", "description": f"{MAX_CHARACTERS:,} characters at most."}
_PICTURE: Final = {
    "type": "string",
    "pattern": r"^(https?://|data:image/)\S+$",
    "description": f"An http(s) address, or a data: URL of {MAX_IMAGE:,} characters at most.",
}
_RECORD: Final = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {**_TEXT, "description": "A text, or a picture as under image, as the field wants it."},
}
_LIST: Final = {"type": "array", "minItems": 1, "maxItems": MAX_TEXTS}
_SCHEMA: Final = {
    "title": "Texts",
    "description": "Exactly one of text, texts, image and records (field name -> content).",
    "type": "object",
    "properties": {
        "text": _TEXT,
        "texts": {**_LIST, "items": _TEXT},
        "image": _PICTURE,
        "records": {**_LIST, "items": _RECORD},
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}


def _said_by_hand(schema: dict[str, Any]) -> None:
    schema.clear()
    schema.update(_SCHEMA)


class Texts(BaseModel):
    """One of ``text``, ``texts``, ``image`` and ``records``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_said_by_hand)

    text: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    image: str | None = Field(default=None, max_length=MAX_IMAGE)
    texts: list[str] | None = Field(default=None, min_length=1, max_length=MAX_TEXTS)
    records: list[dict[str, str]] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TEXTS,
        description="Field name -> content, for records of several fields.",
    )


_DOT: Final = (  # the smallest picture there is, for the example
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


class MarkedSpan(BaseModel):
    """A stretch of the first text field: characters (Unicode code points), end exclusive."""

    start: int
    end: int
    label: str
    score: float = Field(description="Probability of exactly this span.")


class Guess(BaseModel):
    """What the model says about one record. ``label`` is None where ``labels`` are none or several.

    Of a record that can't be read it says nothing, with a score of 0, and ``problem`` says why.
    """

    label: str | None
    labels: list[str]
    spans: list[MarkedSpan] = Field(default_factory=list, description="For span labeling, in the order of the text.")
    score: float = Field(description="Confidence in [0, 1]; for spans, that these are the right ones and all of them.")
    probabilities: dict[str, float] = Field(
        description="Label -> probability: they sum to 1, or stand each for itself where several labels may be given. "
        "Empty for span labeling."
    )
    problem: str = Field(default="", description="What of the record can't be read, and why. Empty where all can.")


class Guesses(BaseModel):
    """One guess per text or record, in order, all by the model of that version."""

    model_version: str
    predictions: list[Guess]


@router.post(
    "/predict",
    summary="Predict texts, images, or records of several fields",
    responses=problems(400, 401, 413, 415, 422, 503),
)
async def predict_texts(
    asked: Annotated[
        Texts,
        examples(
            one_text={"text": "The striker scored twice in the second half."},
            several={"texts": ["Shares fell by two per cent.", "The minister resigned."]},
            one_image={"image": "https://example.org/cat.png"},
            records_with_an_image={"records": [{"text": "Monday again", "image": f"data:image/png;base64,{_DOT}"}]},
        ),
    ],
    edge: ModelEdgeDep,
) -> Guesses:
    """The newest model's answer. Texts sent together, or at the same moment, share one forward pass."""
    records = _records(asked, edge.model.labeling)
    answers = await edge.classify(records, "/api/predict")
    version = next((one.suggestion.model_version for one in answers if one), edge.model.serving_version)
    return Guesses(model_version=version, predictions=[_guess(one) for one in answers])


def _records(asked: Texts, labeling: Labeling) -> list[Record]:
    if sum(part is not None for part in (asked.text, asked.texts, asked.image, asked.records)) != 1:
        raise HTTPException(422, "give exactly one of text, texts, image and records")
    names = [field.name for field in labeling.fields]
    if asked.records is not None:
        contents = asked.records
        if unknown := sorted({name for fields in contents for name in fields} - set(names)):
            raise HTTPException(422, f"records: no such field: {unknown[0]!r:.80}; fields are {', '.join(names)}")
    else:
        kind = "text" if asked.image is None else "image"
        kinds = {FieldKind.TEXT, FieldKind.HTML} if asked.image is None else {FieldKind.IMAGE}
        name = next((field.name for field in labeling.fields if field.kind in kinds), None)
        if name is None:
            raise HTTPException(422, f"this project has no {kind} field; send records with {', '.join(names)}")
        contents = [{name: value} for value in asked.texts or [asked.text or asked.image or ""]]
    images = {field.name for field in labeling.fields if field.kind is FieldKind.IMAGE}
    for number, fields in enumerate(contents):
        _check(number, fields, images)
    return [Record(uid="", fields=fields) for fields in contents]


def _check(number: int, fields: dict[str, str], images: set[str]) -> None:
    """Raise HTTPException 422 if there is nothing in a record, too much, or something else than an image."""
    if not any(value.strip() for value in fields.values()):
        raise HTTPException(422, f"text number {number} is blank")
    for name, value in fields.items():
        if name not in images:
            if len(value) > MAX_CHARACTERS:
                raise HTTPException(422, f"text number {number} is longer than {MAX_CHARACTERS} characters")
        elif len(value) > MAX_IMAGE:
            raise HTTPException(422, f"image number {number} is longer than {MAX_IMAGE} characters")
        elif value.strip() and not _IMAGE.fullmatch(value):
            raise HTTPException(
                422, f"image number {number}: give an http(s) address, or a URL as in data:image/png;base64,..."
            )


def _guess(answer: Prediction | None) -> Guess:
    if answer is None:
        return Guess(label=None, labels=[], score=0.0, probabilities={})
    suggestion = answer.suggestion
    spans = spans_of(suggestion.value)
    sure = suggestion.scores or [suggestion.score] * len(spans)
    labels = list(dict.fromkeys(labels_of(suggestion.value)))
    return Guess(
        label=labels[0] if len(labels) == 1 and not spans else None,
        labels=labels,
        spans=[
            MarkedSpan(start=span.start, end=span.end, label=span.label, score=score)
            for span, score in zip(spans, sure, strict=True)
        ],
        score=suggestion.score,
        probabilities=dict(answer.probabilities),
        problem=answer.problem,
    )
