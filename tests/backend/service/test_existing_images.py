"""Answers from elsewhere about records with images: each is found, or added with its picture, and is there once."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.recipe.existing import ExistingAnswers
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.answer_plan import AnswerPlan, plan_answers
from nextlabel.backend.service.existing_answers import carry_out
from nextlabel.backend.service.opening import image_rules, import_plan, load_records
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.base import no_progress
from nextlabel.connectors.testing import MemoryConnector

LABELS = ("red", "blue")
Kind = str
KINDS = ("file", "data", "web")


def colour(number: int) -> str:
    return LABELS[number % 2]


def png(number: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (20, 20), (255 - number, 0, 0) if number % 2 == 0 else (0, 0, 255 - number)).save(made, "PNG")
    return made.getvalue()


def address(kind: Kind, number: int) -> str:
    """The image of a row, as a cell has it."""
    if kind == "web":
        return f"https://images.example.org/{number}.png"
    if kind == "data":
        return f"data:image/png;base64,{base64.b64encode(png(number)).decode()}"
    return f"img/{number}.png"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "img").mkdir()
    for number in range(12):
        (tmp_path / "img" / f"{number}.png").write_bytes(png(number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Project:
    """A project with the images of ten rows, on a platform in memory."""

    def __init__(self, folder: Path, kind: Kind, store: Store, **said: Any) -> None:
        rows = [{"number": n, "caption": f"look {n}", "file": address(kind, n)} for n in range(10)]
        (folder / "memes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        fields = {"text": {"column": "caption"}, "image": {"column": "file", "kind": "image"}}
        values = {"name": "memes", "labels": LABELS, "data": "memes.jsonl", "fields": fields, **said}
        self.recipe = Recipe.model_validate({"encoder": "hashing+efficientnet-lite0", **values})
        self.settings, self.store, self.kind = Settings(home=folder / "home"), store, kind
        self.platform = MemoryConnector(self.recipe.labeling())
        load_records(self.recipe, store, self.settings)
        store.set_remote(self.platform.push([item.record for item in store.records()]))

    def imports(self, name: str, rows: list[dict[str, Any]], **options: Any) -> AnswerPlan:
        """Import ``rows``, written as JSON lines, or as one list for a ``.json``."""
        whole = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
        Path(name).write_text(whole)
        return self.takes(name, **options)

    def takes(self, name: str, **options: Any) -> AnswerPlan:
        """Import what is called so."""
        plan = import_plan(self.recipe, self.settings)
        spec = ExistingAnswers.model_validate({"file": name, "make_accounts": True, **options})
        rules = image_rules(self.recipe, self.settings)
        found = plan_answers(self.recipe, self.store, self.platform, spec, plan.rule, rules)
        carry_out(found, self.store, self.platform, Leadership(self.store), plan, no_progress)
        return found

    def answers(self) -> dict[str, list[str]]:
        """What was answered about each caption."""
        found: dict[str, list[str]] = {}
        for one in self.platform.answers.values():
            caption = self.platform.pushed[one.remote_id].fields["text"]
            found.setdefault(caption, []).append(str(one.value[0]))
        return found


@pytest.fixture
def project(folder: Path) -> Iterator[Callable[..., Project]]:
    opened: list[Store] = []

    def make(kind: Kind, **said: Any) -> Project:
        opened.append(Store.open(folder / "store.sqlite"))
        return Project(folder, kind, opened[-1], **said)

    yield make
    for store in opened:
        store.close()


@pytest.mark.parametrize("id_column", [None, "number"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_known_by_the_image_that_it_shows(
    project: Callable[..., Project], kind: Kind, id_column: str | None
) -> None:
    """The file of answers names no id, and the eleventh row is one that the data lacks."""
    made = project(kind, id=id_column)
    rows = [{"caption": f"look {n}", "file": address(kind, n), "label": colour(n)} for n in range(11)]
    first = made.imports("votes.jsonl", rows)
    assert (len(first.known), len(first.new), first.refused) == (10, 1, [])
    assert made.answers() == {f"look {n}": [colour(n)] for n in range(11)}
    [added] = first.new.values()
    shown = made.platform.pushed[f"r-{added.uid}"].fields["image"]
    assert shown.startswith("https://" if kind == "web" else "data:image/")
    again = made.imports("votes.jsonl", rows)
    assert (len(again.answers), again.there, len(again.new)) == (0, 11, 0)
    assert made.store.size() == 11


def test_the_same_words_with_another_picture_are_another_record(project: Callable[..., Project]) -> None:
    made = project("file", id="number")
    plan = made.imports("votes.jsonl", [{"caption": "look 1", "file": "img/11.png", "label": "red"}])
    assert (len(plan.known), len(plan.new)) == (0, 1)


def test_a_picture_that_cannot_be_read_is_refused_with_the_reason(project: Callable[..., Project]) -> None:
    made = project("file")
    Path("img/11.png").write_bytes(b"no picture")
    rows = [
        {"caption": "new", "file": "img/11.png", "label": "red"},
        {"caption": "new", "file": "img/none.png", "label": "red"},
        {"caption": "new", "file": "/etc/hostname", "label": "red"},
        {"caption": "look 3", "file": "img/3.png", "label": "blue"},
    ]
    plan = made.imports("votes.jsonl", rows)
    assert [one.number for one in plan.refused] == [1, 2, 3]
    assert "img/none.png" in plan.refused[1].reason
    assert "outside the folders that images are read from" in plan.refused[2].reason
    assert made.answers() == {"look 3": ["blue"]}


def task(data: dict[str, Any], label: str, who: str = "ann@example.com") -> dict[str, Any]:
    """A task in Label Studio's JSON export."""
    result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
    annotation = {"id": 7, "completed_by": {"id": 3, "email": who}, "result": result, "was_cancelled": False}
    return {"id": 1, "data": data, "annotations": [annotation], "predictions": []}


