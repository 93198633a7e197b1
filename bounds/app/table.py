"""What a person reads after a run: a table in relative error and dB, and one sentence that says what is proven."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from pvq.bounds.durations import words_of
from pvq.bounds.layer_problem import LayerProblem, Setting
from pvq.bounds.ranges import GIVEN
from pvq.bounds.sqnr import format_db
from pvq.results import Result, Score, best_name
from pvq.solvers.result import BoundKind, Reason, Status
from pvq.solvers.rows import LayerResult
from rich import box
from rich.table import Table

from .console import Printer, printable
from .hints import outlier_hint
from .sampled import sample_sentence
from .volume import explanation, model_sentence

ROWS_SHOWN = 16  # more rows than this are summed up, not listed


def print_result(result: Result, own: Score | None = None, explain: bool = False) -> None:
    """Print the tables and the sentence on standard output."""
    console = Printer()
    problem, solved = result.problem, result.solved
    console.say(f": {describe(problem)}", name=result.layer.name)
    if len(solved.rows) <= ROWS_SHOWN:
        console.table(_row_table(problem, solved))
    console.table(_layer_table(solved))
    console.say(_effort(solved))
    console.say(sentence(problem, result.document["problem"]["gap"], solved))
    ceiling = _ceiling(solved)
    if ceiling is not None:
        console.say(ceiling)
    ahead = _ahead(solved)
    if ahead is not None:
        console.say(ahead)
    sampled = sample_sentence(result)
    if sampled is not None:
        console.say(sampled)
    if own is not None:
        console.say(own_sentence(solved, own))
    if result.model is not None:
        say = result.model.as_json()
        console.say(model_sentence(say, solved.reference, solved.empirical, _some_rows(problem)))
        if explain:
            console.say(explanation(say, solved.reference))
    if result.zero_without_shift is not None:
        console.say(f"Without the shift of H, {result.zero_without_shift.words}.")
    if "any_code" in result.document["total"]:
        console.say(limit_sentence(result))
    _say_notes(console, result)
    if "outliers_db" in result.document["total"]:
        console.say(outlier_hint(f"{result.document['total']['outliers_db']:.1f} dB larger"))


def limit_sentence(result: Result) -> str:
    """What no code of the grid's bits reaches on average."""
    limit = result.document["total"]["any_code"]
    grid = result.problem.grid
    assert grid is not None
    return (
        f"Any code of {math.log2(len(grid.codebook.levels)):.3g} bits a weight, vector codes too, has at most "
        f"{format_db(result.solved.reference, limit)} dB on average over Gaussian weights (reverse "
        "water-filling), which is no bound for these weights."
    )


def own_sentence(result: LayerResult, own: Score) -> str:
    """One sentence on the user's weights."""
    said = f"Your weights: {format_db(result.reference, own.error)} dB"
    if not own.feasible:
        return f"{said}, but they are not feasible ({own.reason}): the bound says nothing of them."
    distance = _distance(result, own.error)
    return f"{said}, feasible{f', {distance} dB from the optimum' if distance else ''}."


def print_curve(results: Sequence[Result]) -> None:
    """Print one line for each sparsity on standard output."""
    console = Printer()
    problem = results[0].problem
    console.say(f": {describe(problem, sparsities=len(results))}", name=results[0].layer.name)
    table = Table(box=box.SIMPLE)
    compared = list(results[0].solved.empirical)
    for title in ("sparsity", "kept", "lower / reference", "upper / reference", "SQNR (dB)", *compared):
        table.add_column(title, justify="right")
    table.add_column("status")
    for each in results:
        at, solved = each.problem, each.solved
        sparsity = at.sparsity
        assert sparsity is not None
        kept = at.budget if at.budget is not None else len(at) * int(sparsity.keep.sum())
        table.add_row(
            f"{at.setting.sparsity:.4g}",
            f"{kept / len(at):.4g}",
            _relative(solved.lower, solved.reference),
            _relative(solved.upper, solved.reference),
            format_db(solved.reference, solved.upper),
            *(format_db(solved.reference, solved.empirical[m]) for m in compared if m in solved.empirical),
            solved.status.value,
        )
    console.table(table)
    for result in results:
        sampled = sample_sentence(result)
        if sampled is not None:
            console.say(f"{result.problem.setting.sparsity:.4g}: {sampled}")
    if results[0].model is not None:  # joint: refused at every sparsity, for the same reason
        console.say(model_sentence(results[0].model.as_json(), results[0].reference, {}))
    console.say(f"kept: {'blocks' if problem.setting.block else 'inputs'} of a row; methods in dB")
    _say_notes(console, results[0])


