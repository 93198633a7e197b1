"""Whether there is a GPU: a look at the driver, without what a search needs."""

from __future__ import annotations

from pvq.bounds.cuda.driver import GpuError, device
from pvq.bounds.cuda.image import missing


def found_here() -> tuple[bool, str]:
    """Whether a GPU can be used, and one line on it or on why not; loads the driver, compiles nothing."""
    try:
        why = missing()
        if why is not None:
            return False, why
        gpu = device()
    except GpuError as error:
        return False, str(error)
    return True, f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}"
