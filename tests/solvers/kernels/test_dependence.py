"""Inputs that few others nearly make up are told from null spaces and from inputs that are only correlated."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.solvers.kernels.dependence import near_dependent


def gram_with(make, samples=20):
    a = np.random.default_rng(0).standard_normal((samples, 8))
    make(a, np.random.default_rng(1).standard_normal(samples))
    return Gram.from_array(a.T @ a)


def copy(a, noise):
    a[:, 2] = -3 * a[:, 5] + 1e-7 * noise


def combination(a, noise):
    a[:, 2] = a[:, 5] - a[:, 1] + 1e-7 * noise


def copy_beside_a_null_space(a, noise):
    """Every input is in some direction of the null space, and hides that the pair is in another."""
    a[:, 0] = a[:, 1:].sum(axis=1)
    a[:, 2] = a[:, 5] + 1e-7 * noise


@pytest.mark.parametrize("make", [copy, combination, copy_beside_a_null_space])
def test_nearly_dependent_inputs_are_seen(make):
    assert near_dependent(gram_with(make))


def exact_copy(a, noise):
    a[:, 2] = -3 * a[:, 5]


def correlated(a, noise):
    a[:, 2] = a[:, 5] + 1e-4 * noise


def dead(a, noise):
    a[:, 2] = 0


def scaled(a, noise):
    a *= 10.0 ** np.arange(-8, 8, 2)


@pytest.mark.parametrize("make", [exact_copy, correlated, dead, scaled])
def test_others_are_not(make):
    assert not near_dependent(gram_with(make))


def test_the_null_space_of_few_samples_is_not():
    assert not near_dependent(gram_with(lambda a, noise: None, samples=5))
    assert not near_dependent(Gram(np.zeros((3, 3))))
