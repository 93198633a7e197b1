"""Disks that are full, folders that are closed."""

import ctypes
import json
import resource
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def files_of_at_most(size):
    """A quota: files cannot grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def hidden(folder):
    """Names that start with a dot: temporary files, which no run may leave."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def without_root_rights():
    """For `preexec_fn`: the rights of files hold for root too. Others have no such power, and nothing changes."""
    drop_from_bounding_set, override, read_search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_...
    for capability in (override, read_search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


IN_TURN = """
import contextlib, io, json, sys
from pvq.bounds.app.main import pvq
ended = []
for words in json.loads(sys.argv[1]):
    sys.argv, out, err = ["pvq", *words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            pvq()
        except SystemExit as end:
            ended.append((end.code, out.getvalue(), err.getvalue()))
print(json.dumps(ended))
"""
"""Runs commands one after the other in one process, and says how each ended."""


def in_turn(commands, folder):
    """How each command ended, (code, out, err), without the rights of root."""
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=without_root_rights,
    )
    return json.loads(done.stdout)
