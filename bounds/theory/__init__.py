"""Expected errors of quantization and pruning for distributions of weights and for whole layers, without a solver."""
