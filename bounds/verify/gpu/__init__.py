"""Long searches of the verifier repeated by a GPU: `sweep`'s tree and arithmetic, thousands of subtrees at a time.

    searcher          what takes the place of `sweep` where a GPU is asked for
    search            subtrees handed out and taken back until none is left
    device            one launch on a GPU; `primitives` what the kernel asks of it
    kernel            the search of a subtree by a warp

No code is shared with the solvers' search on a GPU. Nothing here is imported before a GPU is asked for, and
numba.cuda not before the kernel has to be compiled.
"""
