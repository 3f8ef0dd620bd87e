"""A model served alone as the ML backend of a real Label Studio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from nextlabel.backend.stack.label_studio import LabelStudioServer
from nextlabel.backend.stack.processes import free_port
from tests.backend.frozen.conftest import classifier
from tests.live.label_studio_calls import api
from tests.waiting import wait_for

CONFIG = (
    '<View><Text name="t" value="$review"/><Choices name="c" toName="t"><Choice value="good"/><Choice value="bad"/>'
    "</Choices></View>"
)
TOKEN, PASSWORD = "a-token-of-the-test", "a-password-of-the-test"


def test_label_studio_shows_the_predictions_of_a_model_that_does_not_learn(
    label_studio: LabelStudioServer, tmp_path: Path
):
    folder, port = classifier(tmp_path, "BertForSequenceClassification", ("LABEL_0", "LABEL_1")), free_port()
    command = [sys.executable, "-m", "nextlabel.backend.cli", "serve", "--model", str(folder), "--port", str(port)]
    command += ["--label", "LABEL_0=bad", "--label", "LABEL_1=good"]
    env = {"NEXTLABEL_HOME": str(tmp_path / "home"), "NEXTLABEL_API_TOKEN": TOKEN, "NEXTLABEL_ML_PASSWORD": PASSWORD}
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=os.environ | env, stderr=log) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(address) or process.poll() is not None)
            project = api(label_studio, "POST", "/api/projects", json={"title": "alone", "label_config": CONFIG}).json()
            tasks = [{"review": f"word{number} word{number + 1}"} for number in range(5)]
            api(label_studio, "POST", f"/api/projects/{project['id']}/import", json=tasks)
            backend = {"project": project["id"], "url": address, "title": "a model", "auth_method": "BASIC_AUTH"}
            backend |= {"basic_auth_user": "nextlabel", "basic_auth_pass": PASSWORD}
            made = api(label_studio, "POST", "/api/ml", json=backend).json()
            assert made["state"] == "CO", made
            listed = api(label_studio, "GET", f"/api/tasks?project={project['id']}&fields=all").json()["tasks"]
            ids = [one["id"] for one in listed]
            api(
                label_studio,
                "POST",
                f"/api/dm/actions?id=retrieve_tasks_predictions&project={project['id']}",
                json={"selectedItems": {"all": False, "included": ids}},
            )
            found = wait_for(lambda: stored(label_studio, project["id"], len(ids)))
            said = httpx.post(
                f"{address}/api/predict",
                json={"texts": [one["review"] for one in tasks]},
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=60,
            ).json()["predictions"]
            assert [found[number] for number in ids] == [one["label"] for one in said]
            assert set(found.values()) <= {"good", "bad"}
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "log").read_text()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def stored(server: LabelStudioServer, project: int, count: int) -> dict[int, str]:
    """Task -> the label that is stored as its prediction, once all have one."""
    predictions = api(server, "GET", f"/api/predictions?project={project}").json()
    found = {one["task"]: one["result"][0]["value"]["choices"][0] for one in predictions}
    return found if len(found) == count else {}
