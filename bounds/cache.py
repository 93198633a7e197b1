"""A folder for numba's compiled code that is ours and that can be written."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"

PREFIX = "pvq-compiled-"
"""Of the folders' names."""

FOLDERS = 4
"""Folders of other states that are left where a new one is made, the last used ones."""

KERNEL = re.compile(rb"^(?:import|from) (?:numba\b|\S*\b(?:apart|compiling) import\b)", re.MULTILINE)


def ensure_cache() -> Path | None:
    """Choose where numba keeps compiled code; the folder if it is a temporary one, else None.

    numba keeps a function's code until the file that defines it changes, whatever happens to the functions that
    it calls and the classes that it takes, and fails to read what was kept for a class that is gone. So the
    code lies in a folder of its own for each state of our kernels. That lies where `NUMBA_CACHE_DIR` says, or
    else beside our sources, or else in the user's cache folder, or else in a temporary one: in containers that
    run as another user, and in installations that are shared and read-only, numba itself finds none and stops.
    The choice is put into `NUMBA_CACHE_DIR`, by which worker processes inherit it, and holds for other code of
    the process as well.
    Must run before numba compiles anything; `import pvq.bounds` and `import pvq.solvers` see to that.
    """
    root = next(filter(can_hold, _roots()), None)
    temporary = None
    if root is None:
        with suppress(OSError):
            root = temporary = _temporary()
    if root is None:
        return None
    folder = root / f"{PREFIX}{fingerprint()}"
    _settle(folder)
    os.environ[VARIABLE] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    if temporary is not None and sys.stderr is not None:
        with suppress(OSError):
            print(
                f"pvq: compiled code goes to {temporary} for now, since no lasting folder for it can be written; "
                f"set {VARIABLE} to one that can",
                file=sys.stderr,
            )
    return temporary


def fingerprint() -> str:
    """Version of the package and hash of all its kernels, their names and contents."""
    digest = hashlib.sha256()
    for name, content in kernels().items():
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    try:
        version = metadata.version("pvq-bound")
    except metadata.PackageNotFoundError:  # run from its sources
        version = "0"
    return f"{version}-{digest.hexdigest()[:16]}"


def kernels() -> dict[str, bytes]:
    """The sources that import numba, all that compiled code is made of: `bounds/ranges.py` and so on."""
    here = Path(__file__).parent
    found = {}
    for root in (here, here.parent / "solvers"):
        for file in sorted(root.rglob("*.py")):
            content = file.read_bytes()
            if KERNEL.search(content):
                found[f"{root.name}/{file.relative_to(root).as_posix()}"] = content
    return found


def can_hold(folder: Path) -> bool:
    """Whether files can be written in a folder, or the folder be made: as numba tries it, but nothing is left."""
    with suppress(OSError):
        while not os.path.exists(folder) and folder != folder.parent:
            folder = folder.parent
        if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            tempfile.TemporaryFile(dir=folder).close()
            return True
    return False


def _roots() -> list[Path]:
    """Folders to try in turn."""
    roots = [Path(__file__).parent / "__pycache__", _of_user()]
    chosen = os.environ.get(VARIABLE)
    if chosen:
        given = Path(chosen)  # or what a parent process has made of it, perhaps of another state
        roots.insert(0, given.parent if given.name.startswith(PREFIX) else given)
    return roots


def _of_user() -> Path:
    """The user's cache folder, as numba chooses it."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "numba"
    return Path(os.environ.get("XDG_CACHE_HOME", home / ".cache")) / "numba"


def _settle(folder: Path) -> None:
    """Make the folder, or mark it as used; where it is new, all but a few of those of other states are removed."""
    with suppress(OSError):
        if os.path.isdir(folder):
            os.utime(folder)
            return
        folder.mkdir(parents=True)
        others = [other for other in folder.parent.glob(f"{PREFIX}*") if os.path.isdir(other) and other != folder]
        others.sort(key=lambda other: other.stat().st_mtime)
        for other in others[:-FOLDERS]:
            shutil.rmtree(other, ignore_errors=True)


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
