"""Solvers of others, one file each: `formulate` states a row for them, `adapter` takes their answers back."""
