"""Answers to requests: what the model in force says of the records that somebody sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.retraining.prediction import Prediction
from nextlabel.backend.retraining.probe_model import Model
from nextlabel.backend.serving.batcher import MicroBatcher
from nextlabel.backend.store import AuditSlice
from nextlabel.connectors.content import Readable
from nextlabel.connectors.records import Record


class Answering:
    """Reads what was sent, and has it judged. Nothing is said of the audit slice: people are to see it blind."""

    def __init__(self, batcher: MicroBatcher, pool: PoolState, audit: AuditSlice) -> None:
        self._batcher, self._pool, self._audit = batcher, pool, audit

    async def answer(self, records: Sequence[Record], model: Model) -> list[Prediction | None]:
        """One prediction of ``model`` a record, None for those of the audit slice."""
        labeling = self._pool.labeling
        predictions = model.judge(await self._read([labeling.content(record) for record in records], model))
        return [None if self._is_blind(record.uid) else one for record, one in zip(records, predictions, strict=True)]

    def _is_blind(self, uid: str) -> bool:
        return bool(uid) and self._audit.holds(self._pool.originals.get(uid, uid))

    async def _read(self, texts: Sequence[Readable], model: Model) -> npt.NDArray[Any]:
        """What ``model`` judges of each text. What the cache has costs no forward pass."""
        rows = model.space.cache.lookup(texts)
        missing = np.flatnonzero(rows < 0)
        if len(missing) == len(texts):
            return await self._forward(texts, model)
        read = model.known(np.maximum(rows, 0))
        if len(missing):
            read[missing] = await self._forward([texts[i] for i in missing], model)
        return read

    async def _forward(self, texts: Sequence[Readable], model: Model) -> npt.NDArray[Any]:
        served = model.space.served
        if isinstance(served, MultimodalEncoder):  # downloads must not hold up everybody's forward passes
            texts = await asyncio.to_thread(served.fetched, texts)
        return await self._batcher.submit(texts, model.reader)