@pytest.mark.parametrize("kind", KINDS)
def test_label_studios_export_of_our_own_project(project: Callable[..., Project], kind: Kind) -> None:
    """Its tasks hold images as annotators saw them, and ours know their uid."""
    made = project(kind)
    tasks = [
        task({**record.fields, "nextlabel_uid": record.uid}, colour(n))
        for n, record in enumerate(made.platform.pushed.values())
    ]
    plan = made.imports("export.json", tasks)
    assert (plan.reading.format, len(plan.known), len(plan.new), plan.refused) == ("label-studio", 10, 0, [])
    assert made.answers() == {f"look {n}": [colour(n)] for n in range(10)}
    assert len(made.imports("export.json", tasks).answers) == 0


@pytest.mark.parametrize("names", [("caption", "file"), ("text", "image")])
@pytest.mark.parametrize("kind", KINDS)
def test_label_studios_export_of_another_project(
    project: Callable[..., Project], kind: Kind, names: tuple[str, str]
) -> None:
    """Whose tasks are called as the data's columns, or as the recipe's fields, and know no uid of ours."""
    made = project(kind, id="number")
    text, image = names
    tasks = [task({text: f"look {n}", image: address(kind, n)}, colour(n)) for n in range(11)]
    plan = made.imports("export.json", tasks)
    assert (len(plan.known), len(plan.new), plan.refused) == (10, 1, [])
    assert made.answers() == {f"look {n}": [colour(n)] for n in range(11)}
    assert len(made.imports("export.json", tasks).answers) == 0


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_argillas_records(project: Callable[..., Project], kind: Kind, own: bool) -> None:
    """As ``records.to_json`` writes them: of our own dataset with our uids, of another with ids that say nothing."""
    made = project(kind)
    rows = []
    for n, record in enumerate(made.platform.pushed.values()):
        fields = dict(record.fields) if own else {"text": f"look {n}", "image": address(kind, n)}
        response = {"value": colour(n), "user_id": "0f1e", "status": "submitted"}
        rows.append({"id": record.uid if own else f"theirs-{n}", "fields": fields, "responses": {"label": [response]}})
    plan = made.imports("records.json", rows)
    assert (plan.reading.format, len(plan.known), len(plan.new), plan.refused) == ("argilla", 10, 0, [])
    assert made.answers() == {f"look {n}": [colour(n)] for n in range(10)}
    assert len(made.imports("records.json", rows).answers) == 0


@pytest.mark.parametrize("own", [True, False])
def test_argillas_data_set_holds_images_as_bytes(project: Callable[..., Project], own: bool) -> None:
    """As ``records.to_datasets`` casts them. Written anew they are other bytes: what another dataset has is news."""
    datasets = pytest.importorskip("datasets")
    made = project("data")
    rows = []
    for n, record in enumerate(made.platform.pushed.values()):
        one: dict[str, Any] = {"id": record.uid if own else f"theirs-{n}", "text": record.fields["text"]}
        one |= {"image": Image.open(io.BytesIO(png(n))), "label.responses": [colour(n)]}
        rows.append({**one, "label.responses.users": ["0f1e"], "label.responses.status": ["submitted"]})
    held = datasets.Dataset.from_list(rows)
    assert isinstance(held.features["image"], datasets.Image)
    held.save_to_disk("dataset")
    for _ in range(2):
        plan = made.takes("dataset")
    assert (plan.reading.format, len(plan.answers), plan.there, plan.refused) == ("argilla-dataset", 0, 10, [])
    assert len(made.platform.pushed) == (10 if own else 20)
    assert len(made.platform.answers) == 10