def _say_notes(console: Printer, result: Result) -> None:
    for note in result.notes:
        console.say(note[:1].upper(), note[1:], ".")
    if result.layer.asymmetry:
        off = f"{result.layer.asymmetry:.2g} of its largest entry"
        console.say(f"The Gram matrix was summed in float32 and was not symmetric, by {off}: it was made so.")


def describe(problem: LayerProblem, sparsities: int = 1) -> str:
    """The problem in words."""
    setting, inputs = problem.setting, problem.inputs
    size = f"{row_count(problem)} x {len(inputs)} inputs"
    if setting.inputs is not None:
        size += f" (inputs {inputs.start}:{inputs.stop} only: a sub-problem, no bound on the layer)"
    notes = []
    if problem.dead_inputs:
        notes.append(f"{problem.dead_inputs} dead inputs")
    if problem.rank < len(inputs):
        notes.append(f"H has numerical rank {problem.rank}")
    if setting.ridge:
        notes.append(f"H with a ridge of {setting.ridge:g} times its mean diagonal")
    if problem.gram_shift:
        notes.append(f"H shifted by {problem.gram_shift:.2g}")
    words = setting_words(setting) + (f" and {sparsities - 1} more" if sparsities > 1 else "")
    return ", ".join([size, words, *notes])


def row_count(problem: LayerProblem) -> str:
    """How many rows, and of how many they are a sample."""
    of = "" if problem.drawn_from is None else f" of {len(problem.drawn_from)}"
    return f"{len(problem)}{of} rows"


def _some_rows(problem: LayerProblem) -> str | None:
    """Which rows and inputs, where they are not all."""
    parts, inputs = [], problem.inputs
    if problem.drawn_from is not None:
        parts.append(row_count(problem))
    elif problem.setting.rows is not None:
        parts.append(f"rows {problem.span.start}:{problem.span.stop} alone")
    if problem.setting.inputs is not None:
        parts.append(f"inputs {inputs.start}:{inputs.stop} alone")
    return " and ".join(parts) or None


def setting_words(setting: Setting) -> str:
    """The setting in words."""
    parts = []
    if setting.quantizes:
        bits = f"{setting.bits}-bit " if setting.bits is not None and setting.grid.startswith("int") else ""
        scales = "your own scales" if setting.range == GIVEN else f"{setting.range} range"
        parts.append(f"{bits}{printable(setting.grid)} grid, {scales} per {setting.granularity}")
    if setting.prunes:
        if setting.nm is not None:
            pattern = f"{setting.nm[0]}:{setting.nm[1]} sparsity"
        else:
            pattern = f"{setting.sparsity:.4g} sparsity per {setting.scope}"
        if setting.block:
            pattern += f" in blocks of {setting.block}"
        if setting.method == "prune":
            pattern += ", kept weights " + ("re-optimised" if setting.update else "fixed")
        parts.append(pattern)
    return " and ".join(parts)


def _relative(error: float, reference: float) -> str:
    if reference <= 0:
        return f"{error:.4g}"
    return f"{error / reference:.3%}" if error / reference >= 1e-4 else f"{error / reference:.3g}"


def _distance(result: LayerResult, error: float) -> str:
    """How many dB an error is above the optimum, as an interval where the optimum is not known."""
    if error <= 0 or result.upper <= 0:
        return ""
    least = max(0.0, 10 * math.log10(error / result.upper))
    if result.lower <= 0:
        return f"at least {least:.2f}"
    most = 10 * math.log10(error / result.lower)
    return f"{least:.2f}" if most - least < 0.005 else f"{least:.2f} to {most:.2f}"


def _layer_table(result: LayerResult) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("layer")
    for title in ("error / reference", "SQNR (dB)", "dB from the optimum"):
        table.add_column(title, justify="right")
    reference = result.reference
    if result.bound_kind is not BoundKind.NONE:
        table.add_row("lower bound", _relative(result.lower, reference), format_db(reference, result.lower), "")
    reached = _relative(result.upper, reference), format_db(reference, result.upper)
    far = _distance(result, result.upper) if result.lower > 0 else ""  # its own distance says nothing then
    table.add_row(best_name(result.status), *reached, far)
    for name, error in sorted(result.empirical.items(), key=lambda item: item[1]):
        table.add_row(name, _relative(error, reference), format_db(reference, error), _distance(result, error))
    return table


