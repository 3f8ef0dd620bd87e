"""Images: whatever a folder or a data set holds becomes a small RGB picture, or is told."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nextlabel.backend.data.image_files import LONGEST, data_url, read_image
from nextlabel.backend.data.image_rules import SHOWN, ImageRules, UnreadableImage

RED, BLUE = (255, 0, 0), (0, 0, 255)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return found


def problem(source: str | bytes, rules: ImageRules | None = None) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_image(source, 32, rules)
    return caught.value.problem.kind


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_common_formats_are_read(kind: str) -> None:
    picture = read_image(saved(halves(), kind), 32)
    assert (picture.mode, picture.size) == ("RGB", (40, 20))
    left, right = pixel(picture, 5, 10), pixel(picture, 35, 10)
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


@pytest.mark.parametrize(
    ("image", "at_top_left"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
        (Image.new("L", (8, 8), 100), (100, 100, 100)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (halves((8, 8)).quantize(4), RED),
        (Image.fromarray(np.full((8, 8), 32768, np.uint16)), (127, 127, 127)),
    ],
    ids=["rgba", "grey with alpha", "grey", "bits", "palette", "16 bit grey"],
)
def test_every_mode_becomes_rgb(image: Image.Image, at_top_left: tuple[int, int, int]) -> None:
    picture = read_image(saved(image), 32)
    assert picture.mode == "RGB"
    assert np.abs(np.subtract(pixel(picture, 0, 0), at_top_left)).max() <= 1


def test_a_palette_with_a_transparent_colour_stands_on_white() -> None:
    image = halves((8, 8)).quantize(4)
    picture = read_image(saved(image, "GIF", transparency=image.getpixel((0, 0))), 32)
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert pixel(picture, 7, 0)[2] > 200


def test_cmyk_is_converted() -> None:
    picture = read_image(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), 32)
    assert pixel(picture, 4, 4)[0] > 200 > 60 > pixel(picture, 4, 4)[1]


def test_of_an_animation_the_first_picture_counts() -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    data = saved(first, "GIF", save_all=True, append_images=[second])
    assert pixel(read_image(data, 32), 0, 0)[0] > 200


def test_a_photograph_is_turned_as_its_exif_data_say() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    picture = read_image(saved(halves(), "JPEG", exif=exif, quality=95), 32)
    assert picture.size == (20, 40)
    assert pixel(picture, 10, 5)[0] > 200, "what was left is on top"


def test_exif_data_that_are_rubbish_do_no_harm() -> None:
    picture = read_image(saved(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x7f" * 40), 32)
    assert picture.size == (40, 20)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((3000, 1500), (64, 32)), ((20, 10), (20, 10)), ((4000, 3), (400, 4)), ((3, 4000), (4, 400)), ((1, 1), (4, 4))],
)
def test_the_shorter_side_is_brought_down_and_no_strip_or_dot_blows_up(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert read_image(saved(Image.new("RGB", size)), 32).size == expected
    assert max(expected) <= LONGEST * min(expected)


def test_a_jpeg_is_made_smaller_while_it_is_decoded() -> None:
    data = saved(Image.new("RGB", (3000, 2000), RED), "JPEG")
    rules = ImageRules(max_pixels=200_000)  # a sixth of it each way fits, the whole does not
    assert read_image(data, 200, rules).size == (300, 200)
    assert problem(saved(Image.new("RGB", (3000, 2000)), "PNG"), rules) == "too large"


def test_a_decompression_bomb_is_refused() -> None:
    data = saved(Image.new("1", (20_000, 20_000)))
    assert len(data) < 100_000
    assert problem(data) == "too large"
    assert problem(saved(Image.new("1", (10_000, 10_000)))) == "too large", "where Pillow only warns"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "broken"),
        (b"GIF89a", "broken"),
        (b"not an image at all", "broken"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "broken"),
        (saved(halves((400, 400)), "JPEG")[:700], "broken"),
        (saved(halves((200, 200)))[:150], "broken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "broken"),
        (b"\0" * 30_000_000, "too large"),
    ],
    ids=["empty", "header only", "text", "postscript", "cut jpeg", "cut png", "svg", "huge file"],
)
def test_what_is_no_image_is_told(data: bytes, kind: str) -> None:
    assert problem(data) == kind


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_its_end_is_what_browsers_show_of_it(progressive: bool) -> None:
    noise = Image.effect_noise((200, 200), 80).convert("RGB")
    whole = saved(noise, "JPEG", progressive=progressive)
    for lacks in (1, 2, 100):
        picture = read_image(whole[:-lacks], 200)
        upper = (0, 0, 200, 150)
        assert np.array_equal(np.asarray(picture.crop(upper)), np.asarray(read_image(whole, 200).crop(upper)))
    if not progressive:
        assert problem(whole[: len(whole) // 3]) == "broken", "most of it would be one colour"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "this is HEIC, as phones take it, which is not read: convert it to JPEG",
        ),
        (b"<?xml version='1.0'?><svg/>", "this is SVG, a drawing in words, which is not read: convert it to PNG"),
    ],
)
def test_what_is_a_picture_and_not_read_is_told_so(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableImage, match=says):
        read_image(data, 32)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_file_gives_a_picture_or_a_problem_and_nothing_else(place: int, value: int) -> None:
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        data = bytearray(saved(halves(), kind))
        data[place % len(data)] = value
        with contextlib.suppress(UnreadableImage):  # the only error that may come
            assert read_image(bytes(data), 32).mode == "RGB"


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_a_data_url_in_every_spelling() -> None:
    url = data_url(saved(halves()))
    for spelling in (url, url.replace("data:", "DATA:"), url.replace("+", "%2B"), url[:60] + "\n" + url[60:]):
        assert read_image(spelling, 32).size == (40, 20)
    ppm = "data:image/x-portable-pixmap,P3%0A1%201%0A255%0A255%200%200%0A"
    assert read_image(ppm, 32).getpixel((0, 0)) == RED


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:image/png;base64,###", "data:,", "data:text/html,hi"])
def test_a_data_url_that_is_broken_is_told(url: str) -> None:
    assert problem(url) == "broken"


def test_a_data_url_that_is_too_large_is_not_shown_in_full() -> None:
    with pytest.raises(UnreadableImage) as caught:
        read_image("data:image/png;base64," + "A" * 4000, 32, ImageRules(max_bytes=1000))
    assert caught.value.problem.kind == "too large"
    assert len(caught.value.problem.address) < SHOWN + 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "a.png").write_bytes(saved(halves()))
    (tmp_path / "secret.png").write_bytes(saved(halves()))
    (tmp_path / "shown" / "way out").symlink_to(tmp_path)
    return tmp_path


def test_files_are_read_below_the_roots_only(folder: Path) -> None:
    rules = ImageRules(roots=(folder / "elsewhere", folder / "shown"))
    for path in ("a.png", "./a.png", str(folder / "shown" / "a.png")):
        assert read_image(path, 32, rules).size == (40, 20)
    for path in ("../secret.png", "way out/secret.png", str(folder / "secret.png"), "/etc/passwd"):
        assert problem(path, rules) == "refused", path
    for path in ("b.png", "", ".", "a\0b", "x" * 5000):
        assert problem(path, rules) == "missing", path


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "shown" / "pipe.png")
    assert problem("pipe.png", ImageRules(roots=(folder / "shown",))) == "missing"


def test_files_are_named_as_addresses_and_as_on_windows(folder: Path) -> None:
    (folder / "shown" / "a b.png").write_bytes(saved(halves()))
    rules = ImageRules(roots=(folder,))
    place = f"{folder}/shown/a%20b.png"
    for address in (f"file://{place}", f"FILE://localhost{place}", "shown\\a.png", ".\\shown\\a b.png"):
        assert read_image(address, 32, rules).size == (40, 20), address
    assert problem("shown\\..\\..\\x.png", rules) == "refused"
    with pytest.raises(UnreadableImage, match="a path of a Windows machine"):
        read_image("C:\\memes\\a.png", 32, rules)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "file://host/a.png", "ftp://host/a.png", "gopher://host/"])
def test_other_schemes_are_refused(address: str) -> None:
    assert problem(address, ImageRules(roots=(Path("/nowhere"),))) == "refused"


def test_a_prefix_leads_to_a_folder_and_not_out_of_it(folder: Path) -> None:
    prefix = "/data/local-files/?d="
    rules = ImageRules(roots=(), prefixes={prefix: f"{folder / 'shown'}/", "/data/": "/nowhere/"})
    for allowed in (rules, rules.for_requests()):
        assert read_image(f"{prefix}a.png", 32, allowed).size == (40, 20)
        for way_out in ("../secret.png", "%2e%2e/secret.png", "//etc/passwd/../../secret.png"):
            assert problem(prefix + way_out, allowed) in ("refused", "missing"), way_out
    (folder / "shown" / "a b#.png").write_bytes(saved(halves()))
    assert read_image(f"{prefix}a%20b%23.png", 32, rules).size == (40, 20)


def test_requests_reach_no_file_of_this_machine(folder: Path) -> None:
    rules = ImageRules(roots=(folder,)).for_requests()
    assert problem("shown/a.png", rules) == "refused"
    assert problem(str(folder / "secret.png"), rules) == "refused"
    assert problem("http://127.0.0.1/", rules) == "refused"
    assert read_image(data_url(saved(halves())), 32, rules).size == (40, 20)


@pytest.mark.parametrize("turn", [lambda rules: ImageRules(files=False), lambda rules: ImageRules(urls=False)])
def test_a_source_can_be_turned_off(turn: Callable[[ImageRules], ImageRules]) -> None:
    rules = turn(ImageRules())
    assert problem("a.png" if not rules.files else "http://example.com/a.png", rules) == "refused"
