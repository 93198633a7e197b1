"""Bound a layer, once or at several sparsities."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.layers.format import Layer

from .problems import Joint, Problem, Prune
from .results import Result, Row
from .running import Part, Run, Search, quiet_machine


def bound(
    layer: Layer,
    problem: Problem,
    *,
    rows: Any = None,
    inputs: Any = None,
    ridge: float = 0.0,
    scales: Any = None,
    sample_rows: int | None = None,
    solver: str = "auto",
    methods: Sequence[str] | str | None = None,
    time_limit: float | None = 10.0,
    gap: float = 1e-6,
    jobs: int = 1,
    seed: int = 0,
    device: str = "cpu",
    effort: str = "normal",
    budget: float | str | None = None,
    odds: float | None = None,
    explain: bool = False,
    certify: bool = False,
    progress: Callable[[Row], object] | None = None,
    stage: Callable[[str], object] | None = None,
    stop: threading.Event | None = None,
) -> Result:
    """Bound the least error of a layer on a grid, under a sparsity pattern, or both.

    min over x in C of e(x) = (w - x)'H(w - x), added up over the rows w.

    Parameters
    ----------
    layer : Layer
        Weights and Gram matrix.
    problem : Quant, Prune or Joint
        The constraint set C.
    rows : (int, int), range or slice, optional
        Half-open range of rows.
    inputs : (int, int), range or slice, optional
        Half-open range of inputs: a sub-problem, which does not bound the layer.
    ridge : float
        Add so many times the mean of H's diagonal to it; part of the problem.
    scales : array, torch tensor or mapping, optional
        Quantized weights of your own, (out, in), whose scales and zero points the grid takes; or these themselves,
        as {"scale": ..., "zero": ...}, each (out or 1, groups). The problem's `range` does not matter then.
    sample_rows : int, optional
        Bound so many of the rows, drawn at random with `seed`; the sum over all rows is then estimated, as
        `Result.sample`, and never called proven. All of them where there are no more.
    solver : str
        Where bounds come from, see `installed_solvers`.
    methods : sequence of str or str, optional
        Empirical methods to score; "all" for all that fit, None for the usual one (GPTQ, SparseGPT or Wanda).
    time_limit : float, optional
        Seconds for each row, 0 or None for no limit; as many times that, before, for what rows share. Compiling
        does not count.
    gap : float
        Relative gap (upper - lower) / upper that counts as optimal.
    jobs : int
        Rows solved at the same time.
    seed : int
        For methods that draw at random, and for `sample_rows`.
    device : str
        Where the solver bnb runs long searches of quantized rows: "cpu", "gpu", or "auto", a GPU if there is one.
    effort : str
        "high": seconds more for each row of 73 to 1200 inputs on a grid, for a higher lower end where no search
        ends; "normal" otherwise.
    budget : float or str, optional
        Seconds for the whole run without compiling, or a duration as "30m" or "2h", instead of `time_limit`: first
        a bound of every row, then better ones where they narrow the total most.
    odds : float, optional
        Odds of the volume model's level, between 0 and 1; 0.001 where None, and above 2048 inputs or 32
        Gram matrices the model is refused then.
    explain : bool
        The document's volume model has a level and a prediction for each row as well.
    certify : bool
        Find a proof for every lower bound, also where that takes longer than the solve.
    progress : callable, optional
        Called with each finished `Row`, in the calling thread.
    stage : callable, optional
        Called with the name of each stage of the run as it begins.
    stop : threading.Event, optional
        Ends the run, as Ctrl-C does where none is given.

    Returns
    -------
    Result
        Where Ctrl-C stopped it, what was proven so far, with status interrupted.

    Raises
    ------
    ProblemError
        The problem does not fit the layer, or a parameter is impossible.
    SolverUnavailable
        The solver is not installed.
    UnsupportedProblem
        The solver or a method cannot take the problem.
    """
    search = Search(
        solver=solver,
        methods=methods,
        time_limit=time_limit,
        gap=gap,
        jobs=jobs,
        seed=seed,
        device=device,
        effort=effort,
        budget=budget,
        odds=odds,
        explain=explain,
        certify=certify,
        progress=progress,
        stage=stage,
    )
    with quiet_machine(stop) as event:
        part = Part(rows, inputs, ridge, scales, sample_rows)
        return Run.start(layer, problem, part, search, event).one()


def curve(
    layer: Layer,
    problem: Problem,
    sparsities: Iterable[float],
    *,
    rows: Any = None,
    inputs: Any = None,
    ridge: float = 0.0,
    scales: Any = None,
    sample_rows: int | None = None,
    stop: threading.Event | None = None,
    **search: Any,
) -> list[Result]:
    """Bound a layer at several sparsities, where what is found and proven at one serves the others.

    The optimum grows with the sparsity: a lower bound holds at every higher sparsity, a point at every lower one.

    Parameters
    ----------
    layer : Layer
        Weights and Gram matrix.
    problem : Prune or Joint
        Of a sparsity, which takes the values of `sparsities` in turn.
    sparsities : iterable of float
        Rising, each in [0, 1).
    rows : (int, int), range or slice, optional
        As in `bound`, like what follows.
    inputs : (int, int), range or slice, optional
    ridge : float
    scales : array, torch tensor or mapping, optional
    sample_rows : int, optional
    stop : threading.Event, optional
    **search
        solver, methods, time_limit (for a row at one sparsity), gap, jobs, seed, device, effort, progress and
        stage, as in `bound`.

    Returns
    -------
    list of Result
        One for each sparsity.

    Raises
    ------
    ProblemError
        As `bound`; or the problem has no sparsity, or its scale is part of the search.
    SolverUnavailable
        The solver is not installed.
    UnsupportedProblem
        The solver or a method cannot take the problem.
    """
    wanted = [float(sparsity) for sparsity in sparsities]
    if not wanted or wanted != sorted(set(wanted)) or not (wanted[0] >= 0 and wanted[-1] < 1):
        raise ProblemError("`sparsities` must rise, each in [0, 1)")
    pattern = problem.prune if isinstance(problem, Joint) else problem
    if not isinstance(pattern, Prune) or pattern.sparsity is None:
        raise ProblemError("`problem` must have a sparsity, as Prune(0.5)")
    with quiet_machine(stop) as event:
        part = Part(rows, inputs, ridge, scales, sample_rows)
        run = Run.start(layer, problem, part, Search(**search), event)
        if run.search.budget is not None:
            raise ProblemError("`budget` is for one sparsity, not for several; give `time_limit`")
        if run.is_free:
            raise ProblemError("`range` optimal is for one sparsity, not for several")
        return run.several(wanted)
