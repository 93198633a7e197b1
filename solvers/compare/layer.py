"""The pairs of one layer: cheap feasible weights first, then bounds where the verdict is open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pvq.bounds.durations import words_of
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.outliers import outliers_db
from pvq.bounds.sampling import draw
from pvq.bounds.stages import part
from pvq.bounds.storage import CostModel, Pair, equal_cost_pair, pair_against
from pvq.bounds.zero import zero_without_shift
from pvq.layers.format import Layer

from ..base import Options, Solver
from ..bound.layer_wide import LayerWide
from ..compile_time import working_seconds
from ..empirical.layerwise import layer_point
from ..modelled import modelled
from ..rows import applicable
from .bounds import Spent, lower_upper, prepare_side, raise_lower
from .column import Column, combined
from .outlook import POLISHED_DB, why_hopeless
from .pair_document import Told, document_of, merged_sides, verdict_of, with_others
from .remembered import Remembered
from .sampled import SampledSide, likely_better
from .side import Side
from .verdict import OPEN, SKIPPED, margin_db, verdict

QUICK = ("gptq", "sparsegpt", "wanda")
"""Methods of milliseconds a row on the largest layers (wanda where weights are fixed): the first upper ends."""
CLOSE = ("gptq-order", "magnitude-ls", "magnitude")
"""Tried as well where the first upper ends are within `CLOSE_DB`, so that the verdict may hang on them."""
CLOSE_DB = 10.0
ROW_LIMITS = (0.2, 1.0, 5.0, 30.0, None)
"""Seconds a row in the first, second, ... round of bounds: easy rows first. For rows of up to 192 inputs; longer
rows get more, by the square of the length, since already the first bound of a row costs that much."""
LONG = 192
LONGEST = 256
"""Longer rows are left to the relaxations where there are any: search adds little there, and is long to set up."""
SHORT = 40
"""Rows of up to so many inputs are searched exactly at once, which takes milliseconds."""


@dataclass(frozen=True)
class Terms:
    """What is compared, and how much time it may take."""

    bits: Sequence[int]
    quant: Setting
    """Everything of the quantized side but the bits."""
    prune: Setting
    """Everything of the pruned side but the sparsity."""
    cost: CostModel
    engines: Sequence[Solver]
    """Bounds come from these, the first one for every row, the next where it did not decide."""
    quick: Sequence[Solver]
    """Empirical methods that give the first upper ends."""
    close: Sequence[Solver]
    """Empirical methods that are tried as well where those are close."""
    methods: Sequence[Solver] = ()
    """Empirical methods that the user asked for."""
    levels: tuple[float, ...] | None = None
    """Of a grid that is a file, read once: whatever becomes of the file, all pairs have the same grid."""
    nm: int | None = None
    against: str | None = None
    """A sparsity or N:M in words, that of `prune`, instead of what the bits pay for."""
    granularities: Sequence[str] = ()
    """Several for the quantized side, instead of that of `quant`."""
    patterns: Mapping[str, Setting] = field(default_factory=dict)
    """Several for the pruned side, by their words, instead of `against`."""
    odds: float | None = None
    """Of the volume model beside the quantized side; None for the usual ones, and long rows are refused then."""
    time_limit: float | None = 60.0
    """Seconds for the bounds of one pair."""
    until: float | None = None
    """`working_seconds()` at which the run's budget ends: compiling does not count."""
    full: bool = False
    """Bound every row of both sides, also where the verdict is proven without."""
    sample_rows: int | None = None
    """Rows that are drawn, None for all."""
    options: Options = field(default_factory=Options)
    found: Callable[[Layer, int, Side], object] | None = None
    """Called with the layer, the bits and each side of a finished pair whose weights are the best known."""
    counted: Callable[[], str] = str
    """What is known of all pairs, for lines of progress."""
    remembered: Remembered | None = None
    """Where rows are kept between passes over the same layers."""
    running: dict[str, Callable[[], dict[str, Any]]] = field(default_factory=dict)
    """By layer, what is known of the pair at hand: for who has to leave the comparison where it is."""

    @property
    def columns(self) -> list[Column]:
        """The pairs of each layer."""
        return combined(self.bits, list(self.granularities) or None, list(self.patterns) or None)

    def pair(self, layer: Layer, column: Column) -> Pair:
        """A pair of a layer; raises `ProblemError` where there is none."""
        quant = replace(self.quant, granularity=column.granularity or self.quant.granularity)
        prune = self.patterns.get(column.against, self.prune)
        terms = layer.out, layer.inputs, column.bits, self.cost, quant, prune
        return pair_against(*terms) if column.against or self.against else equal_cost_pair(*terms, self.nm)

    def pair_or_why(self, layer: Layer, column: Column) -> Pair | str:
        """The same, or why there is none."""
        try:
            return self.pair(layer, column)
        except ProblemError as error:
            return str(error)

    @property
    def left(self) -> float:
        """Seconds left of the run's budget, infinity without one."""
        return math.inf if self.until is None else self.until - working_seconds()

    def tail(self) -> str:
        """What a line of progress ends with where there is a budget."""
        return "" if self.until is None else f"; {self.counted()}{words_of(max(self.left, 0.0))} left"


