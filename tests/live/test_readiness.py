"""A service that starts on a real Label Studio: alive at once, ready when the first queue is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from tests.live.label_studio_calls import api

RECIPE = """\
import time
from pathlib import Path

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.connectors.records import Record


def texts():
    for number in range(301):
        yield Record(str(number), {"text": f"review {number}"})
    while not Path("go on").exists():
        time.sleep(0.05)


recipe = Recipe(name="slow", labels=("good", "bad"), encoder="hashing", records=texts)
"""


@pytest.fixture
def product(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    (tmp_path / "slow.py").write_text(RECIPE)
    process = BackendProcess(str(tmp_path / "slow.py"), label_studio, tmp_path)
    yield process
    process.stop()


def test_it_is_alive_at_once_and_ready_with_the_first_queue(
    product: BackendProcess, label_studio: LabelStudioServer
) -> None:
    def ready() -> httpx.Response:
        return httpx.get(f"{product.url}/ready", trust_env=False, timeout=10)

    product.start()
    status = product.wait(lambda status: status["done"] == 300, "records are read")
    assert (status["state"], status["project"]) == ("starting: reading the data", None)
    assert (ready().status_code, ready().json()["detail"]) == (503, "starting: reading the data, 300 records")
    assert httpx.get(f"{product.url}/health", trust_env=False).status_code == 200
    (product.home / "go on").touch()
    seen = [product.wait(lambda status: status["project"], "a project")]
    while ready().status_code == 503:
        seen.append(product.status())
    assert all(one["records"] == 301 for one in seen), "never no records, while they are encoded and pushed"
    status = product.status()
    assert (status["not_ready"], bool(status["generation"])) == ("", True)
    found = api(label_studio, "GET", f"/api/projects/{status['project']['id']}?include=id,model_version").json()
    assert found["model_version"].startswith("nl-")
