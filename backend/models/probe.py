"""The probe: a calibrated linear head on frozen embeddings, refitted after every label.

Single labels get one softmax, multi-label one sigmoid per label. Label anchors make it usable from zero labels.
Probabilities are sharpened or flattened by one temperature (Guo et al., 2017, "On Calibration of Modern Neural
Networks"), and answers that held-out predictions contradict are believed less (see crossfit). Where several annotators
answered, targets may be soft: how likely each class is, by their consensus (see annotators). A whole pool is scored
from the embedding matrix on disk, so memory stays small.

A recipe's labels may be put in another order, added, removed and renamed after a head was kept, and one label per
record may become several. What a head knows of a label follows the label's name, never the order of its rows. A head
whose labels are not known, because it was kept before they were noted in it, is not used: nobody can tell what its rows
stand for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SIGMOID, SOFTMAX, Activation, Targets, activation_in
from nextlabel.backend.blas import one_blas_thread
from nextlabel.backend.files import Reader
from nextlabel.connectors.errors import LearningError

from .crossfit import COLD_TEMPERATURE, STRENGTH, CrossFit, Matrix, ProbeData, SoftTargets, cross_fit

LABELS_FILE, CARD_FILE = "labels.json", "card.json"
"""Beside the head of a trained model: the names of its labels, and the model's card, which has them too."""
FORMAT = "nextlabel-probe-1"
CHUNK = 1024  # rows that stay in a core's cache from half precision to probabilities
SMALL = 8192  # multiplications that OpenBLAS gives to one thread, whatever the product
SCORED_AT_ONCE = 16_384  # rows that are looked at together: side by side in the file or not


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted head. Immutable; safe to share between threads.

    ``weights`` float32 [c, d], ``bias`` float32 [c]; ``temperature`` divides the logits; ``labels`` is the number
    of rows it was fitted on; ``cross`` is what held-out predictions told, None while there are too few labels.
    ``names``: which label each row of ``weights`` stands for; empty where that is not known. ``exclusive``: it learned
    that a record has exactly one label, and says how likely each is to be that one, though several are asked for.
    """

    weights: Matrix
    bias: Matrix
    activation: Activation
    temperature: float = COLD_TEMPERATURE
    labels: int = 0
    cross: CrossFit | None = None
    names: tuple[str, ...] = ()
    exclusive: bool = False

    @classmethod
    def fit(
        cls,
        vectors: npt.NDArray[Any],
        targets: Targets | SoftTargets,
        classes: int,
        *,
        weights: npt.NDArray[Any] | None = None,
        anchors: npt.NDArray[Any] | None = None,
        warm: Probe | None = None,
        prior: Probe | None = None,
        calibrate: bool = True,
        doubt: bool = True,
        settled: npt.NDArray[np.bool_] | None = None,
        strength: float | None = None,
    ) -> Probe:
        """Fit a probe.

        vectors: floating [m, d], rows of length 1, m may be 0. targets: int64 [m] in [0, classes), or bool [m, classes]
        for multi-label, or floating [m, classes] whose rows sum to 1: single labels in doubt, weighed by a consensus
        already, so that they are taken as given. weights: [m], how much each row counts. anchors: [classes, d], one
        vector a class to start from. warm: an earlier probe; saves time, and what its held-out predictions told is kept
        until the labels have grown by a tenth. prior: the head of a trained encoder that made the vectors; the fit
        starts from it and stays near it, and takes its temperature over: the encoder was trained on most of these very
        rows, so predictions on them would not be held out, and nothing can be read off them. calibrate=False: no
        held-out predictions, thus neither calibration nor doubt. doubt=False: take every answer for right;
        settled: bool [m], take these for right. strength: scikit-learn's C, in place of the one that held-out
        predictions choose; where there is a prior, that is stayed as near to as ever.

        Raises LearningError when shapes or values don't fit together.
        """
        task = ProbeData.checked(vectors, targets, classes, weights, anchors)
        kept = (warm.activation, warm.weights.shape) if warm is not None else None
        if kept != (task.activation, (classes, task.x.shape[1])):
            warm = None
        if prior is not None:
            return cls._near(prior, task, warm)
        with one_blas_thread():
            cross = cross_fit(task, warm.cross if warm is not None else None, strength) if calibrate else None
            if cross is not None and doubt and not task.soft:
                task = replace(task, targets=cross.believed(task, settled))
            start = warm.layer if warm is not None else None
            usual = STRENGTH if strength is None else strength
            layer = task.fit(cross.strength if cross is not None else usual, start=start)
        temperature = cross.temperature if cross is not None else COLD_TEMPERATURE
        return cls(*_parts(layer), task.activation, temperature, len(targets), cross)

    @classmethod
    def fit_after(
        cls,
        prior: Probe | None,
        vectors: npt.NDArray[Any],
        targets: Targets,
        classes: int,
        *,
        anchors: npt.NDArray[Any] | None,
        warm: Probe | None,
        calibrate: bool,
        settled: npt.NDArray[np.bool_] | None = None,
        strength: float | None = None,
    ) -> Probe:
        """Fit a probe after whatever trained model there is: ``prior`` is its head, None without one. See fit.

        A head that learned one label per record is believed that there is just one for as long as all answers say so,
        though several may be given.
        """
        if prior is not None and prior.exclusive:
            if (targets.sum(axis=1) == 1).all():
                one = prior.aligned(prior.names, SOFTMAX)
                fitted = cls.fit(vectors, targets.argmax(axis=1), classes, prior=one)
                return replace(fitted, activation=SIGMOID, exclusive=True)
            prior = None
        return cls.fit(
            vectors,
            targets,
            classes,
            anchors=anchors,
            prior=prior,
            warm=warm,
            calibrate=calibrate,
            settled=settled,
            strength=strength,
        )

    @classmethod
    def _near(cls, prior: Probe, task: ProbeData, warm: Probe | None) -> Probe:
        """The fit that starts from ``prior`` in place of nothing."""
        shape = (task.targets.shape[1], task.x.shape[1])
        if prior.exclusive:
            raise LearningError("the prior is for one label per record; it is no start for a probe of yes and no")
        if prior.weights.shape != shape or prior.activation is not task.activation:
            raise LearningError(f"the prior has weights {list(prior.weights.shape)}, these labels want {list(shape)}")
        task = replace(task, anchors=None, centre=prior.layer)
        with one_blas_thread():
            layer = task.fit(STRENGTH, start=None if warm is None else warm.layer)
        weights, bias = _parts(layer)
        return replace(prior, weights=weights, bias=bias, labels=len(task.x), cross=None)

    @property
    def classes(self) -> int:
        """How many labels it tells apart."""
        return len(self.bias)

    @property
    def output(self) -> Activation:
        """What makes probabilities of its logits."""
        return SOFTMAX if self.exclusive else self.activation

    @property
    def layer(self) -> Matrix:
        """Weights beside bias, float32 [c, d + 1]."""
        return np.column_stack([self.weights, self.bias])

    def predict_proba(self, vectors: npt.NDArray[Any]) -> Matrix:
        """float32 [n, c] for floating [n, d]: rows sum to 1, or each label apart when multi-label.

        A row that isn't finite gets the probabilities of knowing nothing, so a strategy shows it to a person.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.weights.shape[1]:
            raise LearningError(f"the probe takes vectors [n, {self.weights.shape[1]}], not {list(vectors.shape)}")
        weights, bias = self.weights.T / np.float32(self.temperature), self.bias / np.float32(self.temperature)
        out = np.empty((len(vectors), self.classes), np.float32)
        # BLAS shares no product among threads that is so small, and to hold it to one takes longer than the product.
        with nullcontext() if len(vectors) * self.weights.size <= SMALL else one_blas_thread():
            for at in range(0, len(vectors), CHUNK):
                logits = np.asarray(vectors[at : at + CHUNK], np.float32) @ weights + bias
                if not np.isfinite(logits.sum()):
                    logits[~np.isfinite(logits).all(axis=1)] = 0.0
                out[at : at + CHUNK] = self.output.probabilities(logits)
        return out

    def held_out_proba(self, vectors: Matrix) -> Matrix | None:
        """float32 [m, c] for rows it was fitted on, [m, d], as if it had not been; None while it has too few labels."""
        return None if self.cross is None else self.cross.predicted(vectors, self.activation)

    def aligned(self, names: Sequence[str], activation: Activation) -> Probe | None:
        """The same head for the labels ``names``, whatever it was made for; None if it knows none, or not which.

        A label that it knows keeps its row, one that is not asked for loses it. One that it does not know gets the mean
        of all rows, which takes no text from a label that stays; or, where each label is a yes or no, even odds.

        From several labels per record to one the rows stay: given that it is exactly one, the softmax of the same
        logits is how likely each is. From one label to several it says what it said, ``exclusive``: no linear layer of
        yes and no says the same, and the one nearest to it makes a worse start for the next fit than none.
        """
        wanted = tuple(names)
        if (self.names, self.activation) == (wanted, activation):
            return self
        if not set(self.names) & set(wanted):
            return None
        exclusive = activation is SIGMOID and self.output is SOFTMAX
        new = self.layer.mean(axis=0) if activation is SOFTMAX or exclusive else np.zeros_like(self.layer[0])
        weights, bias = _parts(by_name(self.layer, self.names, wanted, new))
        return Probe(weights, bias, activation, self.temperature, self.labels, None, wanted, exclusive)

    def save(self, path: str | Path) -> None:
        """Write the probe to ``path`` (safetensors, with a JSON header): no code, only numbers and labels' names."""
        from safetensors.numpy import save_file

        header = {
            "format": FORMAT,
            **self.activation.header,
            "temperature": self.temperature,
            "labels": self.labels,
            "names": list(self.names),
            "exclusive": self.exclusive,
        }
        tensors = {"weights": self.weights, "bias": self.bias}
        if self.cross is not None:
            header["cross"] = [self.cross.strength, self.cross.labels, self.cross.searched]
            tensors["cross_layers"] = self.cross.layers
        save_file(tensors, path, metadata={"nextlabel": json.dumps(header)})

    @classmethod
    def load(cls, path: str | Path) -> Probe:
        """Read what ``save`` wrote; before use, ``aligned`` brings it to the labels asked. Raises LearningError.

        One that was saved before the names were has those that a trained model's files say, beside it, or none.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("nextlabel", "{}"))
                if header.get("format") != FORMAT:
                    raise LearningError(f"{path} is not a probe of this version ({FORMAT}); delete it and refit")
                temperature, cross = float(header["temperature"]), None
                if "cross" in header:
                    strength, labels, searched = header["cross"]
                    cross = CrossFit(file.get_tensor("cross_layers"), strength, temperature, labels, searched)
                weights, bias = file.get_tensor("weights"), file.get_tensor("bias")
                names = tuple(map(str, header.get("names", ()))) or names_beside(Path(path), len(bias))
                if names and len(names) != len(bias):
                    raise ValueError(f"it names {len(names)} labels for {len(bias)} rows")
                activation, labels = activation_in(header), int(header["labels"])
                exclusive = bool(header.get("exclusive", False))
                return cls(weights, bias, activation, temperature, labels, cross, names, exclusive)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise LearningError(f"{path} can't be read as a probe: {error}; delete it and refit") from error


def _parts(layer: Matrix) -> tuple[Matrix, Matrix]:
    """Weights and bias of a layer, as copies: safetensors writes the memory as it lies, strides or not."""
    return layer[:, :-1].copy(), layer[:, -1].copy()


def score_pool(
    probe: Probe, matrix: npt.NDArray[np.float16], rows: npt.NDArray[np.int64] | slice = slice(None)
) -> npt.NDArray[np.float32]:
    """Probabilities float32 [n, c] for ``rows`` of ``matrix``, floating [r, d], usually a float16 memmap.

    Works through 16,384 rows at a time. Rows that lie side by side are read without a copy; the fast path is
    found by itself, also where it holds for a part of ``rows`` only. Of a mapped file, what was read is let go again
    and again. Negative rows raise IndexError.
    """
    if isinstance(rows, slice):
        rows = np.arange(*rows.indices(len(matrix)), dtype=np.int64)
    if len(rows) and rows.min() < 0:
        raise IndexError(f"row {rows.min()} of the matrix: a record is not embedded yet")
    out = np.empty((len(rows), probe.classes), np.float32)
    reader = Reader()
    for at in range(0, len(rows), SCORED_AT_ONCE):
        some = rows[at : at + SCORED_AT_ONCE]
        side_by_side = bool(some[-1] - some[0] == len(some) - 1 and (np.diff(some) == 1).all())
        chunk = matrix[some[0] : some[-1] + 1] if side_by_side else matrix[some]
        out[at : at + SCORED_AT_ONCE] = probe.predict_proba(chunk)
        reader.read(matrix, len(some))
    return out


def names_beside(head: Path, rows: int) -> tuple[str, ...]:
    """The labels of the ``rows`` of ``head`` by the files beside it; empty where none says so many."""
    for name in (LABELS_FILE, CARD_FILE):
        try:
            found: Any = json.loads(head.with_name(name).read_text(encoding="utf-8"))["labels"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(found, list) and len(found) == rows == len(set(map(str, found))):
            return tuple(map(str, found))
    return ()


def by_name(layer: Matrix, known: Sequence[str], wanted: Sequence[str], new: Matrix) -> Matrix:
    """The rows of ``layer`` float32 [c, d] in the order of ``wanted``; ``new`` [d] for a name that is not ``known``."""
    place = {name: row for row, name in enumerate(known)}
    rows = [layer[place[name]] if name in place else new for name in wanted]
    return np.ascontiguousarray(np.stack(rows), np.float32)


def differences(known: Sequence[str], wanted: Sequence[str], *, several: bool, wants_several: bool) -> str:
    """How what a head was made for differs from what is asked, in words; empty if only the order does.

    ``known``: its labels, none if that is not known. ``several``: whether it was made for several labels per record.
    """
    if not known:
        return "which labels it was made for is not known"
    parts = []
    if several and not wants_several:
        parts.append("it was made for any number of labels per record, and one is asked for")
    elif wants_several and not several:
        parts.append("it was made for one label per record, and any number is asked for")
    if new := [name for name in wanted if name not in known]:
        parts.append(f"it knows nothing yet of {', '.join(new)}")
    if gone := [name for name in known if name not in wanted]:
        parts.append(f"what it knows of {', '.join(gone)} is no longer asked for")
    return "; ".join(parts)
