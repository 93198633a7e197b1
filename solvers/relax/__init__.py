"""Relaxations of one node or one row: lower bounds without a search, below `bnb` and `bound`, which use them."""
