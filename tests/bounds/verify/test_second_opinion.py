"""That the tests ask the second checker about every certificate, and fail where it disagrees."""

import numpy as np
import pytest
import second_opinion
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.verify import verify_certificate
from pvq.bounds.verify.reference import NotEstablished
from pvq.layers.format import Layer
from pvq.solvers.certify import build_certificate
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver

from certificate_cases import EXAMPLES


def test_what_is_made_and_what_is_accepted_is_asked_about(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20, 4))
    layer = Layer("small", rng.standard_normal((2, 4)), a.T @ a / 20)
    problem = state_problem(layer.weight, layer.grams, Setting("quant", 2))
    found = solve_layer(problem, get_solver("bnb"))
    before = second_opinion.asked
    made = build_certificate(layer, problem, found)
    assert second_opinion.asked == before + 1
    verify_certificate(made, layer.weight, layer.grams, layer.sha256)
    assert second_opinion.asked == before + 2

    def refuse(*_):
        raise NotEstablished("it is the second one's turn to be wrong")

    monkeypatch.setattr(second_opinion, "check_certificate", refuse)
    with pytest.raises(second_opinion.Disagreement, match="turn to be wrong"):
        build_certificate(layer, problem, found)
    with pytest.raises(second_opinion.Disagreement, match="turn to be wrong"):
        verify_certificate(made, layer.weight, layer.grams, layer.sha256)
    monkeypatch.setattr(second_opinion, "WORK", 0)
    verify_certificate(made, layer.weight, layer.grams, layer.sha256)


def test_all_examples_are_small_enough():
    before = second_opinion.asked
    for _, _, weight, gram, certificate in EXAMPLES:
        verify_certificate(certificate, weight, gram, certificate.sha256)
    assert second_opinion.asked == before + len(EXAMPLES)
