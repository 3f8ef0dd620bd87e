"""Which record next where the encoder learns too: 219 annotators' politeness labels, from 200 answers to 725.

The protocol of ``politeness``: 100 random requests with two answers each, then 25 answers at a time. The encoder is
trained on all answers when there are 200, 275, 425 and 725 of them: by contrast (few-shot) while fewer than 400
requests are answered, then as a whole (fine-tune); a rule set beforehand, as the ladder costs several times as much.
In between, the probe is refitted on the trained encoder's vectors after every 25, near the trained head, as the loop
does it. Two answers that disagree count half each. Accuracy is on the 678 test requests, which nothing is chosen by.

``random-new`` and ``margin-new`` ask for a first answer about another request. Both start from one model a seed. What
is finished is kept, and not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.politeness import BATCH, ENCODER, START, START_ANSWERS, Asking, interval, read
from benchmarks.reporting import RESULTS, publish
from nextlabel.backend.annotators.consensus import majority
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.learning.encoders import default_cache_dir
from nextlabel.backend.learning.examples import Examples
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.rungs import TrainedModel, make_rung
from nextlabel.backend.learning.training.spec import TrainingSpec

LABELS = ("impolite", "polite")
ARMS = ("random-new", "margin-new")
TRAINED_AT = (200, 275, 425, 725)  # answers
FINE_TUNED_FROM = 400  # answered requests
MAX_LENGTH = 64  # tokens: all but a few requests are shorter
GOALS = {275: 0.95, 725: 0.985}


class Replay:
    """One seed: the requests, what was asked so far, and the encoder that was trained last."""

    def __init__(self, data: Path, seed: int) -> None:
        self.texts, hidden, self.test_texts, self.test_targets = read(data)
        self.seed = seed
        self.rng = np.random.default_rng([seed, 25])
        self.asking = Asking(hidden, self.rng)
        self.asking.ask(np.repeat(self.rng.permutation(hidden.size)[:START], START_ANSWERS))

    def run(self, arm: str, first: TrainedModel | None) -> tuple[dict[str, float], TrainedModel]:
        """Accuracy by number of answers, and the first model; ``first``: that of the same seed, if there is one."""
        found: dict[str, float] = {}
        for answers in range(TRAINED_AT[0], TRAINED_AT[-1] + 1, BATCH):
            if answers in TRAINED_AT:
                model = first if first is not None and answers == TRAINED_AT[0] else self._trained()
                first = first or model
                vectors, test = model.encoder.encode(self.texts), model.encoder.encode(self.test_texts)
                probe = model.head
            else:
                answered, targets = self._agreed()
                probe = Probe.fit(vectors[answered], targets, len(LABELS), prior=model.head, warm=probe)
            right = probe.predict_proba(test).argmax(axis=1) == self.test_targets
            found[str(answers)] = float(right.mean())
            if answers < TRAINED_AT[-1]:
                self.asking.ask(self._next(arm, probe, vectors))
        assert first is not None
        return found, first

    def _agreed(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The answered requests, int64 [m], and how many of their annotators say what, float64 [m, 2]."""
        answered = np.flatnonzero(self.asking.answers > 0)
        opinions: Opinions = self.asking.opinions().take(answered)
        return answered, majority(opinions).probabilities

    def _trained(self) -> TrainedModel:
        answered, shares = self._agreed()
        request, label = np.nonzero(shares)
        examples = Examples(
            tuple(self.texts[answered[at]] for at in request),
            label.astype(np.int64),
            LABELS,
            weights=shares[request, label].astype(np.float32),
            groups=request.astype(np.int64),
        )
        name = "few-shot" if len(answered) < FINE_TUNED_FROM else "fine-tune"
        spec = TrainingSpec(rung=name, seed=self.seed)
        made = make_rung(name, ENCODER, spec, engine="torch", max_length=MAX_LENGTH, cache_dir=default_cache_dir()).fit(
            examples
        )
        assert isinstance(made, TrainedModel)
        return made

    def _next(self, arm: str, probe: Probe, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        new = self.rng.permutation(np.flatnonzero(self.asking.answers == 0))
        if arm == "random-new":
            return new[:BATCH]
        return new[np.argsort(probe.predict_proba(vectors[new]).max(axis=1), kind="stable")][:BATCH]


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="politeness_adapted", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("NEXTLABEL_DATA"), help="folder with the data sets")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(argv)
    if options.data is None:
        parser.error("give --data, or set NEXTLABEL_DATA")
    import torch

    torch.set_num_threads(options.threads)
    kept = RESULTS / "politeness_adapted_runs.json"
    runs: dict[str, dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for seed in range(options.seeds):
        first: TrainedModel | None = None
        for arm in options.arms:
            if str(seed) in runs.get(arm, {}):
                continue
            began = time.process_time()
            accuracy, first = Replay(options.data, seed).run(arm, first)
            runs.setdefault(arm, {})[str(seed)] = {"accuracy": accuracy, "cpu_s": time.process_time() - began}
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(runs), encoding="utf-8")
            shown = {answers: round(accuracy[str(answers)], 3) for answers in TRAINED_AT}
            print(f"{arm}, seed {seed}: {shown}, {time.process_time() - began:.0f} CPU seconds", flush=True)
    found = {arm: [runs[arm][str(seed)] for seed in range(options.seeds)] for arm in options.arms}
    rows = []
    for arm, all_seeds in found.items():
        for answers in TRAINED_AT:
            mean, low, high = interval([one["accuracy"][str(answers)] for one in all_seeds])
            rows.append([arm, answers, f"{mean:.3f}", f"{low:.3f}-{high:.3f}", GOALS.get(answers, "")])
    minutes = {arm: float(np.mean([one["cpu_s"] for one in all_seeds])) / 60 for arm, all_seeds in found.items()}
    told = {"seeds": options.seeds, "encoder": ENCODER, "cpu_minutes_a_replay": minutes, "runs": found}
    return publish("politeness_adapted", told, ["arm", "answers", "accuracy", "95%", "goal"], rows)


if __name__ == "__main__":
    main()
