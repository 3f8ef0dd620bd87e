"""The stock Argilla server and worker, over osmem-server in the place of OpenSearch. Equipment of the demo and tests.

A script that runs in Argilla's virtual environment and knows nothing of nextlabel::

    python argilla_shim.py serve --port 6900 --login login.json
    python argilla_shim.py worker

osmem-server is an OpenSearch in memory. It lacks two things that Argilla asks for: updates by script and the knn
query. Both are done here, the first by reading and writing under a lock (so: one server process), the second by
computing every cosine. What only a real OpenSearch does with Argilla's scripts is therefore not tested by us.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

WORKSPACE = "nextlabel"
MOST_HITS = 10_000

Json = dict[str, Any]
writing = asyncio.Lock()


class OnOsmem:
    """What Argilla's OpenSearch engine does with scripts and knn, without them. To be mixed into it."""

    client: Any
    _update_document_request: Callable[..., Awaitable[None]]
    _map_record_response_to_es: Callable[[Any], Json]

    async def update_record_response(self, response: Any) -> None:
        """Put a response in, in place of its earlier version."""
        new = self._map_record_response_to_es(response)
        await self._change_responses(response, lambda others: [*others, new])

    async def delete_record_response(self, response: Any) -> None:
        """Take a response out."""
        await self._change_responses(response, lambda others: others)

    async def delete_record_suggestion(self, suggestion: Any) -> None:
        """Take a suggestion out: to the index, null is the same as absent."""
        from argilla_server.search_engine.commons import es_index_name_for_dataset

        body = {"doc": {"suggestions": {suggestion.question.name: None}}}
        index = es_index_name_for_dataset(suggestion.record.dataset)
        await self._update_document_request(index, str(suggestion.record_id), body)

    async def _change_responses(self, response: Any, change: Callable[[list[Json]], list[Json]]) -> None:
        """Write the record's responses anew: what ``change`` makes of those other than ``response``.

        Only this part of the document is written, since the worker may be writing its status.
        """
        from argilla_server.search_engine.commons import es_index_name_for_dataset

        index, record = es_index_name_for_dataset(response.record.dataset), str(response.record.id)
        async with writing:
            source = (await self.client.get(index=index, id=record))["_source"]
            others = [one for one in source.get("responses") or [] if str(one["id"]) != str(response.id)]
            await self._update_document_request(index, record, {"doc": {"responses": change(others)}})

    async def _request_similarity_search(
        self,
        index: str,
        vector_settings: Any,
        value: list[float],
        k: int,
        excluded_id: Any = None,
        query_filters: list[Json] | None = None,
    ) -> Json:
        """The ``k`` records nearest by cosine, scored as OpenSearch does: (1 + cosine) / 2."""
        from argilla_server.search_engine.commons import es_field_for_vector_settings, es_ids_query

        field = es_field_for_vector_settings(vector_settings)
        query: Json = {"filter": [*(query_filters or []), {"exists": {"field": field}}]}
        if excluded_id:
            query["must_not"] = [es_ids_query([str(excluded_id)])]
        body = {"query": {"bool": query}, "_source": [field]}
        found = await self.client.search(index=index, body=body, size=MOST_HITS)
        hits = [
            {"_id": hit["_id"], "_score": (1 + cosine(value, take(hit["_source"], field))) / 2}
            for hit in found["hits"]["hits"]
        ]
        nearest = sorted(hits, key=lambda hit: -hit["_score"])[:k]
        return {"hits": {"hits": nearest, "total": {"value": len(nearest)}}}


def use_osmem(name: str = "opensearch") -> None:
    """Put ourselves in the place of the search engine that Argilla knows by ``name``."""
    from argilla_server.search_engine import SearchEngine
    from argilla_server.search_engine.opensearch import OpenSearchEngine

    SearchEngine.register(engine_name=name)(type("OsmemEngine", (OnOsmem, OpenSearchEngine), {}))


def cosine(one: list[float], other: list[float]) -> float:
    """Cosine of the angle between two vectors; 0 if one of them is zero."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0


def take(source: Json, field: str) -> Any:
    """The value at a dotted path."""
    value: Any = source
    for part in field.split("."):
        value = value[part]
    return value


async def prepare(login: Json) -> None:
    """Make the owner, their workspace and the index of every dataset: osmem-server forgets all when it ends."""
    from argilla_server.cli.search_engine.reindex import Reindexer
    from argilla_server.contexts import accounts
    from argilla_server.database import AsyncSessionLocal, async_engine
    from argilla_server.enums import DatasetStatus, UserRole
    from argilla_server.models import Dataset, User, Workspace
    from argilla_server.search_engine import get_search_engine
    from sqlalchemy import select

    async with AsyncSessionLocal() as db:
        if await accounts.get_user_by_username(db, login["user"]) is None:
            await User.create(
                db,
                first_name=login["user"],
                username=login["user"],
                role=UserRole.owner,
                api_key=login["token"],
                password_hash=accounts.hash_password(login["password"]),
                workspaces=[Workspace(name=WORKSPACE)],
            )
        published = select(Dataset.id).where(Dataset.status == DatasetStatus.ready)
        ids = (await db.execute(published)).scalars().all()
        async for engine in get_search_engine():
            for dataset_id in ids:
                dataset = await Reindexer.reindex_dataset(db, engine, dataset_id)
                async for _ in Reindexer.reindex_dataset_records(db, engine, dataset):
                    pass
    await async_engine.dispose()  # its connections belong to an event loop that ends here


def main() -> None:
    """Run the server or the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    server = commands.add_parser("serve")
    server.add_argument("--port", type=int, required=True)
    server.add_argument("--login", type=Path, required=True)
    commands.add_parser("worker")
    asked = parser.parse_args()
    use_osmem()
    if asked.command == "worker":
        from argilla_server.cli.worker import worker
        from argilla_server.jobs.queues import DEFAULT_QUEUE, HIGH_QUEUE

        worker([DEFAULT_QUEUE.name, HIGH_QUEUE.name], 1)
    else:
        import uvicorn

        asyncio.run(prepare(json.loads(asked.login.read_text())))
        uvicorn.run("argilla_server:app", host="127.0.0.1", port=asked.port, access_log=False)


if __name__ == "__main__":
    main()
