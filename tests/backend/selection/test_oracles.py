"""The same inputs, the same records: our strategies against scikit-activeml and small-text.

Left out: small-text's contrastive active learning, which compares a record with its neighbours in the whole pool and
not with labelled ones as in the paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nextlabel.backend.selection import (
    ArrayVectors,
    Badge,
    Contrastive,
    KCenter,
    Pool,
    ProbCover,
    TypiClust,
    get_strategy,
)
from nextlabel.backend.selection.base import to_unit
from nextlabel.backend.selection.cold_start import pure_radius
from tests.size import count

N, LABELLED, CLASSES, DIMENSION = 400, 30, 4, 6


class Setting:
    """Records of which the last ones are labelled, and a real classifier of scikit-activeml over them."""

    def __init__(self, seed: int) -> None:
        from skactiveml.classifier import SklearnClassifier
        from sklearn.linear_model import LogisticRegression

        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((CLASSES, DIMENSION))
        truth = rng.integers(0, CLASSES, N + LABELLED)
        self.vectors = to_unit(centres[truth] + rng.standard_normal((len(truth), DIMENSION))).astype(np.float64)
        self.targets = truth.astype(float)
        self.targets[:N] = np.nan
        self.classifier = SklearnClassifier(LogisticRegression(), classes=range(CLASSES)).fit(
            self.vectors, self.targets
        )
        p = self.classifier.predict_proba(self.vectors).astype(np.float32)
        self.pool = Pool(
            p[:N],
            ArrayVectors(self.vectors[:N].astype(np.float32)),
            self.vectors[N:].astype(np.float32),
            truth[N:],
            labelled_probabilities=p[N:],
        )
        self.known = {"X": self.vectors, "y": self.targets}


@pytest.fixture(params=range(count(3, fast=1)))
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting(request.param)


def chosen(strategy: Any, pool: Pool, k: int) -> list[int]:
    return strategy.query(pool, k, np.random.default_rng(0)).tolist()


@pytest.mark.parametrize(
    ("ours", "theirs", "small"),
    [
        ("margin", "margin_sampling", "BreakingTies"),
        ("entropy", "entropy", "PredictionEntropy"),
        ("least-confidence", "least_confident", "LeastConfidence"),
    ],
)
def test_uncertainty(setting: Setting, ours: str, theirs: str, small: str) -> None:
    import small_text
    from skactiveml.pool import UncertaintySampling

    class Fixed:
        def predict_proba(self, dataset: Any) -> Any:
            return setting.classifier.predict_proba(dataset)

    mine = chosen(get_strategy(ours), setting.pool, 40)
    query = UncertaintySampling(method=theirs).query(
        **setting.known, clf=setting.classifier, fit_clf=False, batch_size=40
    )
    assert mine == query.tolist()
    unlabelled = np.arange(N)
    texts = getattr(small_text, small)().query(
        Fixed(), setting.vectors, unlabelled, np.arange(N, N + LABELLED), setting.targets[N:], n=40
    )
    assert set(mine) == set(texts.tolist()), "it gives no order"


def test_k_center(setting: Setting) -> None:
    from skactiveml.pool import CoreSet
    from small_text.query_strategies.coresets import greedy_coreset

    mine = chosen(KCenter(least=N), setting.pool, 60)
    assert mine == CoreSet().query(**setting.known, batch_size=60).tolist()
    texts = greedy_coreset(setting.vectors, np.arange(N), np.arange(N, N + LABELLED), 60, distance_metric="euclidean")
    assert mine == texts.tolist()


def test_contrastive(setting: Setting) -> None:
    from skactiveml.pool import ContrastiveAL

    query, utilities = ContrastiveAL(nearest_neighbors_dict={"n_neighbors": 7}).query(
        **setting.known, clf=setting.classifier, fit_clf=False, batch_size=30, return_utilities=True
    )
    strategy = Contrastive(neighbours=7)
    assert strategy.score(setting.pool) == pytest.approx(utilities[0][:N], abs=1e-5)
    assert chosen(strategy, setting.pool, 30) == query.tolist()


class Replay:
    """A generator that draws what was drawn elsewhere, and notes the chances it was given."""

    def __init__(self, picks: list[int]) -> None:
        self.picks = iter(picks)
        self.chances: list[np.ndarray] = []

    def choice(self, n: int, size: int | None = None, replace: bool = True, p: Any = None) -> Any:
        if p is None:
            return np.arange(n)[:size]
        self.chances.append(p)
        return next(self.picks)


def test_badge(setting: Setting) -> None:
    """The same first record, and at every step the same distances between gradients.

    Theirs never exceed the length of a gradient, as if the origin were chosen first; the authors' code, and ours, go by
    the distance to what is chosen.
    """
    from skactiveml.pool import Badge as Theirs

    query, utilities = Theirs(random_state=0).query(
        **setting.known, clf=setting.classifier, fit_clf=False, batch_size=25, return_utilities=True
    )
    replay = Replay(query[1:])
    assert Badge(subset=N).query(setting.pool, 25, replay).tolist() == list(query)  # type: ignore[arg-type]
    assert len(replay.chances) == 24
    p = setting.pool.probabilities
    gradients = ((p - np.eye(CLASSES)[p.argmax(axis=1)])[:, :, None] * setting.vectors[:N, None]).reshape(N, -1)
    lengths = (gradients**2).sum(axis=1)
    nearest = np.full(N, np.inf)
    for last, mine, theirs in zip(query, replay.chances, utilities[1:, :N], strict=False):
        nearest = np.minimum(nearest, ((gradients - gradients[last]) ** 2).sum(axis=1))
        assert mine == pytest.approx(nearest / nearest.sum(), abs=1e-6)
        cut = np.minimum(nearest, lengths)
        assert np.nan_to_num(theirs) == pytest.approx(cut / cut.sum(), abs=1e-6)


def blobs(seed: int, sizes: list[int], spread: float) -> np.ndarray:
    """float32 [sum of sizes, 8] of length 1, in groups far apart: any k-means finds them."""
    rng = np.random.default_rng(seed)
    centres = np.eye(8)[: len(sizes)]
    return to_unit(np.repeat(centres, sizes, axis=0) + spread * rng.standard_normal((sum(sizes), 8)))


@pytest.mark.parametrize("seed", range(3))
def test_typiclust(seed: int) -> None:
    """The largest groups without a label, in this order, and of each the same record."""
    from skactiveml.pool import TypiClust as Theirs

    sizes = [60, 50, 40, 30, 20, 10]
    vectors = blobs(seed, sizes, 0.05)
    labelled = np.array([5, 65])  # in the two largest
    targets = np.full(len(vectors), np.nan)
    targets[labelled] = [0, 1]
    query = Theirs(k=20, random_state=0).query(vectors, targets, batch_size=4)
    free = np.flatnonzero(np.isnan(targets))
    pool = Pool(
        np.full((len(free), 2), 0.5, np.float32), ArrayVectors(vectors[free]), vectors[labelled], np.array([0, 1])
    )
    assert free[chosen(TypiClust(), pool, 4)].tolist() == query.tolist()
    assert np.searchsorted(np.cumsum(sizes), query, side="right").tolist() == [2, 3, 4, 5]


@pytest.mark.filterwarnings("ignore:The maximum purity")  # it has one radius to choose from
@pytest.mark.parametrize("seed", range(3))
def test_probcover(seed: int) -> None:
    """Degrees are whole numbers and often tie: each of our picks must be among the best that the oracle sees then."""
    from skactiveml.pool import ProbCover as Theirs

    vectors = blobs(seed, [80, 60, 60], 0.3).astype(np.float64)
    n, labelled = 180, 20
    order = np.random.default_rng(seed).permutation(len(vectors))
    vectors = vectors[order]
    pool = Pool(
        np.full((n, 3), 1 / 3, np.float32),
        ArrayVectors(vectors[:n].astype(np.float32)),
        vectors[n:].astype(np.float32),
        np.zeros(labelled, np.int64),
    )
    radius = 0.6
    targets = np.full(len(vectors), np.nan)
    targets[n:] = 0
    gains = []
    for pick in chosen(ProbCover(radius=radius), pool, 25):
        _, utilities = Theirs(deltas=[radius], n_classes=3).query(vectors, targets, return_utilities=True)
        assert utilities[0][pick] == np.nanmax(utilities[0])
        gains.append(utilities[0][pick])
        targets[pick] = 0
    assert gains[0] > 5
    assert gains == sorted(gains, reverse=True)


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_the_radius_of_probcover(spread: float) -> None:
    """A quantile gives what the paper looks for on a grid."""
    from skactiveml.pool import ProbCover as Theirs
    from sklearn.cluster import KMeans

    vectors = blobs(0, [80, 60, 60], spread)
    clusters = KMeans(3, n_init=1, random_state=0).fit_predict(vectors)
    step = 0.01
    oracle = Theirs(deltas=np.arange(step, 2, step), n_classes=3, cluster_algo_dict={"n_init": 1}, random_state=0)
    oracle.query(vectors, np.full(len(vectors), np.nan))
    radius = pure_radius(vectors, clusters, 0.95)
    assert oracle.delta_max_ <= radius < oracle.delta_max_ + step + 1e-9
