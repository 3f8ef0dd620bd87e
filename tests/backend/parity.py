"""Texts that a small encoder learns to tell apart: even numbers from odd ones."""

from __future__ import annotations

import random

LABELS = ("even", "odd")


def text(number: int) -> str:
    """Ten words, one of which tells even from odd by which of four it is."""
    dice = random.Random(number)
    words = [f"word{dice.randrange(10, 200)}" for _ in range(10)]
    words[dice.randrange(10)] = f"word{number % 4}"
    return " ".join(words)


def truth(uid: str) -> str:
    """The label of the record ``u<number>``."""
    return LABELS[int(uid[1:]) % 2]
