"""Images on real platforms: what an annotator's page is given can be loaded, and is the image that was pushed."""

from __future__ import annotations

import base64
import http.server
import io
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image

from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaServer, LabelStudioServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, QueueEntry, Record

MEMES = Labeling(
    LabelKind.SINGLE, ("sport", "politics"), (Field("text"), Field("image", FieldKind.IMAGE)), name="label"
)


def png(colour: str, side: int = 40) -> bytes:
    written = io.BytesIO()
    Image.effect_noise((side, side), 80).convert("RGB").save(written, "PNG")
    Image.new("RGB", (side, side), colour).save(written, "PNG")
    return written.getvalue()


@pytest.fixture
def pictures() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server with one picture: its address, and path -> bytes."""
    served = {"/a%20b.png": png("red")}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in served else 404)
            self.end_headers()
            self.wfile.write(served.get(self.path, b""))

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", served
        server.shutdown()
        thread.join()


def load(address: str) -> bytes:
    """What a browser gets for the address of an <img>."""
    if address.startswith("data:"):
        head, _, body = address.partition(",")
        assert head == "data:image/png;base64"
        return base64.b64decode(body, validate=True)
    return httpx.get(address, trust_env=False).raise_for_status().content


def memes(address: str) -> tuple[list[Record], dict[str, bytes]]:
    """Records with a small and a large picture as data, and one over http; and the bytes of each by its text."""
    noise = io.BytesIO()
    Image.effect_noise((900, 900), 90).save(noise, "PNG")
    wanted = {"small": png("blue"), "large": noise.getvalue()}
    assert len(wanted["large"]) > 500_000
    records = [
        Record(f"u-{name}", {"text": name, "image": f"data:image/png;base64,{base64.b64encode(data).decode()}"})
        for name, data in wanted.items()
    ]
    return [*records, Record("u-web", {"text": "web", "image": f"{address}/a%20b.png"})], wanted


def test_an_annotator_of_label_studio_sees_the_image_that_was_pushed(
    label_studio: LabelStudioServer,
    annotators: list[str],
    label_studio_project: Callable[..., LabelStudioConnector],
    pictures: tuple[str, dict[str, bytes]],
) -> None:
    address, served = pictures
    records, wanted = memes(address)
    connector = label_studio_project(MEMES)
    ids = connector.push(records)
    assert connector.push(records) == ids
    with Annotator(label_studio.url, annotators[0], connector.project.id) as annotator:
        for number in ids.values():
            shown = annotator.open(int(number))["data"]
            expected = {**wanted, "web": served["/a%20b.png"]}[shown["text"]]
            assert load(shown["image"]) == expected
        assert annotator.next_task() is not None
    assert {one.record.uid: one.record for one in connector.records()} == {one.uid: one for one in records}


def test_an_annotator_of_argilla_sees_the_image_that_was_pushed(
    argilla: ArgillaServer,
    argilla_users: list[str],
    argilla_dataset: Callable[..., ArgillaConnector],
    pictures: tuple[str, dict[str, bytes]],
) -> None:
    address, served = pictures
    records, wanted = memes(address)
    connector = argilla_dataset(MEMES)
    assert len(connector.push(records)) == len(records)
    with ArgillaAnnotator(argilla.url, argilla_users[0], connector.project.id) as annotator:
        page, total = annotator.pending()
    assert total == len(records)
    for item in page:
        expected = {**wanted, "web": served["/a%20b.png"]}[item["fields"]["text"]]
        assert load(item["fields"]["image"]) == expected


def test_a_record_without_an_image_is_one_like_any_other_on_argilla(
    argilla: ArgillaServer, argilla_users: list[str], argilla_dataset: Callable[..., ArgillaConnector]
) -> None:
    connector = argilla_dataset(MEMES)
    image = "data:image/png;base64,iVBORw0KGgo="
    records = [Record("both", {"text": "words", "image": image}), Record("words", {"text": "alone", "image": ""})]
    placed = connector.push(records)
    assert placed.keys() == {"both", "words"}
    assert {one.record.uid: one.record for one in connector.records()} == {one.uid: one for one in records}
    connector.publish("nl-1", [QueueEntry(placed[uid], rank, None) for rank, uid in enumerate(("words", "both"))])
    with ArgillaAnnotator(argilla.url, argilla_users[0], connector.project.id) as annotator:
        page, _ = annotator.pending()
    assert sorted(item["fields"].get("text") for item in page) == ["alone", "words"]  # without a link Argilla shuffles


@pytest.mark.parametrize("image", ["memes/1.png", "/tmp/1.png", "file:///1.png"])
def test_files_that_no_browser_loads_are_refused_and_keep_no_other_out(
    image: str, label_studio_project: Callable[..., LabelStudioConnector]
) -> None:
    connector = label_studio_project(MEMES)
    good = Record("good", {"text": "x", "image": "data:image/png;base64,iVBORw0KGgo="})
    with pytest.raises(RecordsRejected, match="serve them over http"):
        connector.push([good, Record("bad", {"text": "x", "image": image})])
    assert [one.record for one in connector.records()] == [good]
