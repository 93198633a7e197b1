"""The mathematics: problems, grids, sparsity patterns, relaxations."""
