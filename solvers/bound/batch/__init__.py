"""Long rows, all rows of a layer at once: one D, one inverse, products of whole chunks."""
