"""What any kernel needs of a GPU: CUDA's driver (`driver`) and machine code that is kept (`image`).

No search is here: the solvers' kernel and the verifier's share none. Nothing here is imported before a GPU is
asked for.
"""
