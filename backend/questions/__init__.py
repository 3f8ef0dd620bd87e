"""What a kind of question is: nothing else tells kinds apart."""

from .base import Question, Target
from .kinds import DEFAULT_KIND, QUESTIONS, question_of

__all__ = ["DEFAULT_KIND", "QUESTIONS", "Question", "Target", "question_of"]
