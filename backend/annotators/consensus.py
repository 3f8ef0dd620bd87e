"""What several annotators say together: by the majority, by Dawid and Skene's model, or by CROWDLAB.

Every method starts from the majority vote. :func:`agree` is the way in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import ConfigError, LearningError

from .opinions import Doubles, Indices, Opinions

Method = Literal["majority", "crowdlab", "dawid-skene"]
METHODS: tuple[Method, ...] = get_args(Method)

# Dawid and Skene
POOLED = 10.0
ROUNDS, TOLERANCE = 100, 1e-5
LEAST_SHARE = 1e-10
EQUAL = 1e-9  # beliefs that differ by rounding only
SMOOTH = 1.0  # answers for and against each label in the average annotator's matrix
# CROWDLAB, all of them cleanlab's
LEAST = 1e-6  # under weights and errors
TINY = 1e-30  # probability, inside logarithms
_COARSE = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)  # temperatures
_STEPS = 4  # between two of them, in the second search


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the annotators of each record say together.

    ``probabilities`` float64 [n, c]: how likely each label is; rows sum to 1, and are uniform for a record without
    an answer. ``labels`` int64 [n]: the label agreed on, -1 without an answer. ``weights`` float64 [annotators] and
    ``model_weight``: how much each annotator and the model counted against each other (CROWDLAB only; empty and 0).
    """

    probabilities: Doubles
    labels: Indices
    weights: Doubles = field(default_factory=lambda: np.empty(0))
    model_weight: float = 0.0

    @property
    def quality(self) -> Doubles:
        """float64 [n]: how likely the label agreed on is; 1 / c for a record without an answer."""
        rows = np.arange(len(self.labels))
        quality: Doubles = self.probabilities[rows, np.maximum(self.labels, 0)]
        return quality


