import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.grid import Grid
from pvq.bounds.ranges import inputs_of_group


def test_nearest_is_the_closest_level_of_the_inputs_own_group():
    rng = np.random.default_rng(0)
    levels = np.sort(rng.standard_normal((2, 5)), axis=1)
    group = rng.integers(0, 2, 50)
    grid = Grid(levels, group)
    values = 3 * rng.standard_normal(50)
    rounded = grid.nearest(values)
    for i, value in enumerate(values):
        assert abs(rounded[i] - value) == np.abs(levels[group[i]] - value).min()
    assert grid.contains(rounded)
    assert not grid.contains(rounded + 1e-9)


def test_ties_go_to_the_lower_level():
    grid = Grid(np.array([[0.0, 1.0]]), np.zeros(1, int))
    assert grid.nearest(np.array([0.5])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ([[1.0]], "at least 2"),
        ([[1.0, 1.0]], "strictly increasing"),
        ([[2.0, 1.0]], "strictly increasing"),
        ([[0.0, np.inf]], "finite"),
        (np.arange(5000.0)[None], "at most 4096"),
    ],
)
def test_what_is_not_a_grid(levels, says):
    with pytest.raises(ProblemError, match=says):
        Grid(np.array(levels), np.zeros(3, int))


def test_groups_must_exist():
    with pytest.raises(ProblemError, match="groups"):
        Grid(np.array([[0.0, 1.0]]), np.array([0, 1]))


def test_a_group_is_at_most_the_row():
    assert inputs_of_group("group:4", 6) == 4
    assert inputs_of_group("group:008", 6) == inputs_of_group(f"group:{10**17}", 6) == 6
    for words in ("group:0", "group:-1", "group:", "group:1e3", f"group:{10**30}", "row"):
        with pytest.raises(ProblemError, match="`granularity`"):
            inputs_of_group(words, 6)
