"""The image: what it holds, how large it is, and who it may run as."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.stack_file import ROOT

from .stack import build, said_by

LIMIT = 1.6e9
BASE = 0.13e9
"""Bytes of python:3.11-slim. What stands in for it on machines that reach no registry may be larger."""
TOY = "{ echo text,label; for n in $(seq 40); do echo $n crashes,bug; echo why $n,question; done; } > /tmp/toy.csv"
KEPT = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", f"--volume={ROOT}/deploy/recipes:/recipes:ro")


def facts(image: str) -> dict[str, Any]:
    """What Docker knows of an image."""
    [found] = json.loads(said_by(["docker", "image", "inspect", image]))
    return dict(found)


def test_it_is_small(image: str) -> None:
    [base] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    size = BASE + facts(image)["Size"] - facts(base)["Size"]
    assert size < LIMIT, f"{size / 1e9:.2f} GB"


def test_it_says_what_it_is(image: str) -> None:
    labels = facts(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "nextlabel"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"]


def test_its_bill_of_materials_names_what_is_in_it(image: str) -> None:
    said = said_by(["docker", "run", "--rm", "--entrypoint", "cat", image, "/opt/nextlabel/sbom.cdx.json"])
    found = json.loads(said)
    assert found["bomFormat"] == "CycloneDX"
    names = {one["name"].lower() for one in found["components"]}
    assert {"torch", "transformers", "argilla", "label-studio-sdk", "fastapi"} <= names
    assert "opencv-python-headless" not in names


@pytest.mark.parametrize("user", ["10001:0", "1000680000:0"])
def test_any_user_of_group_0_can_work_and_no_other_can_read(image: str, user: str) -> None:
    volume = f"nextlabel-test-{secrets.token_hex(3)}"
    run = ["docker", "run", "--rm", f"--user={user}", *KEPT, f"--volume={volume}:/data", "--entrypoint=sh", image, "-c"]
    try:
        said_by([*run, f"umask 022; {TOY}; nextlabel evaluate /tmp/toy.csv --text text --label label"])
        assert said_by([*run, "ls -A /data; stat --format %A /data"]).split() == ["cache", "drwxrws---"]
    finally:
        said_by(["docker", "volume", "rm", volume])


def test_an_edit_of_ours_changes_one_small_layer(image: str, tmp_path: Path) -> None:
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("connectors", "backend", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "backend" / "__init__.py").open("a") as file:
        file.write("# edited\n")
    before = facts(image)["RootFS"]["Layers"]
    build("edited", tmp_path)
    after = facts(image)["RootFS"]["Layers"]
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