def _row_table(problem: LayerProblem, result: LayerResult) -> Table:
    table = Table(box=box.SIMPLE)
    for title in ("row", "lower / reference", "upper / reference", "SQNR (dB)", "nodes", "seconds", "status"):
        table.add_column(title, justify="left" if title == "status" else "right")
    for row in result.rows:
        found = row.result
        lower = "" if row.lower is None else _relative(row.lower, row.reference)
        table.add_row(
            str(row.row),
            lower,
            _relative(found.upper, row.reference),
            format_db(row.reference, found.upper),
            f"{found.nodes:,}",
            f"{found.seconds:.3g}",
            ended(found.status, found.reason),
        )
    return table


def ended(status: Status, reason: Reason) -> str:
    """The status, with the reason where that is another word."""
    return f"{status.value} (memory)" if reason is Reason.MEMORY and status is not Status.OPTIMAL else status.value


def _place(word: str) -> tuple[int, str]:
    """The order of statuses, of which `ended` says more."""
    return [status.value for status in Status].index(word.split()[0]), word


def _effort(result: LayerResult) -> str:
    counts = Counter(ended(row.result.status, row.result.reason) for row in result.rows)
    said = ", ".join(f"{counts[word]} {word}" for word in sorted(counts, key=_place))
    seconds = [row.result.seconds for row in result.rows]
    nodes = sum(row.result.nodes for row in result.rows)
    return (
        f"{len(result.rows)} rows: {said}; median {statistics.median(seconds):.3g} s, "
        f"longest {max(seconds):.3g} s a row; {nodes:,} nodes"
    )


def _ceiling(result: LayerResult) -> str | None:
    """What more of the same bounds cannot get above, where the effort that was made says it."""
    rows = [row.result for row in result.rows if "ceiling" in row.result.info]
    upper = sum(row.upper for row in rows)
    if not upper > 0:
        return None
    most = sum(min(max(row.lower, row.info["ceiling"]), row.upper) for row in rows)
    which = "the lower end" if len(rows) == len(result.rows) else f"the lower end of {len(rows)} rows"
    return (
        f"More search with the blocks that these rows ended with cannot raise {which} above {most / upper:.3f} "
        f"of the upper end; it is at {sum(row.lower for row in rows) / upper:.3f}. That is numerical, not a bound."
    )


def _ahead(result: LayerResult) -> str | None:
    """What the searches of open rows would take to end, where they went far enough to tell."""
    rows = [row.result for row in result.rows if "nodes_ahead" in row.result.info and not row.result.solved]
    if not rows:
        return None
    nodes = sorted(row.info["nodes_ahead"] for row in rows)
    seconds = sorted(row.info["nodes_ahead"] * row.seconds / row.nodes for row in rows)
    least, most = (f"{nodes[k]:.1g} nodes ({words_of(seconds[k])})" for k in (0, -1))
    span = least if least == most else f"{least} to {most}"
    which = "The open row needs" if len(rows) == 1 else f"{len(rows)} open rows need"
    return f"{which} about {span} more to end, if searches grow as they have: modelled, not a bound."


def sentence(problem: LayerProblem, gap: float, result: LayerResult) -> str:
    """One sentence on what is proven."""
    where = "this sub-problem" if problem.setting.inputs is not None else "this layer"
    if problem.setting.rows is not None:
        where = f"rows {problem.span.start}:{problem.span.stop} of {where}"
    if problem.drawn_from is not None:
        where = f"{len(problem)} of {where}" if problem.setting.rows else f"{row_count(problem)} of {where}"
    start = "Interrupted. " if result.status is Status.INTERRUPTED else ""
    reference, lower, upper = result.reference, result.lower, result.upper
    if reference <= 0:
        return f"{start}Proven: {where} has reference 0, every choice of weights has no error."
    reached = f"the weights found reach {format_db(reference, upper)} dB"
    if upper == 0:
        return f"{start}Proven: {where} can be compressed this way without error."
    if result.bound_kind is BoundKind.NONE:
        return f"{start}Proven: {reached} on {where}; nothing is proven about what is impossible."
    how = "exact arithmetic" if result.bound_kind is BoundKind.RIGOROUS else "float64 arithmetic"
    limit = f"no choice of weights within these constraints exceeds {format_db(reference, lower)} dB on {where}"
    if result.status is Status.OPTIMAL:
        return f"{start}Proven ({how}): {limit}, and {reached}: the optimum, within a gap of {gap:g}."
    far = 10 * math.log10(upper / lower) if lower > 0 else math.inf
    return f"{start}Proven ({how}): {limit}; {reached}, at most {far:z.2f} dB from the optimum."
