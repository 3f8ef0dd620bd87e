"""The image that all of these tests run, built once."""

from __future__ import annotations

import pytest

from .stack import IMAGE, build, said_by


@pytest.fixture(scope="session")
def image() -> str:
    """The name of the image, built from the Dockerfile as it is."""
    said_by(["docker", "compose", "version"])
    build("first")
    return IMAGE
