"""The mathematics: problems, grids, sparsity patterns, relaxations."""

from .cache import ensure_cache

ensure_cache()  # before numba is imported, whatever door leads here
