"""`pvq compare --save-solutions`: nobody's file is replaced, and a full disk costs no verdict."""

import numpy as np
import pytest
from pvq.layers.format import Layer, load_layer, save_layer
from pvq.layers.solutions import solution_name

from faults import files_of_at_most

EIGHT = ("--bits", "8:8", "--quiet")


@pytest.fixture
def layers(tmp_path):
    """A folder of two layers, one in a file that is called as a solution of the other would be."""
    rng = np.random.default_rng(0)
    for name in ("a", "a.quant8"):
        (tmp_path / "layers").mkdir(exist_ok=True)
        save_layer(tmp_path / "layers" / f"{name}.npz", Layer(name, rng.standard_normal((2, 6)), np.eye(6)))
    return tmp_path / "layers"


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_of_layers_is_refused_before_the_search(cli, tmp_path, layers, link):
    folder = layers
    if link:
        folder = tmp_path / "link"
        folder.symlink_to(layers)
    before = {path.name: path.read_bytes() for path in layers.iterdir()}
    for words in ([layers], [layers / "a.npz"]):
        done = cli("compare", *words, *EIGHT, "--save-solutions", folder)
        assert (done.code, done.out) == (2, "")
        assert "in it is compared; name another folder" in done.err
    assert {path.name: path.read_bytes() for path in layers.iterdir()} == before


def test_what_is_no_solution_stays_and_everything_else_is_done(cli, tmp_path, layers):
    folder = tmp_path / "found"
    folder.mkdir()
    precious = save_layer(folder / "a.quant8.npz", load_layer(layers / "a.quant8.npz"))
    before = precious.read_bytes()
    done = cli("compare", layers / "a.npz", *EIGHT, "--save-solutions", folder)
    assert done.code == 2
    assert done.err.startswith(f"pvq: it is not replaced: {precious}: not a file of the best weights")
    assert done.err.count("\n") == 1
    assert "1 of 1 pairs" in done.out
    assert precious.read_bytes() == before
    assert (folder / "a.prune8.npz").exists()
    precious.unlink()
    for _ in range(2):  # a solution is replaced by the next
        assert cli("compare", layers / "a.npz", *EIGHT, "--save-solutions", folder).code == 0
        assert len(list(folder.iterdir())) == 2


def test_a_quota_costs_the_files_and_no_verdict(cli, tmp_path, layers):
    words = ("compare", layers, *EIGHT, "--save-solutions", tmp_path / "found")
    assert cli(*words).code == 0  # what is compiled or cached on the way is not what is tried
    for path in (tmp_path / "found").iterdir():
        path.unlink()
    with files_of_at_most(100):
        done = cli(*words)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.count("File too large") == 4
    assert "2 of 2 pairs" in done.out
    assert list((tmp_path / "found").iterdir()) == []


def test_the_folder_is_no_other_output(cli, tmp_path, layers):
    for option, name in (("--figure", "x.png"), ("--json", "x"), ("--table", "x.md")):
        done = cli("compare", layers, *EIGHT, option, tmp_path / name, "--save-solutions", tmp_path / name)
        assert (done.code, done.out) == (2, "")
        assert "it is the folder of --save-solutions" in done.err
        assert not (tmp_path / name).exists()


def test_layers_whose_names_differ_have_files_that_differ():
    names = ["a", "a/b", "a_b", "a:b", "a b", "\u00e4", "\u5c64", "x" * 300, "x" * 301, ""]
    files = [solution_name(name, "quant", 4) for name in names]
    assert files[0] == "a.quant4.npz"
    assert len({file.casefold() for file in files}) == len(names)
    assert all(len(file.encode()) < 255 and "/" not in file for file in files)
