"""Commands and how they end: 0 done, 1 a check failed, 2 bad input, 3 solver not available, 130 interrupted."""

from __future__ import annotations

import atexit
import errno
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

from pvq.solvers.interrupt import ended_by_interrupt

from .streams import prepare_streams

if TYPE_CHECKING:  # commands load once Ctrl-C is heard
    import typer

# Rows are small: one BLAS thread each is fastest, and --jobs runs rows side by side. Must precede numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""What the system says of a disk that takes nothing more."""
RENAMED = {"methods": "compare", "certify": "certificate"}
"""Parameters whose option has another name."""
HELP = "Exact and certified bounds on the layer-wise error of quantization and pruning."


def commands() -> typer.Typer:
    import typer

    from .allocate import allocate
    from .apply import apply
    from .bench.command import bench
    from .bound import bound
    from .compare.command import compare
    from .evaluate import evaluate
    from .extract import extract
    from .finetune.command import finetune
    from .report.command import report
    from .run.command import COMMANDS
    from .score import score
    from .solvers import solvers
    from .theory.command import theory
    from .verify import verify
    from .weights.command import weights

    app = typer.Typer(name="pvq", help=HELP, no_args_is_help=True, add_completion=False)
    app.command("allocate")(_heard(allocate))
    app.command("apply")(_heard(apply))
    app.command("bound")(_heard(bound))
    app.command("bench")(_heard(bench))
    app.command("compare")(_heard(compare))
    app.command("evaluate")(_heard(evaluate))
    app.command("extract")(_heard(extract))
    app.command("finetune")(_heard(finetune))
    app.command("report")(_heard(report))
    app.command("score")(_heard(score))
    app.command("solvers")(_heard(solvers))
    app.command("theory")(_heard(theory))
    app.command("verify")(_heard(verify))
    app.command("weights")(_heard(weights))
    run = typer.Typer(help="A run in a folder that outlives its process.", no_args_is_help=True)
    for name, command in (*COMMANDS, ("report", report)):
        run.command(name)(_heard(command))
    app.add_typer(run, name="run")
    return app


def _bound_only() -> typer.Typer:
    import typer

    from .bound import bound

    app = typer.Typer(name="pvq-bound", add_completion=False)
    app.command()(_heard(bound))
    return app


class _Interrupted(Exception):
    """A KeyboardInterrupt of a command, which typer would turn into an exit code without a word."""


def _heard(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with what Ctrl-C raises in it passed on."""

    @wraps(command)
    def call(*words: Any, **more: Any) -> None:
        try:
            command(*words, **more)
        except KeyboardInterrupt:
            raise _Interrupted from None

    return call


def pvq() -> NoReturn:
    """Entry point of `pvq`."""
    run(commands, "pvq")


def pvq_bound() -> NoReturn:
    """Entry point of `pvq-bound`, which is `pvq bound`."""
    run(_bound_only, "pvq-bound")


def run(commands: Callable[[], typer.Typer], name: str) -> NoReturn:
    """Run a command and leave with its exit code; what the user can mend is said in one line."""
    prepare_streams()
    with ended_by_interrupt(name) as guard:
        try:
            code = commands()(standalone_mode=False, prog_name=name)
            if code == 130 and not guard.taken:  # typer's word for one of its own
                fail(name, "interrupted", 130)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (KeyboardInterrupt, _Interrupted):
            fail(name, "interrupted", 130)
        except BrokenPipeError:
            _drop_output()  # the reader has gone (`| head`): nothing is left to say
            _leave(0)
        except Exception as error:
            if guard.unheard:  # an import that was cut off says anything
                fail(name, "interrupted", 130)
            code = exit_code(error)
            if code is None:
                raise
            fail(name, message(error), code)
        _leave(code if isinstance(code, int) else 0)


def _leave(code: int) -> NoReturn:
    """End the process; at a usual exit Python would wait for work that was left behind, and torch takes seconds
    to take leave of what it has loaded, which nobody who pressed Ctrl-C waits for."""
    from pvq.solvers.watch import is_work_left

    is_torch_loaded = code == 130 and "torch" in sys.modules
    if is_work_left() or is_torch_loaded:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
    if is_work_left():
        os._exit(code)
    if is_torch_loaded:
        atexit.register(os._exit, code)  # what is registered last comes first; who catches the exit goes on
    sys.exit(code)


def message(error: Exception) -> str:
    """The error as one line, in the words of the command line."""
    from .console import printable

    text = error.format_message() if hasattr(error, "format_message") else _with_dashes(str(error))
    if isinstance(error, OSError):
        said = error.strerror or error
        text = f"cannot write standard output: {said}"
        if _is_of_cache(error):
            text = f"cannot write numba's cache of compiled code: {said}; NUMBA_CACHE_DIR names a folder with room"
    return printable(" ".join(text.split()))


def _is_of_cache(error: OSError) -> bool:
    """Whether numba was writing what it had compiled."""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__") == "numba.core.caching":
            return True
        frame = frame.tb_next
    return False


def _with_dashes(text: str) -> str:
    """Names of parameters, which the library puts in backticks, as options: `nm` is --nm."""

    def option(match: re.Match[str]) -> str:
        name = RENAMED.get(match[1], match[1].replace("_", "-"))
        return f"--no-{name}" if match[2] else f"--{name}"

    return re.sub(r"`([a-z_]+)`(=False)?", option, text)


def exit_code(error: Exception) -> int | None:
    """Exit code of an error that a user can cause; None for a bug, which keeps its traceback."""
    if hasattr(error, "format_message"):  # typer's own usage errors
        return 2
    if isinstance(error, OSError):  # what no output of ours met: a compiler's cache, standard output
        return 2 if error.errno in FULL else None
    from pvq.bounds.certificate import CertificateError
    from pvq.bounds.errors import ProblemError
    from pvq.layers.format import LayerError
    from pvq.layers.outputs import OutputError
    from pvq.solvers.base import SolverUnavailable, UnsupportedProblem

    if isinstance(error, SolverUnavailable):
        return 3
    mendable = ProblemError | LayerError | OutputError | UnsupportedProblem | CertificateError
    return 2 if isinstance(error, mendable) else None


def fail(name: str, text: str, code: int) -> NoReturn:
    """Say one line on stderr, if there is anything to say, and leave."""
    with suppress(OSError):
        if sys.stderr is not None and text:
            print(f"{name}: {text}", file=sys.stderr, flush=True)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()
    _leave(code)


def _drop_output() -> None:
    """Send what is still to be printed to nowhere: the interpreter has nothing to say of it at its exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
