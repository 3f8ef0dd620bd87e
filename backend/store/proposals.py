"""What suggesters say of records: by a digest of what was read of one, so that equal records have it once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from .database import Database, chunks
from .schema import proposals


class ProposalsPart(Database):
    """What suggesters say."""

    def proposals(self, suggester: str, contents: Iterable[str]) -> dict[str, Any]:
        """Content -> what ``suggester`` says of it, plain values, None for nothing; without those it was not asked."""
        found: dict[str, Any] = {}
        with self._read() as connection:
            for chunk in chunks(contents):
                asked = sa.and_(proposals.c.suggester == suggester, proposals.c.content.in_(chunk))
                for row in connection.execute(sa.select(proposals.c.content, proposals.c.said).where(asked)):
                    found[row.content] = json.loads(row.said)
        return found

    def note_proposals(self, suggester: str, said: Mapping[str, Any]) -> None:
        """Keep what ``suggester`` says: content -> plain values, or None for nothing."""
        if not said:
            return
        rows = [
            {"suggester": suggester, "content": content, "said": json.dumps(one, ensure_ascii=False)}
            for content, one in said.items()
        ]
        with self._write() as connection:
            for chunk in chunks(rows):
                these = proposals.c.content.in_([row["content"] for row in chunk])
                connection.execute(sa.delete(proposals).where(proposals.c.suggester == suggester, these))
                connection.execute(sa.insert(proposals), list(chunk))

    def suggesters(self) -> set[str]:
        """Of whom there is anything."""
        with self._read() as connection:
            return set(connection.execute(sa.select(proposals.c.suggester).distinct()).scalars())

    def forget_proposals(self, suggesters: Collection[str]) -> None:
        """Forget what these suggesters said."""
        if suggesters:
            with self._write() as connection:
                connection.execute(sa.delete(proposals).where(proposals.c.suggester.in_(suggesters)))
