"""What annotators agree on, by another rule than the majority: settled before each fit, from the answers alone.

A probe is fitted on the majority's labels first; its held-out predictions go into the agreement, which is what the
model in force then learns. The audit slice is settled without any prediction: labels that the model had a say in would
flatter it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.consensus import Agreed, Method, agree
from nextlabel.backend.annotators.opinions import Doubles, Opinions
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import Head
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace


class Agreement:
    """Settles the answered records of one project by ``method``; ``soft``: as probabilities, to be learned as such.

    The same answers in the same space are settled alike, but for what the last fit's folds save of the time, as
    everywhere where probes are fitted. Belongs to one thread.
    """

    def __init__(self, method: Method = "majority", soft: bool = False) -> None:
        self._method: Method = method
        self._soft = soft
        self._head: Head | None = None  # of the space below: saves time
        self._space: EmbeddingSpace | None = None

    def settle(self, pool: PoolState, space: EmbeddingSpace) -> None:
        """Tell ``pool`` what its answered records are, unless it knows. Does nothing while nobody has a second opinion.

        ``pool.rows`` are rows of the cache of ``space``.
        """
        if pool.agreed is not None or (self._method == "majority" and not self._soft):
            return
        found = [one for one in (self._training(pool, space), self._audited(pool)) if one is not None]
        if found:
            positions = np.concatenate([one.positions for one in found])
            order = np.argsort(positions)
            soft = [one.soft for one in found if one.soft is not None]
            pool.agreed = Agreed(
                positions[order],
                np.concatenate([one.targets for one in found])[order],
                np.concatenate(soft)[order] if len(soft) == len(found) else None,
            )

    def _training(self, pool: PoolState, space: EmbeddingSpace) -> Agreed | None:
        """What is learned; None where it is what single annotators said."""
        positions = pool.training()
        opinions = pool.opinions(positions)
        if not (opinions.per_record > 1).any():
            return None
        return self._agreed(pool, positions, opinions, self._predicted(pool, space, positions))

    def _audited(self, pool: PoolState) -> Agreed | None:
        """The audit slice by what annotators are like, on all records, and by nothing that a model thinks.

        CROWDLAB without a model is the majority, which the pool has.
        """
        audited = pool.audited()
        if self._method != "dawid-skene" or not (pool.opinions(audited).per_record > 1).any():
            return None
        everything = np.concatenate([audited, pool.training()])
        found = self._agreed(pool, everything, pool.opinions(everything), None)
        soft = None if found.soft is None else found.soft[: len(audited)]
        return Agreed(audited, found.targets[: len(audited)], soft)

    def _agreed(self, pool: PoolState, positions: Positions, opinions: Opinions, predicted: Doubles | None) -> Agreed:
        """What is settled stays what it is, and so does an answer that can't be told apart: as the majority took it."""
        majority, settled = pool.targets(positions), pool.is_settled(positions)
        if opinions.several:
            columns = [self._yes(opinions.about(at), predicted, at) for at in range(len(opinions.labels))]
            return Agreed(positions, np.where(settled[:, None], majority, np.stack(columns, axis=1)))
        said = agree(opinions, self._method, predicted)
        unknown = (said.labels < 0) | settled
        said.probabilities[unknown] = np.eye(len(opinions.labels))[majority[unknown]]
        labels = np.where(unknown | (self._method == "majority"), majority, said.labels)
        return Agreed(positions, labels, said.probabilities if self._soft else None)

    def _yes(self, about: Opinions, predicted: Doubles | None, label: int) -> npt.NDArray[np.bool_]:
        """bool [m]: the agreement on one label of several, a question of its own."""
        both = None if predicted is None else np.stack([1 - predicted[:, label], predicted[:, label]], axis=1)
        return np.asarray(agree(about, self._method, both).labels == 1)

    def _predicted(self, pool: PoolState, space: EmbeddingSpace, positions: Positions) -> Doubles | None:
        """float64 [m, c], held out; None where nothing is, and then the annotators agree without a model.

        That is so with few answers, and in a trained space: its encoder has learned from these very answers.
        """
        if self._method == "majority" or space.trained:
            return None
        rows, warm = pool.rows[positions], self._head if self._space is space else None
        targets, settled = pool.targets(positions), pool.is_settled(positions)
        self._head, self._space = pool.question.fit(space, rows, targets, warm, settled), space
        predicted = self._head.held_out(space.cache, rows)
        return None if predicted is None else predicted.astype(np.float64)
