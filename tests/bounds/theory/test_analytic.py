"""Expected errors against published values, Monte Carlo and numerical integration."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from pvq.bounds.codebooks import codebook
from pvq.bounds.errors import ProblemError
from pvq.bounds.grid import nearest_index
from pvq.bounds.theory.analytic import (
    bit_widths,
    compare,
    crossings,
    fit_range,
    quantization_error,
    shifted_errors,
    verdict,
)
from pvq.bounds.theory.distributions import Distribution, Empirical, Normal, distribution
from pvq.bounds.theory.rate_distortion import gaussian_limit_db, water_filling
from scipy import integrate, stats

DISTRIBUTIONS = (
    "normal",
    "laplace",
    "uniform",
    "student-t:9",
    "truncated-student-t:2,20",
    "truncated-student-t:0.7,50",
    "truncated-student-t:5,20",
)
GRIDS = (
    ("int", 2),
    ("int", 4),
    ("int", 8),
    ("int-sym", 4),
    ("int-asym", 3),
    ("ternary", 2),
    ("fp4-e2m1", 4),
    ("fp8-e4m3", 8),
    ("nf4", 4),
)
COUNT = 1_000_000


@pytest.fixture(scope="module")
def skewed() -> Empirical:
    values = np.random.default_rng(3).gamma(2.0, size=5000) - 0.5
    return Empirical(values, "skewed")


@pytest.fixture(scope="module")
def levels_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("levels") / "odd.txt"
    path.write_text("-3\n-1\n-0.2\n0.1\n2\n")
    return str(path)


def test_the_published_values_for_the_standard_normal() -> None:
    # Kuzmin et al. 2023, and Max 1960 / Joshi 1996 for uniform quantizers: to 0.01 dB
    four = compare(Normal(), "int", 4)
    assert four.prune_db == pytest.approx(5.585, abs=5e-4)
    assert four.quant_db == pytest.approx(19.26, abs=5e-3)
    assert compare(Normal(), "int-sym", 4).quant_db == pytest.approx(18.90, abs=5e-3)
    assert four.threshold == pytest.approx(stats.norm.ppf(0.875))
    # ternary at its optimum: levels 0, +-1.2240, distortion 0.1902 (Max 1960, table 1, 3 levels)
    ternary = compare(Normal(), "ternary", 2).quantized
    assert ternary.scale == pytest.approx(1.2240, abs=1e-4)
    assert ternary.error == pytest.approx(0.1902, abs=5e-5)


def _draws(name: str) -> tuple[Distribution, np.ndarray]:
    source = distribution(name)
    return source, source.sample(COUNT, np.random.default_rng(20231))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_monte_carlo_agrees_for_every_grid_and_sparsity(name: str, levels_file: str) -> None:
    source, x = _draws(name)
    for grid, bits in (*GRIDS, (levels_file, 3)):
        row = compare(source, grid, bits)
        levels = row.quantized.levels
        _within_three_standard_errors((x - levels[nearest_index(levels, x)]) ** 2, row.quantized.error)
        pruned = np.where(np.abs(x) <= row.threshold, x * x, 0.0)
        _within_three_standard_errors(pruned, row.pruned_error)
        assert np.mean(np.abs(x) <= row.threshold) == pytest.approx(row.sparsity, abs=3 * 0.5 / math.sqrt(COUNT))


def _within_three_standard_errors(draws: np.ndarray, expected: float) -> None:
    standard_error = draws.std() / math.sqrt(len(draws))
    assert abs(draws.mean() - expected) <= 3 * standard_error


def test_monte_carlo_agrees_for_samples(skewed: Empirical) -> None:
    x = skewed.sample(COUNT, np.random.default_rng(5))
    for grid, bits in GRIDS:
        row = compare(skewed, grid, bits)
        levels = row.quantized.levels
        _within_three_standard_errors((x - levels[nearest_index(levels, x)]) ** 2, row.quantized.error)
        _within_three_standard_errors(np.where(np.abs(x) <= row.threshold, x * x, 0.0), row.pruned_error)


@pytest.mark.parametrize(
    "name", [*DISTRIBUTIONS, "student-t:2.01", "student-t:1e7", "truncated-student-t:1e4,300"]
)
def test_partial_moments_are_the_integrals(name: str) -> None:
    source = distribution(name)
    edges = np.array([-2.0, -0.9, -0.001, 0.0, 0.3, 0.95, 1.2, 7.0])
    edges = edges[np.abs(edges) <= source.largest]
    cells = np.diff(source.below(edges), axis=1)
    for order in range(3):
        for cell, (a, b) in enumerate(pairwise(edges)):
            integral = integrate.quad(
                lambda t, order=order: t**order * source.density(np.array([t]))[0], a, b, epsabs=1e-13
            )
            assert cells[order, cell] == pytest.approx(integral[0], rel=1e-8, abs=1e-12)
    ends = source.below(np.array([-np.inf, np.inf]))
    np.testing.assert_allclose(ends[:, 0], 0, atol=1e-15)
    np.testing.assert_allclose(ends[:, 1], [1, 0, source.mean_square], atol=1e-15)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_kurtosis_is_pearsons(name: str) -> None:
    source = distribution(name)
    end = min(source.largest, 1e5)
    points = np.concatenate([[0], np.geomspace(1e-3, end, 40)])
    fourth = sum(
        2 * integrate.quad(lambda t: t**4 * source.density(np.array([t]))[0], a, b, epsabs=0)[0]
        for a, b in pairwise(points)
    )
    assert source.kurtosis == pytest.approx(fourth / source.mean_square**2, rel=1e-6)


def test_kurtosis_of_heavy_tails_is_infinite() -> None:
    assert distribution("student-t:3").kurtosis == math.inf


@pytest.mark.parametrize("name", ["normal", "laplace", "truncated-student-t:2,30"])
@pytest.mark.parametrize("grid", ["int", "fp4-e2m1", "nf4", "ternary"])
def test_no_scale_of_a_fine_scan_beats_the_optimum(name: str, grid: str) -> None:
    source = distribution(name)
    book = codebook(grid, 3 if grid == "int" else None)
    fitted = fit_range(source, book)
    scan = [quantization_error(source, s * book.levels) for s in fitted.scale * np.geomspace(0.02, 50, 1001)]
    assert fitted.error <= min(scan) * (1 + 1e-12)


def test_one_pass_over_zero_points_equals_a_grid_at_a_time(skewed: Empirical) -> None:
    for source in (Normal(), skewed):
        for scale in (0.05, 0.4, 3.0):
            errors = shifted_errors(source, scale, 8)
            singly = [quantization_error(source, scale * (np.arange(8.0) - z)) for z in range(8)]
            np.testing.assert_allclose(errors, singly, rtol=1e-9)


def test_sample_errors_are_plain_sums(skewed: Empirical) -> None:
    x = skewed.values * skewed.largest
    row = compare(skewed, "int", 3)
    levels = row.quantized.levels
    assert row.quantized.error == pytest.approx(np.mean((x - levels[nearest_index(levels, x)]) ** 2), rel=1e-9)
    kept = math.floor(len(x) * 3 / 16 + 1e-9)
    assert row.pruned_error == pytest.approx(np.sum(np.sort(x * x)[: len(x) - kept]) / len(x))
    assert skewed.kurtosis == pytest.approx(stats.kurtosis(x, fisher=False))


def test_outliers_do_not_dictate_the_range() -> None:
    # one weight 100 times the others: the best 2-bit range is far below 5% of min-max
    values = np.append(np.random.default_rng(0).standard_normal(200_000), 100.0)
    source = Empirical(values, "outlier")
    bulk = Empirical(values[:-1], "bulk")
    fitted = fit_range(source, codebook("int-sym", 2))
    assert fitted.scale == pytest.approx(fit_range(bulk, codebook("int-sym", 2)).scale, rel=0.05)


def test_samples_may_be_tiny_or_huge() -> None:
    values = np.random.default_rng(1).standard_normal(1000)
    expected = compare(Empirical(values, "one"), "int", 3)
    for unit in (1e-140, 1e140):
        found = compare(Empirical(values * unit, "scaled"), "int", 3)
        assert found.quant_db == pytest.approx(expected.quant_db, abs=1e-6)
        assert found.prune_db == pytest.approx(expected.prune_db, abs=1e-6)


def test_where_pruning_overtakes() -> None:
    heavy = distribution("truncated-student-t:2,100")
    rows = [compare(heavy, "int", bits) for bits in range(2, 9)]
    (crossing,) = crossings(heavy, rows)
    assert crossing.pruning_wins_below
    few, many = (
        next(r for r in rows if r.bits == b) for b in (math.floor(crossing.bits), math.ceil(crossing.bits))
    )
    assert few.prune_db > few.quant_db
    assert many.prune_db < many.quant_db
    assert f"pruning overtakes at compression {16 / crossing.bits:.2f}" in verdict(heavy, rows)
    normal = [compare(Normal(), "int", bits) for bits in range(2, 9)]
    assert "never in 2..8 bits" in verdict(Normal(), normal)
    assert crossings(Normal(), normal) == []
    assert "Quantization is never ahead" in verdict(heavy, rows[:2])


def test_weights_without_error_have_no_sqnr() -> None:
    exact = Empirical(np.array([0.0, 0, 0, 0, 0, 0, 0, 1.0]), "sparse")
    row = compare(exact, "int", 2)
    assert row.quant_db is None or row.quant_db > 300  # the scale may be one ulp off
    assert row.prune_db is None
    assert row.advantage_db is None
    assert crossings(exact, [row, compare(exact, "int", 3)]) == []
    assert "never ahead" in verdict(exact, [row])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("norml", "did you mean 'normal'"),
        ("studnt-t:5", "did you mean 'student-t:5'"),
        ("gauss", "unknown distribution"),
        ("student-t:0", "above 2, not 0"),
        ("student-t:-3", "above 2, not -3"),
        ("student-t:2", "infinite variance"),
        ("student-t:nan", "above 2, not nan"),
        ("student-t", "expected student-t:DF"),
        ("student-t:x", "expected student-t:DF"),
        ("truncated-student-t:2", "expected truncated-student-t:DF,RANGE"),
        ("truncated-student-t:0,5", "above 0, not 0"),
        ("truncated-student-t:-1,5", "above 0, not -1"),
        ("truncated-student-t:2,0", "range above 0, not 0"),
        ("truncated-student-t:2,inf", "range above 0, not inf"),
        ("truncated-student-t:2,1e-300", "beyond float64"),
    ],
)
def test_what_is_no_distribution_is_said(text: str, said: str) -> None:
    with pytest.raises(ProblemError) as raised:
        distribution(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1\n2\nnan\n", "1 NaN or infinite"),
        ("1\ninf\n", "1 NaN or infinite"),
        ("3\n3\n3\n", "constant (3)"),
        ("5\n", "constant"),
        ("", "no samples"),
        ("one\n", "cannot read samples"),
    ],
)
def test_what_are_no_samples_is_said(content: str, said: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "samples.txt"
    path.write_text(content)
    with pytest.raises(ProblemError, match=said.replace("(", r"\(").replace(")", r"\)")):
        distribution(str(path))


def test_arrays_of_other_things_are_no_samples(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "samples.npy"
    for array in (np.array(["a", "b"]), np.array([1j, 2j])):
        np.save(path, array)
        with pytest.raises(ProblemError, match="cannot read samples"):
            distribution(str(path))
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ProblemError, match="cannot read samples"):
        distribution(str(path))
    np.save(path, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert distribution(str(path)).mean_square == pytest.approx(55 / 6)


def test_bit_widths(levels_file: str) -> None:
    assert bit_widths("int", None) == [2, 3, 4, 5, 6, 7, 8]
    assert bit_widths("nf4", None) == [4]
    assert bit_widths(levels_file, None) == [3]
    assert bit_widths("int", (3, 5)) == [3, 4, 5]
    for grid, bits in (("int", (0, 3)), ("int", (2, 16)), ("nf4", (3, 4)), ("int-sym", (1, 2))):
        with pytest.raises(ProblemError):
            bit_widths(grid, bits)


def test_no_grid_beats_the_gaussian_limit() -> None:
    for grid, bits in GRIDS:
        row = compare(Normal(), grid, bits)
        assert row.quant_db < gaussian_limit_db(bits)


def test_water_filling_is_its_parametric_form() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 30))
    values = np.linalg.eigvalsh(a.T @ a)
    curve = water_filling(a.T @ a)
    for theta in np.geomspace(values[0] / 10, values[-1] * 0.999, 30):
        rate = np.mean(np.maximum(0, np.log2(values / theta) / 2))
        expected = 10 * math.log10(values.sum() / np.minimum(theta, values).sum())
        assert curve.limit_db(rate) == pytest.approx(expected, abs=1e-9)
    assert curve.limit_db(0) == pytest.approx(0)
    # equal eigenvalues: the limit of single Gaussian weights; null directions: only better
    assert water_filling(np.eye(7)).limit_db(2.5) == pytest.approx(gaussian_limit_db(2.5))
    assert water_filling(np.diag([1.0, 1.0, 0.0, 0.0])).limit_db(1) == pytest.approx(gaussian_limit_db(2))
    assert water_filling(np.stack([np.eye(3), np.eye(3)])).limit_db(1) == pytest.approx(gaussian_limit_db(1))
    with pytest.raises(ProblemError, match="zero"):
        water_filling(np.zeros((2, 2)))
