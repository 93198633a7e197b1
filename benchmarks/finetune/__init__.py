"""Fine-tuning with quantization or pruning in the loop, at equal size (Kuzmin et al. 2023, section 5).

Weights only, first and last layer included, one grid a tensor. Needs torch; nothing else here does.
"""
