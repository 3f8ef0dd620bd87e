"""The error after one more label: against the update written out, and against real refits."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.activation import activation_for
from nextlabel.backend.models.crossfit import fit_linear
from nextlabel.backend.selection import ArrayVectors, ExpectedError, Pool
from nextlabel.backend.selection.base import to_unit
from nextlabel.connectors.errors import ConfigError


class Setting:
    """Two or three noisy groups, some labels, and the head that they give."""

    def __init__(self, seed: int, *, multi_label: bool = False, n: int = 150, labelled: int = 12) -> None:
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((3, 5))
        truth = rng.integers(0, 3, n + labelled)
        vectors = to_unit(centres[truth] + 0.7 * rng.standard_normal((len(truth), 5)))
        self.multi_label = multi_label
        self.pool_vectors, self.known = vectors[:n].astype(np.float64), vectors[n:].astype(np.float64)
        self.targets = np.eye(3)[truth[n:]]
        self.weights, self.bias = self.fit(self.known, self.targets)
        self.p = self.predict(self.weights, self.bias)
        targets = self.targets > 0 if multi_label else truth[n:]
        vectors32 = ArrayVectors(self.pool_vectors.astype(np.float32))
        self.pool = Pool(
            self.p.astype(np.float32),
            vectors32,
            self.known.astype(np.float32),
            targets,
            activation=activation_for(several=multi_label),
        )

    def fit(self, x: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ones = np.ones(len(x))
        return fit_linear(
            x, targets, ones, strength=3.0, activation=activation_for(several=self.multi_label), tolerance=1e-9
        )

    def predict(self, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        logits = self.pool_vectors @ weights.T + bias
        if self.multi_label:
            return 1 / (1 + np.exp(-logits))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def error(self, p: np.ndarray) -> float:
        return float(np.minimum(p, 1 - p).mean() if self.multi_label else (1 - p.max(axis=1)).mean())

    def outcomes(self, at: int) -> list[tuple[float, np.ndarray]]:
        """Chance and answer of all that an annotator may say of one record."""
        if not self.multi_label:
            return [(self.p[at, label], np.eye(3)[label]) for label in range(3)]
        answers = np.array([[bits >> place & 1 for place in range(3)] for bits in range(8)], dtype=float)
        return [(float(np.prod(np.where(one > 0, self.p[at], 1 - self.p[at]))), one) for one in answers]

    def stepped(self, at: int) -> float:
        """The expected error by the step with Böhning's bound, all matrices written out."""
        x = self.pool_vectors[at]
        bound = 0.25 if self.multi_label else 0.5
        inverse = np.linalg.inv(np.eye(5) / 3.0 + bound * (self.known.T @ self.known + np.outer(x, x)))
        return sum(
            chance * self.error(self.predict(self.weights + np.outer(answer - self.p[at], inverse @ x), self.bias))
            for chance, answer in self.outcomes(at)
        )

    def refitted(self, at: int) -> float:
        """The expected error by fitting the head anew for every answer."""
        x = np.vstack([self.known, self.pool_vectors[at]])
        return sum(
            chance * self.error(self.predict(*self.fit(x, np.vstack([self.targets, answer]))))
            for chance, answer in self.outcomes(at)
        )


@pytest.mark.parametrize("multi_label", [False, True])
def test_it_is_the_newton_step_written_out(multi_label: bool) -> None:
    setting = Setting(0, multi_label=multi_label)
    n = len(setting.p)
    order = ExpectedError(top=n, sample=n).query(setting.pool, n, np.random.default_rng(0))
    errors = np.array([setting.stepped(at) for at in range(n)])
    assert errors[order] == pytest.approx(np.sort(errors), abs=2e-6)
    assert np.ptp(errors) > 100 * 2e-6


@pytest.mark.parametrize(("seed", "multi_label"), [(0, False), (1, False), (2, True)])
def test_the_step_ranks_records_much_as_refits_do(seed: int, multi_label: bool) -> None:
    from scipy.stats import spearmanr

    setting = Setting(seed, multi_label=multi_label, n=25)
    order = ExpectedError(top=25, sample=25).query(setting.pool, 25, np.random.default_rng(0))
    refitted = np.array([setting.refitted(at) for at in order])
    assert spearmanr(np.arange(25), refitted).statistic > 0.5


def test_only_the_most_doubtful_are_candidates() -> None:
    setting = Setting(1)
    ordered = np.sort(setting.p, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    chosen = ExpectedError(top=20).query(setting.pool, 5, np.random.default_rng(0))
    assert set(chosen.tolist()) <= set(np.argsort(margin)[:20].tolist())


@pytest.mark.parametrize("options", [{"top": 0}, {"sample": 0}, {"answers": 0}, {"strength": 0.0}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    from nextlabel.backend.selection import get_strategy

    with pytest.raises(ConfigError, match=next(iter(options))):
        get_strategy("expected-error", **options)
