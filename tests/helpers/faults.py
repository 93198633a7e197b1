"""Disks that are full, folders that are closed."""

import ctypes
import resource
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
