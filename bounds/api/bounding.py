"""Bound a layer, check a certificate, extract layers, list solvers."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from signal import SIGINT
from typing import Any

import numpy as np
from pvq.bounds.certificate import Certificate, load_certificate
from pvq.bounds.codebooks import Codebook, codebook
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.ranges import GIVEN
from pvq.bounds.recover import recover_scales
from pvq.layers.arrays import plain
from pvq.layers.format import Layer, load_layer
from pvq.solvers.base import Options
from pvq.solvers.document import environment, result_document
from pvq.solvers.interrupt import stop_on_interrupt
from pvq.solvers.layer import solve_layer
from pvq.solvers.methods import empirical_methods
from pvq.solvers.registry import get_solver, solver_class, solver_names
from pvq.solvers.rows import RowResult, prepare
from pvq.solvers.scale import check_free_scale, solve_scales

from .problems import Problem, setting_of
from .results import Interval, Result, Row
from .threads import one_blas_thread


def bound(
    layer: Layer,
    problem: Problem,
    *,
    rows: Any = None,
    inputs: Any = None,
    ridge: float = 0.0,
    scales: Any = None,
    solver: str = "auto",
    methods: Sequence[str] | str | None = None,
    time_limit: float | None = 10.0,
    gap: float = 1e-6,
    jobs: int = 1,
    seed: int = 0,
    certify: bool = False,
    progress: Callable[[Row], object] | None = None,
) -> Result:
    """Bound the least error of a layer on a grid, under a sparsity pattern, or both.

    min over x in C of e(x) = (w - x)'H(w - x), added up over the rows w.

    Parameters
    ----------
    layer : Layer
        Weights and Gram matrix.
    problem : Quant, Prune or Joint
        The constraint set C.
    rows, inputs : (int, int), range or slice, optional
        Half-open range of rows, and of inputs: a sub-problem, which does not bound the layer.
    ridge : float
        Add so many times the mean of H's diagonal to it; part of the problem.
    scales : array, torch tensor or mapping, optional
        Quantized weights of your own, (out, in), whose scales and zero points the grid takes; or these themselves,
        as {"scale": ..., "zero": ...}, each (out or 1, groups). The problem's `range` does not matter then.
    solver : str
        Where bounds come from, see `installed_solvers`.
    methods : sequence of str or str, optional
        Empirical methods to score; "all" for all that fit, None for the usual one (GPTQ, SparseGPT or Wanda).
    time_limit : float, optional
        Seconds for each row, 0 or None for no limit. Compiling and layer-wide work do not count.
    gap : float
        Relative gap that counts as optimal.
    jobs : int
        Rows solved at the same time.
    seed : int
        For methods that draw at random.
    certify : bool
        Find a proof for every lower bound, also where that takes longer than the solve.
    progress : callable, optional
        Called with each finished `Row`.

    Returns
    -------
    Result
        Where Ctrl-C stopped it, what was proven so far, with status interrupted.

    Raises
    ------
    ProblemError
        The problem does not fit the layer, or a parameter is impossible.
    SolverUnavailable, UnsupportedProblem
        The solver is not installed, or cannot take the problem.
    """
    begin = time.perf_counter()
    if not isinstance(layer, Layer):
        raise ProblemError(f"`layer` must be a pvq.Layer, not {type(layer).__name__}; pvq.load_layer reads a file")
    check_limits(time_limit, gap, jobs)
    setting, levels = setting_of(problem, rows, inputs, ridge)
    own = None
    if scales is not None:
        setting, own = given_scales(scales, setting, levels, layer)
    free = setting.quantizes and setting.range == "optimal"
    engine = get_solver(solver)
    with one_blas_thread():
        stated = state_problem(layer.weight, layer.grams, setting, levels=levels, free_scale=True, scales=own)
        if free:
            check_free_scale(stated, engine.name, certify)
        if own is not None and certify:
            raise ProblemError("`scales` of your own have no certificates; leave out `certify`")
        engine.check(stated.row(0))
        chosen = empirical_methods(methods, stated.row(0))
        prepare(stated, (engine, *chosen))
        prepared = time.perf_counter() - begin
        with stop_on_interrupt(SIGINT) as stop:
            options = Options(
                time_limit=time_limit or None,
                gap=gap,
                threads=max(1, (os.cpu_count() or 1) // jobs),
                seed=seed,
                prove=certify,
                stop=stop,
            )

            def on_row(row: RowResult) -> None:
                if progress is not None:
                    try:
                        progress(Row.of(row))
                    except KeyboardInterrupt:
                        stop.set()

            if free:
                stated, solved = solve_scales(stated, options, chosen, jobs, on_row)
            else:
                solved = solve_layer(stated, engine, options, chosen, jobs, on_row)
    used = environment(engine.name, jobs, prepared, time.perf_counter() - begin)
    return Result(layer, stated, solved, result_document(layer, stated, options, solved, used))


def check_limits(time_limit: float | None, gap: float, jobs: int) -> None:
    """Raise `ProblemError` for limits that are none; NaN is none."""
    if not (time_limit is None or time_limit >= 0):
        raise ProblemError(f"`time_limit` must be 0 (none) or more seconds, not {time_limit}")
    if not gap >= 0:
        raise ProblemError(f"`gap` must be 0 or more, not {gap}")
    if jobs < 1:
        raise ProblemError(f"`jobs` must be at least 1, not {jobs}")


def given_scales(
    scales: Any, setting: Setting, levels: tuple[float, ...] | None, layer: Layer
) -> tuple[Setting, tuple[FloatArray, FloatArray]]:
    """The setting with scales of somebody's own, and these: as they are, or recovered from quantized weights."""
    if not setting.quantizes:
        raise ProblemError("`scales` are for a grid, and this problem has none")
    setting = dataclasses.replace(setting, range=GIVEN)
    if isinstance(scales, Mapping):
        if not {"scale"} <= set(scales) <= {"scale", "zero"}:
            raise ProblemError(f"`scales` needs 'scale', and perhaps 'zero', not {sorted(map(str, scales))}")
        scale = np.atleast_2d(np.asarray(plain(scales["scale"]).array, dtype=np.float64))
        zero = np.zeros_like(scale)
        if scales.get("zero") is not None:
            zero = np.atleast_2d(np.asarray(plain(scales["zero"]).array, dtype=np.float64))
        if setting.granularity == "channel" and scale.shape == (1, layer.out):
            scale, zero = scale.T, zero.T
        return setting, (scale, zero)
    given = plain(scales)
    weights = given.array.reshape(len(given.array), -1) if given.array.ndim > 2 else given.array
    if weights.shape != layer.weight.shape:
        raise ProblemError(f"`scales` are weights of shape {weights.shape}, the layer has {layer.weight.shape}")
    if not np.isfinite(weights).all():
        raise ProblemError("`scales` has NaN or infinite weights")
    book = Codebook(setting.grid, np.array(levels)) if levels else codebook(setting.grid, setting.bits)
    found = recover_scales(np.asarray(weights, dtype=np.float64), book, setting.granularity, given.eps)
    if found.ambiguous:
        warnings.warn(
            f"the weights do not determine {found.ambiguous} of {found.scale.size} scales; "
            "the finest that explains them is taken (1 where all are 0)",
            stacklevel=3,
        )
    return setting, (found.scale, found.zero)


