"""A run that survives: a folder with a database of rows, to which every result is committed when it is there."""
