"""Everything that takes a problem and returns a result."""

import pvq.bounds as bounds  # gives numba a place for its cache before any kernel is read

__all__ = ["bounds"]
