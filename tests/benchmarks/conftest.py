"""A plug-in package with solvers that misbehave, each in its own way."""

import json
import os
import re

import pytest

SOLVERS = '''
import os, signal, time
import numpy as np
from pvq.solvers.base import Solver, SolverUnavailable
from pvq.solvers import base
from pvq.solvers.result import BoundKind, Outcome, Reason, Result


class Good(Solver):
    name = "good"
    summary = "rounds"
    methods = frozenset({"quant"})
    proves = "bound"

    def _solve(self, problem, options, start):
        smallest = max(0.0, np.linalg.eigvalsh(problem.hessian)[0])
        x = problem.grid.nearest(problem.weight)
        return Outcome(x, smallest * ((problem.weight - x) ** 2).sum(), Reason.FINISHED, nodes=7)


class Crashes(Good):
    def _solve(self, problem, options, start):
        os.write(2, b"libsolver: assertion failed\\n")
        os.abort()


class Hangs(Good):
    def _solve(self, problem, options, start):
        while True:
            time.sleep(0.01)


class Interrupts(Hangs):
    def _solve(self, problem, options, start):
        os.kill(os.getppid(), signal.SIGINT)
        return super()._solve(problem, options, start)


class Eats(Good):
    def _solve(self, problem, options, start):
        kept = []
        while True:
            kept.append(np.ones(8_000_000))


class Raises(Good):
    def _solve(self, problem, options, start):
        print("noise on stdout")
        raise RuntimeError("matrix is not\\npositive definite")


class Licence(Good):
    def _solve(self, problem, options, start):
        raise SolverUnavailable("solver 'licence': the licence is too small for 8 variables")


class Absent(Good):
    requires = ("no_such_module_at_all",)


class TooHigh(Good):
    """Claims a bound above what others reach, but not above its own point."""

    def _solve(self, problem, options, start):
        x = np.full(problem.n, problem.grid.levels[0, -1])
        return Outcome(x, 0.9 * problem.error(x))


class Liar(Good):
    """Puts the checks out of action, which no subclass can do by itself."""

    def _solve(self, problem, options, start):
        x = problem.grid.nearest(problem.weight)
        result = Result(x, 1e-9, 1e-9, Reason.FINISHED, BoundKind.NUMERICAL, "liar", True, 1, 0.001)
        base.checked = lambda *_: result


class OffGrid(Good):
    def _solve(self, problem, options, start):
        x = problem.weight
        result = Result(x, 0.0, 0.0, Reason.FINISHED, BoundKind.NUMERICAL, "off-grid", True, 1, 0.001)
        base.checked = lambda *_: result


class CutOff(Good):
    """Says how much is left of its search."""

    proves = "optimum"

    def _solve(self, problem, options, start):
        x = problem.grid.nearest(problem.weight)
        return Outcome(x, 0.0, Reason.TIME, nodes=3000, info={"nodes_ahead": 40000.0})


class Late(Good):
    """Solves, but after its limit."""

    proves = "optimum"

    def _solve(self, problem, options, start):
        from pvq.solvers.brute import Brute

        time.sleep(options.time_limit + 0.05)
        return Brute()._solve(problem, options, start)
'''
NAMES = re.findall(r"^class (\w+)", SOLVERS, re.M)


@pytest.fixture
def plugins(tmp_path_factory, monkeypatch):
    """Make the solvers of the plug-in known, here and in worker processes."""
    from pvq.solvers import registry

    folder = tmp_path_factory.mktemp("plugin")
    (folder / "pvq_bad_solvers.py").write_text(SOLVERS)
    about = folder / "pvq_bad_solvers-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pvq-bad-solvers\nVersion: 0.1\n")
    points = "\n".join(f"{name.lower()} = pvq_bad_solvers:{name}" for name in NAMES)
    (about / "entry_points.txt").write_text(f"[pvq.solvers]\n{points}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    registry.declared.cache_clear()
    yield
    registry.declared.cache_clear()


@pytest.fixture
def case_list(tmp_path):
    """Write a case list; returns its path."""

    def write(cases, name="list.json", **words):
        file = tmp_path / name
        file.write_text(json.dumps({"schema": "pvq.cases/1", "about": "a test", "cases": cases, **words}))
        return file

    return write
