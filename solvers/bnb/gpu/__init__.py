"""Enumeration on a GPU: the same tree as `even`, the same answer, thousands of subtrees at a time.

The map of this folder, entries first:
    rows              rows on the device: one hard row below its open nodes, or many from their roots
    engine            one GPU: launches `work` and watches it; `compiled` is what it runs
    here              whether there is a GPU
    kernel            the search; `arithmetic` a step's numbers, `queue` who gives work to whom
    primitives        what both ask of a device
    precision         why float32 proves anything: binade, slack, thresholds; `numbers` are a plan's in float32

Nothing here is imported before a GPU is asked for, and numba.cuda not before a kernel has to be compiled.
"""
