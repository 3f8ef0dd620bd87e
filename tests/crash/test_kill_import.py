"""``nextlabel import`` is killed midway, and repeated. Every answer is on the platform once, and in the log once."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from nextlabel.backend.store import Store
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from tests.crash.conftest import Site
from tests.crash.people import LABELS, write_recipe
from tests.crash.test_kill import expire
from tests.size import count

RECORDS = count(60, long=500)
PEOPLE = 3
KILLS = count(3, long=20)


def test_kills_of_an_import_double_nothing_and_lose_nothing(site: Site, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "killed", texts=RECORDS)
    recipe.write_text(f"{recipe.read_text()}platform: {site.server.platform}\noverlap: {PEOPLE}\n")
    texts = (tmp_path / "texts.csv").read_text().splitlines()[1:]
    people = [f"person{number}-{secrets.token_hex(3)}" for number in range(PEOPLE)]
    wanted = {(text, who): LABELS[(n + m) % 3] for n, text in enumerate(texts) for m, who in enumerate(people)}
    rows = [f"{text},{who},{label}" for (text, who), label in wanted.items()]
    (tmp_path / "votes.csv").write_text("\n".join(["text,annotator,label", *rows]) + "\n")
    home = tmp_path / "home"
    environment = {**os.environ, **site.server.env(), "NEXTLABEL_HOME": str(home)}
    line = [sys.executable, "-m", "nextlabel.backend.cli", "import", str(recipe), str(tmp_path / "votes.csv")]
    line += ["--make-accounts", "--yes", "--json"]
    store = home / "killed" / "store.sqlite"
    for kill in range(KILLS):
        with subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while there(store) < len(wanted) * kill // KILLS + 1:
                assert process.poll() is None, "it ended before it was killed"
                time.sleep(0.05)
            process.kill()
        expire(store)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["imported"]["there"] == len(wanted)
    check(site, store, wanted)
    again = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert json.loads(again.stdout)["new"] == 0
    check(site, store, wanted)


def there(store: Path) -> int:
    if not store.exists():
        return 0
    with Store.open(store) as opened:
        return opened.import_counts().there


def check(site: Site, store: Path, wanted: dict[tuple[str, str], str]) -> None:
    """File, log and platform say the same, each answer once."""
    connectors: dict[str, type[LabelStudioConnector] | type[ArgillaConnector]] = {
        "label-studio": LabelStudioConnector,
        "argilla": ArgillaConnector,
    }
    with Store.open(store) as opened:
        project = opened.get_meta("project") or ""
        connector = connectors[site.server.platform].attach(site.server.url, site.server.token, project)
        names = {number: name.split("@")[0] for number, name in connector.accounts().items()}
        texts = {item.remote_id: item.record.fields["text"] for item in opened.records()}
        on_platform = [one for page in connector.annotated() for one in page.annotations]
        for answers in (on_platform, list(opened.answers(drafts=True))):
            found = [((texts[one.remote_id], names[one.annotator]), str(one.value[0])) for one in answers]
            assert len(found) == len(wanted)
            assert dict(found) == wanted
        assert {one.id for one in opened.answers(drafts=True)} == {one.id for one in on_platform}
        connector.close()
