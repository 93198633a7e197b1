"""A place for numba's compiled code where neither the package nor the home folder can hold it."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def ensure_cache() -> Path | None:
    """Give numba a temporary folder where it would find none and stop; the folder, None where none was needed.

    numba tries the folder of `NUMBA_CACHE_DIR`, the `__pycache__` beside each source file, and the user's cache
    folder, and refuses to compile a cached function without one of them: in containers that run as another user,
    and in installations that are shared and read-only. Worker processes inherit the choice by the variable.
    Must run before numba compiles anything; `import pvq.bounds` and `import pvq.solvers` see to that.
    """
    chosen = os.environ.get(VARIABLE)
    if (chosen and can_hold(Path(chosen))) or can_hold(_of_user()) or all(map(can_hold, _of_sources())):
        return None
    with suppress(OSError):
        folder = _temporary()
        os.environ[VARIABLE] = str(folder)
        if "numba" in sys.modules:
            sys.modules["numba"].config.CACHE_DIR = str(folder)
        if sys.stderr is not None:
            with suppress(OSError):
                print(
                    f"pvq: compiled code goes to {folder} for now, since no lasting folder for it can be written; "
                    f"set {VARIABLE} to one that can",
                    file=sys.stderr,
                )
        return folder
    return None


def can_hold(folder: Path) -> bool:
    """Whether files can be written in a folder, or the folder be made: as numba tries it, but nothing is left."""
    with suppress(OSError):
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            tempfile.TemporaryFile(dir=folder).close()
            return True
    return False


def _of_user() -> Path:
    """The user's cache folder, as numba chooses it."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "numba"
    return Path(os.environ.get("XDG_CACHE_HOME", home / ".cache")) / "numba"


def _of_sources() -> list[Path]:
    """The cache folders beside our sources."""
    bounds = Path(__file__).parent
    files = [file for root in (bounds, bounds.parent / "solvers") for file in root.rglob("*.py")]
    return sorted({file.parent / "__pycache__" for file in files if "numba" in file.read_text(encoding="utf-8")})


def _temporary() -> Path:
    """A folder of ours alone, the same in every run: what others could write must not be loaded as code."""
    try:
        root = Path(tempfile.gettempdir())
    except FileNotFoundError:
        root = Path("/dev/shm")
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    folder = root / f"pvq-numba-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = os.lstat(folder)
    if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022:
        return folder
    alone = Path(tempfile.mkdtemp(prefix="pvq-numba-", dir=root))
    atexit.register(shutil.rmtree, alone, ignore_errors=True)
    return alone
