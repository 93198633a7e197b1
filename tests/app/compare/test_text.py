"""What is said of a comparison in all."""

from allocation_cases import layer, pair, record
from pvq.bounds.app.compare.text import conclusion


def test_a_row_that_failed_counts_once_for_all_pairs_of_its_side() -> None:
    pairs = []
    for against in ("2:4", "0.5"):
        one = {**pair(3, (1.0, 2.0), (1.0, 2.0)), "against": against}
        one["quant"]["failed_rows"] = [1, 2, 2]
        pairs.append(one)
    pairs[1]["prune"]["failed_rows"] = [1]
    other = pair(3, (1.0, 2.0), (1.0, 2.0))
    other["quant"]["failed_rows"] = [1]
    assert "contradicted itself on 3 rows," in conclusion(record([layer("a", pairs)]))
    assert "contradicted itself on 4 rows," in conclusion(record([layer("a", pairs), layer("b", [other])]))
