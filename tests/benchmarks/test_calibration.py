"""The volume model beside exact optima: levels, predictions and tails of a case list."""

import threading

import numpy as np
import pytest
from pvq.benchmarks.calibration import calibrations, measured
from pvq.benchmarks.cases import read_list
from pvq.benchmarks.session import Session
from pvq.bounds.errors import ProblemError

CASE = {
    "layer": "efficientnet_lite0.blocks.9.expand",
    "inputs": "0:8",
    "solvers": ["bnb"],
}
QUANT = {"method": "quant", "bits": 3}
PRUNED = {"method": "prune", "sparsity": 0.5}
LEVEL = {"case": "some", "solver": "bnb", "measure": "level", "at_most": 1}


def solved(case_list, *cases):
    file = case_list([{**CASE, **case} for case in cases], targets=[LEVEL])
    session = Session(["list"], read_list(str(file)).tasks)
    session.run(threading.Event())
    return session


def test_what_the_model_says_is_held_against_the_optima(case_list):
    pruned = {"name": "pruned", "rows": "0:1", **PRUNED}
    session = solved(case_list, {"name": "some", "rows": "20:50", **QUANT}, pruned)
    (one,) = calibrations(session, "bnb")
    assert (one.case, one.rows) == ("some", 30)
    assert len(one.tails) == one.model.rows_covered > 20
    assert one.total == pytest.approx(sum(run.upper for run in session.runs if "some" in run.instance))
    assert 0 < one.level < 1
    assert 0.5 < one.predicted < 2
    assert (np.diff(one.tails) >= 0).all()
    assert one.share(1.0) == 1
    assert measured([one], "level", "some") == one.level
    assert measured([one], "level", "another") is None


def test_rows_that_are_not_consecutive_are_no_layer(case_list):
    session = solved(case_list, {"name": "some", "rows": [3, 5], **QUANT})
    with pytest.raises(ProblemError, match="consecutive"):
        calibrations(session, "bnb")
