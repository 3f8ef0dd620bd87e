"""The five cases, as their pages in docs/cases tell them: every command of a page, in small."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.stack import LabelStudioServer
from tests.backend.multimodal.conftest import clip as clip
from tests.live import cases_data
from tests.pages import Reader

PAGES = Path(__file__).parents[2] / "docs" / "cases"
FEW_TRIALS = "--trials 2 --outer 2 --inner 2 --epochs 1 "
SMALLER = {
    "--start 200 ": "--start 20 ",
    "--budget 825 ": "--budget 40 ",
    "--batch 25 ": "--batch 20 ",
    "--seeds 10 ": "--seeds 1 --jobs 1 ",
    "--encoder bert-base-uncased,roberta-base ": "--encoder bert-base-uncased " + FEW_TRIALS,
}
"""Sizes of a project that are too much for a test, and what is put in their place."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    return cases_data.hub(tmp_path_factory.mktemp("hub"), clip)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, made_encoders: Path) -> Path:
    """Where commands of all pages find what one of them, or a project, has made of a model."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "evaluate").mkdir()
    for place in (folder, folder / "evaluate"):
        for name in ("readings", "tokenizers", "onnx"):
            (made_encoders / name).mkdir(exist_ok=True)
            (place / name).symlink_to(made_encoders / name)
    return folder


@pytest.fixture
def reader(
    label_studio: LabelStudioServer, hub: Path, cache: Path, made_encoders: Path, tmp_path: Path
) -> Iterator[Reader]:
    env = {"HF_HOME": str(hub), "NEXTLABEL_LOG_LEVEL": "warning", "NEXTLABEL_CACHE": str(cache)}
    home = tmp_path / ".nextlabel"
    home.mkdir(mode=0o700)
    (home / "encoders").symlink_to(made_encoders)
    somebody = Reader(tmp_path, label_studio, Path(sys.executable).parent, cases_data.people, env)
    yield somebody
    somebody.stop()


@pytest.mark.parametrize("case", sorted(page.stem for page in PAGES.glob("*.md")))
def test_the_page_of_a_case_can_be_followed(case: str, reader: Reader) -> None:
    cases_data.MADE[case](reader.folder)
    page = (PAGES / f"{case}.md").read_text(encoding="utf-8")
    for size, small in SMALLER.items():
        page = page.replace(size, small)
    reader.read(page)
