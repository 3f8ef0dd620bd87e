"""Starts real annotation platforms on this machine, without Docker and without root: for the demo and the tests."""

from .annotator import Annotator, Submitted
from .label_studio import LabelStudioServer, LabelStudioStack

__all__ = ["Annotator", "LabelStudioServer", "LabelStudioStack", "Submitted"]
