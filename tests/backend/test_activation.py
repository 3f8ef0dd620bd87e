"""Softmax and sigmoids: each undoes its own logits, and there is one of each in a process, and in the next one."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID, SOFTMAX, Activation, activation_in, activation_of

BOTH = pytest.mark.parametrize("activation", [SOFTMAX, SIGMOID], ids=["softmax", "sigmoid"])


@BOTH
def test_copies_are_the_object_itself(activation: Activation) -> None:
    assert pickle.loads(pickle.dumps(activation)) is activation  # our own
    assert copy.deepcopy(activation) is activation
    assert activation_in(activation.header) is activation


@BOTH
def test_logits_give_the_probabilities_that_they_are_of(activation: Activation) -> None:
    p = activation.probabilities(np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32))
    assert activation.probabilities(activation.logits(p)) == pytest.approx(p, abs=1e-5)


@BOTH
def test_what_is_decided_is_right_about_itself(activation: Activation) -> None:
    p = activation.probabilities(np.random.default_rng(1).normal(0, 3, (50, 4)).astype(np.float32))
    targets = activation.decide(p)
    assert activation_of(targets) is activation
    assert targets.shape == activation.shape(50, 4)
    assert activation.right(p, targets).all()
    assert (activation.decided(p) == activation.flags(targets, 4)).all()
    assert (activation.likelihood(p, targets).min(axis=1) > 0.25).all()


def test_an_answer_against_all_likelihood_is_turned_down_unless_it_is_trusted() -> None:
    p = np.array([[0.99, 0.01], [0.6, 0.4]], np.float32)
    flags, nothing = np.array([[0, 1], [0, 1]], np.float32), np.zeros((2, 2), np.bool_)
    assert SOFTMAX.belief(p, flags, 0.05, nothing)[1].tolist() == [[True], [False]]
    assert SIGMOID.belief(p, flags, 0.05, nothing)[1].tolist() == [[True, True], [False, False]]
    trusted = np.array([[False, True], [False, False]])
    assert not SOFTMAX.belief(p, flags, 0.05, trusted)[1].any()
    assert SIGMOID.belief(p, flags, 0.05, trusted)[1].tolist() == [[True, False], [False, False]]


def test_a_likely_answer_has_the_higher_likelihood_whatever_the_noise() -> None:
    p, flags = np.array([[0.9, 0.1]], np.float32), np.array([[1.0, 0.0]], np.float32)
    for activation in (SOFTMAX, SIGMOID):
        right, wrong = (activation.log_likelihood(p, given, 0.05).sum() for given in (flags, 1 - flags))
        assert wrong < right < 0
