"""What was made of the labels: models, and the queue generations published from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row

from nextlabel.connectors.errors import StoreError

from . import codec
from .meta import MetaPart, insert, look_up, put
from .rows import GenerationRow, ModelRow
from .schema import generations, meta, models

INSTANCE_KEY = "instance"
_CURRENT_MODEL = "current_model"


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
        content = {"kind": kind, "log_seq": log_seq, "metrics": codec.dump(metrics), "path": str(path), "base": base}
        with self._write() as connection:
            statement = insert(connection, models).values(version=version, created_at=codec.now_micros(), **content)
            connection.execute(statement.on_conflict_do_update(index_elements=[models.c.version], set_=content))
            if in_use:
                put(connection, meta, _CURRENT_MODEL, version)

    def models(self, limit: int | None = None, kind: str | None = None) -> list[ModelRow]:
        """Every model, newest first: at most ``limit``, and only those of one ``kind`` where one is given.

        A project gains one with every answer, so what runs at every answer should have a limit.
        """
        query = sa.select(models).order_by(models.c.number.desc()).limit(limit)
        query = query if kind is None else query.where(models.c.kind == kind)
        with self._read() as connection:
            return [_model(row) for row in connection.execute(query)]

    def current_model(self) -> ModelRow | None:
        """The model in use, or None before the first."""
        with self._read() as connection:
            version = look_up(connection, meta, _CURRENT_MODEL)
            row = connection.execute(sa.select(models).where(models.c.version == version)).one_or_none()
            return _model(row) if row else None

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
            row = {
                "number": number,
                "version": f"nl-{look_up(connection, meta, INSTANCE_KEY)}-{number}",
                "log_seq": log_seq,
                "model_version": model_version,
                "size": size,
                "planned_at": codec.now_micros(),
            }
            connection.execute(sa.insert(generations), row)
            return _generation(connection.execute(sa.select(generations).where(generations.c.number == number)).one())

    def mark_published(self, number: int) -> None:
        """The platform serves this generation now. Raises StoreError if it was never planned."""
        self._mark(generations.c.number == number, "published_at", str(number))

    def mark_retired(self, version: str) -> None:
        """Nothing of this generation is left on the platform. Raises StoreError if it was never planned."""
        self._mark(generations.c.version == version, "retired_at", version)

    def _mark(self, which: sa.ColumnElement[bool], column: str, name: str) -> None:
        with self._write() as connection:
            first = sa.func.coalesce(generations.c[column], codec.now_micros())
            if connection.execute(sa.update(generations).where(which).values({column: first})).rowcount != 1:
                raise StoreError(f"there is no generation {name} in this store; plan it first")

    def latest_generation(self) -> GenerationRow | None:
        """The newest generation that was published and isn't retired, or None."""
        in_force = generations.c.published_at.is_not(None), generations.c.retired_at.is_(None)
        query = sa.select(generations).where(*in_force).order_by(generations.c.number.desc()).limit(1)
        with self._read() as connection:
            row = connection.execute(query).one_or_none()
            return _generation(row) if row else None

    def unretired(self) -> list[GenerationRow]:
        """Every generation that may have rows on the platform, oldest first: the one in force, and mere plans, too."""
        query = sa.select(generations).where(generations.c.retired_at.is_(None)).order_by(generations.c.number)
        with self._read() as connection:
            return [_generation(row) for row in connection.execute(query)]

    def generation_of(self, version: str) -> GenerationRow | None:
        """The generation with this version name, or None if it is none of ours."""
        with self._read() as connection:
            row = connection.execute(sa.select(generations).where(generations.c.version == version)).one_or_none()
            return _generation(row) if row else None


def _model(row: Row[Any]) -> ModelRow:
    return ModelRow(
        version=row.version,
        kind=row.kind,
        log_seq=row.log_seq,
        metrics=json.loads(row.metrics),
        path=row.path,
        base=row.base,
        created_at=codec.from_micros(row.created_at),
    )


def _generation(row: Row[Any]) -> GenerationRow:
    return GenerationRow(
        number=row.number,
        version=row.version,
        log_seq=row.log_seq,
        model_version=row.model_version,
        size=row.size,
        planned_at=codec.from_micros(row.planned_at),
        published_at=_moment(row.published_at),
        retired_at=_moment(row.retired_at),
    )


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else codec.from_micros(micros)
