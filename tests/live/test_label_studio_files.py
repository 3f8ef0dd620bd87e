"""What Label Studio serves itself is read with its token: pictures that were uploaded, and texts at addresses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from nextlabel.backend.data.image_files import read_image
from nextlabel.backend.data.image_rules import ImageRules, UnreadableImage
from nextlabel.backend.data.remote_texts import read_text
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import image_rules
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from tests.live.label_studio_calls import api

PICTURES = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="red"/><Choice value="blue"/></Choices></View>'
)
TEXTS = PICTURES.replace("Image", "Text").replace("image", "text").replace('$text"', '$text" valueType="url"')


def picture(colour: str) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(written, "PNG")
    return written.getvalue()


def project(server: LabelStudioServer, config: str) -> int:
    made = api(server, "POST", "/api/projects/", json={"title": "files", "label_config": config}).json()
    return int(made["id"])


def upload(server: LabelStudioServer, number: int, files: dict[str, bytes]) -> dict[str, str]:
    """Put ``files`` (name -> content) on the server; their addresses, as tasks have them."""
    sent = [(name, (name, content)) for name, content in files.items()]
    path = f"/api/projects/{number}/import"
    api(server, "POST", path, params={"commit_to_project": "false"}, files=sent)
    stored = api(server, "GET", f"/api/projects/{number}/file-uploads", params={"all": "true"}).json()
    found = {one["file"].rpartition("-")[2]: f"/data/{one['file']}" for one in stored}
    return {name: found[name] for name in files}


def tasks(server: LabelStudioServer, number: int, data: list[dict[str, Any]]) -> list[int]:
    path = f"/api/projects/{number}/import"
    return list(api(server, "POST", path, params={"return_task_ids": "true"}, json=data).json()["task_ids"])


def rules(server: LabelStudioServer, number: int, token: str = "") -> ImageRules:
    settings = Settings(label_studio_url=server.url, label_studio_api_key=SecretStr(token or server.token))
    recipe = Recipe(name="files", labels=("red", "blue"), reader=lambda _: None, project=str(number))  # type: ignore[arg-type,return-value]
    return image_rules(recipe, settings)


def test_pictures_that_were_uploaded_are_read_with_the_token(label_studio: LabelStudioServer) -> None:
    number = project(label_studio, PICTURES)
    addresses = upload(label_studio, number, {"red.png": picture("red"), "blue.png": picture("blue")})
    allowed = rules(label_studio, number)
    for reader in (allowed, allowed.for_requests()):
        red, blue = (read_image(addresses[f"{colour}.png"], 32, reader) for colour in ("red", "blue"))
        assert (red.getpixel((5, 5)), blue.getpixel((5, 5))) == ((255, 0, 0), (0, 0, 255))
    # Label Studio calls itself localhost where nobody told it its address.
    assert read_image(f"http://localhost:8080{addresses['red.png']}", 32, allowed).getpixel((5, 5)) == (255, 0, 0)
    for reader in (ImageRules(), rules(label_studio, number, "not-the-token")):
        with pytest.raises(UnreadableImage):
            read_image(addresses["red.png"], 32, reader)
    with pytest.raises(UnreadableImage, match="HTTP 404"):
        read_image("s3://bucket/key.png", 32, allowed)


@pytest.fixture
def attached(label_studio: LabelStudioServer) -> Iterator[LabelStudioConnector]:
    number = project(label_studio, TEXTS)
    connector = LabelStudioConnector.attach(label_studio.url, label_studio.token, number)
    connector.reads_addresses(partial(read_text, rules=rules(label_studio, number)))
    yield connector
    connector.close()


def test_texts_at_addresses_are_read_and_what_is_missing_holds_nobody_up(
    label_studio: LabelStudioServer, attached: LabelStudioConnector
) -> None:
    number = int(attached.project.id)
    text = "Grüße, it crashes\r\nwhenever I start it"
    address = upload(label_studio, number, {"one.txt": text.encode()})["one.txt"]
    here, gone = tasks(label_studio, number, [{"data": {"text": address}}, {"data": {"text": f"{address}.old"}}])
    [read] = attached.records()
    assert (read.remote_id, read.record.fields) == (str(here), {"text": text})
    assert "unreachable" in attached.unread()[str(gone)]
    api(label_studio, "PATCH", f"/api/tasks/{gone}/", json={"data": {"text": address}})
    assert [one.record.fields["text"] for one in attached.read_again()] == [text]
    assert attached.unread() == {}


def test_texts_at_addresses_are_learned(label_studio: LabelStudioServer, tmp_path: Path) -> None:
    number = project(label_studio, TEXTS)
    words = {"red": "the program crashes whenever I start it", "blue": "it is lovely and I enjoy it"}
    files = {f"{label}{at}.txt": f"{text} {at}".encode() for at in range(6) for label, text in words.items()}
    addresses = upload(label_studio, number, files)
    ids = tasks(label_studio, number, [{"data": {"text": addresses[name]}} for name in files])
    for task, name in list(zip(ids, files, strict=True))[:8]:
        value = {"choices": [name.rstrip("0123456789.tx")]}
        result = [{"from_name": "label", "to_name": "text", "type": "choices", "value": value}]
        api(label_studio, "POST", f"/api/tasks/{task}/annotations", json={"result": result})
    recipe = tmp_path / "files.yaml"
    recipe.write_text(f"project: '{number}'\nencoder: hashing\naudit_share: 0\n")
    process = BackendProcess(str(recipe), label_studio, tmp_path / "home")
    process.start()
    try:
        process.wait(lambda status: status["generation"] and status["labelled"] == 8, "a queue that knows the answers")
        process.wait_settled()
        version = process.status()["generation"]
        stored = api(label_studio, "GET", "/api/predictions", params={"project": number}).json()
    finally:
        process.stop()
    names = dict(zip(ids, files, strict=True))
    told = {one["task"]: one["result"][0]["value"]["choices"] for one in stored if one["model_version"] == version}
    assert {names[task]: [names[task].rstrip("0123456789.tx")] for task in ids[8:]} == {
        names[task]: label for task, label in told.items()
    }
