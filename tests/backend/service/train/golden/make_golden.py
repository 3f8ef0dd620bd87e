"""Makes the golden homes that test_golden.py opens: what a service of this version leaves on disk.

No part of the tests: ``pytest tests/backend/service/train/golden/make_golden.py`` writes them anew. They were made by
the version before the rooms were rebuilt, and should stay as they are.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tarfile
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.records import Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.parity import LABELS, text, truth
from tests.backend.running import settled, started
from tests.backend.service.train.golden.homes import (
    FOLDER,
    HOMES,
    NEW,
    PARTS,
    SPAN_LABELS,
    STORE,
    Expected,
    plain,
    span_text,
    spans,
)
from tests.backend.tiny_bert import tiny_bert
from tests.waiting import wait_for

SPEC = TrainingSpec(rung="fine-tune", start_at=60, epochs=12, learning_rate=3e-3, head_learning_rate=3e-3)
ANSWERED = 100


@pytest.fixture
def records(request: pytest.FixtureRequest) -> list[Record]:
    make = span_text if "spans" in request.node.name else text
    return [Record(f"u{number}", {"text": make(number)}) for number in range(160)]


@pytest.fixture
def platform(request: pytest.FixtureRequest) -> MemoryConnector:
    span = "spans" in request.node.name
    return MemoryConnector(Labeling(LabelKind.SPAN, SPAN_LABELS) if span else Labeling(LabelKind.SINGLE, LABELS))


def keep(home: str, folder: Path, service: Service, platform: MemoryConnector, store: Store) -> None:
    """Note what the service says, stop it, and pack its folder."""
    wait_for(lambda: settled(service, store))
    status = service.status()
    predicted = asyncio.run(service.predict([Record("", {"text": text}) for text in NEW[home]]))
    expected = Expected(
        status.model_version,
        platform.queue(),
        {one.id: [one.remote_id, one.annotator] for one in store.answers()},
        [row.version for row in store.models()],
        len(service._controller.space.cache),
        [None if one is None else [[plain(part) for part in one.value], one.score] for one in predicted],
    )
    service.stop()
    HOMES.mkdir(exist_ok=True)
    (HOMES / f"{home}.json").write_text(json.dumps(vars(expected), indent=1) + "\n")
    packed = folder / "packed.sqlite"
    with closing(sqlite3.connect(folder / STORE)) as opened:
        opened.execute("VACUUM INTO ?", (str(packed),))  # what is in the journal, too
    with closing(sqlite3.connect(packed)) as database, database:
        database.execute("UPDATE models SET path = replace(path, ?, ?)", (str(folder), FOLDER))
    with tarfile.open(HOMES / f"{home}.tar.xz", "w:xz") as archive:
        archive.add(packed, STORE)
        for part in PARTS:
            if (folder / part).exists():
                archive.add(folder / part, part)


def is_counted(service: Service, store: Store, answers: int) -> bool:
    return service.status().labelled == answers and settled(service, store)


def test_choices(make_service: ServiceFactory, platform: MemoryConnector, store: Store, tmp_path: Path) -> None:
    tiny_bert(tmp_path / "tiny", spread=0.1)
    service = started(
        make_service,
        platform,
        encoder=str(tmp_path / "tiny"),
        spec=SPEC,
        trained=lambda folder: load_encoder(str(folder), "torch"),
        engine="torch",
    )
    some = list(platform.pushed.items())[:ANSWERED]
    platform.annotate_all({remote_id: truth(record.uid) for remote_id, record in some})
    wait_for(lambda: service.status().model_version.endswith("-fine-tune-1"), 280)
    wait_for(lambda: settled(service, store))
    remote_id = platform.queue()[0]
    platform.annotate(remote_id, truth(platform.pushed[remote_id].uid))
    wait_for(lambda: service.status().labelled == ANSWERED + 1)
    keep("choices", tmp_path, service, platform, store)


def test_spans(make_service: ServiceFactory, platform: MemoryConnector, store: Store, tmp_path: Path) -> None:
    service = started(make_service, platform)
    for number in range(1, 13):
        remote_id = platform.queue()[0]
        platform.annotate(remote_id, spans(platform.pushed[remote_id].fields["text"]))
        wait_for(partial(is_counted, service, store, number))
    keep("spans", tmp_path, service, platform, store)
