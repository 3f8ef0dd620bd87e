"""A version names one model, for good: what is asked of it later is what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import Weights, question_of
from nextlabel.backend.retraining.embedding_space import EmbeddingSpaces
from nextlabel.backend.retraining.model import Learner, Model
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Changes, Labeling, LabelKind
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS


class Bench:
    """A learner of what ``store`` has."""

    def __init__(self, store: Store, platform: MemoryConnector, folder: Path, labeling: Labeling) -> None:
        self.folder, question, encoder = folder, question_of(labeling), load_encoder("hashing")
        spaces = EmbeddingSpaces(
            question,
            lambda _: load_encoder("hashing"),
            lambda encoder: EmbeddingCache.open(folder / "vectors", encoder),
            folder / "models",
        )
        self.learner = Learner(question, spaces, store, folder / "probes")
        self.space, self.pool, self._store = self.learner.space(), PoolState(question), store
        items = list(store.get_remote(list(platform.pushed)).values())
        texts = [labeling.content(item.record) for item in items]
        self.pool.add(items, self.space.cache.ensure(texts, encoder))

    def fit(self, warm: Model | None = None) -> Model:
        self.pool.answer(self._store.touched(0))
        return self.learner.fit(self.pool, self._store.head(), self.space, warm)

    def saved(self, model: Model) -> bytes:
        return (self.folder / "probes" / model.version / "probe.safetensors").read_bytes()

    def written(self, model: Model) -> bytes:
        """What a file of it has to be."""
        model.head.save(self.folder / "anew.safetensors")
        return (self.folder / "anew.safetensors").read_bytes()


@pytest.fixture
def bench(store: Store, platform: MemoryConnector, tmp_path: Path) -> Bench:
    store.set_remote(platform.push([item.record for item in store.records()]))
    answer(store, platform, 0, 20)
    return Bench(store, platform, tmp_path, platform.labeling)


def answer(store: Store, platform: MemoryConnector, start: int, end: int) -> None:
    remote_ids = list(platform.pushed)[start:end]
    store.append(Changes(tuple(platform.annotate(one, LABELS[at % 3]) for at, one in enumerate(remote_ids, start))))


def test_a_model_from_another_start_has_another_name(bench: Bench, store: Store, platform: MemoryConnector) -> None:
    """As after a promotion and a rollback with no answer between: what was fitted first began where another ended."""
    before = bench.fit()
    answer(store, platform, 20, 30)
    warm, cold, again = bench.fit(before), bench.fit(), bench.fit()
    assert (before.version, warm.version, cold.version) == ("probe-20", "probe-30", "probe-30.2")
    assert again.version == cold.version, "the same model is the same one"
    assert bench.saved(warm) != bench.saved(cold)
    for model in (before, warm, cold):
        assert bench.saved(model) == bench.written(model)


def test_a_model_is_the_same_after_a_restart(
    bench: Bench, store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    before = bench.fit()
    answer(store, platform, 20, 30)
    last = bench.fit(before)
    later = Bench(store, platform, tmp_path, platform.labeling)
    loaded = later.learner.load_current()
    assert loaded is not None
    assert loaded.version == last.version
    assert later.fit(loaded).version == last.version


def test_a_model_beside_other_voices_has_another_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a suggester that was away has spoken since: the head is the same, what they say together is not."""
    heard = [Weights(1.0, {"keywords": weight}, 20) for weight in (0.2, 0.2, 0.7)]
    monkeypatch.setattr("nextlabel.backend.retraining.model._weights", lambda *_: heard.pop(0))
    versions = [bench.fit().version for _ in range(3)]
    assert versions == ["probe-20", "probe-20", "probe-20.2"]


def test_a_model_with_other_labels_has_another_name(
    bench: Bench, store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    old = bench.fit()
    kept = bench.saved(old)
    other = Bench(store, platform, tmp_path, Labeling(LabelKind.SINGLE, (*LABELS, "moss")))
    new = other.fit()
    assert (old.version, new.version) == ("probe-20", "probe-20.2")
    assert (bench.saved(old), other.saved(new)) == (kept, other.written(new))
