"""A place for numba's cache: none is made where there is one, and nobody else's is used."""

import ast
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher
from pvq.bounds.cache import ensure_cache, kernels

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nowhere(tmp_path):
    """A copy of the package with a file wherever a cache folder would be, and no home."""
    shutil.copytree(ROOT / "bounds/api", tmp_path / "site/pvq", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bounds", "layers", "solvers"):
        shutil.copytree(ROOT / name, tmp_path / "site/pvq" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in {file.parent for file in (tmp_path / "site").rglob("*.py")}:
        (folder / "__pycache__").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "temporary").mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    return {
        **kept,
        "PYTHONPATH": str(tmp_path / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path / "file/home"),
        "XDG_CACHE_HOME": str(tmp_path / "file/cache"),
        "TMPDIR": str(tmp_path / "temporary"),
    }


def python(code, environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


COMPILES = """
import os, numpy as np
from pvq.bounds.codebooks import codebook
from pvq.bounds.ranges import fit_grid
print(fit_grid.__code__.co_filename)
print(os.environ.get("NUMBA_CACHE_DIR"))
from numba import njit
from pvq.bounds.verify.visit import visit
print(visit.stats.cache_path)
"""


def test_a_temporary_cache_is_said_once_and_used_by_children_too(nowhere, tmp_path):
    done = python(COMPILES, nowhere)
    assert done.returncode == 0, done.stderr
    where, chosen, used = done.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    folder = tmp_path / "temporary" / f"pvq-numba-{os.geteuid()}"
    assert Path(chosen).parent == folder
    assert used.startswith(chosen)
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1
    child = f"import pvq.solvers.rows, subprocess, sys; subprocess.run([sys.executable, '-c', {COMPILES!r}])"
    again = python(child, nowhere)
    assert again.stderr.count("NUMBA_CACHE_DIR") == 1  # the parent's; the folder of the first run serves again
    assert again.stdout.splitlines()[1] == chosen


def test_also_where_numba_was_there_before(nowhere):
    done = python("import numba, pvq.bounds.ranges; print(numba.config.CACHE_DIR)", nowhere)
    assert done.returncode == 0, done.stderr
    assert "pvq-numba-" in done.stdout


def test_a_lasting_folder_is_kept_to(nowhere, tmp_path):
    done = python(COMPILES, {**nowhere, "NUMBA_CACHE_DIR": str(tmp_path / "mine")})
    assert (done.returncode, done.stderr) == (0, "")
    chosen = Path(done.stdout.splitlines()[1])
    assert chosen.parent == tmp_path / "mine"
    inner = python(COMPILES, {**nowhere, "NUMBA_CACHE_DIR": str(chosen)})  # as a worker process inherits it
    assert inner.stdout.splitlines()[1] == str(chosen)
    home = tmp_path / "home"
    home.mkdir()
    done = python(COMPILES, {**nowhere, "XDG_CACHE_HOME": str(home)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2].startswith(str(home))


@pytest.mark.parametrize("trap", ["link", "open", "file"])
def test_a_folder_that_others_could_have_filled_is_not_used(nowhere, tmp_path, trap):
    """Code is loaded from the cache: who owns it owns the process."""
    taken = tmp_path / "temporary" / f"pvq-numba-{os.geteuid()}"
    if trap == "link":
        (tmp_path / "theirs").mkdir()
        taken.symlink_to(tmp_path / "theirs")
    elif trap == "open":
        taken.mkdir()
        taken.chmod(0o777)
    else:
        taken.write_text("")
    done = python(COMPILES, nowhere)
    assert done.returncode == 0, done.stderr
    chosen = Path(done.stdout.splitlines()[1]).parent
    assert chosen != taken
    assert not chosen.exists()  # removed at the end


def test_no_temporary_folder_where_a_lasting_one_works():
    assert ensure_cache() is None


CALLER = """
from numba import njit
from .callee import {name}, value

@njit(cache=True)
def called(pair):
    return value(pair) + 1

print(called({name}(1, 2)))
"""

CALLEE = """
from typing import NamedTuple
from numba import njit

class {name}(NamedTuple):
    a: int
    b: int

@njit(cache=True)
def value(pair):
    return {result}
"""


def test_a_changed_callee_and_a_renamed_class_are_compiled_again(nowhere, tmp_path):
    environment = {**nowhere, "NUMBA_CACHE_DIR": str(tmp_path / "mine")}
    folder = tmp_path / "site/pvq/bounds"
    folders = []
    for name, result, expected in (("Pair", "pair.a", "2"), ("Pair", "pair.b", "3"), ("Two", "pair.b", "3")):
        (folder / "callee.py").write_text(CALLEE.format(name=name, result=result))
        (folder / "caller.py").write_text(CALLER.format(name=name))
        done = python("import pvq.bounds.caller", environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")
        folders = sorted((tmp_path / "mine").iterdir())
    assert len(folders) == 3
    (folder / "plain.py").write_text("other = 1")  # no kernel: nothing is compiled again for it
    python("import pvq.bounds.caller", environment)
    assert sorted((tmp_path / "mine").iterdir()) == folders


def test_only_the_last_used_folders_are_left(nowhere, tmp_path):
    mine = tmp_path / "mine"
    for age in range(7):
        (mine / f"pvq-compiled-{age}").mkdir(parents=True)
        (mine / f"pvq-compiled-{age}/code.nbi").write_text("")
        os.utime(mine / f"pvq-compiled-{age}", (1000 - age, 1000 - age))
    (mine / "not-ours").mkdir()
    python("import pvq.bounds", {**nowhere, "NUMBA_CACHE_DIR": str(mine)})
    left = {path.name for path in mine.iterdir()}
    assert {f"pvq-compiled-{age}" for age in range(4)} | {"not-ours"} < left
    assert len(left) == 6


def test_compiled_code_is_made_of_nothing_but_kernels():
    """What a kernel takes from another file must be of a kernel too: the folder's name is made of these alone."""
    modules = {f"pvq.{name.removesuffix('.py').replace('/', '.')}" for name in kernels() if "/gpu/" not in name}
    checked = 0
    for module in map(importlib.import_module, sorted(modules)):
        origin = {}
        for node in ast.parse(Path(module.__file__).read_text()).body:
            if isinstance(node, ast.ImportFrom):
                name = "." * node.level + (node.module or "")
                source = importlib.util.resolve_name(name, module.__package__)
                origin |= dict.fromkeys([alias.asname or alias.name for alias in node.names], source)
        for function in vars(module).values():
            function = getattr(function, "compiled", function)
            if isinstance(function, Dispatcher) and function.py_func.__module__ == module.__name__:
                used = {origin.get(name, "") for name in function.py_func.__code__.co_names}
                ours = {source for source in used if source.startswith("pvq.")}
                assert ours <= modules, (function, ours - modules)
                checked += len(ours)
    assert checked > 50