def verify(certificate: Certificate | str | os.PathLike[str], layer: Layer | str | os.PathLike[str]) -> Interval:
    """Prove again what a certificate claims; nothing in it is believed.

    Parameters
    ----------
    certificate : Certificate or path
        Of `Result.certificate`, or a file.
    layer : Layer or path
        The layer that it is about.

    Returns
    -------
    Interval
        What was proven: no weights have an error below min, and those in the certificate have at most max.

    Raises
    ------
    NotProven
        A claim is not established, or the certificate is another layer's.
    CertificateError, LayerError
        A file cannot be read.
    """
    from pathlib import Path

    from pvq.bounds.verify.certificate import verify_certificate

    claimed = certificate if isinstance(certificate, Certificate) else load_certificate(Path(certificate))
    data = layer if isinstance(layer, Layer) else load_layer(layer)
    proven = verify_certificate(claimed, data.weight, data.grams, data.sha256)
    return Interval(proven.lower, proven.upper)


def extract(
    model: Any,
    batches: Iterable[Any],
    modules: str | Sequence[str] = "*",
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, Layer]:
    """Layers of a torch module, with the Gram matrices of what reaches them on calibration data.

    Parameters
    ----------
    model : torch.nn.Module
        Runs in evaluation mode and is left as it was.
    batches : iterable
        Each a tensor, a tuple of positional or a dict of keyword arguments of the model.
    modules : str or sequence of str
        Glob over module names, as "*.mlp.*"; one that starts with ! takes names away.
    progress : callable, optional
        Called with the number of batches done and of all, None if unknown.

    Returns
    -------
    dict of str to Layer

    Raises
    ------
    LayerError
        Nothing matches, a batch does not fit, a chosen module was never called.
    """
    from pvq.layers.extract import extract_layers

    return extract_layers(model, modules, batches, progress=progress)


def installed_solvers() -> dict[str, str]:
    """Names of the solvers that can be used here, with what each is; takes no licence and imports no package."""
    classes = {name: solver_class(name) for name in solver_names()}
    return {name: cls.summary for name, cls in classes.items() if cls.is_available()}
