"""Chunks of a run on the workers of a dask cluster."""
