import numpy as np
import pytest
from pvq.bounds.codebooks import codebook
from pvq.bounds.errors import ProblemError


def test_integer_grids():
    assert codebook("int", 3).levels.tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert codebook("int-sym", 3).levels.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    asym = codebook("int-asym", 2)
    assert asym.levels.tolist() == [0, 1, 2, 3]
    assert asym.shifted
    assert codebook("int", 1).levels.tolist() == [-1, 0]


def test_float_formats():
    fp4 = codebook("fp4-e2m1", None).levels
    assert fp4[fp4 >= 0].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    fp8 = codebook("fp8-e4m3", None).levels
    assert len(fp8) == 253  # 256 codes, two NaN, two zeros
    assert fp8[-1] == 448
    assert fp8[fp8 > 0][0] == 2.0**-9


def test_nf4_agrees_with_the_published_table():
    """Values printed in the QLoRA paper, appendix E (float32)."""
    levels = codebook("nf4", None).levels
    assert len(levels) == 16
    published = {0: -1.0, 1: -0.6961928, 7: 0.0, 8: 0.0795803, 14: 0.7229568, 15: 1.0}
    for index, value in published.items():
        assert levels[index] == pytest.approx(value, abs=1e-6)


def test_levels_from_files(tmp_path):
    text = tmp_path / "levels.txt"
    text.write_text("-1, 0\n0.5 2\n")
    assert codebook(str(text), None).levels.tolist() == [-1, 0, 0.5, 2]
    np.save(tmp_path / "levels.npy", np.array([-1.0, 1.0]))
    assert codebook(str(tmp_path / "levels.npy"), 1).levels.tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("1", "at least 2"),
        ("1 1", "without duplicates"),
        ("2 1", "sorted"),
        ("0 nan", "NaN"),
        ("0 one", "could not convert"),
        (" ".join(map(str, range(4097))), "at most 4096"),
    ],
)
def test_bad_level_files(tmp_path, content, says):
    file = tmp_path / "levels.txt"
    file.write_text(content)
    with pytest.raises(ProblemError, match=says):
        codebook(str(file), None)


@pytest.mark.parametrize(
    ("grid", "bits", "says"),
    [
        ("int", None, "needs `bits`"),
        ("int", 0, "between 1 and 12"),
        ("int", 13, "between 1 and 12"),
        ("int-sym", 1, "between 2 and 12"),
        ("nf4", 8, "has 4 bits"),
        ("nf5", None, "did you mean 'nf4'"),
    ],
)
def test_impossible_grids(grid, bits, says):
    with pytest.raises(ProblemError, match=says):
        codebook(grid, bits)
