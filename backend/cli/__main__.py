"""``python -m nextlabel.backend.cli``."""

from . import script

script()
