"""Published results as a table: what is read, and what is refused. All numbers are made up."""

import pytest
from pvq.benchmarks.finetune.published import COLUMNS, read_published
from pvq.benchmarks.finetune.table import entry
from pvq.bounds.errors import ProblemError

HEAD = ",".join(COLUMNS)


def test_models_and_measures_are_kept_apart(tmp_path):
    lines = [
        "value,bits,method,measure,model,source",  # columns in any order
        '71.5,,original,accuracy,Net-9,"Nobody, 2001"',
        '70.25,8,quant,accuracy,Net-9,"Nobody, 2001"',
        '-3.5e1,2,prune,accuracy,Net-9,"Nobody, 2001"',
        "1,2,prune,mAP,Net-9,Somebody",
    ]
    path = tmp_path / "p.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    first, second = read_published(path)
    assert (first["task"], first["measure"], first["source"]) == ("Net-9", "accuracy", "Nobody, 2001")
    assert (first["original"], first["bits"]) == ({"test": 71.5}, [2, 8])
    assert entry(first, "quant", 8).mean == 70.25
    assert entry(first, "prune", 2).mean == -35
    assert entry(first, "prune", 8) is None
    assert (second["source"], second["original"], second["bits"]) == ("Somebody", None, [2])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "has the columns , expected source, model"),
        (["source,model,bits,value"], "has the columns source, model, bits, value, expected"),
        ([HEAD], "has no results"),
        ([HEAD, ",m,a,quant,4,1"], "line 2 needs a source"),
        ([HEAD, "s,m,a,quant,4"], "line 2 has the value ''"),
        ([HEAD, "s,m,a,quant,4,1,2"], "line 2 needs a source, a model, a measure, and nothing beside"),
        ([HEAD, "s,m,a,quant,4,nan"], "line 2 has the value 'nan'"),
        ([HEAD, "s,m,a,quant,,1"], "line 2 has the method 'quant' and the bits ''"),
        ([HEAD, "s,m,a,quant,17,1"], "and the bits '17', expected quant or prune and bits from 1 to 16"),
        ([HEAD, f"s,m,a,quant,{'1' * 5000},1"], "and the bits '1111"),
        ([HEAD, "s,m,a,original,16,1"], "line 2 has the method 'original' and the bits '16'"),
        ([HEAD, "s,m,a,sparse,4,1"], "line 2 has the method 'sparse'"),
        ([HEAD, "s,m,a,quant,4,1", "s,m,a,quant,4,1"], "line 3 says again what quant 4 of m is"),
        ([HEAD, "s,m,a,original,,1", "s,m,a,original,,2"], "line 3 says again what original"),
        ([HEAD, 's,m,a,"quant,4,1'], "unexpected end of data"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path, lines, said):
    path = tmp_path / "p.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(ProblemError) as error:
        read_published(path)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1
