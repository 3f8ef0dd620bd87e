"""The texts of a training: tokenised once, read in the windows in which the encoder reads them, and put in batches.

Which texts an epoch shows, and in which batches, is reproducible from seed and epoch alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.data.examples import rarest_label
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.tokenizer import Tokeniser, Windows, pad
from nextlabel.connectors.content import Readable

from .spec import Watch

CHUNK = 512  # texts tokenised between two looks at stop
POOL_BATCHES = 16  # batches whose texts are sorted together: little padding, and other company in every epoch
WINDOWED = ("input_ids", "attention_mask", "owner", "shares")  # tensors of a batch that have a row a window

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowedTexts:
    """n tokenised texts: text i has the windows ``first[i]`` to ``first[i + 1]``; ``first`` is int64 [n + 1]."""

    windows: Windows
    first: Rows

    @classmethod
    def of(cls, windows: Windows, texts: int) -> WindowedTexts:
        """From the windows of so many texts."""
        return cls(windows, np.searchsorted(windows.owner, np.arange(texts + 1)).astype(np.int64))

    def __len__(self) -> int:
        return len(self.first) - 1

    def lengths(self) -> Rows:
        """Tokens of every text in all of its windows, int64 [n]."""
        tokens = np.fromiter(map(len, self.windows.rows), np.int64, len(self.windows.rows))
        return np.asarray(np.add.reduceat(tokens, self.first[:-1]) if len(self) else tokens, np.int64)

    def counts(self) -> Rows:
        """Windows of every text, int64 [n]."""
        return np.diff(self.first)

    def take(self, texts: Rows) -> WindowedTexts:
        """Some of the texts, in the order given."""
        windows, counts = self.windows, self.counts()[texts]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.repeat(self.first[texts] - first[:-1], counts) + np.arange(first[-1])
        owner = np.repeat(np.arange(len(texts)), counts)
        return WindowedTexts(Windows([windows.rows[row] for row in rows], owner, windows.weights[rows]), first)

    def batch(self, texts: Sequence[int]) -> dict[str, Any]:
        """What a network takes: tensors of the windows of ``texts``, in that order.

        ``input_ids`` and ``attention_mask`` int64 [w, longest]; ``owner`` int64 [w], the place of the window's text
        in the batch; ``shares`` float32 [w], how much the window counts for it.
        """
        import torch

        its = [range(self.first[text], self.first[text + 1]) for text in texts]
        rows = [row for one in its for row in one]
        ids, mask = pad([self.windows.rows[row] for row in rows])
        owner = np.repeat(np.arange(len(its)), [len(one) for one in its])
        arrays = {"input_ids": ids, "attention_mask": mask, "owner": owner, "shares": self.windows.weights[rows]}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def tokenised(encoder: ModelFolder, texts: Sequence[Readable], watch: Watch) -> WindowedTexts:
    """Every text once for all epochs, in up to ``encoder.windows`` windows of ``encoder.max_length`` tokens."""
    tokenise = Tokeniser(encoder)
    rows: list[list[int]] = []
    owner: list[Rows] = [np.empty(0, np.int64)]
    weights: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)]
    for start in range(0, len(texts), CHUNK):
        watch.check()
        cut = tokenise.cut(texts[start : start + CHUNK])
        rows += cut.rows
        owner.append(cut.owner + start)
        weights.append(cut.weights)
        watch.tell("tokenising", min(start + CHUNK, len(texts)), len(texts))
    return WindowedTexts.of(Windows(rows, np.concatenate(owner), np.concatenate(weights)), len(texts))


def portions(counts: Sequence[int], most: int) -> list[slice]:
    """Neighbouring texts that have up to ``most`` windows together, or one text that has more. ``counts``: of each."""
    cuts, held = [0], 0
    for text, count in enumerate(counts):
        if held and held + count > most:
            cuts.append(text)
            held = 0
        held += count
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], len(counts)], strict=True)]


def parts(batch: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
    """The texts of a batch in parts of up to ``most`` windows (a text is never torn), cut to their longest windows.

    What the batch holds beside the four tensors of ``WindowedTexts.batch`` has a row per text.
    """
    import torch

    if len(batch["owner"]) <= most:
        yield batch
        return
    counts = torch.bincount(batch["owner"]).tolist()
    first = np.cumsum([0, *counts])
    for texts in portions(counts, most):
        windows = slice(int(first[texts.start]), int(first[texts.stop]))
        part = {name: tensor[windows if name in WINDOWED else texts] for name, tensor in batch.items()}
        longest = int(part["attention_mask"].sum(dim=1).max())
        part |= {name: part[name][:, :longest] for name in ("input_ids", "attention_mask")}
        yield part | {"owner": part["owner"] - texts.start}


def epoch_rows(targets: Targets, resample: Literal["none", "under", "over"], rng: np.random.Generator) -> Rows:
    """Rows that one epoch shows, int64 [m] in random order; m is the same in every epoch.

    ``under`` takes as many of every stratum as the rarest has, others in each epoch. ``over`` takes all, and of the
    rarer ones so many again as the most frequent has: as evenly as can be, the last round drawn. Multi-label rows
    belong to their rarest label, so labels become nearly, not exactly, equally frequent.
    """
    if resample == "none" or not len(targets):
        return rng.permutation(len(targets))
    label_of = rarest_label(targets)
    groups = [np.flatnonzero(label_of == label) for label in np.unique(label_of)]
    size = (min if resample == "under" else max)(map(len, groups))
    drawn = []
    for group in groups:
        rounds, rest = divmod(size, len(group))
        drawn += [group] * rounds + [rng.permutation(group)[:rest]]
    return rng.permutation(np.concatenate(drawn))


class EpochBatches:
    """Batches of row numbers, texts of like length together: a batch is only as fast as its longest text.

    ``lengths`` are token counts. Iterating gives the batches of the epoch set last, the longest one first: if
    memory does not suffice, it shows at once. ``set_epoch`` chooses the epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int] | Rows,
        targets: Targets,
        *,
        batch_size: int,
        resample: Literal["none", "under", "over"] = "none",
        seed: int = 0,
    ) -> None:
        self._lengths = np.asarray(lengths, np.int64)
        self._targets, self._size, self._resample, self._seed = targets, batch_size, resample, seed
        self._epoch = 0
        self._shown = len(epoch_rows(targets, resample, np.random.default_rng(0)))

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._shown // self._size)

    def without_end(self) -> Iterator[list[int]]:
        """The batches of epoch after epoch, from the first on."""
        for epoch in itertools.count():
            self.set_epoch(epoch)
            yield from self

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        rows = epoch_rows(self._targets, self._resample, rng)
        step, batches = self._size * POOL_BATCHES, []
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            some = some[np.argsort(-self._lengths[some], kind="stable")]
            batches += [some[at : at + self._size] for at in range(0, len(some), self._size)]
        order = rng.permutation(len(batches)).tolist()
        longest = max(order, key=lambda at: int(self._lengths[batches[at][0]]) * len(batches[at]))
        order.remove(longest)
        for at in [longest, *order]:
            yield batches[at].tolist()
