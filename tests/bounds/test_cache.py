"""A place for numba's cache: none is made where there is one, and nobody else's is used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pvq.bounds.cache import can_hold, ensure_cache
from pvq.layers.format import Layer, save_layer

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
from pvq.bounds.ranges import _cover
print(_cover.stats.cache_path)
"""


def test_a_temporary_cache_is_said_once_and_used_by_children_too(nowhere, tmp_path):
    done = python(COMPILES, nowhere)
    assert done.returncode == 0, done.stderr
    where, chosen, used = done.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    assert Path(chosen) == tmp_path / "temporary" / f"pvq-numba-{os.geteuid()}"
    assert used.startswith(chosen)
    assert os.stat(chosen).st_mode & 0o777 == 0o700
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
    assert done.stdout.splitlines()[1] == str(tmp_path / "mine")
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
    chosen = Path(done.stdout.splitlines()[1])
    assert chosen != taken
    assert not chosen.exists()  # removed at the end


def test_nothing_is_done_where_it_works():
    assert ensure_cache() is None


def test_a_folder_is_judged_by_writing_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("")
    assert can_hold(tmp_path / "a" / "b")
    assert not can_hold(tmp_path / "file" / "a")
    assert not can_hold(Path("/proc/self/a"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from pvq.bounds.app.main import pvq_bound
pvq_bound()
"""


def test_a_disk_without_room_for_compiled_code_is_one_line(tmp_path):
    """The cache is written at the first compilation: nothing has been computed that could be lost."""
    layer = save_layer(tmp_path / "l.npz", Layer("l", np.ones((2, 3)), np.eye(3)))
    words = [str(layer), "--method", "quant", "--bits", "2", "--json", str(tmp_path / "out.json"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", FULL, *words],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "File too large" in done.stderr
    assert "cache" in done.stderr
    assert not (tmp_path / "out.json").exists()
