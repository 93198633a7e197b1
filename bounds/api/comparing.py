"""Quantization or pruning at equal cost, with proof."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pvq.bounds.codebooks import INT_GRIDS, file_levels
from pvq.bounds.durations import seconds_of
from pvq.bounds.errors import ProblemError, check_number
from pvq.bounds.layer_problem import Setting
from pvq.bounds.stages import part
from pvq.bounds.storage import CostModel
from pvq.bounds.theory.analytic import bit_widths
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.compare import layer as engine
from pvq.solvers.compare.budgeted import compare_within, not_reached
from pvq.solvers.compare.document import (
    add_failure,
    add_pair,
    known_pairs,
    new_document,
    read_document,
    settings,
    summarise,
)
from pvq.solvers.compare.engines import engines_by_name, methods_by_name
from pvq.solvers.compare.network import Member, compare_all, distinct, found_in, member_of
from pvq.solvers.compare.solutions import FOLDER, SolutionFolder
from pvq.solvers.compile_time import working_seconds
from pvq.solvers.device import check_device
from pvq.solvers.document import environment, packages
from pvq.solvers.modelled import check_odds
from pvq.solvers.options import check_effort
from pvq.solvers.registry import get_solver
from pvq.solvers.watch import Calls, watched

from .comparison import Comparison
from .problems import Prune, Quant, pattern_of, pattern_words
from .running import check_limits, quiet_machine

Layers = Layer | str | os.PathLike[str] | Iterable[Layer | str | os.PathLike[str]] | Mapping[str, Layer]


def compare(
    layers: Layers,
    bits: Iterable[int] | None = None,
    *,
    grid: str = "int",
    granularity: str | Sequence[str] = "tensor",
    range: str = "mse",
    nm: int | None = None,
    against: float | str | Sequence[float | str] | None = None,
    block: int | None = None,
    update: bool = True,
    scope: str = "row",
    base: int = 16,
    mask: str = "none",
    scale_bits: int = 0,
    sample_rows: int | None = None,
    solver: str = "auto",
    methods: Sequence[str] | str = (),
    time_limit: float | None = 60.0,
    budget: float | str | None = None,
    full: bool | int = False,
    gap: float = 1e-6,
    jobs: int = 1,
    seed: int = 0,
    device: str = "cpu",
    effort: str = "normal",
    odds: float | None = None,
    earlier: str | os.PathLike[str] | None = None,
    solutions: str | os.PathLike[str] | None = None,
    progress: Callable[[str, Mapping[str, Any]], object] | None = None,
    keep: Callable[[Comparison], object] | None = None,
    stop: threading.Event | None = None,
) -> Comparison:
    """Which is better at equal cost, b-bit quantization or sparsity 1 - b/16, with proof.

    A technique is proven better if its upper end is below the other's lower end.

    Parameters
    ----------
    layers : Layer, path, or several of them
        A mapping's keys name its layers. A folder stands for its layer files; files are read again when it is
        their turn.
    bits : iterable of int, optional
        Bits of the quantized side; 2 to 8, or those of the grid, where None.
    grid : str
        As in `Quant`, by name or file.
    granularity : str or sequence of str
        As in `Quant`; of several each is compared.
    range : str
        mse, minmax or gram, as in `Quant`.
    nm : int, optional
        M of N:M sparsity, N the most that the bits pay for.
    against : float or str or sequence of them, optional
        A sparsity as 0.5, or N:M as "2:4", for all bits, whatever it costs beside them; each of several.
    block : int, optional
        As in `Prune`.
    update : bool
        As in `Prune`.
    scope : str
        As in `Prune`.
    base : int
        Bits of a weight that is not quantized, 16 or 32.
    mask : str
        What the sparsity pays for its mask: none, bitmask or index.
    scale_bits : int
        Bits of each scale, 0 to leave them out of the cost.
    sample_rows : int, optional
        Bound so many rows of each layer, drawn at random with `seed`; a verdict may then be `sampled`: likely at
        95 % confidence, and no proof. All rows of layers that have no more.
    solver : str
        As in `bound`.
    methods : sequence of str or str
        Empirical methods to score on the side that each is for.
    time_limit : float, optional
        Seconds for the bounds of one pair, 0 or None for no limit.
    budget : float or str, optional
        Seconds for the whole run without compiling, or a duration as "30m" or "2h", instead of `time_limit`: first
        every pair for a moment, then the open ones.
    full : bool or int
        Bound both sides on all rows, also where a verdict needs less; a number: if no more layers are compared.
    gap : float
        As in `bound`.
    jobs : int
        Layers at the same time, and rows of them where there are fewer layers.
    seed : int
        As in `bound`.
    device : str
        As in `bound`.
    effort : str
        As in `bound`.
    odds : float, optional
        As in `bound`: the quantized side of each pair has the volume model's statement, which decides nothing.
    earlier : path, optional
        File of an earlier comparison to go on from; what it has is not computed again.
    solutions : path, optional
        Folder for the best weights of both sides of each pair that is computed, for `apply`.
    progress : callable, optional
        Called with the layer's name and each finished pair of `pvq.compare/1`; again with a pair that shares a
        side with a later one which has proven more of it.
    keep : callable, optional
        Called with the comparison as it stands, at the start and after each pair, as to save it.
    stop : threading.Event, optional
        Ends the run, as Ctrl-C does where none is given.

    Returns
    -------
    Comparison
        Where Ctrl-C stopped it, the pairs so far.

    Raises
    ------
    ProblemError
        A parameter is impossible, two layers have one name, or `earlier` is of something else.
    LayerError
        A file is not a layer.
    SolverUnavailable
        The solver is not installed.
    UnsupportedProblem
        The solver proves nothing, or a method cannot do what it should.
    """
    begin = time.perf_counter()
    check_limits(time_limit, gap, jobs)
    check_device(device)
    check_effort(effort)
    check_odds(odds)
    until = None if budget is None else working_seconds() + seconds_of("`budget`", budget)
    if nm is not None and (nm < 2 or scope == "layer" or block is not None):
        raise ProblemError("`nm` M must be at least 2, and goes neither with `block` nor with `scope` layer")
    if sample_rows is not None and (sample_rows < 1 or scope == "layer"):
        raise ProblemError("`sample_rows` must be at least 1, and does not go with `scope` layer")
    wanted = widths(grid, bits)
    grained = [granularity] if isinstance(granularity, str) else list(granularity)
    for grain in grained:
        Quant(wanted[0] if grid in INT_GRIDS else None, grid, grain, range)  # checks it
    if against is not None and nm is not None:
        raise ProblemError(
            "`against` gives the pattern whatever it costs, `nm` what the bits pay for: one of them"
        )
    rivals = list(against) if isinstance(against, Iterable) and not isinstance(against, str) else [against]
    pruned = [Prune(**pattern_of(rival), block=block, update=update, scope=scope) for rival in rivals]
    patterns = {pattern_words(one): Setting("prune", **one.words) for one in pruned}
    _check_distinct(granularity=grained, against=[pattern_words(one) for one in pruned])
    if len(grained) * len(rivals) > 1 and solutions is not None:
        raise ProblemError("weights are kept of one `granularity` and one `against`; give one of each")
    what = engine.Terms(
        bits=wanted,
        quant=Setting("quant", grid=grid, granularity=grained[0], range=range),
        prune=next(iter(patterns.values())),
        cost=CostModel(base, mask, scale_bits),
        engines=engines_by_name(solver),
        quick=[get_solver(name) for name in engine.QUICK],
        close=[get_solver(name) for name in engine.CLOSE],
        methods=methods_by_name(methods, update),
        levels=file_levels(grid),
        nm=nm,
        against=None if against is None or len(patterns) > 1 else next(iter(patterns)),
        granularities=grained if len(grained) > 1 else (),
        patterns=patterns if len(patterns) > 1 else {},
        odds=odds,
        time_limit=time_limit or None,
        sample_rows=sample_rows,
        options=Options(time_limit=None, gap=gap, seed=seed, device=device, effort=effort),
    )
    chosen = settings(what, solver)
    failures: list[str] = []
    calls = Calls()
    with quiet_machine(stop) as event:
        part("reading layers")
        members = watched(lambda: members_of(layers), event)
        if members is None:
            raise KeyboardInterrupt
        packages()  # read now: an interrupt waits for an answer
        before = None if earlier is None else read_document(Path(earlier), members, chosen)
        document = new_document(members, chosen, wanted, before)
        compared = sum(member.skipped is None for member in members)
        files = (member.path for member in members if member.layer is None)
        written = None if solutions is None else SolutionFolder(Path(solutions), files)
        document |= {} if solutions is None else {FOLDER: str(Path(solutions))}
        what = replace(
            what,
            found=None if written is None else written.write,
            full=full if isinstance(full, bool) else compared <= full,
            options=replace(what.options, stop=event),
        )

        def tell() -> None:
            if keep is not None:
                summarise(document)
                keep(Comparison(document, tuple(wanted), tuple(failures)))

        def take(member: Member, pair: dict[str, Any]) -> None:
            add_pair(document, member.name, pair)
            try:
                if progress is not None:
                    progress(member.name, pair)
                tell()
            except KeyboardInterrupt:
                event.set()

        def fail(member: Member, why: str) -> None:
            failures.append(why)
            add_failure(document, member.name, why)

        def work() -> bool:
            def on_pair(member: Member, pair: dict[str, Any]) -> None:
                calls.make(lambda: take(member, pair))

            def on_failed(member: Member, why: str) -> None:
                calls.make(lambda: fail(member, why))

            if until is None:
                compare_all(members, what, jobs, known_pairs(before), on_pair, on_failed)
            else:
                compare_within(members, what, jobs, known_pairs(before), on_pair, on_failed, until)
            return True

        tell()
        if watched(work, event, calls=calls) is None:
            for name, known in list(what.running.items()):
                add_pair(document, name, known())
    summarise(document)
    failures += [] if written is None else written.failed
    used = environment(solver, jobs, 0.0, time.perf_counter() - begin)
    document["environment"] = {**used, "interrupted": event.is_set()}
    if until is not None and not event.is_set():
        document["environment"]["not_reached"] = not_reached(members, what.columns, known_pairs(document))
    return Comparison(document, tuple(wanted), tuple(failures))


def _check_distinct(**given: Sequence[Any]) -> None:
    """Raise `ProblemError` for a parameter with nothing, or the same twice."""
    for name, several in given.items():
        words = [str(one) for one in several]
        if not words or len(set(words)) < len(words):
            raise ProblemError(f"`{name}` must be one or several different ones, not {', '.join(words) or 'none'}")


def widths(grid: str, bits: Iterable[int] | None) -> list[int]:
    """Bit widths in order, all of which the grid has."""
    if bits is None:
        return bit_widths(grid, None)
    if not isinstance(bits, Iterable):
        raise ProblemError(f"`bits` must be several widths, as range(2, 9) or [4], not {bits!r}")
    given = set(bits)
    for width in given:
        check_number("bits", width, whole=True)
    wanted = sorted(given)
    if not wanted:
        raise ProblemError("`bits` must be one width or more, as range(2, 9)")
    for width in reversed(wanted):
        bit_widths(grid, (width, width))
    return wanted


def members_of(layers: Layers) -> list[Member]:
    """What is to be compared: layers, by name, and files."""
    if isinstance(layers, Mapping):
        named = [(name, replace(layer, name=name)) for name, layer in layers.items()]
        return distinct([replace(member_of(layer, Path(name)), layer=layer) for name, layer in named])
    several = list(layers) if isinstance(layers, Iterable) and not isinstance(layers, str) else [layers]
    members: list[Member] = []
    for given in several:
        if isinstance(given, Layer):
            members.append(replace(member_of(given, Path(given.name)), layer=given))
        elif isinstance(given, str | os.PathLike):
            members += found_in(Path(given))
        else:
            raise ProblemError(f"`layers` must be of pvq.Layer or paths, not {type(given).__name__}")
    return distinct(members)
