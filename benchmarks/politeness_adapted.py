"""Which record next where the encoder learns too: 219 annotators' politeness labels, from 200 answers to 725.

The protocol of ``politeness``: 100 random requests with two answers each, then 25 answers at a time. When there are
200, 275, 425 and 725 answers, the encoder is trained as in the loop's slow step: by contrast (few-shot) and as a whole
(fine-tune), from its own weights, on all but a fixed share of the requests. The one that the gate finds better on that
share goes live if it gets as many right as the model in use. In between, the probe is refitted on the vectors after
every 25, near the trained head. Answers that disagree count by their share. Accuracy is on the 678 test requests, by
which nothing is chosen.

``random-new`` and ``margin-new`` ask for a first answer about another request. What is finished is kept, and not done
again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.politeness import BATCH, ENCODER, START, START_ANSWERS, Asking, interval, read
from benchmarks.reporting import RESULTS, publish
from nextlabel.backend.annotators.consensus import majority
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import Encoder, default_cache_dir
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.evaluation.comparison import Pair, best_candidate, judge
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.training.fewshot import FewShotTuner
from nextlabel.backend.training.finetune import FineTuner
from nextlabel.backend.training.spec import TrainingSpec

LABELS = ("impolite", "polite")
ARMS = ("margin-new", "random-new")
TRAINED_AT = (200, 275, 425, 725)  # answers
MAX_LENGTH = 64  # tokens: all but a few requests are shorter
GOALS = {275: 0.95, 725: 0.985}

Indices = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingSpace:
    """What an encoder makes of all requests and of the tested ones, [n, d]; its trained head, None if it has none."""

    name: str
    vectors: Matrix
    test: Matrix
    head: Probe | None = None

    def fit(self, rows: Indices, shares: npt.NDArray[np.float64]) -> Probe:
        """The probe on the requests in ``rows``."""
        return Probe.fit(self.vectors[rows], shares, len(LABELS), prior=self.head)


class Replay:
    """One seed: the requests, what was asked so far, and the encoder in use."""

    def __init__(self, data: Path, seed: int) -> None:
        self.texts, hidden, self.test_texts, self.test_targets = read(data)
        self.spec = TrainingSpec(seed=seed)
        self.rng = np.random.default_rng([seed, 25])
        self.asking = Asking(hidden, self.rng)
        self.asking.ask(np.repeat(self.rng.permutation(hidden.size)[:START], START_ANSWERS))
        self.kept = self.rng.random(hidden.size) < self.spec.held_out  # requests that are judged by

    def run(self, arm: str) -> dict[str, tuple[float, str]]:
        """Number of answers -> accuracy, and what the encoder in use was made by."""
        found = {}
        space = self._space("as it is", ENCODER)
        for answers in range(TRAINED_AT[0], TRAINED_AT[-1] + 1, BATCH):
            if answers in TRAINED_AT:
                space = self._trained(space)
            probe = space.fit(*self._agreed())
            right = probe.predict_proba(space.test).argmax(axis=1) == self.test_targets
            found[str(answers)] = float(right.mean()), space.name
            if answers < TRAINED_AT[-1]:
                self.asking.ask(self._next(arm, probe, space))
        return found

    def _agreed(self) -> tuple[Indices, npt.NDArray[np.float64]]:
        """The answered requests, and how many of their annotators say what, [m, 2]."""
        answered = np.flatnonzero(self.asking.answers > 0)
        return answered, majority(self.asking.opinions().take(answered)).probabilities

    def _trained(self, before: EmbeddingSpace) -> EmbeddingSpace:
        """The better candidate, or what is in use if that is better still."""
        answered, shares = self._agreed()
        rest, held = ~self.kept[answered], self.kept[answered] & (shares[:, 0] != shares[:, 1])
        said, texts = shares[held].argmax(axis=1), [self.texts[at] for at in answered[held]]
        old = before.fit(answered[rest], shares[rest])
        parts = self._examples(answered[rest], shares[rest]), self._examples(answered[held], shares[held])
        tuners: list[FewShotTuner | FineTuner] = [FewShotTuner(), FineTuner()]
        hits = {}
        with tempfile.TemporaryDirectory() as place:
            folders = [Path(place) / type(tuner).__name__ for tuner in tuners]
            for number, (tuner, folder) in enumerate(zip(tuners, folders, strict=True)):
                tuner.train(self._base, *parts, self.spec, folder, scratch=Path(place) / "scratch")
                vectors = _load(str(folder)).encode(texts)
                hits[number] = Probe.load(folder / HEAD_FILE).predict_proba(vectors).argmax(axis=1) == said
            best = best_candidate(hits)
            pair = Pair(old.predict_proba(before.vectors[answered[held]]).argmax(axis=1) == said, hits[best])
            if not judge(pair, Pair(*[np.empty(0, np.bool_)] * 2)).goes_live:
                return before
            return self._space(f"{folders[best].name} at {self.asking.answers.sum()}", str(folders[best]))

    @cached_property
    def _base(self) -> Any:
        return find_model(ENCODER, max_length=MAX_LENGTH)

    def _space(self, name: str, model: str) -> EmbeddingSpace:
        encoder = _load(model)
        head = None if model == ENCODER else Probe.load(Path(model) / HEAD_FILE)
        return EmbeddingSpace(name, encoder.encode(self.texts), encoder.encode(self.test_texts), head)

    def _examples(self, rows: Indices, shares: npt.NDArray[np.float64]) -> Examples:
        request, label = np.nonzero(shares)
        return Examples(
            tuple(self.texts[rows[at]] for at in request),
            label.astype(np.int64),
            LABELS,
            weights=shares[request, label].astype(np.float32),
            groups=request.astype(np.int64),
        )

    def _next(self, arm: str, probe: Probe, space: EmbeddingSpace) -> Indices:
        new = self.rng.permutation(np.flatnonzero(self.asking.answers == 0))
        if arm == "random-new":
            return new[:BATCH]
        return new[np.argsort(probe.predict_proba(space.vectors[new]).max(axis=1), kind="stable")][:BATCH]


def _load(model: str) -> Encoder:
    return load_encoder(model, "torch", max_length=MAX_LENGTH, cache_dir=default_cache_dir())


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="politeness_adapted", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("NEXTLABEL_DATA"), help="folder with the data sets")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="which; runs may share them")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(argv)
    if options.data is None:
        parser.error("give --data, or set NEXTLABEL_DATA")
    import torch

    torch.set_num_threads(options.threads)
    kept = RESULTS / "politeness_adapted_runs.json"
    for arm in options.arms:
        for seed in options.seeds:
            if str(seed) in _known(kept).get(arm, {}):
                continue
            began = time.process_time()
            points = Replay(options.data, seed).run(arm)
            runs = _known(kept)  # another process may have added to it
            runs.setdefault(arm, {})[str(seed)] = {"points": points, "cpu_s": time.process_time() - began}
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(runs), encoding="utf-8")
            shown = ", ".join(f"{n}: {points[str(n)][0]:.3f} ({points[str(n)][1]})" for n in TRAINED_AT)
            print(f"{arm}, seed {seed}: {shown}; {time.process_time() - began:.0f} CPU seconds", flush=True)
    runs = _known(kept)
    found = {arm: [runs[arm][str(seed)] for seed in options.seeds] for arm in options.arms}
    rows = []
    for arm, all_seeds in found.items():
        for answers in TRAINED_AT:
            mean, low, high = interval([one["points"][str(answers)][0] for one in all_seeds])
            rows.append([arm, answers, f"{mean:.3f}", f"{low:.3f}-{high:.3f}", GOALS.get(answers, "")])
    minutes = {arm: float(np.mean([one["cpu_s"] for one in all_seeds])) / 60 for arm, all_seeds in found.items()}
    told = {"seeds": options.seeds, "encoder": ENCODER, "cpu_minutes_a_replay": minutes, "runs": found}
    return publish("politeness_adapted", told, ["arm", "answers", "accuracy", "95%", "goal"], rows)


def _known(kept: Path) -> dict[str, dict[str, Any]]:
    return dict(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else {}


if __name__ == "__main__":
    main()
