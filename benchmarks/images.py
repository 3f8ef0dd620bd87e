"""10,000 images in a project of Label Studio: opening its task list, with images inside the tasks and at our addresses.

Both projects are on one server, with the same made-up pictures, as large as the copies that nextlabel makes; `--edge`
makes others, such as photographs that somebody imported as they were. Measured is the call that the task list makes
for its first 30 tasks (the first one after the import, and the median of those that follow), and, where there is a
Chromium, how long the page takes until its rows with their thumbnails are there, over a line of so many Mbit/s.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.app import create_app
from nextlabel.backend.data.image_files import data_url
from nextlabel.backend.server import BackgroundServer, listen
from nextlabel.backend.service.front import Front
from nextlabel.backend.service.image_copies import ImageCopies
from nextlabel.backend.service.ports import Backend
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import LabelStudioServer, LabelStudioStack
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.basics import batched
from nextlabel.connectors.image_addresses import AS_THEY_ARE, ImageAddresses
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record

LABELING = Labeling(LabelKind.SINGLE, ("funny", "not"), (Field("text"), Field("image", FieldKind.IMAGE)))
PAGE = 30
CALLS = 5
PICTURES = 200
GOAL_S, TODAY_S = 3.0, 15.0
CHROMIUM = os.environ.get("NEXTLABEL_CHROMIUM") or shutil.which("chromium") or ""
USER, PASSWORD = "images@example.com", "a passphrase for the benchmark"


def main(argv: list[str]) -> dict[str, Any]:
    """Measure both ways and write the result."""
    parser = argparse.ArgumentParser(prog="benchmarks images")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--edge", type=int, default=384, help="shorter side of a picture, in pixels")
    parser.add_argument("--mbits", type=float, default=20.0, help="of the line between the browser and the servers")
    options = parser.parse_args(argv)
    pictures = made_up(PICTURES, options.edge)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(LabelStudioStack().start(say=print))
        listener = stack.enter_context(listen("127.0.0.1", 0))
        copies = ImageCopies(folder, "memes", lambda: "key", f"http://127.0.0.1:{listener.getsockname()[1]}")
        app = create_app(cast(Backend, Front(copies)), Settings(home=folder / "home"))
        stack.enter_context(BackgroundServer(app, listener))
        ways = {
            "data:": pushed(server, pictures, options.images, AS_THEY_ARE),
            "signed": pushed(server, pictures, options.images, copies),
        }
        found = {way: listed(server, project, options.images) for way, project in ways.items()}
        shown = opened(server, ways, options.mbits)
    for way in found:
        found[way] |= {"page_s": shown.get(way)}
    return report(options, pictures, found)


def report(options: argparse.Namespace, pictures: list[bytes], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The table, and what lands in the file."""
    before, after = found["data:"], found["signed"]

    def row(name: str, key: str, form: Callable[[float], str]) -> tuple[str, ...]:
        if before[key] is None:
            return (name, "-", "-", "-")
        return (name, form(before[key]), form(after[key]), f"{before[key] / after[key]:.1f}")

    rows = [
        row("the list's call, the first after the import, s", "first_s", "{:.2f}".format),
        row("the list's call, s", "call_s", "{:.2f}".format),
        row("what it answers, MB", "mbytes", "{:.2f}".format),
        row(f"the page, 30 rows with thumbnails, {options.mbits:g} Mbit/s, s", "page_s", "{:.1f}".format),
    ]
    result = {
        "images": options.images,
        "kbytes": statistics.mean(map(len, pictures)) / 1000,
        "mbits": options.mbits,
        "before": before,
        "after": after,
        "goal_s": GOAL_S,
        "reached": max(after["first_s"], after["page_s"] or 0) < GOAL_S,
    }
    return publish("images", result, ("what", "data:", "signed", "ratio"), rows)


def made_up(count: int, edge: int) -> list[bytes]:
    """JPEGs of soft shapes with the grain of a photograph."""
    import io

    from PIL import Image

    found = []
    for number in range(count):
        draw = np.random.default_rng(number)
        size = (edge, edge * 4 // 3)
        soft = Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        grain = np.asarray(soft, np.int16) + draw.integers(-18, 18, (size[1], size[0], 3))
        written = io.BytesIO()
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(written, "JPEG", quality=85)
        found.append(written.getvalue())
    return found


def records(pictures: list[bytes], count: int) -> Iterator[Record]:
    """Each with a picture of its own: a comment in the file tells it from the others."""
    for number in range(count):
        comment = f"{number:08d}".encode()
        data = pictures[number % len(pictures)]
        data = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
        yield Record(f"meme-{number}", {"text": f"meme {number}", "image": data_url(data, "image/jpeg")})


def pushed(server: LabelStudioServer, pictures: list[bytes], count: int, images: ImageAddresses) -> str:
    """The id of a project that has all of them."""
    connector = LabelStudioConnector.create(server.url, server.token, NewProject("memes", LABELING))
    connector.images = images
    start, done = time.perf_counter(), 0
    for batch in batched(records(pictures, count), 1000):
        done += len(connector.push(batch))
        print(f"{done:,} of {count:,} pushed, {time.perf_counter() - start:.0f} s")
    connector.close()
    if done != count:
        raise SystemExit("tasks were lost: this is no measurement")
    return connector.project.id


def listed(server: LabelStudioServer, project: str, count: int) -> dict[str, Any]:
    """How long the task list's own call takes, as its page makes it: a view, its first page, 30 tasks."""
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Token {server.token}"}, timeout=600, trust_env=False
    ) as client:
        view = {"title": "Default", "type": "list", "target": "tasks"}
        made = client.post("/api/dm/views/", json={"project": int(project), "data": view}).raise_for_status().json()
        params = {"page": 1, "page_size": PAGE, "view": made["id"], "interaction": "filter", "project": project}
        seconds = []
        for _ in range(CALLS):
            start = time.perf_counter()
            answer = client.get("/api/tasks", params=params).raise_for_status()
            seconds.append(time.perf_counter() - start)
            if answer.json()["total"] != count or len(answer.json()["tasks"]) != PAGE:
                raise SystemExit("not all tasks are listed: this is no measurement")
    return {
        "first_s": seconds[0],
        "call_s": statistics.median(seconds[1:]),
        "mbytes": len(answer.content) / 1e6,
    }


def opened(server: LabelStudioServer, ways: dict[str, str], mbits: float) -> dict[str, float]:
    """Seconds until the task list stands in a browser, its scripts loaded before; nothing without a Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if not CHROMIUM:
        return {}
    server.add_user(USER, PASSWORD)
    found: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 1400, "height": 2400}).new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{server.url}/user/login/")
        page.fill("input[name=email]", USER)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/login/" not in url)
        page.goto(f"{server.url}/projects/{ways['signed']}/data")  # scripts are in the browser's cache from now on
        page.wait_for_function(_ROWS)
        line = page.context.new_cdp_session(page)
        line.send("Network.enable")
        line.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 20, "downloadThroughput": mbits * 125_000, "uploadThroughput": 125_000},
        )
        for way, project in [*ways.items()] * 2:
            start = time.perf_counter()
            page.goto(f"{server.url}/projects/{project}/data", wait_until="commit")
            page.wait_for_function(_ROWS)
            found[way] = min(found.get(way, 1e9), time.perf_counter() - start)
        browser.close()
    return found


_ROWS = """() => {
  const shown = [...document.querySelectorAll('img')].filter(one => /^data:image.jpeg|.images./.test(one.src));
  return shown.length >= 10 && shown.every(one => one.complete && one.naturalWidth > 0);
}"""
