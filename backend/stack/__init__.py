"""Starts real annotation platforms on this machine, without Docker and without root: for the demo and the tests."""

from .annotators import Annotator, ArgillaAnnotator, Page, Response, Submitted
from .argilla import ArgillaServer, ArgillaStack
from .label_studio import LabelStudioServer, LabelStudioStack
from .server import PlatformServer

__all__ = [
    "Annotator",
    "ArgillaAnnotator",
    "ArgillaServer",
    "ArgillaStack",
    "LabelStudioServer",
    "LabelStudioStack",
    "Page",
    "PlatformServer",
    "Response",
    "Submitted",
]