def majority_labels(opinions: Opinions, predicted: Doubles | None = None) -> Indices:
    """int64 [n]: the label given most often, -1 without an answer.

    Ties go to the label that the model, ``predicted`` [n, c], finds likelier; then to the one given less often in all;
    then to the one whose supporters agree more with the majority elsewhere; then to the first. It is the order of
    cleanlab's ``get_majority_vote_label``, which draws lots in the end. Where the times of answers are known, as in the
    log, a tie goes to the newest before all this: see Question.consensus.
    """
    votes = opinions.votes
    tied = (votes == votes.max(axis=1, keepdims=True)) & (votes.max(axis=1, keepdims=True) > 0)
    answered = tied.any(axis=1)
    settled = answered & (tied.sum(axis=1) == 1)
    labels = np.where(answered, tied.argmax(axis=1), -1)
    if predicted is not None:
        tied &= predicted == np.where(tied, predicted, -np.inf).max(axis=1, keepdims=True)
    total = np.broadcast_to(votes.sum(axis=0), votes.shape)
    tied &= total == np.where(tied, total, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
    if (tied.sum(axis=1) > 1).any():
        support = _support(opinions, labels, settled)
        tied &= support == np.where(tied, support, -np.inf).max(axis=1, keepdims=True)
    return np.where(answered, tied.argmax(axis=1), -1)


def _support(opinions: Opinions, labels: Indices, settled: npt.NDArray[np.bool_]) -> Doubles:
    """float64 [n, c]: mean agreement with the settled majorities of those who gave each label, 0 for nobody."""
    counted = settled[opinions.record]
    agrees = counted & (opinions.label == labels[opinions.record])
    people = len(opinions.annotators)
    answers = np.bincount(opinions.annotator, counted, people)
    with np.errstate(invalid="ignore"):
        agreement = np.bincount(opinions.annotator, agrees, people) / answers
    known = answers > 0
    agreement[~known] = agreement[known].mean() if known.any() else 1.0
    classes = len(opinions.labels)
    sums = np.bincount(
        opinions.record * classes + opinions.label, agreement[opinions.annotator], opinions.size * classes
    )
    support: Doubles = sums.reshape(-1, classes) / np.maximum(opinions.votes, 1)
    return support


def agree(opinions: Opinions, method: Method = "majority", predicted: Doubles | None = None) -> Consensus:
    """The consensus by one of METHODS.

    ``predicted`` float [n, c]: what a model thinks of the records that it was not trained on, thus out-of-fold;
    None while there is no model. CROWDLAB without it, or before any record has two answers, is the majority.
    Raises ConfigError for an unknown method, LearningError if ``predicted`` has another shape.
    """
    if predicted is not None:
        predicted = np.asarray(predicted, np.float64)
        if predicted.shape != (opinions.size, len(opinions.labels)):
            raise LearningError(
                f"predictions of shape {list(predicted.shape)} don't go with {opinions.size} records and "
                f"{len(opinions.labels)} labels"
            )
    if method == "majority":
        return majority(opinions, predicted)
    if method == "dawid-skene":
        return dawid_skene(opinions, predicted)
    if method == "crowdlab":
        if predicted is None or not (opinions.per_record > 1).any() or len(opinions.labels) < 2:
            return majority(opinions, predicted)
        return crowdlab(opinions, predicted)
    raise ConfigError(f"there is no consensus {method!r}; there are {', '.join(METHODS)}")


def majority(opinions: Opinions, predicted: Doubles | None = None) -> Consensus:
    """Every annotator has one vote. ``probabilities`` are the shares of votes; ties as in majority_labels."""
    votes = opinions.votes
    counts = votes.sum(axis=1, keepdims=True)
    shares = np.where(counts > 0, votes / np.maximum(counts, 1), 1 / len(opinions.labels))
    return Consensus(shares, majority_labels(opinions, predicted))


def dawid_skene(opinions: Opinions, predicted: Doubles | None = None, *, pooled: float = POOLED) -> Consensus:
    """Everybody has a confusion matrix, found together with the true labels by EM.

    A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm", Applied
    Statistics, 1979. With few answers an annotator's own matrix is mostly chance, so ``pooled`` answers of the average
    annotator are added to everybody's; ``pooled=0`` is the model of 1979. A model's predictions ``predicted`` float64
    [n, c] break ties and do no more: as prior of each record (Raykar et al., "Learning from crowds", JMLR 2010) they
    made the model believe itself, and 13 points worse, on politeness.
    """
    given = opinions.votes
    answered = given.sum(axis=1) > 0
    belief = given / np.maximum(given.sum(axis=1, keepdims=True), 1)
    before = -np.inf
    # A lone answer is confirmed by nobody but the belief that it made itself: left in, it teaches that its author is
    # always right, and classes grow at each other's cost. The model of 1979 has no choice, it needs every answer.
    several = given.sum(axis=1) > 1
    teaching = several if pooled > 0 and several.any() else answered
    for _ in range(ROUNDS):
        errors = np.log(confusion(opinions, belief * teaching[:, None], pooled))
        shares = belief[teaching].mean(axis=0) if teaching.any() else np.ones(belief.shape[1])
        scores = np.tile(np.log(np.maximum(shares, LEAST_SHARE)), (opinions.size, 1))
        np.add.at(scores, opinions.record, errors[opinions.annotator, :, opinions.label])
        highest = scores.max(axis=1, keepdims=True)
        odds = np.exp(scores - highest)
        belief = odds / odds.sum(axis=1, keepdims=True)
        belief[~answered] = 0.0  # teaches nobody's matrix
        likelihood = float((highest[:, 0] + np.log(odds.sum(axis=1)))[answered].mean()) if answered.any() else 0.0
        if abs(likelihood - before) < TOLERANCE:
            break
        before = likelihood
    best = belief > belief.max(axis=1, keepdims=True) - EQUAL
    labels = np.where(best.sum(axis=1) == 1, best.argmax(axis=1), majority_labels(opinions, predicted))
    belief[~answered] = 1 / belief.shape[1]
    return Consensus(belief, np.where(answered, labels, -1))


def confusion(opinions: Opinions, belief: Doubles, pooled: float = POOLED) -> Doubles:
    """float64 [annotators, c, c]: how likely each annotator gives label l where k is right, given ``belief`` [n, c].

    ``pooled`` is how many answers of the average annotator count beside everybody's own, for each k.
    """
    people, classes = len(opinions.annotators), len(opinions.labels)
    counts: Doubles = np.zeros((people, classes, classes))
    np.add.at(counts.transpose(0, 2, 1), (opinions.annotator, opinions.label), belief[opinions.record])
    if pooled > 0:
        average = counts.sum(axis=0) + SMOOTH
        counts += pooled * average / average.sum(axis=1, keepdims=True)
    counts = np.maximum(counts, LEAST_SHARE)
    shares: Doubles = counts / counts.sum(axis=2, keepdims=True)
    return shares


def crowdlab(opinions: Opinions, predicted: Doubles) -> Consensus:
    """A consensus weighed between annotators and a model, given its out-of-fold predictions float64 [n, c].

    Goh, Tkachenko and Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality scores for data
    with multiple annotators", 2022 (https://arxiv.org/abs/2210.06812). The same numbers as cleanlab's
    ``get_label_quality_multiannotator`` (a test holds them together), from the list of answers in place of a table
    with a column per annotator: the time grows with the answers and not with the square of the annotators.

    Raises LearningError if no record has two answers: nobody's agreement with anybody is known then.
    """
    if not (opinions.per_record > 1).any():
        raise LearningError("CROWDLAB needs a record with two answers; use the majority until there is one")
    first = majority_labels(opinions, predicted)
    posterior, _, _ = _weigh(opinions, predicted, first)
    best = posterior == posterior.max(axis=1, keepdims=True)
    labels = np.where(best.sum(axis=1) == 1, best.argmax(axis=1), first)
    labels = np.where(first < 0, -1, labels)
    posterior, weights, model_weight = _weigh(opinions, predicted, labels)
    posterior[labels < 0] = 1 / posterior.shape[1]
    return Consensus(posterior, labels, weights, model_weight)


def crowdlab_quality(opinions: Opinions, predicted: Doubles, labels: Indices) -> Doubles:
    """float64 [n]: how likely ``labels`` int64 [n], agreed on by whatever rule, are by CROWDLAB's posterior.

    It is cleanlab's ``consensus_quality_score`` of that consensus. ``predicted`` as in :func:`crowdlab`; raises as it.
    """
    if not (opinions.per_record > 1).any():
        raise LearningError("CROWDLAB needs a record with two answers")
    posterior, _, _ = _weigh(opinions, predicted, labels)
    return np.asarray(posterior[np.arange(len(labels)), np.maximum(labels, 0)])


def _weigh(opinions: Opinions, predicted: Doubles, labels: Indices) -> tuple[Doubles, Doubles, float]:
    """Posterior [n, c], the annotators' weights and the model's, for the consensus ``labels`` (-1: no answer)."""
    classes, counts = predicted.shape[1], opinions.per_record
    several, answered = counts > 1, counts > 0
    right = _share_right(opinions, labels)
    commonest = np.bincount(labels[several], minlength=classes).argmax()
    base_error = max(float((labels[several] != commonest).mean()), LEAST)
    weights = np.maximum(1 - (1 - agreement_with_others(opinions)) / base_error, LEAST)
    model_error = float((predicted[several].argmax(axis=1) != labels[several]).mean())
    model_weight = max(1 - model_error / base_error, LEAST) * float(np.sqrt(counts[answered].mean()))
    weight = weights[opinions.annotator]
    total = np.bincount(opinions.record, weight, opinions.size)
    given = np.bincount(opinions.record * classes + opinions.label, weight, opinions.size * classes)
    given = given.reshape(-1, classes)
    wrong = (1 - right) / (classes - 1)
    posterior: Doubles = predicted * model_weight + given * right + (total[:, None] - given) * wrong
    posterior /= (total + model_weight)[:, None]
    return posterior, weights, model_weight


def _share_right(opinions: Opinions, labels: Indices) -> float:
    """How often an answer is the consensus ``labels`` of its record, mean over records that have several."""
    counts = opinions.per_record
    several = counts > 1
    agreeing = np.bincount(opinions.record, opinions.label == labels[opinions.record], opinions.size)
    return float((agreeing[several] / counts[several]).mean())


def crowdlab_of_others(opinions: Opinions, predicted: Doubles) -> Doubles:
    """For each answer, how likely each label is by the model and all *other* answers, float64 [o, c]; rows sum to 1.

    CROWDLAB's posterior of :func:`crowdlab`, with its weights, less what the answer itself adds: a wrong answer is no
    witness that it is right. Of a record's only answer that leaves the model's ``predicted`` float64 [n, c]. Finds
    more of the errors than the posterior itself: benchmarks/label_issues.py. Raises LearningError as crowdlab does.
    """
    found = crowdlab(opinions, predicted)
    answered, classes = opinions.record, predicted.shape[1]
    right = _share_right(opinions, found.labels)
    own = np.full((len(opinions), classes), (1 - right) / (classes - 1))
    own[np.arange(len(opinions)), opinions.label] = right
    weight = found.weights[opinions.annotator]
    total = np.bincount(answered, weight, opinions.size)[answered] + found.model_weight
    left = found.probabilities[answered] * total[:, None] - own * weight[:, None]
    others: Doubles = np.maximum(left, 0.0) / (total - weight)[:, None]
    return others


def agreement_with_others(opinions: Opinions) -> Doubles:
    """float64 [annotators]: in how many of 1 of all pairs of answers about one record the other one said the same.

    Who shares no record with anybody gets the mean of those who do.
    """
    others = opinions.per_record[opinions.record] - 1
    same = opinions.votes[opinions.record, opinions.label] - 1
    people = len(opinions.annotators)
    pairs = np.bincount(opinions.annotator, others, people)
    known = pairs > 0
    agreement: Doubles = np.bincount(opinions.annotator, same, people) / np.maximum(pairs, 1)
    agreement[~known] = agreement[known].mean()
    return agreement


def best_temperature(opinions: Opinions, p: Doubles) -> float:
    """The temperature at which ``p`` float [n, c] is nearest to what annotators answered about n records, all of them.

    Before CROWDLAB, ActiveLab brings the model's predictions near to the answers so (Goh and Mueller, "ActiveLab:
    Active learning with re-labeling by multiple annotators", 2023, https://arxiv.org/abs/2301.11856). It tries
    cleanlab's own few temperatures, a coarse search and a fine one, so that the scores are cleanlab's;
    ``numeric.best_temperature`` comes nearer to the optimum, and is for all that need not equal another's numbers.
    """
    votes = opinions.votes
    shares = votes / votes.sum(axis=1, keepdims=True)

    def loss(temperature: float) -> float:
        return float(-(shares * np.log(np.maximum(at_temperature(p, temperature), TINY))).sum(axis=1).mean())

    at = int(np.argmin([loss(one) for one in _COARSE]))
    fine: list[float] = []
    if at > 0:
        fine += np.linspace(_COARSE[at - 1], _COARSE[at], _STEPS, endpoint=False).tolist()
    if at < len(_COARSE) - 1:
        fine += np.linspace(_COARSE[at], _COARSE[at + 1], _STEPS + 1).tolist()
    return fine[int(np.argmin([loss(one) for one in fine]))]


def at_temperature(p: Doubles, temperature: float) -> Doubles:
    """Probabilities float64 [n, c], sharpened below 1 and flattened above.

    In double precision and kept off 0 by as little as cleanlab does, unlike ``Activation.logits``.
    """
    logits = np.log(np.maximum(p, TINY))
    scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What annotators agree on about the records at ``positions``, int64 [m], ascending.

    ``targets`` int64 [m], or bool [m, c] for several labels. ``soft`` float64 [m, c]: how likely each label is; rows
    sum to 1; None where the labels are to be learned as they are.
    """

    positions: Indices
    targets: npt.NDArray[Any]
    soft: npt.NDArray[np.float64] | None = None

    def _find(self, positions: Indices) -> tuple[npt.NDArray[np.bool_], Indices]:
        """Which of ``positions`` are settled, bool [k], and where those are here."""
        place = np.searchsorted(self.positions, positions)
        known = place < len(self.positions)
        known[known] = self.positions[place[known]] == positions[known]
        return known, place[known]

    def over(self, targets: npt.NDArray[Any], positions: Indices) -> npt.NDArray[Any]:
        """``targets`` of ``positions``, but for those that are settled."""
        known, place = self._find(positions)
        found = targets.copy()
        found[known] = self.targets[place]
        return found

    def probabilities(self, positions: Indices) -> npt.NDArray[np.float64] | None:
        """float64 [k, c] if all ``positions`` are settled, and not as labels only."""
        known, place = self._find(positions)
        return None if self.soft is None or not known.all() else self.soft[place]
