"""What a kind of question is: nothing else tells kinds apart."""

from .base import Prediction, Question, Target, as_json, is_settled, labels_of, newest_answers, spans_of
from .head import Head
from .kinds import DEFAULT_KIND, QUESTIONS, question_of
from .outputs import Outputs
from .voices import ASSUMED, Agreeing, Block, Proposal, Voices, Weights

__all__ = [
    "ASSUMED",
    "DEFAULT_KIND",
    "QUESTIONS",
    "Agreeing",
    "Block",
    "Head",
    "Outputs",
    "Prediction",
    "Proposal",
    "Question",
    "Target",
    "Voices",
    "Weights",
    "as_json",
    "is_settled",
    "labels_of",
    "newest_answers",
    "question_of",
    "spans_of",
]
