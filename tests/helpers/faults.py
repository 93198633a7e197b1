"""Disks that are full."""

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
