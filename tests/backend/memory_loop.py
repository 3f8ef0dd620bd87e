"""A loop on a platform in memory, with the real store, encoder, cache, probe and strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.annotators.consensus import Method
from nextlabel.backend.encoders.base import Encoder, EncoderSpec, Engine
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.loop.agreement import Agreement
from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.questions import question_of
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.retraining.candidates import TrainingSetup
from nextlabel.backend.retraining.embedding_space import EmbeddingSpaces
from nextlabel.backend.selection import get_strategy
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.suggesters import Suggester
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.content import Readable
from nextlabel.connectors.records import Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector

SUBJECTS = ("a cat asleep", "an oak in leaf", "a pebble, smooth")
LABELS = ("cat", "oak", "pebble")

ServiceFactory = Callable[..., Service]


class Trained:
    """Stands for the encoder of a trained model: other vectors than those of the recipe's own, and its own name."""

    def __init__(self, folder: Path) -> None:
        self._hashing = load_encoder("hashing")
        self.name = self.fingerprint = folder.name
        self.dimension = self._hashing.dimension

    def encode(self, texts: Sequence[Readable]) -> npt.NDArray[np.float32]:
        return -self._hashing.encode(texts)


@pytest.fixture
def records() -> list[Record]:
    return [Record(f"u{i}", {"text": f"{SUBJECTS[i % 3]} near house {i}"}) for i in range(60)]


@pytest.fixture
def platform() -> MemoryConnector:
    return MemoryConnector(Labeling(LabelKind.SINGLE, LABELS))


@pytest.fixture
def store(tmp_path: Path, records: list[Record]) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        opened.add_records(records)
        opened.set_audit_threshold(0.2)
        yield opened


@pytest.fixture
def make_service(tmp_path: Path, platform: MemoryConnector) -> Iterator[ServiceFactory]:
    """Build a service on the platform in memory; each call is one more backend process on the same store."""
    made: list[Service] = []

    def make(
        sizes: QueueSizes = QueueSizes(head=5, tail=5),
        poll_interval: float = 0.05,
        compare_interval: float = 3600.0,
        audit_share: float = 0.2,
        keep: float = 0.0,
        encoder: str = "hashing",
        strategy: str = "margin",
        spec: TrainingSpec = TrainingSpec(),
        trained: Callable[[Path], Encoder] = Trained,
        own: Callable[[], Encoder] | None = None,
        engine: Engine = "auto",
        rungs: tuple[JobKind, ...] = ("few-shot", "fine-tune"),
        opinions: int = 0,
        consensus: Method = "majority",
        soft: bool = False,
        adjudicators: Sequence[str] = (),
        suggesters: Sequence[Suggester] = (),
    ) -> Service:
        store = Store.open(tmp_path / "store.sqlite")
        store.name_adjudicators(adjudicators)
        question = question_of(platform.labeling)
        setup = TrainingSetup(
            "animals",
            question,
            EncoderSpec(encoder, engine, max_length=32, cache_dir=tmp_path),
            spec,
            tmp_path / "training",
            tmp_path / "models",
            reason="hashing can't be trained" if encoder == "hashing" else "",
            rungs=rungs,
        )

        def load_own() -> Encoder:
            return question.load_encoder(setup.encoder)

        service = Service(
            store,
            platform,
            Leadership(store),
            setup,
            EmbeddingSpaces(
                question,
                lambda folder: (own or load_own)() if folder is None else trained(folder),
                lambda encoder: question.open_cache(tmp_path / "embeddings", encoder),
                setup.models,
            ),
            ranker=Ranker(get_strategy(strategy), audit_share, most=opinions),
            sizes=sizes,
            agreement=Agreement(consensus, soft),
            poll_interval=poll_interval,
            compare_interval=compare_interval,
            keep_generations=keep,
            suggesters=suggesters,
        )
        made.append(service)
        return service

    yield make
    for service in made:
        service.stop()
