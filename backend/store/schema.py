"""The tables, as SQLAlchemy sees them. Migrations create them; a test holds the two together.

``annotation_log`` is what was read from the platform, and append-only: triggers refuse UPDATE and DELETE. A row says
one thing, once: (kind, subject, epoch, stamp) is unique.

    kind      subject         stamp            meaning
    answer    annotation id   its updated_at   this is the answer as of then
    absent    annotation id   seq before       the platform, asked for exactly this annotation, has none
    present   annotation id   seq before       a later look found it there
    misfit    annotation id   seq before       the text was corrected: the answer marks other words now than these
    fits      annotation id   seq before       the words that it marks are back
    corrected remote id       seq before       the record says something else
    reused    remote id       its made_at      another record has this id now: it was made then, so answers from before
                                               are about the one that had it
    gone      remote id       seq before       the whole record was deleted on the platform
    back      remote id       seq before       the record was found there again
    deleted   annotation id   0                no longer written: a webhook said that it was deleted; reads as absent

An answer's ``epoch`` is 0, until the platform is seen to have it older, or otherwise, than the log: what it has opens
the next epoch, and counts from then on (it was restored from a backup, or the log had been told a falsehood).

The view ``current_answers`` is what the log amounts to: of every annotation the newest answer of the newest epoch,
unless it is hidden (absent, and not present since), on a record that is gone, or older than its record. Its ``misfit``
is 1 where it no longer fits the text that it marks. Within an epoch it depends on the set
of rows, not on their order: readings may be written down late, twice, or shuffled.
"""

from __future__ import annotations

import sqlalchemy as sa

from .codec import Json, Moment

metadata = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"},
)

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("renewal", sa.String, nullable=False),  # another word each time
    sa.Column("clock", sa.String, nullable=False),  # what ``renewed`` was read from; empty if nobody else can
    sa.Column("renewed", sa.Float(53), nullable=False),  # seconds
    sa.Column("term", sa.Float(53), nullable=False),  # seconds
    sa.Column("taken_at", sa.BigInteger, nullable=False),  # these two are times of day, for people
    sa.Column("renewed_at", sa.BigInteger, nullable=False),
)

