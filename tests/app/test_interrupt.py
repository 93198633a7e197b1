"""Ctrl-C is answered while work hears no signal."""

import json
import signal
import subprocess
import sys
import time
from threading import Event, Timer

import numpy as np
import pytest
from pvq.layers.format import Layer, save_layer
from pvq.solvers.watch import watched


def test_work_that_hears_nothing_is_left_behind():
    stop, never = Event(), Event()
    Timer(0.1, stop.set).start()
    assert watched(never.wait, stop, grace=0.1) is None
    never.set()


def test_a_value_and_an_error_come_back():
    assert watched(lambda: 3, Event()) == 3
    with pytest.raises(ZeroDivisionError):
        watched(lambda: 1 / 0, Event())


def test_an_interrupt_in_preparation_prints_a_trivial_interval(tmp_path):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 8))
    file = save_layer(tmp_path / "l.npz", Layer("l", rng.standard_normal((3, 8)), a.T @ a / 40))
    code = "import time, pvq.solvers.rows as rows; rows.prepare = lambda *_: time.sleep(600); "
    code += "from pvq.bounds.app.main import pvq_bound; pvq_bound()"
    words = [str(file), "--method", "quant", "--bits", "4", "--json", "-"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while "preparing" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    total = json.loads(out)["total"]
    assert (total["status"], total["bound_kind"], total["lower"]) == ("interrupted", "none", 0.0)
    assert total["upper"] > 0


def test_an_interrupt_before_anything_is_known_is_said(tmp_path):
    rng = np.random.default_rng(0)
    file = save_layer(tmp_path / "l.npz", Layer("l", rng.standard_normal((3, 8)), np.eye(8)))
    code = "import sys, time, pvq.bounds.layer_problem as stated\n"
    code += (
        "def state_problem(*_, **__):\n    print('stating', file=sys.stderr, flush=True)\n    time.sleep(600)\n"
    )
    code += "stated.state_problem = state_problem\nfrom pvq.bounds.app.main import pvq_bound\npvq_bound()"
    words = [str(file), "--method", "quant", "--bits", "4", "--json", str(tmp_path / "out.json")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "stating\n" in iter(process.stderr.readline, "")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "pvq-bound: interrupted\n" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("code", [0, 130])
def test_an_interrupted_process_does_not_wait_for_torch_to_take_leave(tmp_path, code):
    program = "import atexit, sys, torch\nfrom pathlib import Path\nfrom pvq.bounds.app.main import run\n"
    program += "atexit.register(Path(sys.argv[1]).touch)\nprint('said', end='')\n"
    program += f"run(lambda: lambda **_: {code}, 'pvq')\n"
    mark = tmp_path / "left"
    ended = subprocess.run([sys.executable, "-c", program, str(mark)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (code, "said")
    assert mark.exists() == (code == 0)
