"""Stanford politeness requests as ActiveLab uses them: a few labelled by two people each, the rest by nobody yet.

Danescu-Niculescu-Mizil et al., "A computational approach to politeness", ACL 2013; the selection and the numbered
annotators are those of Goh and Mueller, "ActiveLab", 2023 (https://huggingface.co/datasets/Cleanlab/stanford-politeness,
Apache-2.0). A table has the columns ``id``, ``text`` and one for each annotator, ``a`` and a number: 1 is polite, 0 is
not, empty is no answer. The folder holds ``X_labeled_full.csv`` with and ``X_unlabeled.csv`` without annotators, and
``extra_annotations.jsonl`` with what they said later: lines of ``{"id": ..., "annotations": {"a7": 1}}``. The published
``extra_annotations.npy`` holds the same as a pickle, which is code and is not opened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nextlabel.backend.annotators.opinions import Opinions, from_rows
from nextlabel.backend.data.cells import label_text
from nextlabel.backend.data.tables import Row, Table, check_columns, open_table
from nextlabel.connectors.errors import DataError

ADDRESS = "https://huggingface.co/datasets/Cleanlab/stanford-politeness"
LABELLED, UNLABELLED, LATER = "X_labeled_full.csv", "X_unlabeled.csv", "extra_annotations.jsonl"
LABELS = ("impolite", "polite")
"""In the order of the numbers in the files."""

COLUMNS = ("id", "text", "label")
_ANNOTATOR = re.compile(r"a\d+")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: where it stands, and what each annotator said of it, 0 or 1."""

    number: int
    id: str
    text: str
    votes: dict[str, int]

    @property
    def label(self) -> str | None:
        """What most annotators said; None for a tie, and where nobody said anything."""
        (first, most), *others = Counter(self.votes.values()).most_common() or [(0, 0)]
        return LABELS[first] if most and all(times < most for _, times in others) else None


def open_politeness(source: str = "") -> Table:
    """The requests as a table with the columns COLUMNS; ``label`` is the majority, for simulated annotators.

    ``source`` is the folder or one table. Raises DataError that names the file, the line and the fix; without
    ``source``, it says where the data are.
    """
    if not source:
        raise DataError(f"download the requests from {ADDRESS}, and give their folder, or one table, with --data")
    requests = read_politeness(source)
    answers, people = sum(len(one.votes) for one in requests), {who for one in requests for who in one.votes}
    remark = f"{answers:,} answers of {len(people):,} annotators; their majority is the answer of simulated annotators"
    rows = (Row(one.number, {"id": one.id, "text": one.text, "label": one.label}) for one in requests)
    return Table(str(source), "line", COLUMNS, rows, remark)


def read_politeness(source: str | Path) -> list[Request]:
    """All requests of a folder or a table, with all that was said of them. Raises DataError as open_politeness does."""
    path = Path(source).expanduser()
    if not path.is_dir():
        return list(_requests(path))
    requests = {one.id: one for name in (LABELLED, UNLABELLED) for one in _requests(path / name)}
    if (path / LATER).is_file():
        for row in open_table(str(path / LATER), ("id", "annotations")).rows:
            name, said = label_text(row.values["id"]), row.values["annotations"]
            if name not in requests or not isinstance(said, dict):
                raise DataError(f"{path / LATER}:{row.number}: {name!r} is no request of the tables, or has no answers")
            votes = {who: _vote(path / LATER, row.number, who, label_text(vote)) for who, vote in said.items()}
            requests[name] = replace(requests[name], votes=requests[name].votes | votes)
    return list(requests.values())


def opinions_of(requests: list[Request]) -> Opinions:
    """Who said what about ``requests``, in their order; labels are numbered as LABELS."""
    said = [(at, who, vote) for at, one in enumerate(requests) for who, vote in one.votes.items()]
    return from_rows(said, len(requests), LABELS)


def _requests(path: Path) -> Iterator[Request]:
    table = open_table(str(path), ("id", "text"))
    check_columns(table, ("id", "text"))
    people = [name for name in table.columns if _ANNOTATOR.fullmatch(name)]
    for row in table.rows:
        votes = {who: _vote(path, row.number, who, vote) for who in people if (vote := label_text(row.values.get(who)))}
        yield Request(row.number, label_text(row.values["id"]), str(row.values["text"]), votes)


def _vote(path: Path, line: int, who: str, vote: str) -> int:
    if vote not in ("0", "1"):
        raise DataError(f"{path}:{line}: {who} said {vote!r}; it must be 0 (impolite) or 1 (polite)")
    return int(vote)
