"""Expected errors of quantization and pruning, for distributions of weights and for layers, without a solver."""
