"""What was made of the labels: models, and the queue generations published from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nextlabel.connectors.errors import StoreError

from . import codec
from .meta import MetaPart, look_up, put, upsert
from .schema import generations, meta, models

INSTANCE_KEY = "instance"
_CURRENT_MODEL = "current_model"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model: a probe, or a trained encoder with its head (``kind`` few-shot or fine-tune).

    ``log_seq`` is the last log row it has seen; ``metrics`` is what was measured; ``base`` is the version of the
    trained model whose vectors it reads, empty for the recipe's own encoder.
    """

    version: str
    kind: str
    log_seq: int
    metrics: Mapping[str, Any]
    path: str
    base: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """A queue generation: planned, then published, then retired. ``version`` is its name on the platform."""

    number: int
    version: str
    log_seq: int
    model_version: str
    size: int
    planned_at: datetime
    published_at: datetime | None
    retired_at: datetime | None


_MODELS = sa.select(*(models.c[one.name] for one in fields(ModelRow)))
_GENERATIONS = sa.select(*(generations.c[one.name] for one in fields(GenerationRow)))


class ModelsPart(MetaPart):
    """The models that were trained, and which of them answers."""

    def add_model(
        self,
        version: str,
        kind: str,
        log_seq: int,
        metrics: Mapping[str, Any],
        path: str,
        base: str = "",
        *,
        in_use: bool = False,
    ) -> None:
        """Note a model. Noting a version again replaces what was noted: its training was repeated.

        ``base`` is the version of the trained model whose vectors it reads; empty for the recipe's own encoder.
        ``in_use`` puts it into use in the same step.
        """
        content = {"kind": kind, "log_seq": log_seq, "metrics": metrics, "path": str(path), "base": base}
        row = {"version": version, "created_at": codec.now(), **content}
        with self._write() as connection:
            upsert(connection, models.c.version, row, replace=content)
            if in_use:
                put(connection, meta, _CURRENT_MODEL, version)

    def models(self, limit: int | None = None, kind: str | None = None) -> list[ModelRow]:
        """Every model, newest first: at most ``limit``, and only those of one ``kind`` where one is given.

        A project gains one with every answer, so what runs at every answer should have a limit.
        """
        query = _MODELS.order_by(models.c.number.desc()).limit(limit)
        query = query if kind is None else query.where(models.c.kind == kind)
        with self._read() as connection:
            return [ModelRow(*row) for row in connection.execute(query)]

    def current_model(self) -> ModelRow | None:
        """The model in use, or None before the first."""
        with self._read() as connection:
            version = look_up(connection, meta, _CURRENT_MODEL)
            row = connection.execute(_MODELS.where(models.c.version == version)).one_or_none()
            return ModelRow(*row) if row else None

    def set_current(self, version: str) -> None:
        """Put a model into use, an older one too. Raises StoreError if it was never added."""
        with self._write() as connection:
            if connection.execute(sa.select(models.c.number).where(models.c.version == version)).scalar() is None:
                raise StoreError(f"there is no model {version}; see: nextlabel models list")
            put(connection, meta, _CURRENT_MODEL, version)


class GenerationsPart(MetaPart):
    """Queue generations: planned before the platform hears of them, so that a crash leaves no unknown one there."""

    def plan_generation(self, log_seq: int, model_version: str, size: int) -> GenerationRow:
        """Reserve the next number, and a version name that no other store uses, for a generation of ``size``."""
        with self._write() as connection:
            last: int | None = connection.execute(sa.select(sa.func.max(generations.c.number))).scalar()
            number = (last or 0) + 1
            version = f"nl-{look_up(connection, meta, INSTANCE_KEY)}-{number}"
            row = GenerationRow(number, version, log_seq, model_version, size, codec.now(), None, None)
            connection.execute(sa.insert(generations), asdict(row))
            return row

    def mark_published(self, number: int) -> None:
        """The platform serves this generation now. Raises StoreError if it was never planned."""
        self._mark(generations.c.number == number, "published_at", str(number))

    def mark_retired(self, version: str) -> None:
        """Nothing of this generation is left on the platform. Raises StoreError if it was never planned."""
        self._mark(generations.c.version == version, "retired_at", version)

    def _mark(self, which: sa.ColumnElement[bool], column: str, name: str) -> None:
        with self._write() as connection:
            first = sa.func.coalesce(generations.c[column], sa.literal(codec.now(), codec.Moment()))
            if connection.execute(sa.update(generations).where(which).values({column: first})).rowcount != 1:
                raise StoreError(f"there is no generation {name} in this store; plan it first")

    def latest_generation(self) -> GenerationRow | None:
        """The newest generation that was published and isn't retired, or None."""
        in_force = generations.c.published_at.is_not(None), generations.c.retired_at.is_(None)
        found = self._found(_GENERATIONS.where(*in_force).order_by(generations.c.number.desc()).limit(1))
        return found[0] if found else None

    def unretired(self) -> list[GenerationRow]:
        """Every generation that may have rows on the platform, oldest first: the one in force, and mere plans, too."""
        return self._found(_GENERATIONS.where(generations.c.retired_at.is_(None)).order_by(generations.c.number))

    def generation_of(self, version: str) -> GenerationRow | None:
        """The generation with this version name, or None if it is none of ours."""
        found = self._found(_GENERATIONS.where(generations.c.version == version))
        return found[0] if found else None

    def _found(self, query: sa.Select[Any]) -> list[GenerationRow]:
        with self._read() as connection:
            return [GenerationRow(*row) for row in connection.execute(query)]
