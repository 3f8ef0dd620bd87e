"""Rules and predictions of a team, on a real Label Studio: what they suggest is shown before anybody has answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from tests.live.label_studio_calls import api

RECIPE = """\
name: rules-of-ours
data: reviews.csv
fields: review
labels: [good, bad]
encoder: hashing
suggest_from:
  - name: words
    keywords: {good: [fine, lovely], bad: awful}
  - column: guess
    labels: {pos: good, neg: bad}
    only: true
"""


@pytest.fixture
def product(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    words = (("fine", "pos"), ("awful", "neg"), ("lovely", "pos"), ("odd", "?"))
    rows = [f"review {n} calls it {words[n % 4][0]},{words[n % 4][1]}" for n in range(40)]
    (tmp_path / "reviews.csv").write_text("review,guess\n" + "\n".join(rows) + "\n")
    (tmp_path / "rules.yaml").write_text(RECIPE)
    process = BackendProcess(str(tmp_path / "rules.yaml"), label_studio, tmp_path / "home")
    process.start()
    yield process
    process.stop()


def test_a_new_project_shows_suggestions_before_the_first_answer(
    product: BackendProcess, label_studio: LabelStudioServer
) -> None:
    status = product.wait_ready()
    project = status["project"]["id"]
    tasks = api(label_studio, "GET", f"/api/tasks?project={project}&fields=all&page_size=100").json()["tasks"]
    texts = {one["id"]: one["data"]["text"] for one in tasks}
    assert len(texts) == 30  # what nobody has a guess about is not taken in
    predictions = api(label_studio, "GET", f"/api/predictions?project={project}").json()
    shown = {one["task"]: one["result"][0]["value"]["choices"] for one in predictions if one["result"]}
    assert len(shown) >= 10
    assert all(labels == ["bad" if "awful" in texts[task] else "good"] for task, labels in shown.items())
    words, column = status["suggesters"]
    assert (words["name"], column["name"], words["coverage"], column["coverage"]) == ("words", "guess", 1.0, 1.0)
    assert words["trouble"] == ""
