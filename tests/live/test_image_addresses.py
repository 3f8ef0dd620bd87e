"""Images at signed addresses on a real Label Studio: moved there, shown, answered, restarted, exported, taken back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from nextlabel.backend.cli import main
from nextlabel.backend.data.image_files import data_url
from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, at, past
from tests.live.chrome import PASSWORD, in_chromium, window
from tests.live.label_studio_calls import api

MEMES = 12


@dataclass
class Memes:
    """A recipe whose images are files, its home, and a service for it that may be started again and again."""

    server: LabelStudioServer
    backend: BackendProcess
    recipe: Path

    def start(self, *, signed: bool) -> None:
        self.backend.stop()
        self.backend.env = {"NEXTLABEL_IMAGE_URL": self.backend.url} if signed else {}
        self.backend.start()
        self.backend.wait_ready(120)
        self.backend.wait(at("pushed", MEMES), "all records")

    def run(self, *arguments: str, signed: bool = True) -> int:
        with pytest.MonkeyPatch.context() as here:
            here.setenv("NEXTLABEL_HOME", str(self.backend.home))
            here.setenv("NEXTLABEL_API_TOKEN", self.backend.token)
            here.setenv("NEXTLABEL_PORT", str(self.backend.port))
            if signed:
                here.setenv("NEXTLABEL_IMAGE_URL", self.backend.url)
            for name, value in self.server.env().items():
                here.setenv(name, value)
            return main(list(arguments))

    @property
    def project(self) -> str:
        return str(self.backend.status()["project"]["id"])

    def tasks(self, project: str) -> list[dict[str, Any]]:
        found = api(self.server, "GET", f"/api/tasks?project={project}&page_size=100&fields=all").json()["tasks"]
        return [dict(one) for one in found]


@pytest.fixture
def memes(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[Memes]:
    with (tmp_path / "memes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["caption", "picture"])
        for number in range(MEMES):
            Image.new("RGB", (60, 40), (20 * number, 100, 50)).save(tmp_path / f"{number}.png")
            rows.writerow([f"meme number {number} of {'cats' if number % 2 else 'dogs'}", f"{number}.png"])
    recipe = tmp_path / "memes.yaml"
    recipe.write_text(
        "data: memes.csv\nfields: {caption: caption, picture: {column: picture, kind: image}}\n"
        "labels: [cats, dogs]\nencoder: hashing\n"
    )
    backend = BackendProcess(str(recipe), label_studio, tmp_path / "home")
    yield Memes(label_studio, backend, recipe)
    backend.stop()


def images(tasks: list[dict[str, Any]]) -> dict[str, str]:
    return {task["data"]["nextlabel_uid"]: task["data"]["picture"] for task in tasks}


def test_a_project_moves_to_signed_addresses_and_back_and_nothing_else_changes(
    memes: Memes, annotators: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(memes.recipe)
    memes.start(signed=False)
    project = memes.project
    inside = images(memes.tasks(project))
    assert all(one.startswith("data:image/jpeg;base64,") for one in inside.values())
    memes.backend.stop()
    assert memes.run("images", recipe, "--move") != 0, "nobody would see them"
    assert "nothing was changed" in capsys.readouterr().err
    assert images(memes.tasks(project)) == inside

    memes.start(signed=True)
    with Annotator(memes.server.url, annotators[0], project) as annotator:
        first = annotator.next_task()
        assert first is not None
        annotator.submit(first, "cats")
    memes.backend.wait(past("labelled", 0), "the answer")
    assert memes.run("images", recipe, "--move") == 0
    assert f"{MEMES} records" in capsys.readouterr().err
    addresses = images(memes.tasks(project))
    assert addresses.keys() == inside.keys()
    for uid, address in addresses.items():
        answer = httpx.get(address, trust_env=False)
        assert answer.headers["content-type"] == "image/jpeg"
        assert address.startswith(f"{memes.backend.url}/images/")
        assert inside[uid] == data_url(answer.content, "image/jpeg")
    assert memes.run("doctor", recipe) == 0, capsys.readouterr().out
    assert "images come from" in capsys.readouterr().out

    memes.start(signed=True)
    with Annotator(memes.server.url, annotators[0], project) as annotator:
        task = annotator.next_task()
        assert task is not None
        assert task["data"]["picture"] == addresses[task["data"]["nextlabel_uid"]]
        annotator.submit(task, "dogs")
    status = memes.backend.wait(past("labelled", 1), "the second answer")
    assert (status["records"], status["pushed"]) == (MEMES, MEMES), "they are the same records"
    assert not status["notice_counts"]
    assert len(memes.tasks(project)) == MEMES
    memes.backend.stop()

    assert memes.run("export", recipe, "--output", str(tmp_path / "out.jsonl")) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert all(row["field.picture"].endswith(".png") for row in rows), "what the data has, not what is shown"
    assert memes.run("detach", recipe) == 0
    assert images(memes.tasks(project)) == inside
    assert not list((memes.backend.home / "memes" / "images").iterdir())
    assert sum(len(task["annotations"]) for task in memes.tasks(project)) == 2


def test_new_records_are_pushed_with_addresses_that_the_ml_backend_knows(memes: Memes) -> None:
    memes.start(signed=True)
    tasks = memes.tasks(memes.project)
    assert all(task["data"]["picture"].startswith(f"{memes.backend.url}/images/") for task in tasks)
    headers = {"Authorization": f"Bearer {memes.backend.token}"}
    with httpx.Client(base_url=memes.backend.url, headers=headers, trust_env=False, timeout=60) as client:
        answer = client.post("/predict", json={"tasks": tasks, "project": f"{memes.project}.1"}).raise_for_status()
        assert len(answer.json()["results"]) == MEMES
        record = {"caption": tasks[0]["data"]["caption"], "picture": tasks[0]["data"]["picture"]}
        found = client.post("/api/predict", json={"records": [record]}).raise_for_status().json()
        assert found["predictions"][0]["problem"] == ""
    names = {path.name for path in (memes.backend.home / "memes" / "images").iterdir()}
    assert names == {task["data"]["picture"].rpartition("/")[2] for task in tasks}


@in_chromium
def test_label_studios_own_page_shows_them(memes: Memes) -> None:
    memes.start(signed=True)
    memes.server.add_user("memes@example.com", PASSWORD)
    with window() as page:
        failed: list[str] = []
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto(f"{memes.server.url}/user/login/")
        page.fill("input[name=email]", "memes@example.com")
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/login/" not in url)
        page.goto(f"{memes.server.url}/projects/{memes.project}/data")
        page.get_by_role("button", name="Label All Tasks").click()
        shown = page.locator(f"img[src^='{memes.backend.url}/images/'], img[src^='blob:']").first
        shown.wait_for(state="attached", timeout=60_000)
        page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=shown.element_handle())
        assert not [url for url in failed if "/images/" in url]