records = sa.Table(
    "records",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("uid", sa.String, nullable=False),
    sa.Column("content_hash", sa.String, nullable=False),
    sa.Column("fields", Json, nullable=False),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("lot", sa.Float(53), nullable=False),
    sa.Column("duplicate_of", sa.String),
    sa.Column("remote_id", sa.String),
    sa.Column("gone", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("opinions", sa.Integer),  # annotators asked for in all; null: as many as about any other record
    sa.Column("suggested", sa.Boolean, nullable=False, server_default=sa.false()),  # has had a suggestion from us
    # A hash of what annotators are shown besides ``content_hash``: fields that aren't the recipe's, or can't be read.
    sa.Column("besides", sa.String, nullable=False, server_default=""),
    sa.Column("in_file", sa.Boolean, nullable=False, server_default=sa.true()),  # a row of the data stands for it
    sa.Column("seen", sa.String),  # why it can't be shown blind, see store/audit.py; null: nothing is known against it
    sa.Column("made_at", Moment),  # when the platform made it; null where its ids are never given away again
)
sa.Index("ix_records_uid", records.c.uid, unique=True)
sa.Index("ix_records_content_hash", records.c.content_hash)


def _partial(name: str, column: sa.Column[str], *, unique: bool = False) -> None:
    """An index over the few rows where ``column`` is set."""
    where = column.is_not(None)
    sa.Index(name, column, unique=unique, sqlite_where=where, postgresql_where=where)


_partial("ix_records_remote_id", records.c.remote_id, unique=True)
_partial("ix_records_duplicate_of", records.c.duplicate_of)
is_gone = records.c.gone.is_(True)
sa.Index("ix_records_gone", records.c.position, sqlite_where=is_gone, postgresql_where=is_gone)
unpushed = sa.and_(records.c.remote_id.is_(None), records.c.duplicate_of.is_(None), records.c.gone.is_(False))
sa.Index("ix_records_unpushed", records.c.position, sqlite_where=unpushed, postgresql_where=unpushed)

record_names = sa.Table(
    "record_names",
    metadata,
    sa.Column("name", sa.String, primary_key=True),  # of a record that is known by another uid here
    sa.Column("uid", sa.String, nullable=False),
)

annotation_log = sa.Table(
    "annotation_log",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("stamp", sa.BigInteger, nullable=False),
    sa.Column("remote_id", sa.String),  # null: the announced deletion of an annotation that was never seen
    sa.Column("annotator", sa.String),
    sa.Column("status", sa.String),
    sa.Column("value", sa.Text),
    sa.Column("seen_version", sa.String),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("logged_at", Moment, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("truth", sa.Boolean, nullable=False, server_default=sa.false()),  # marked as such on the platform
    sqlite_autoincrement=True,
)
_key = (annotation_log.c[name] for name in ("kind", "subject", "epoch", "stamp"))
sa.Index("ix_annotation_log_key", *_key, unique=True)
sa.Index("ix_annotation_log_remote_id", annotation_log.c.remote_id, annotation_log.c.kind)

HIDING = ("absent", "deleted")
"""Kinds of rows that hide an answer, unless it is present since."""

current_answers = sa.table(
    "current_answers",
    sa.column("seq", sa.Integer),
    sa.column("annotation_id", sa.String),
    sa.column("remote_id", sa.String),
    sa.column("annotator", sa.String),
    sa.column("status", sa.String),
    sa.column("value", sa.Text),
    sa.column("truth", sa.Boolean),
    sa.column("seen_version", sa.String),
    sa.column("updated_at", Moment()),
    sa.column("misfit", sa.Integer),
)
fits = current_answers.c.misfit == 0

models = sa.Table(
    "models",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("log_seq", sa.Integer, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("base", sa.String, nullable=False, server_default=""),  # the trained model whose vectors it reads
)
sa.Index("ix_models_version", models.c.version, unique=True)

generations = sa.Table(
    "generations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("log_seq", sa.Integer, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("planned_at", Moment, nullable=False),
    sa.Column("published_at", Moment),
    sa.Column("retired_at", Moment),
)
sa.Index("ix_generations_version", generations.c.version, unique=True)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("fix", sa.String, nullable=False),
    sa.Column("remote_id", sa.String, nullable=False),  # the record that it is about; empty if none
    sa.Column("since", Moment, nullable=False),
)
sa.Index("ix_notices_remote_id", notices.c.remote_id)

imported_answers = sa.Table(
    "imported_answers",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("uid", sa.String, nullable=False),
    sa.Column("annotator", sa.String, nullable=False),  # the platform's id
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("answered_at", Moment),  # when it was given elsewhere, if somebody said so
    sa.Column("source", sa.String, nullable=False),  # the file
    sa.Column("audit", sa.Boolean, nullable=False),  # whether its record may be of the audit slice
    sa.Column("annotation_id", sa.String),  # null: the platform has yet to get it
    sa.Column("refused", sa.String),  # why the platform does not take it
    sa.Column("added_at", Moment, nullable=False),
)
sa.Index("ix_imported_answers_key", imported_answers.c.uid, imported_answers.c.annotator, unique=True)
sa.Index("ix_imported_answers_annotation_id", imported_answers.c.annotation_id)
_waits = sa.and_(imported_answers.c.annotation_id.is_(None), imported_answers.c.refused.is_(None))
sa.Index("ix_imported_answers_waiting", imported_answers.c.number, sqlite_where=_waits, postgresql_where=_waits)

proposals = sa.Table(
    "proposals",
    metadata,
    sa.Column("suggester", sa.String, primary_key=True),  # a digest of all that its answers go by
    sa.Column("content", sa.String, primary_key=True),  # a digest of what was read of the record
    sa.Column("said", sa.Text, nullable=False),  # JSON; null where it says nothing
)
sa.Index("ix_proposals_content", proposals.c.content)
