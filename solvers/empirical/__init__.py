"""Published methods as solvers that return an upper bound only."""
