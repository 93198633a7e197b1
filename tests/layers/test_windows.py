"""Modules that other systems lack: files are written and locked without fcntl, with msvcrt in its place."""

import subprocess
import sys

WITHOUT_FCNTL = """
import errno, fcntl, json, os, pathlib, secrets, socket, sys, types
flock, both = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB
sys.modules["fcntl"] = None  # importing it fails
def locking(number, mode, count):
    assert (mode, count) == (2, 1)
    try:
        flock(number, both)
    except BlockingIOError:
        raise OSError(errno.EACCES, "Permission denied") from None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
for name in ("O_CLOEXEC", "O_NOFOLLOW", "fchown", "geteuid"):
    delattr(os, name)
sys.platform = "win32"
from pvq.layers.files import write_json
from pvq.layers.lock import only_writer
from pvq.layers.outputs import OutputError
path = pathlib.Path(sys.argv[1])
for k in range(2):
    write_json(path / "out.json", {"k": k})
    assert json.loads((path / "out.json").read_text()) == {"k": k}
with only_writer(path / "out.json"):
    try:
        with only_writer(path / "out.json"):
            raise AssertionError
    except OutputError as error:
        assert f"process {os.getpid()} on" in str(error)
print(sorted(os.listdir(path)))
"""


def test_files_are_written_and_locked_without_fcntl(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_FCNTL, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "['out.json']\n"
