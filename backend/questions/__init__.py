"""What a kind of question is: nothing else tells kinds apart."""

from .base import Head, Outputs, Prediction, Question, Target, as_json, is_settled, labels_of, newest_answers, spans_of
from .kinds import DEFAULT_KIND, QUESTIONS, question_of

__all__ = [
    "DEFAULT_KIND",
    "QUESTIONS",
    "Head",
    "Outputs",
    "Prediction",
    "Question",
    "Target",
    "as_json",
    "is_settled",
    "labels_of",
    "newest_answers",
    "question_of",
    "spans_of",
]
