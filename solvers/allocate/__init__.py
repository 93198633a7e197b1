"""One option for each layer under a budget: what is recorded, the least sum of errors, what stands in its way."""
