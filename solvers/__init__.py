"""Everything that takes a problem and returns a result."""
