"""Models and rules that a team has, and what they say of records before and beside what is learned here."""

from .base import Suggester, content_keys
from .opening import Surroundings, open_suggesters
from .spec import SuggesterSpec

__all__ = ["Suggester", "SuggesterSpec", "Surroundings", "content_keys", "open_suggesters"]
