"""Runs that survive: a folder in which every result is kept from the moment that it is there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError
from pvq.layers.files import write_json
from pvq.solvers.ledger import ledger as engine
from pvq.solvers.ledger.schema import is_run
from pvq.solvers.ledger.status import WIDTHS, distribution, proofs_of_run, status_of_run

if TYPE_CHECKING:
    from pvq.solvers.cluster.driver import Cluster

# What states problems and bounds rows is loaded where that is done: to look at a run takes little.


class Ledger:
    """A run in a folder, which goes on after any end of its process.

    Rows are independent, so that each is committed by itself; intervals only ever shrink:
    [lower, upper] becomes its intersection with what is found next.

    Parameters
    ----------
    folder : path
        A run, as `Ledger.create` makes one.

    Raises
    ------
    ProblemError
        The folder is no run, or one of a newer version.
    """

    WIDTHS = WIDTHS
    """Widths of intervals by which rows are counted, from solved to without a bound."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        with engine.Ledger.reading(self.folder) as ledger:
            self.method: str = ledger.about["method"]
            self.settings = ledger.settings

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        layers: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        method: str = "both",
        *,
        bits: Iterable[int] | None = None,
        grid: str = "int",
        granularity: str = "tensor",
        range: str = "mse",
        sparsity: Sequence[float] = (),
        nm: str | int | None = None,
        block: int | None = None,
        update: bool = True,
        base: int = 16,
        mask: str = "none",
        scale_bits: int = 0,
        gap: float = 1e-6,
        again: bool = False,
        stop: threading.Event | None = None,
    ) -> Ledger:
        """Make a run: what is to be bounded. Nothing is bounded yet.

        Parameters
        ----------
        folder : path
            New, or empty.
        layers : path, or several of them
            Layer files, and folders of them; they stay where they are.
        method : str
            quant, prune, joint, or both: b-bit quantization and sparsity of equal cost, for verdicts.
        bits : iterable of int, optional
            Bits of the grid; 2 to 8, or those of the grid, where None.
        grid : str
            As in `Quant`, by name or file.
        granularity : str
            As in `Quant`.
        range : str
            mse, minmax or gram, as in `Quant`.
        sparsity : sequence of float
            Shares of weights that are zero, for prune and joint.
        nm : str or int, optional
            N:M for prune and joint; M for both, N the most that the bits pay for.
        block : int, optional
            As in `Prune`.
        update : bool
            As in `Prune`.
        base : int
            Bits of a weight that is not quantized, 16 or 32, for both.
        mask : str
            What the sparsity pays for its mask, as in `compare`.
        scale_bits : int
            Bits of each scale, 0 to leave them out of the cost.
        gap : float
            As in `bound`; it is the run's.
        again : bool
            Take a run that is there already, if it has the same layers and settings.
        stop : threading.Event, optional
            Ends it, as Ctrl-C does where none is given; then no run is made.

        Returns
        -------
        Ledger
            The run.

        Raises
        ------
        ProblemError
            A parameter is impossible, does not fit a layer, or the folder holds something else.
        LayerError
            A file is not a layer.
        """
        from pvq.bounds.stages import part
        from pvq.solvers.compare.network import distinct, found_in
        from pvq.solvers.ledger.plan import check_same, create
        from pvq.solvers.watch import watched

        from .asking import asked_of
        from .running import check_limits, quiet_machine

        check_limits(None, gap, 1)
        asked = asked_of(
            method,
            bits=bits,
            grid=grid,
            granularity=granularity,
            range=range,
            sparsity=sparsity,
            nm=nm,
            block=block,
            update=update,
            base=base,
            mask=mask,
            scale_bits=scale_bits,
            gap=gap,
        )
        paths = [layers] if isinstance(layers, str | os.PathLike) else list(layers)
        with quiet_machine(stop) as event:
            part("reading layers")

            found = watched(lambda: distinct([m for path in paths for m in found_in(Path(path))]), event)
            if found is None or event.is_set():
                raise KeyboardInterrupt
        if not again or not is_run(Path(folder)):
            create(Path(folder), found, asked)
            return cls(folder)
        with engine.Ledger.reading(Path(folder)) as ledger:
            check_same(ledger, found, asked)
        return cls(folder)

    def go(
        self,
        *,
        solver: str = "auto",
        methods: Sequence[str] | str = (),
        time_limit: float | None = 10.0,
        full: bool = False,
        jobs: int = 1,
        cluster: str | None = None,
        send: bool = False,
        seed: int = 0,
        device: str = "cpu",
        effort: str = "normal",
        weights: bool = False,
        certificates: bool = False,
        odds: float | None = None,
        progress: Callable[[int], object] | None = None,
        stop: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Bound what is due: rows that are open, and that no run has given as much time to.

        Parameters
        ----------
        solver : str
            As in `bound`.
        methods : sequence of str or str
            Empirical methods to score, and to start from; of pairs the usual one of each side in any case.
        time_limit : float, optional
            Seconds per row, 0 or None for no limit.
        full : bool
            Bound both sides of a pair, also where its verdict is proven.
        jobs : int
            Chunks of rows at the same time, in threads of this process.
        cluster : str, optional
            Instead of `jobs`: local or local:N for N processes of this machine (a script then needs
            ``if __name__ == "__main__":``), the address of a dask scheduler as tcp://host:8786, or a
            scheduler file. Results do not depend on who works.
        send : bool
            Send layer files to the workers of a cluster, which otherwise read them from where they are here.
        seed : int
            As in `bound`.
        device : str
            As in `bound`.
        effort : str
            As in `bound`; open rows that had no effort are taken up again with it.
        weights : bool
            Keep the best weights, in files beside the database.
        certificates : bool
            Keep the proofs, in files for `verify`.
        odds : float, optional
            As in `bound`: the model is made of quantized layers whose rows all have a result, and kept.
        progress : callable, optional
            Called with the number of rows that have just been committed.
        stop : threading.Event, optional
            Ends the run, as Ctrl-C does where none is given; what is proven is kept.

        Returns
        -------
        dict
            As `status`, whether it was `interrupted`, and `notes` on workers that were lost or refused.

        Raises
        ------
        ProblemError
            A parameter is impossible, the folder cannot be written, or a cluster is not there or cannot be used.
        LayerError
            A layer file is gone, or has changed since the run was made.
        SolverUnavailable
            The solver is not installed.
        UnsupportedProblem
            The solver proves nothing, or cannot take the problem.
        """
        from pvq.solvers.base import UnsupportedProblem
        from pvq.solvers.compare.engines import engines_by_name, methods_by_name
        from pvq.solvers.device import check_device
        from pvq.solvers.document import packages
        from pvq.solvers.ledger.beside import look_beside
        from pvq.solvers.ledger.go import Threads, go_on
        from pvq.solvers.ledger.work import RowSearch
        from pvq.solvers.modelled import check_odds
        from pvq.solvers.options import check_effort
        from pvq.solvers.watch import watched

        from .running import check_limits, quiet_machine

        check_limits(time_limit, 0.0, jobs)
        check_device(device)
        check_effort(effort)
        check_odds(odds)
        if odds is not None and self.method not in ("quant", "both"):
            raise ProblemError("`odds` is for runs with method quant or both")
        if cluster is None and send:
            raise ProblemError("`send` is for a `cluster`")
        if cluster is not None and jobs != 1:
            raise ProblemError("`jobs` is for threads of this process; `cluster` local:N takes N processes")
        engines_by_name(solver)
        names = methods if methods == "all" else (methods,) if isinstance(methods, str) else tuple(methods)
        found = methods_by_name(names, update=True)
        for named in found if names != "all" else ():
            if not named.is_available():
                raise UnsupportedProblem(f"'{named.name}' is not installed")
        search = RowSearch(
            solver=solver,
            methods=names,
            time_limit=time_limit or None,
            seed=seed,
            device=device,
            high=effort == "high",
            weights=weights,
            certificates=certificates,
        )
        packages()  # read now: an interrupt waits for an answer
        with quiet_machine(stop) as event, engine.Ledger.writing(self.folder) as ledger:
            search = replace(search, gap=ledger.about["gap"])
            if watched(lambda: _checked(ledger), event) is None:
                raise KeyboardInterrupt
            ledger.check_folders(*["weights"] * weights, *["certificates"] * certificates)
            workers = Threads(jobs) if cluster is None else _workers(cluster, send, event)
            go_on(ledger, search, workers, event, full, progress or (lambda rows: None))
            notes = look_beside(ledger, odds, event)
            notes += [] if isinstance(workers, Threads) else list(workers.notes)
            return {
                **status_of_run(ledger),
                "interrupted": event.is_set(),
                "contradictions": ledger.faults,
                "notes": notes,
            }

    def status(self) -> dict[str, Any]:
        """How far the run is, also while it goes on: `pvq.run/1`.

        Returns
        -------
        dict
            Counts of rows, by setting and in all, verdicts by bits, faults and versions; numbers are
            finite or None.

        Raises
        ------
        ProblemError
            The folder is no run any more.
        """
        with engine.Ledger.reading(self.folder) as ledger:
            return status_of_run(ledger)

    def distribution(self) -> list[dict[str, Any]]:
        """How many rows there are by `side`, `bits`, `kind` of bound and `width` of the interval, one of `WIDTHS`.

        Returns
        -------
        list of dict
            With `rows`, the count.
        """
        with engine.Ledger.reading(self.folder) as ledger:
            return distribution(ledger)

    def proofs(self) -> list[dict[str, Any]]:
        """Files of proofs behind lower ends, for `verify`: `layer`, `side`, `bits`, and `file` below the run.

        Returns
        -------
        list of dict
            In order of layers and rows; empty where none was kept.
        """
        with engine.Ledger.reading(self.folder) as ledger:
            return proofs_of_run(ledger)

    def document(self) -> dict[str, Any]:
        """What is known as `pvq.compare/1` (method both), `pvq.result/1`, or `pvq.curve/1` for several of these.

        Returns
        -------
        dict
            JSON values; of rows that have a result.

        Raises
        ------
        ProblemError
            No row has a result yet.
        """
        from pvq.solvers.ledger.export import document_of

        with engine.Ledger.reading(self.folder) as ledger:
            return document_of(ledger)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write what is known to a file, whole or not at all.

        Parameters
        ----------
        path : path
            Ends in .json (as `document`), .csv or .parquet (a line for each row); a file that is there is
            replaced.

        Raises
        ------
        ProblemError
            Another ending, no result yet, or pyarrow is missing for .parquet.
        """
        from pvq.solvers.ledger.export import SUFFIXES, write_csv, write_parquet

        suffix = Path(path).suffix
        if suffix not in SUFFIXES:
            raise ProblemError(f"a run is exported to {', '.join(SUFFIXES)}, not '{path}'")
        if suffix == ".json":
            write_json(os.fspath(path), self.document())
            return
        with engine.Ledger.reading(self.folder) as ledger:
            (write_csv if suffix == ".csv" else write_parquet)(os.fspath(path), ledger)

    def __repr__(self) -> str:
        found = self.status()
        counts = f"{found['known']} of {found['rows']} rows, {found['solved']} solved"
        return f"<pvq.Ledger {str(self.folder)!r}: {counts}>"


def _workers(words: str, send: bool, stop: threading.Event) -> Cluster:
    try:
        from pvq.solvers.cluster.connect import connect
        from pvq.solvers.cluster.driver import Cluster
    except ImportError:
        raise ProblemError("`cluster` needs dask: pip install 'pvq-bound[cluster]'") from None
    connection = connect(words, stop)
    if connection is None:
        raise KeyboardInterrupt
    return Cluster(connection, send, stop)


def _checked(ledger: engine.Ledger) -> bool:
    from pvq.solvers.ledger.go import check_layers

    check_layers(ledger)
    return True
