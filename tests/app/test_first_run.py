"""The first run of a fresh install, which has nothing compiled yet."""

import json
import os
import subprocess
import sys

COMMAND = "import sys; from pvq.bounds.app.main import pvq_bound; sys.argv[0] = 'pvq-bound'; pvq_bound()"


def test_compiling_takes_nothing_of_the_limit_of_a_row(tmp_path, expand40):
    """Compiling takes many times the second that the row has; its search takes a few hundredths of it."""
    cache = tmp_path / "cache"
    words = ("--rows", "0:1", "--inputs", "0:20", "--method", "prune", "--sparsity", "0.5", "--time-limit", "1")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, expand40, *words, "--solver", "bnb", "--json", "-"],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "compiling" in done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["status"] == "optimal"
    assert 0 < row["lower"] <= row["upper"] < row["reference"]
    compiled = {path.name.split("-")[0] for path in cache.rglob("*.nbc")}
    assert any(name.startswith("tree.") for name in compiled), sorted(compiled)
