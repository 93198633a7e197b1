"""One benchmark from its tasks to its record."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.problem import Problem
from pvq.layers.files import Record, write_json
from pvq.layers.format import LayerError
from pvq.solvers.registry import check_names

from . import judge, record
from .problems import problem_of_instance
from .runner import OnRun, Run, run_tasks
from .summary import Score, scores
from .tasks import Task

SAVE_EVERY = 30.0  # seconds between two savings of the record of a running benchmark


class Session:
    """Runs the tasks, judges the answers, keeps the record."""

    def __init__(self, lists: Sequence[str], tasks: Sequence[Task], jobs: int = 1) -> None:
        self.lists, self.tasks, self.jobs = lists, tuple(tasks), jobs
        self.problems: dict[str, Problem] = {}
        """Of the instances that could be stated."""
        self.environments = [record.environment(jobs)]
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._session: dict[tuple[str, str, int], int] = {}
        refusals: dict[str, str] = {}
        unknown: dict[str, str] = {}
        for task in self.tasks:
            name, solver = task.instance.name, task.entry.solver
            if name not in self.problems and name not in refusals:
                try:
                    self.problems[name] = problem_of_instance(task.instance)
                except (LayerError, ProblemError) as error:
                    refusals[name] = " ".join(str(error).split())
            if solver not in unknown:
                try:
                    check_names([solver])
                    unknown[solver] = ""
                except ProblemError as error:
                    unknown[solver] = str(error)
            if name in refusals:
                self._keep(Run(*task.key, outcome="instance", why=refusals[name], name=solver))
            elif unknown[solver]:
                self._keep(Run(*task.key, outcome="unknown", why=unknown[solver], name=solver))

    def _keep(self, run: Run) -> None:
        self._runs[run.key] = run
        self._session[run.key] = len(self.environments) - 1

    @property
    def waiting(self) -> list[Task]:
        """Tasks that have no run yet."""
        return [task for task in self.tasks if task.key not in self._runs]

    def take_over(self, path: Path) -> None:
        """Take over from a record the runs that stand for tasks; raises `ProblemError` if it is not one."""
        runs, about = record.earlier(path, self.tasks, self.problems)
        self.environments = [*about["environments"], *self.environments]
        self._session = dict.fromkeys(self._session, len(self.environments) - 1)
        for run in runs:
            self._runs[run.key] = run
            self._session[run.key] = about["session"][run.key]

    def run(
        self,
        stop: threading.Event,
        on_run: OnRun | None = None,
        save_to: Path | None = None,
        steps: bool = False,
        verify: bool = False,
    ) -> None:
        """Run what waits; the record is saved now and then, so that nothing long is lost."""
        task_of = {task.key: task for task in self.tasks}
        kept = Record(save_to, SAVE_EVERY)

        def done(run: Run) -> None:
            self._keep(judge.checked(run, self.problems[run.instance], task_of[run.key]))
            if on_run is not None:
                on_run(self._runs[run.key])
            kept.update(self.document)

        run_tasks(self.waiting, stop, done, self.jobs, steps, verify)

    @property
    def references(self) -> dict[str, float]:
        """w'Hw of each instance."""
        return {name: problem.reference for name, problem in self.problems.items()}

    @property
    def best(self) -> dict[str, float]:
        """The least error found for each instance, or known to the library."""
        known = {t.instance.name: t.instance.upper for t in self.tasks if t.instance.upper is not None}
        return judge.best_uppers(self._runs.values(), {i: known[i] for i in known if i in self.problems})

    @property
    def runs(self) -> list[Run]:
        """All runs in the order of the tasks, judged against each other."""
        ordered = [self._runs[task.key] for task in self.tasks if task.key in self._runs]
        return judge.crossed(ordered, self.best, self.references)

    def scores(self) -> list[Score]:
        """Each solver on each instance."""
        return scores(self.runs, self.tasks, self.best)

    def document(self) -> Mapping[str, Any]:
        """The record."""
        return record.document(
            self.lists, self.tasks, self.problems, self.runs, self.best, self.environments, self._session
        )

    def csv(self) -> str:
        """The record's table."""
        return record.csv_text(self.document())

    def save(self, path: str | Path) -> None:
        """Write the record as JSON, whole or not at all."""
        write_json(path, self.document())
