"""Which weights an allocation takes."""

import numpy as np
import pytest
from pvq.allocated import weights_of
from pvq.bounds.errors import ProblemError
from pvq.layers.solutions import Solution
from pvq.solvers.allocate.record import Item, Option
from pvq.solvers.result import BoundKind

OPTION = Option("quant", 4, 16, 0.0, 1.0, BoundKind.RIGOROUS)
ITEM = Item("a", 4, 2.0, (OPTION,))


def kept(error: float) -> Solution:
    meta = {"layer": "a", "module": "a", "shape": [2, 2], "technique": "quant", "bits": 4, "error": error}
    return Solution(np.zeros((2, 2)), (0, 1), (0, 2), meta)


@pytest.mark.parametrize("errors", [(1.0, 1.5), (1.5, 1.0)])
def test_of_two_runs_the_better_weights_are_taken_in_any_order(errors):
    ((found,),) = weights_of([ITEM], {"allocation": [OPTION]}, map(kept, errors)).values()
    assert found.error == 1.0


def test_worse_weights_than_the_record_says_are_of_another_run():
    with pytest.raises(ProblemError, match="they are of another run"):
        weights_of([ITEM], {"allocation": [OPTION]}, [kept(1.5)])
