"""``nextlabel import`` on real platforms: into a new project, into one that is served, and from what others export."""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.cli import main
from nextlabel.backend.data.given import GivenRow, Wanted, open_given
from nextlabel.backend.stack import ArgillaServer, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.server import PlatformServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import GivenAnswer, Labeling, LabelKind, Record, Span
from tests.live.argilla_calls import argilla_sdk
from tests.live.label_studio_calls import api

RECORDS = 12
RECIPE = """\
name: reviews
title: Reviews of the import {title}
platform: {platform}
data: reviews.csv
fields: review
id: number
labels: [good, bad]
encoder: hashing
overlap: 2
"""
Command = Callable[..., dict[str, Any]]


@pytest.fixture(params=["label_studio", "argilla"])
def server(request: pytest.FixtureRequest) -> PlatformServer:
    found: PlatformServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def product(server: PlatformServer, tmp_path: Path) -> Iterator[BackendProcess]:
    rows = [f"{n},review {n} is {truth(n)} indeed" for n in range(RECORDS)]
    (tmp_path / "reviews.csv").write_text("\n".join(["number,review", *rows]) + "\n")
    recipe = tmp_path / "reviews.yaml"
    recipe.write_text(RECIPE.format(platform=server.platform, title=secrets.token_hex(4)))
    process = BackendProcess(str(recipe), server, tmp_path / "home")
    yield process
    process.stop()


@pytest.fixture
def command(product: BackendProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``nextlabel import`` as a user beside the service would; what it says as JSON, and in words as "said"."""
    settings = {"NEXTLABEL_HOME": str(product.home), "NEXTLABEL_API_TOKEN": product.token}
    settings |= {"NEXTLABEL_PORT": str(product.port), **product.server.env()}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        code = main(["import", product.recipe, *arguments, "--json"])
        out, err = capsys.readouterr()
        return {**(json.loads(out) if out else {}), "code": code, "said": err}

    return run


def truth(number: int) -> str:
    return "good" if number % 2 else "bad"


def people(product: BackendProcess) -> list[str]:
    return [f"Anna {product.port}", f"ben-{product.port}"]


def votes(product: BackendProcess, name: str, rows: Sequence[Mapping[str, object]]) -> str:
    path = product.home.parent / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_into_a_new_project_and_then_into_one_that_is_served(product: BackendProcess, command: Command) -> None:
    anna, ben = people(product)
    rows = [
        {"number": n, "annotator": who, "label": truth(n + (who == ben)), "time": "2024-05-01T10:00:00"}
        for n in range(6)
        for who in (anna, ben)
    ]
    file = votes(product, "votes.csv", rows)
    dry = command(file, "--dry-run", "--make-accounts")
    assert (dry["code"], dry["new"], dry["records_known"], dry["people"]) == (0, 12, 6, 2)
    assert not list(product.home.glob("*/store*")), "nothing is made"
    refused = command(file, "--yes")
    assert refused["code"] != 0
    assert f"2 people have no account on the platform: {anna}, {ben}" in refused["said"]
    done = command(file, "--yes", "--make-accounts")
    assert (done["code"], done["imported"]) == (0, {"answers": 12, "there": 12, "waiting": 0, "refused": 0}), done
    assert command(file, "--yes")["new"] == 0

    product.start()
    product.wait_ready()
    later = [{"number": 6, "review": "review 6 is bad indeed", anna: "bad", ben: ""}]
    later += [{"number": 99, "review": "never seen before", anna: "good", ben: "good"}]
    columns = ["--annotator-columns", f"{anna},{ben}"]
    more = command(votes(product, "more.csv", later), *columns, "--yes")
    assert (more["new"], more["records_known"], more["records_new"]) == (3, 1, 1), more
    assert "the service that runs" in more["said"]
    status = product.wait(lambda status: status["labelled"] == 8, "the answers are learned")
    assert status["imported"] == {"answers": 15, "there": 15, "waiting": 0, "refused": 0}
    assert (status["audit_labelled"], status["pushed"]) == (0, RECORDS + 1)
    assert sorted(status["answers"].values()) == [7, 8]
    assert main(["compare"]) == 0
    assert product.status()["comparison"]["answers"] == 15
    out = product.home / "each.csv"
    assert main(["export", product.recipe, "--each", "-o", str(out)]) == 0
    with out.open(newline="") as written:
        exported = list(csv.DictReader(written))
    assert [row["imported"] for row in exported] == ["True"] * 15
    assert exported[0]["answered_at"].startswith("2024-05-01T10:00:00")
    assert command(str(out), "--dry-run")["there"] == 15, "what nextlabel exported, it knows again"


MARKS = Labeling(LabelKind.SPAN, ("PER", "LOC"))
TEXT = "😀 Ada in Rome"
PER = Span(2, 5, "PER")


def read(path: Path, labeling: Labeling, format_: str) -> list[GivenRow]:
    spans = labeling.kind is LabelKind.SPAN
    wanted = Wanted("label", labeling.labels, {"text": "text"}, marks=spans)
    reading = open_given(str(path), wanted)
    assert reading.format == format_
    rows = list(reading.rows)
    assert all(isinstance(one, GivenRow) for one in rows), rows
    return [one for one in rows if isinstance(one, GivenRow)]


def test_what_label_studio_exports_is_read(
    label_studio: LabelStudioServer,
    label_studio_project: Callable[..., LabelStudioConnector],
    tmp_path: Path,
) -> None:
    choices = Labeling(LabelKind.SINGLE, ("sport", "politics"))
    for labeling, value in ((choices, ("sport",)), (MARKS, (PER,))):
        connector = label_studio_project(labeling)
        ids = connector.push([Record("u1", {"text": TEXT}), Record("u2", {"text": "nothing yet"})])
        me = connector.own_account()
        assert not connector.give([GivenAnswer(secrets.token_hex(4), ids["u1"], me, value)], lambda changes: None)
        for kind, format_ in (("JSON", "label-studio"), ("JSON_MIN", "label-studio-min")):
            path = tmp_path / f"{kind}-{labeling.kind}.json"
            answer = api(
                label_studio, "GET", f"/api/projects/{connector.project.id}/export", params={"exportType": kind}
            )
            path.write_bytes(answer.content)
            [one] = read(path, labeling, format_)
            assert (one.value, one.annotator, one.fields["text"]) == (value, me, TEXT)
            assert one.when is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_what_argilla_exports_is_read(
    argilla: ArgillaServer, argilla_dataset: Callable[..., ArgillaConnector], tmp_path: Path
) -> None:
    choices = Labeling(LabelKind.SINGLE, ("sport", "politics"))
    for labeling, value in ((choices, ("sport",)), (MARKS, (PER,))):
        connector = argilla_dataset(labeling)
        ids = connector.push([Record("u1", {"text": TEXT}), Record("u2", {"text": "nothing yet"})])
        me = connector.own_account()
        assert not connector.give([GivenAnswer("k", ids["u1"], me, value)], lambda changes: None)
        path, folder = tmp_path / f"{labeling.kind}.json", tmp_path / f"{labeling.kind}-dataset"
        with argilla_sdk(argilla) as client:
            dataset = client.datasets(name=connector.project.title, workspace=argilla.workspace)
            assert dataset is not None
            dataset.records(with_responses=True).to_json(path)
            dataset.records(with_responses=True).to_datasets().save_to_disk(str(folder))
        for source, format_ in ((path, "argilla"), (folder, "argilla-dataset")):
            [one] = read(source, labeling, format_)
            assert (one.value, one.annotator, one.fields["text"]) == (value, me, TEXT)
            assert "u1" in one.ids
