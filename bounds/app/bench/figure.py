"""Figures of a benchmark: the performance profile, and the gap over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pvq.benchmarks.curves import Curve, mean_gaps, performance_profile

from ..figures import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pvq.benchmarks.calibration import Calibration
    from pvq.benchmarks.session import Session

LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKS = "osD^vx*P"
GREYS = ("#000000", "#1f4e9c", "#d1601f", "#3b7d3b", "#7a5195", "#8c8c8c")
"""Solvers differ in line, marker and lightness, so that nothing is lost without colour."""

MARK_SHIFT = 1.12
"""Factor between the markers of one solver and the next, which would else cover each other where curves meet."""


def profile_figure(path: Path, session: Session) -> None:
    """Share of the instances that a solver solves within tau times the fastest solver's time."""
    curves = performance_profile(session.scores())
    labels = ("tau: time over that of the fastest solver", "share of instances solved within tau")
    _curves_figure(path, curves, labels, _title("Performance profile", session))


def gap_figure(path: Path, session: Session) -> None:
    """Mean proven gap of all instances as time goes on."""
    curves = mean_gaps(session.runs, session.tasks, session.best)
    labels = ("seconds", "mean of 1 - lower bound / best known error")
    _curves_figure(path, curves, labels, _title("Gap over time", session))


def tails_figure(path: Path, some: Sequence[Calibration]) -> None:
    """Share of rows whose optimum is as unlikely as p, against p: under the diagonal if the model holds."""
    figure = new_figure(6.4, 5.2)
    axes = figure.subplots()
    axes.plot([1e-4, 1], [1e-4, 1], color="0.6", linewidth=1, label="as often as the theorem allows")
    for i, one in enumerate(some):
        color, line, mark = GREYS[i % len(GREYS)], LINES[i % len(LINES)], MARKS[i % len(MARKS)]
        share = np.arange(1, len(one.tails) + 1) / len(one.tails)
        label = f"{one.case}, {len(one.tails)} rows"
        style: dict[str, Any] = {"color": color, "linestyle": line, "linewidth": 1.5, "marker": mark}
        axes.step(one.tails, share, where="post", markersize=4, markevery=0.1, label=label, **style)
    axes.set(xscale="log", yscale="log", xlim=(1e-4, 1.1), ylim=(8e-4, 1.1))
    axes.set(xlabel="bound p on the probability of so small an optimum", ylabel="share of rows at or below p")
    axes.set_title("Volume model: predicted against measured tails")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, path)


def _curves_figure(path: Path, curves: Sequence[Curve], labels: tuple[str, str], title: str) -> None:
    figure = new_figure(7.5, 4.6)
    axes = figure.subplots()
    _draw(axes, curves)
    axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel=labels[0], ylabel=labels[1], title=title)
    axes.grid(alpha=0.3)
    if curves:
        figure.legend(loc="outside lower center", ncols=min(len(curves), 3), fontsize=8)
    save(figure, path)


def _draw(axes: Axes, curves: Sequence[Curve]) -> None:
    for i, curve in enumerate(curves):
        color, line, mark = GREYS[i % len(GREYS)], LINES[i % len(LINES)], MARKS[i % len(MARKS)]
        axes.step(curve.x, curve.y, where="post", linewidth=1.6, color=color, linestyle=line)
        # a few markers along the logarithm of x, so that they do not crowd
        wanted = np.geomspace(curve.x[0], curve.x[-1], 7)[1:-1] * MARK_SHIFT ** (i % len(MARKS))
        at = np.searchsorted(curve.x, wanted, side="right") - 1
        marker: dict[str, Any] = {"color": color, "marker": mark, "markersize": 6, "markerfacecolor": "white"}
        axes.plot(wanted, np.asarray(curve.y)[at], linestyle="", **marker)
        axes.plot([], [], linestyle=line, linewidth=1.6, label=curve.label, **marker)


def _title(what: str, session: Session) -> str:
    instances = {task.instance.name for task in session.tasks}
    limits = sorted({task.limits.time_limit for task in session.tasks})
    threads = sorted({task.limits.threads for task in session.tasks})
    limit = " and ".join(f"{value:g}" for value in limits)
    thread = " and ".join(map(str, threads))
    return f"{what}: {len(instances)} instances, {limit} s, {thread} thread{'s' if thread != '1' else ''}"
