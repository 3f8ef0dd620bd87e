"""The model in service: what it says of the records that somebody asks about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.cache import digests
from nextlabel.backend.pool.voices import proposals_of
from nextlabel.backend.questions import Prediction, Proposal
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.retraining.model import Learner, Model
from nextlabel.backend.serving.batcher import MicroBatcher
from nextlabel.backend.store import Rule, Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.content import Readable, says_nothing
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.image_addresses import image_fields, with_images
from nextlabel.connectors.records import Labeling, Record

UNREAD = Record("?", {})
"""Stands for a record whose text is at an address, and was not read yet."""

ASKED_TOGETHER = 1_000
"""Records at most, of requests that come together, about which the store is asked at a time."""


class Predictor:
    """Answers with the newest model. ``labeling`` says what is asked; records are the same as ``rule`` has it.

    ``suggesters``: name -> key of those that are heard beside it, in what they have said of the project's records.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        learner: Learner,
        rule: Rule,
        labeling: Callable[[], Labeling],
        suggesters: Mapping[str, str],
    ) -> None:
        self._suggesters = suggesters
        self._store, self._connector, self._learner = store, connector, learner
        self._rule, self._labeling = rule, labeling
        self._batcher = MicroBatcher()
        self._blind = MicroBatcher(self._are_blind, max_batch=ASKED_TOGETHER, name="blind")
        self._live: Model | None = None

    @property
    def version(self) -> str:
        """The version of the model in service; empty before there is one."""
        return self._live.version if self._live else ""

    def start(self, *, may_write: bool) -> None:
        """Put the current model in service; without one, a first one is made if it ``may_write`` one."""
        self._live = self._learner.load_current()
        if self._live is None and may_write:
            self._live = self._learner.cold_start()
        self._batcher.start()
        self._blind.start()

    def stop(self, within_s: float) -> bool:
        """Answer what was asked, and no more; whether that ended in time."""
        return self._blind.stop(within_s) & self._batcher.stop(within_s)

    def put_in_service(self, model: Model) -> None:
        """From now on answer with ``model``."""
        self._live = model  # one assignment: a request sees the old model or the new one, never half of each

    def follow(self, space: EmbeddingSpace) -> None:
        """Standing by: serve whatever model the leader made current. ``space`` is the one that the loop works in."""
        current = self._store.current_model()
        if current is not None and current.version != self.version:
            self._live = live = self._learner.load_current() or self._live
            if live is not None:
                self._learner.let_go(space, live.space)

    async def classify(self, records: Sequence[Record]) -> list[Prediction | None]:
        """A prediction for each of ``records``, all by one model; None for those that people are to see blind.

        And for those that can't be read, or in which there is nothing to judge.

        Raises LearningError before there is a model.
        """
        live = self._live
        if live is None:
            raise LearningError("the service has not started yet: there is no model to predict with")
        if self._connector.by_address:
            records = await asyncio.to_thread(self._with_texts, records)
        labeling = self._labeling()
        if any(one.fields.get(name, "").startswith("http") for one in records for name in image_fields(labeling)):
            records = await asyncio.to_thread(self._with_images, records, labeling)
        contents = [labeling.content(record) for record in records]
        said = await asyncio.to_thread(self._said, contents) if self._suggesters and live.weights is not None else None
        predictions, blind = await asyncio.gather(
            live.predict(contents, self._batcher, said), self._shown_blind(records)
        )
        return [
            None if unseen or says_nothing(content) else one
            for one, unseen, content in zip(predictions, blind, contents, strict=True)
        ]

    def _said(self, contents: Sequence[Readable]) -> list[dict[str, Proposal | None]]:
        """What suggesters have said of these contents, by name."""
        keys = [one.hex() for one in digests(contents)]
        found = {name: proposals_of(self._store, key, keys) for name, key in self._suggesters.items()}
        return [{name: said.get(key) for name, said in found.items()} for key in keys]

    async def _shown_blind(self, records: Sequence[Record]) -> list[bool]:
        """Which of ``records`` nobody may see a suggestion of, those that can't be read included."""
        asked = [(one.uid, self._rule.content(one)) for one in records if one.uid and one is not UNREAD]
        found = iter(await self._blind.submit(asked) if asked else ())
        return [one is UNREAD or bool(one.uid and next(found)) for one in records]

    def _are_blind(self, asked: list[tuple[str, str]]) -> npt.NDArray[np.bool_]:
        """bool [k]: which of these uids and contents the store has on the blind side."""
        blind = self._store.blind(asked)
        return np.array([one in blind for one in asked])

    def _with_images(self, records: Sequence[Record], labeling: Labeling) -> Sequence[Record]:
        """``records`` with the images that are behind addresses of ours."""
        return [with_images(record, labeling, self._connector.images.known) for record in records]

    def _with_texts(self, records: Sequence[Record]) -> Sequence[Record]:
        """What the platform sends of records, with the texts that it has at addresses only: the store has read them."""
        known = {item.record.uid: item.record for item in self._store.get([one.uid for one in records if one.uid])}
        return [known.get(record.uid, UNREAD) if record.uid else record for record in records]
