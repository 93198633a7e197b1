"""A stranger's solver joins by entry point: installed from source, listed, and used from the command line."""

import os
import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).parent / "plugin"


def test_a_plugin_is_listed_and_used(tmp_path, expand40):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(tmp_path), str(PLUGIN)], check=True, timeout=120)
    command = [sys.executable, "-c", "from pvq.bounds.app.main import pvq; pvq()"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "COLUMNS": "200",
    }

    def run(*words):
        return subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=120)

    assert "nearest" in run("solvers").stdout
    words = ["--method", "quant", "--bits", "4", "--inputs", "0:8", "--rows", "0:2", "--json", "-", "--quiet"]
    used = run("bound", str(expand40), "--solver", "nearest", *words)
    assert used.returncode == 0, used.stderr
    assert '"solver": "nearest"' in used.stdout
    assert '"status": "bound_only"' in used.stdout
    refused = run("bound", str(expand40), "--solver", "nearest", "--method", "prune", "--sparsity", "0.5")
    assert refused.returncode == 2
    assert "takes quant, not prune" in refused.stderr
