"""Starts real annotation platforms on this machine, without Docker and without root: for the demo and the tests."""

from .annotator import Annotator, Submitted
from .argilla import ArgillaServer, ArgillaStack
from .label_studio import LabelStudioServer, LabelStudioStack
from .server import PlatformServer

__all__ = [
    "Annotator",
    "ArgillaServer",
    "ArgillaStack",
    "LabelStudioServer",
    "LabelStudioStack",
    "PlatformServer",
    "Submitted",
]
