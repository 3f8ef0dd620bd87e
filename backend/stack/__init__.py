"""Starts real annotation platforms on this machine, without Docker and without root: for the demo and the tests."""

from .annotator import Annotator, Submitted
from .argilla import ArgillaServer, ArgillaStack
from .argilla_annotator import ArgillaAnnotator, Response
from .argilla_page import Page
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
