"""The instance library: named rows of real layers, how hard they are, and the best bounds anybody has proven.

`library.json` (schema `pvq.library/1`) holds for each instance its layer file, row, inputs and setting, the hash
of its numbers, its difficulty class (easy: solved by bnb on one thread within 1 s, medium: 60 s, hard: longer,
open: by nobody yet) and the best known bounds with who proved them. An upper bound comes with its x, so that
anybody can recompute it; a lower bound is taken only if it is verified (so it may be below what solved the row in
float64 arithmetic):

* the proof that the solver handed over was accepted by the verifier (`pvq.bounds.verify.row`), or
* solvers of two different makers have proven at least as much.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from pvq.bounds.certified import FLOOR
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.grid import nearest_index
from pvq.bounds.layer_problem import Setting
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.layers.format import load_layer
from pvq.layers.reading import read_json

from .judge import SOLVED
from .problems import problem_of, problem_sha256
from .runner import Run
from .tasks import INSTANCES, Instance, find_layer, setting_of

FILE = Path(__file__).resolve().parent / "library.json"  # the source's own in an editable installation
SCHEMA = "pvq.library/1"
CLASSES = ("easy", "medium", "hard", "open")
EASY, MEDIUM = 1.0, 60.0
"""Seconds."""

WELL, SMALL = "efficientnet_lite0.blocks.9.expand", "efficientnet_lite0.blocks.4.expand"
ILL, GROUPED = "efficientnet_lite0.conv_stem", "efficientnet_lite0.blocks.3.depthwise"
LARGE = ("efficientnet_lite0.blocks.3.project", "efficientnet_lite0.blocks.4.project")

MAKER = {"bnb": "pvq", "bound": "pvq", "auto": "pvq", "brute": "pvq", "gurobi-bigm": "gurobi", "scip-bigm": "scip"}
MAKER |= {"xpress-bigm": "xpress", "sdp": "clarabel", "sdp-paper": "clarabel"}
"""Whose code a solver is, where it is not its own name."""


class UnknownInstance(ProblemError):
    """A name or pattern that no instance of the library has."""


def plan() -> Iterator[tuple[str, str, int, Setting]]:
    """Name, layer, row and setting of every instance of the library."""
    for n in (16, 32, 48, 64, 80, 96, 112):
        for row in (0, 1) if n == 64 else (0,):
            yield from _named("b9", WELL, row, n, bits=(2, 3, 4), sparsities=(0.5, 0.75, 0.875), nm=True)
    for n in (16, 24, 32, 48):
        yield from _named("b9", WELL, 2, n, joint=((4, 0.5), (2, 0.75)))
    for row in (0, 100):
        yield from _named("b4", SMALL, row, 40, (2, 3, 4), (0.5, 0.75, 0.875), True, ((4, 0.5),))
        yield from _named("stem", ILL, 3 if row else 0, 27, (2, 3, 4), (0.5, 0.75, 0.875), False, ((4, 0.5),))
        yield from _named("b3", GROUPED, row + 5, 25, (2, 3, 4), (0.5, 0.75, 0.875))
    for n in (32, 64):
        cut = (0, n)
        for grid in ("nf4", "fp4-e2m1", "ternary"):
            yield f"b9-{n}-{grid.split('-')[0]}-r3", WELL, 3, Setting("quant", grid=grid, inputs=cut)
        yield f"b9-{n}-fixed50-r3", WELL, 3, Setting("prune", sparsity=0.5, update=False, inputs=cut)
        yield f"b9-{n}-block4-r3", WELL, 3, Setting("prune", sparsity=0.75, block=4, inputs=cut)
    for layer, short, n in zip(LARGE, ("b3p", "b4p"), (144, 240), strict=True):
        for row in (0, 20):
            yield from _named(short, layer, row, n, (2, 4), (0.75,), row == 0)


def _named(
    short: str,
    layer: str,
    row: int,
    n: int,
    bits: tuple[int, ...] = (),
    sparsities: tuple[float, ...] = (),
    nm: bool = False,
    joint: tuple[tuple[int, float], ...] = (),
) -> Iterator[tuple[str, str, int, Setting]]:
    cut = (0, n)
    for b in bits:
        yield f"{short}-{n}-q{b}-r{row}", layer, row, Setting("quant", bits=b, inputs=cut)
    for s in sparsities:
        yield f"{short}-{n}-p{1000 * s:.0f}-r{row}", layer, row, Setting("prune", sparsity=s, inputs=cut)
    if nm:
        yield f"{short}-{n}-2of4-r{row}", layer, row, Setting("prune", nm=(2, 4), inputs=cut)
    for b, s in joint:
        name = f"{short}-{n}-q{b}p{1000 * s:.0f}-r{row}"
        yield name, layer, row, Setting("joint", bits=b, sparsity=s, inputs=cut)


def build(known: Mapping[str, Any] | None = None, folders: Iterable[Path] = (INSTANCES,)) -> dict[str, Any]:
    """The manifest of `plan`, with what is known of instances whose hash has not changed.

    Parameters
    ----------
    known : an earlier manifest.
    folders : where layer files are.
    """
    folders = tuple(folders)
    before = {words["sha256"]: words for words in (known or {}).get("instances", ())}
    layers: dict[str, str] = {}
    instances = []
    for name, layer, row, setting in plan():
        path = find_layer(layer, folders)
        layers.setdefault(layer, load_layer(path).sha256)
        problem = problem_of(path, setting, row)
        words = {
            "name": name,
            "layer": layer,
            "row": row,
            "n": problem.n,
            "problem": _statement(setting),
            "condition": float(f"{_condition(problem):.2g}"),
            "sha256": problem_sha256(problem),
            "reference": problem.reference,
        }
        old = before.get(str(words["sha256"]), {})
        words |= {"class": old.get("class", "open"), "lower": old.get("lower"), "upper": old.get("upper")}
        instances.append(words)
    return {"schema": SCHEMA, "layers": layers, "instances": instances}


def _statement(setting: Setting) -> dict[str, Any]:
    """The words of the setting that are not the default."""
    usual = {field.name: field.default for field in fields(Setting)} | {"method": None}
    return {key: value for key, value in setting.as_json().items() if value not in (None, usual[key])}


def _condition(problem: Problem) -> float:
    live = problem.gram.live
    values = np.linalg.eigvalsh(problem.hessian[np.ix_(live, live)])
    return float(values[-1] / max(values[0], np.finfo(float).tiny))


def load(path: Path = FILE) -> dict[str, Any]:
    """Read a manifest; raises `ProblemError` if it is not one."""
    try:
        manifest: dict[str, Any] = read_json(path)
        if manifest["schema"] != SCHEMA:
            raise ProblemError(f"{path} has schema {manifest['schema']!r}, expected {SCHEMA!r}")
        for words in manifest["instances"]:
            (
                words["name"],
                words["layer"],
                words["row"],
                words["sha256"],
                words["class"],
                setting_of(words["problem"]),
            )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProblemError(f"{path} is not an instance library ({type(error).__name__}: {error})") from None
    return manifest


def instances_by_name(pattern: str, folders: Iterable[Path], path: Path | None = None) -> list[Instance]:
    """Instances of the library whose name or class matches a pattern with * and ?.

    Raises
    ------
    UnknownInstance
        None does.
    """
    folders = tuple(folders)
    manifest = load(path or FILE)
    found = [
        Instance(
            words["name"],
            words["class"],
            find_layer(words["layer"], folders),
            setting_of(words["problem"]),
            words["row"],
            words["sha256"],
            None if words["upper"] is None else words["upper"]["value"],
        )
        for words in manifest["instances"]
        if fnmatch.fnmatchcase(words["name"], pattern) or words["class"] == pattern
    ]
    if not found:
        names = [words["name"] for words in manifest["instances"]]
        near = difflib.get_close_matches(str(pattern), names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UnknownInstance(f"no instance of the library matches '{pattern}'{hint}")
    return found


def encode(problem: Problem, x: FloatArray) -> dict[str, list[int]]:
    """A feasible x as whole numbers: kept inputs, and the level of each where there is a grid."""
    code: dict[str, list[int]] = {}
    if problem.sparsity is not None:
        code["kept"] = np.flatnonzero(x).tolist()
    if problem.grid is not None:
        grid = problem.grid
        code["levels"] = [int(nearest_index(grid.of(i), x[i : i + 1])[0]) for i in range(problem.n)]
    return code


def decode(problem: Problem, code: Mapping[str, list[int]]) -> FloatArray:
    """The x of a code; kept weights that are free are the best for the mask."""
    mask = np.ones(problem.n, dtype=bool)
    if problem.sparsity is not None:
        mask[:] = False
        mask[code["kept"]] = True
    if problem.grid is not None:
        x = np.array([problem.grid.of(i)[level] for i, level in enumerate(code["levels"])])
        return np.where(mask, x, 0.0)
    return optimal_on_support(problem, mask) if problem.pattern.update else np.where(mask, problem.weight, 0.0)


def verified_lower(runs: Iterable[Run]) -> tuple[float, str] | None:
    """The best verified lower bound among runs of one instance, and who proved it how."""
    found: list[tuple[float, str]] = []
    by_maker: dict[str, tuple[float, str]] = {}
    for run in runs:
        if run.lower is None or run.outcome == "wrong":
            continue
        if run.verified is not None:
            found.append((run.verified, f"{run.solver}, proof verified"))
        maker = MAKER.get(run.name, run.name)
        # CVXPY is whichever solver it calls
        if maker != "cvxpy" and run.lower > by_maker.get(maker, (0.0, ""))[0]:
            by_maker[maker] = (run.lower, run.solver)
    agreed = sorted(by_maker.values(), reverse=True)
    if len(agreed) >= 2:
        found.append((agreed[1][0], f"{agreed[1][1]} and {agreed[0][1]} agree"))
    return max(found, default=None)


def difficulty(runs: Iterable[Run], lower: float | None, upper: float | None, floor: float) -> str | None:
    """Class by the fastest run of bnb that solved it; None if these runs do not say."""
    times = [
        run.seconds for run in runs if run.name == "bnb" and run.outcome == SOLVED and run.seconds is not None
    ]
    if times:
        return "easy" if min(times) < EASY else "medium" if min(times) < MEDIUM else "hard"
    if lower is not None and upper is not None and upper - lower <= max(1e-6 * upper, floor):
        return "hard"
    return None


def updated(
    manifest: Mapping[str, Any], problems: Mapping[str, Problem], runs: Iterable[Run]
) -> tuple[dict[str, Any], list[str]]:
    """The manifest with better verified bounds, and what changed, one line each.

    Parameters
    ----------
    problems : of the instances that were run; their hash is the manifest's.
    runs : judged; an upper bound is recomputed from the code of its x once more.
    """
    of: dict[str, list[Run]] = {}
    for run in runs:
        of.setdefault(run.instance, []).append(run)
    instances, changes = [], []
    for words in manifest["instances"]:
        new = dict(words)
        some, problem = of.get(words["name"], []), problems.get(words["name"])
        if problem is not None and problem_sha256(problem) == words["sha256"]:
            changes += _improve(new, problem, some)
        instances.append(new)
    return {**manifest, "instances": instances}, changes


def _improve(words: dict[str, Any], problem: Problem, runs: list[Run]) -> list[str]:
    changes = []
    floor = FLOOR * problem.reference
    points = [run for run in runs if run.x is not None and run.upper is not None]
    best = min(points, key=lambda run: run.upper or 0.0, default=None)
    if best is not None:
        code = encode(problem, np.array(best.x))
        x = decode(problem, code)
        error, old = problem.certified(x).value, words["upper"]
        if problem.is_feasible(x) and (old is None or error < old["value"] * (1 - 1e-9) - floor):
            words["upper"] = {"value": error, "by": best.solver, "x": code}
            changes.append(f"{words['name']}: upper {error:.9g} by {best.solver}")
    lower = verified_lower(runs)
    if lower is not None and words["upper"] is not None:
        value = min(lower[0], words["upper"]["value"])
        if words["lower"] is None or value > words["lower"]["value"] * (1 + 1e-9) + floor:
            words["lower"] = {"value": value, "by": lower[1]}
            changes.append(f"{words['name']}: lower {value:.9g} by {lower[1]}")
    ends = (words[end] and words[end]["value"] for end in ("lower", "upper"))
    kind = difficulty(runs, *ends, floor)
    if kind is not None and CLASSES.index(kind) < CLASSES.index(words["class"]):  # a slower run says nothing
        changes.append(f"{words['name']}: {words['class']} is now {kind}")
        words["class"] = kind
    return changes
