"""What a kind of question is: nothing else tells kinds apart."""

from .base import Question, Target
from .kinds import QUESTIONS, question_of

__all__ = ["QUESTIONS", "Question", "Target", "question_of"]
