"""Quantization or pruning: verdicts for pairs of one layer and of many, with time spent where they are open."""