def compare_layer(
    layer: Layer, what: Terms, jobs: int = 1, known: Mapping[Column, Mapping[str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """The pairs of a layer in `pvq.compare/1`, in order of bits; ends early where `what.options.stop` is set.

    A pair comes again where one behind it has proven more of a side that they share.

    Parameters
    ----------
    known : pairs of an earlier run by column; finished ones are not computed again, of others the bounds are kept.
    """
    sides: Sides | None = None
    sparser: FloatArray | None = None
    pairs = {column: what.pair_or_why(layer, column) for column in what.columns}
    told: list[Told] = []
    for number, (column, pair) in enumerate(pairs.items(), 1):
        old = (known or {}).get(column)
        if isinstance(pair, str) or (old is not None and old["verdict"] == SKIPPED):
            yield {**column.entries, "verdict": SKIPPED, "reason": pair} if old is None else dict(old)
            continue
        if old is not None and finished(old, what):
            document = dict(old)
        elif what.options.stop.is_set() or what.left <= 0:
            if old is not None:
                yield dict(old)
            continue
        else:
            sides = Sides(layer, what) if sides is None else sides
            try:
                document, sparser = _compare_pair(sides, column, pair, jobs, old, sparser)
            finally:
                what.running.pop(layer.name, None)
            sides.leave([later for later in list(pairs.values())[number:] if isinstance(later, Pair)])
        newest = column, pair, with_others((column, pair, document), told) or document
        yield newest[2]
        for k, earlier in enumerate(told):
            more = with_others(earlier, [newest])
            if more is not None:
                told[k] = *earlier[:2], more
                yield more
        told.append(newest)


def finished(pair: Mapping[str, Any], what: Terms) -> bool:
    """Whether a pair of an earlier run needs no further work: no less was asked of that run than of this one."""
    if pair["verdict"] == SKIPPED:
        return True
    if pair["status"] != "done" or (what.full and not pair["full"]):
        return False
    if pair["verdict"] != OPEN and not what.full:
        return True
    if pair["time_limit"] is None:
        return True
    return what.time_limit is not None and pair["time_limit"] >= what.time_limit


class Sides:
    """The sides of a layer: pairs that have one in common share what is known of it."""

    def __init__(self, layer: Layer, what: Terms) -> None:
        self.layer, self.what = layer, what
        self._grams = tuple(Gram.from_array(gram) for gram in layer.grams)
        self._kept: dict[Setting, Side] = {}

    def of(self, setting: Setting) -> Side:
        """Of all rows, or of those that are drawn where the layer has more."""
        if setting not in self._kept:
            side = self._kept[setting] = self._new(setting)
            side.zero = zero_without_shift(side.problem, self.layer.grams, self.layer.out)
        return self._kept[setting]

    def leave(self, later: Iterable[Pair]) -> None:
        """Only what later pairs have: a side holds as many numbers as the layer."""
        if self.what.remembered is not None:
            for side in self._kept.values():
                if not isinstance(side, SampledSide):
                    self.what.remembered.keep(self.layer, side)
        wanted = {setting for pair in later for setting in (pair.quant, pair.prune)}
        self._kept = {setting: side for setting, side in self._kept.items() if setting in wanted}

    def _new(self, setting: Setting) -> Side:
        layer, what = self.layer, self.what
        levels = what.levels if setting.quantizes else None
        stated = state_problem(layer.weight, layer.grams, setting, levels=levels, checked=self._grams)
        if what.sample_rows is None or what.sample_rows >= layer.out:
            side = Side(stated, layer.name, what.tail)
            if what.remembered is not None:
                what.remembered.tell(layer, side)
        else:
            rows = draw(range(layer.out), what.sample_rows, what.options.seed, layer.sha256)
            side = SampledSide(stated, rows, what.options, layer.name, what.tail)
        side.outliers_db = outliers_db(stated, layer.weight)
        return side


def _compare_pair(
    sides: Sides,
    column: Column,
    pair: Pair,
    jobs: int,
    old: Mapping[str, Any] | None,
    sparser: FloatArray | None,
) -> tuple[dict[str, Any], FloatArray]:
    """A pair, and its pruned weights (rows, n): the next pair, with more bits, may keep as many and more."""
    begin = time.perf_counter()
    layer, what = sides.layer, sides.what
    part(f"{layer.name}, {column.words}: feasible weights{what.tail()}")
    quant, prune = sides.of(pair.quant), sides.of(pair.prune)
    for side in (quant, prune):
        _score(side, [*what.quick, *what.methods], what)
    if sparser is not None:
        prune.offer_all(sparser)
    if abs(_ratio_db(quant, prune)) < CLOSE_DB:
        for side in (quant, prune):
            _score(side, what.close, what)

    reasons: list[str] = []

    def known() -> dict[str, Any]:
        found = document_of(column, pair, quant, prune, old, what.options.seed)
        if found["verdict"] == OPEN and reasons:
            found["words"] += f" {reasons[-1]}"
        how = {"status": "interrupted" if what.options.stop.is_set() else "done", "full": what.full}
        return {**found, **how, "time_limit": what.time_limit, "seconds": time.perf_counter() - begin}

    what.running[layer.name] = known
    if old is None or verdict_of(merged_sides(pair, quant, prune, old)) == OPEN:
        _decide(quant, prune, what, jobs, reasons)
    if what.full:
        for side in (prune, quant):
            _complete(side, what, jobs)
    if not what.options.stop.is_set():
        part(f"{layer.name}, {column.words}: volume model{what.tail()}")
        quant.model = quant.model or modelled(quant.problem, what.odds, layer.weight, quant.lower, quant.upper)
    for name, side in (("quant", quant), ("prune", prune)):
        if what.found is not None and (old is None or side.interval.upper <= old[name]["upper"]):
            what.found(layer, pair.bits, side)
    return known(), prune.x


def _ratio_db(quant: Side, prune: Side) -> float:
    """How many dB the upper ends are apart."""
    ends = [quant.interval.upper, prune.interval.upper]
    return 10 * math.log10(max(ends) / min(ends)) if min(ends) > 0 else math.inf


def _score(side: Side, methods: Sequence[Solver], what: Terms) -> None:
    """Feasible weights from empirical methods; those asked for are reported."""
    asked = {method.name for method in what.methods}
    for method in applicable(methods, side.problem.row(0)):
        if side.interval.upper < np.inf and (what.options.stop.is_set() or method.name in side.scored):
            continue
        side.scored.add(method.name)
        point = layer_point(method, side.problem, what.options)
        side.offer(point)
        if method.name in asked:
            side.empirical[method.name] = float(point.errors.sum())
            if isinstance(side, SampledSide):
                side.scores[method.name] = point.errors


def _decide(quant: Side, prune: Side, what: Terms, jobs: int, reasons: list[str]) -> None:
    """Bound the side that looks worse, and improve the one that looks better, until a verdict or out of time.

    Rows of a layer are bounded together first, and one by one only where that may decide the pair in time: what is
    to be said where it may not is added to `reasons`.
    """

    def decided() -> bool:
        if isinstance(quant, SampledSide) and isinstance(prune, SampledSide):
            return likely_better(quant, prune)[0] is not None
        return verdict(quant.interval, prune.interval) != OPEN

    def enough() -> bool:  # of a sample all rows get the same work: who stops at a good moment deceives himself
        return not isinstance(quant, SampledSide) and decided()

    budget = Budget(what)
    rounds = {id(side): rounds_of(what.engines, side) for side in (quant, prune)}
    # swaps of a batch may lower the pruned side's upper end so far that the other side is the worse one
    near = not prune.shared and abs(_ratio_db(quant, prune)) < CLOSE_DB
    while not (decided() or budget.ended()):
        better, worse = sorted((quant, prune), key=lambda side: side.interval.upper)
        if near:
            near = False
            if prune.open_rows():
                better, worse = quant, prune
        engine, limit = next(rounds[id(worse)], (None, None))
        if engine is None or not worse.open_rows():
            break
        if isinstance(engine, LayerWide) and abs(_ratio_db(quant, prune)) >= CLOSE_DB:
            engine = LayerWide(points=False)  # better weights of the worse side decide nothing
        prepare_side(worse, engine, what.options)
        # a search may close any interval, and nothing tells when
        last = engine is what.engines[-1] or isinstance(quant, SampledSide)

        def hopeless(spent: Spent, worse: Side = worse, better: Side = better, last: bool = last) -> bool:
            why = None if last else why_hopeless(worse, better, spent, jobs)
            reasons.extend([] if why is None else [why])
            return why is not None

        with budget.spend() as options:
            raise_lower(worse, engine, options, limit, enough, jobs, hopeless)
        missing = margin_db(quant.interval, prune.interval)
        if not decided() and (last or missing is None or -missing < POLISHED_DB):
            with budget.spend() as options:
                lower_upper(better, options, enough)


class Budget:
    """The time of one pair: solving counts, compilation and layer-wide work do not."""

    def __init__(self, what: Terms) -> None:
        self._options = what.options
        self._left = min(math.inf if what.time_limit is None else what.time_limit, what.left)
        self._what = what

    def ended(self) -> bool:
        """Whether the time is up, or an interrupt came."""
        return min(self._left, self._what.left) <= 0 or self._options.stop.is_set()

    @contextmanager
    def spend(self) -> Iterator[Options]:
        """Options whose time limit is what is left; what the block takes is taken off."""
        begin = time.perf_counter()
        left = min(self._left, self._what.left)
        yield replace(self._options, time_limit=None if left == math.inf else max(left, 0.0))
        self._left -= time.perf_counter() - begin


def rounds_of(engines: Sequence[Solver], side: Side) -> Iterator[tuple[Solver, float | None]]:
    """Relaxations once, then the last engine with longer and longer limits; short rows go to that at once.

    An engine that is alone is not left out; one that bounds long rows by the batch that they have had is.
    """
    row = side.problem.row(0)
    fitting = applicable(engines, row)
    if any(isinstance(engine, LayerWide) for engine in fitting):
        fitting = [engine for engine in fitting if isinstance(engine, LayerWide) or engine.together(row) == 1]
    scale = max(1.0, (row.n / LONG) ** 2)
    if row.n > SHORT and len(engines) > 1:
        yield from ((engine, None) for engine in fitting if engine is not engines[-1])
    if not fitting or fitting[-1] is not engines[-1] or (row.n > LONGEST and len(engines) > 1):
        return
    for limit in ROW_LIMITS:
        yield fitting[-1], None if limit is None else limit * scale


def _complete(side: Side, what: Terms, jobs: int) -> None:
    """Bound all rows, as far as the time goes."""
    budget = Budget(what)
    for engine, limit in rounds_of(what.engines, side):
        if budget.ended() or not side.open_rows():
            return
        prepare_side(side, engine, what.options)
        with budget.spend() as options:
            raise_lower(side, engine, options, limit, lambda: False, jobs)
