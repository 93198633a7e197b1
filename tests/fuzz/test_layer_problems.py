"""The quick part of the fuzz of layers, and that it can see what is wrong."""

import dataclasses
import itertools

import layer_problems
import numpy as np
import problems
import pvq
import pytest
from second_opinion import Disagreement


@pytest.mark.parametrize("part", range(2))
def test_made_layers_are_answered_truly(part):
    assert problems.run(60, 60 * part, "layers", layer_problems.one_case) == 0


CASES = {
    301: "exactly evaluated, a proof gave less than the float64 of its solver: another g, the same threshold",
    319: "a claim of 0 for H near 2^-1000 with a proof that gives -1e-307",
    328: "the same without a proof",
    448: "the same in groups of one input",
}


@pytest.mark.parametrize("case", CASES)
def test_cases_that_were_wrong_are_right(case):
    assert layer_problems.one_case(case)[1] == []


@pytest.fixture(scope="module")
def shared():
    rng = np.random.default_rng(5)
    layer = pvq.Layer.from_activations(rng.standard_normal((3, 4)), rng.standard_normal((20, 4)))
    return pvq.bound(layer, pvq.Prune(sparsity=0.5, scope="layer"), methods="all")


def test_a_false_total_is_seen(shared):
    assert layer_problems.complaints(shared, 1e-6) == []
    least = float(layer_problems.shared_optimum(shared.problem))
    for false in ({"lower": least * (1 + 1e-12)}, {"upper": shared.upper * (1 - 1e-12)}):
        result = dataclasses.replace(shared, solved=dataclasses.replace(shared.solved, **false))
        assert layer_problems.complaints(result, 1e-6), false


def test_a_lower_end_above_a_point_of_another_scale_is_seen():
    rng = np.random.default_rng(6)
    layer = pvq.Layer.from_activations(rng.standard_normal((2, 3)), rng.standard_normal((20, 3)))
    result = pvq.bound(layer, pvq.Quant(bits=2, range="optimal"), gap=1e-3)
    assert layer_problems.complaints(result, 1e-6) == []
    assert result.bound_kind == "rigorous"
    assert layer_problems.certificate_complaints(result) == []
    for lower in (result.upper * 1.01, result.upper * (1 + 1e-10)):  # no rounding to hide in
        above = dataclasses.replace(result.solved, lower=lower)
        assert layer_problems.complaints(dataclasses.replace(result, solved=above), 1e-6)
    above = dataclasses.replace(
        result.solved, lower=result.lower * 1.01
    )  # its certificate still says what is proven
    assert (
        "rigorous rows said" in layer_problems.certificate_complaints(dataclasses.replace(result, solved=above))[0]
    )
    above = dataclasses.replace(
        above, proven=above.lower
    )  # the certificate lies as well: every one made here is checked
    with pytest.raises(Disagreement, match="above what the rows prove"):
        layer_problems.certificate_complaints(dataclasses.replace(result, solved=above))


def test_a_rigorous_row_with_a_scale_of_its_own_has_no_rounding_to_hide_in():
    rng = np.random.default_rng(6)
    layer = pvq.Layer.from_activations(rng.standard_normal((2, 3)), rng.standard_normal((20, 3)))
    result = pvq.bound(layer, pvq.Quant(bits=2, range="optimal", granularity="channel"), certify=True)
    assert layer_problems.complaints(result, 1e-6) == layer_problems.certificate_complaints(result) == []
    row = result.solved.rows[0]
    assert row.result.bound_kind == "rigorous"
    above = dataclasses.replace(row, result=dataclasses.replace(row.result, lower=row.result.upper * (1 + 1e-10)))
    false = dataclasses.replace(
        result, solved=dataclasses.replace(result.solved, rows=(above, result.solved.rows[1]))
    )
    assert layer_problems.complaints(false, 1e-6)


def test_shared_optimum_is_the_least_of_all_masks(shared):
    stated = shared.problem
    count, n = len(stated), stated.sparsity.units
    least = None
    for kept in itertools.combinations(range(count * n), stated.budget):
        of_row = [[k % n for k in kept if k // n == i] for i in range(count)]
        total = sum(problems.least_on_support(stated.row(i), mask) for i, mask in enumerate(of_row))
        least = total if least is None or total < least else least
    assert layer_problems.shared_optimum(stated) == least
