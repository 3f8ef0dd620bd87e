"""Images at signed addresses: who may see what, and what becomes of the copies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.data.image_files import data_url
from nextlabel.backend.service.image_copies import KINDS, ImageCopies
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Record

URL = "https://labels.example.org"
JPEG = data_url(b"the bytes of a picture", "image/jpeg")
OTHER = data_url(b"those of another", "image/png")


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("store") / "store.sqlite") as opened:
        opened.add_records([Record("one", {"text": "a", "image": JPEG}), Record("two", {"text": "b", "image": OTHER})])
        yield opened


def copies(
    folder: Path, *, project: str = "memes", key: str = "k", url: str = URL, store: Store | None = None
) -> ImageCopies:
    return ImageCopies(folder, project, lambda: key, url, store)


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_image_comes_back_from_its_address_as_it_was(tmp_path: Path, kind: str) -> None:
    image = data_url(b"\0\xff some bytes", kind)
    found = copies(tmp_path).shown(image)
    assert re.fullmatch(rf"{URL}/images/[0-9a-f]{{32}}-[0-9a-f]{{32}}\.\w+", found)
    assert copies(tmp_path).known(found) == image
    assert copies(tmp_path, url="http://moved.example.org:9090/memes").known(found) == image, (
        "wherever it is served now"
    )
    assert copies(tmp_path, url="").known(found) == image
    copy = copies(tmp_path).find(found.rpartition("/")[2])
    assert copy is not None
    assert (copy.data, copy.kind) == (b"\0\xff some bytes", kind)


@pytest.mark.parametrize(
    "image",
    [
        "",
        "https://example.org/cat.png",
        "s3://bucket/cat.png",
        data_url(b"<svg onload='alert(1)'/>", "image/svg+xml"),
        data_url(b"<html>", "text/html"),
        "data:image/png,abc",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,AAE",
        "data:image/png;base64,",
        "data:image/png;base64, AAEC",
        "data:IMAGE/png;base64,AAEC",
    ],
)
def test_what_is_no_picture_of_dots_written_our_way_stays_as_it_is(tmp_path: Path, image: str) -> None:
    assert copies(tmp_path).shown(image) == image
    assert copies(tmp_path).known(image) == image
    assert not list(tmp_path.iterdir())


def test_without_an_address_images_stay_inside(tmp_path: Path) -> None:
    assert copies(tmp_path, url="").shown(JPEG) == JPEG
    assert not copies(tmp_path, url="").used


def test_only_what_this_project_signed_is_found(tmp_path: Path) -> None:
    ours = copies(tmp_path)
    name = ours.shown(JPEG).rpartition("/")[2]
    digest, signature, ending = re.split(r"[-.]", name)
    forged = f"{'0' * 31}{'1' if signature.endswith('0') else '0'}"
    (tmp_path / "secret.jpg").write_bytes(b"not for strangers")
    (tmp_path / f"{digest}-{forged}.{ending}").write_bytes(b"the bytes of a picture")
    for wrong in (
        "",
        "secret.jpg",
        "../secrets.json",
        f"../{tmp_path.name}/{name}",
        f"./{name}",
        f"{name}/",
        f"{name}\n",
        name.upper(),
        f"{digest}-{forged}.{ending}",
        f"{digest}-{signature}.png",
        f"{digest}.{ending}",
        f"{digest}-{signature}.{ending}\0",
        f"{digest}-{signature}é.{ending}",
    ):
        assert ours.find(wrong) is None, wrong
        address = f"{URL}/images/{wrong}"
        assert wrong.endswith("\n") or ours.known(address) == address
    assert ours.find(name) is not None
    assert copies(tmp_path, key="another").find(name) is None
    assert copies(tmp_path, project="other").find(name) is None
    for address in (f"ftp://h/images/{name}", f"{URL}/pictures/{name}", f"{URL}/images/x/{name}", "http://[/images/"):
        assert ours.known(address) == address
    assert ours.known(f"{URL}/images/{name}?download=1") == JPEG


def test_the_folder_is_filled_from_the_store_and_keeps_no_more_than_it(tmp_path: Path, store: Store) -> None:
    found = copies(tmp_path, store=store)
    assert found.fill() == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {found.shown(image).rpartition("/")[2] for image in (JPEG, OTHER)}
    store.erase(["two"], lambda record: [b"x" * 16])
    assert found.fill() == 1
    assert {path.name for path in tmp_path.iterdir()} == {found.shown(JPEG).rpartition("/")[2]}


def test_a_copy_that_is_missing_or_spoiled_is_written_again_when_it_is_asked_for(tmp_path: Path, store: Store) -> None:
    address = copies(tmp_path).shown(JPEG)
    path = tmp_path / address.rpartition("/")[2]
    path.write_bytes(b"half of it")
    assert copies(tmp_path).find(path.name) is None, "there is no store to look into"
    assert copies(tmp_path, store=store).known(address) == JPEG
    path.unlink()
    again = copies(tmp_path, store=store)
    assert again.known(address) == JPEG
    path.unlink()
    assert again.find(path.name) is None, "the store is not searched for each request"


def test_what_goes_back_inside_is_known_until_the_folder_is_cleared(tmp_path: Path) -> None:
    found = copies(tmp_path)
    address = found.shown(JPEG)
    assert found.inside().shown(found.inside().known(address)) == JPEG
    assert found.inside().used
    found.clear()
    assert not found.inside().used
