"""Row problems from layer files, each layer read and each setting stated once, and their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pvq.bounds.layer_problem import LayerProblem, Setting, state_problem
from pvq.bounds.problem import Problem
from pvq.layers.format import Layer, array_sha256, load_layer

from .made import is_made, made_layer
from .tasks import Instance, setting_of


@lru_cache(maxsize=16)
def _layer(path: Path) -> Layer:
    return made_layer(path) if is_made(path) else load_layer(path)


@lru_cache(maxsize=16)
def _stated(path: Path, setting: Setting) -> LayerProblem:
    layer = _layer(path)
    return state_problem(layer.weight, layer.grams, setting)


def stated(path: Path, setting: Setting) -> tuple[Layer, LayerProblem]:
    """A layer, and its problem with all the rows that the setting has.

    Raises
    ------
    LayerError, ProblemError
        No such file, or the setting does not fit the layer.
    """
    return _layer(path), _stated(path, setting)


def problem_of(path: Path, setting: Mapping[str, Any] | Setting, row: int) -> Problem:
    """The problem of one row.

    Raises
    ------
    LayerError, ProblemError
        No such file, no such row, or the setting does not fit the layer.
    """
    from pvq.bounds.errors import ProblemError

    every = _stated(path, setting if isinstance(setting, Setting) else setting_of(setting))
    if not 0 <= row < len(every):
        raise ProblemError(f"no row {row}; the layer has rows 0:{len(every)}")
    return every.row(row)


def problem_of_instance(instance: Instance) -> Problem:
    """The problem of an instance, whose hash is checked where the library gives one.

    Raises
    ------
    LayerError, ProblemError
        As `problem_of`, and where the numbers are not those of the library.
    """
    from pvq.bounds.errors import ProblemError

    if instance.unknown:
        raise ProblemError(instance.unknown)
    problem = problem_of(instance.layer, instance.setting, instance.row)
    if instance.sha256 is not None and problem_sha256(problem) != instance.sha256:
        raise ProblemError(f"{instance.layer.name} does not hold this instance: its hash is not the library's")
    return problem


def problem_sha256(problem: Problem) -> str:
    """Hash of the numbers of a problem: w, H, levels and pattern, not of files or of how they were chosen."""
    arrays = [np.asarray(problem.weight), np.asarray(problem.hessian)]
    if problem.grid is not None:
        # a scale comes out of a minimisation, whose last digits are the processor's
        arrays += [problem.grid.levels.astype(np.float32), problem.grid.group]
    if problem.sparsity is not None:
        s = problem.sparsity
        arrays += [s.unit, s.group, s.keep, np.array([problem.grid is None and not s.update])]
    return array_sha256(*arrays)
