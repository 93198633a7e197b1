"""The package itself: what it loads, what it offers, that it is complete where it is installed."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pvq
import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"numba", "numpy", "scipy", "torch", "pandas", "matplotlib"}


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(ended.stdout.split())


def test_importing_it_loads_nothing_heavy():
    loaded = loaded_by("import pvq; pvq.__version__; dir(pvq)")
    assert "pvq" in loaded
    assert not HEAVY & loaded


def test_bounding_loads_no_torch():
    assert not {"torch", "pandas", "matplotlib"} & loaded_by("import pvq; pvq.bound; pvq.compare; pvq.Layer")


def test_pruning_loads_no_statistics():
    """The volume model's, which take longer to load than all the rest."""
    asked = "import pvq; pvq.bound(pvq.Layer.from_gram([[1.0, 2.0]], [[1.0, 0.5], [0.5, 1.0]]), pvq.Prune(0.5))"
    loaded = loaded_by(asked)
    assert "pvq.running" in loaded
    assert not {"scipy.stats", "torch"} & loaded


def test_every_name_is_there_and_no_other():
    for name in pvq.__all__:
        assert getattr(pvq, name) is not None, name
        assert name in dir(pvq)
    with pytest.raises(AttributeError, match="no attribute 'bounds_of'"):
        pvq.bounds_of  # noqa: B018


def test_type_checkers_see_what_the_interpreter_sees():
    """The names below `if TYPE_CHECKING` are those that load when asked for, from the same modules."""
    tree = ast.parse((ROOT / "bounds/api/__init__.py").read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in branch.body if isinstance(node, ast.ImportFrom)]
    shown = {a.name: ("pvq." if node.level else "") + node.module for node in imports for a in node.names}
    assert shown == pvq._HOME


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pvq.__version__ == version("pvq-bound")
    assert project["version"] == pvq.__version__
    assert f"\nversion: {pvq.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{pvq.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_folder_has_one_name_and_every_folder_is_packaged():
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert tables["package-dir"]["pvq"] == "bounds/api"
    assert "pvq.bounds.api" not in tables["packages"]
    tops = ("layers", "bounds", "solvers")
    folders = {path.parent for top in tops for path in (ROOT / top).rglob("__init__.py")}
    names = {"pvq." + ".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert names - {"pvq.bounds.api"} <= set(tables["packages"])


def test_every_name_is_in_the_reference_and_no_other():
    text = (ROOT / "docs/reference.rst").read_text()
    listed = {line.strip() for line in text.splitlines() if line.startswith("   ") and line.strip().isidentifier()}
    assert listed == set(pvq.__all__) - {"__version__"}
