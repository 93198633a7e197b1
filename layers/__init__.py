"""Layers of neural networks as files: `pvq.layers.format` reads and writes them, `pvq.layers.extract` makes them.

Importing this package never imports torch; only `pvq.layers.extract` and what it uses does.
"""

from .format import Layer, LayerError, load_layer, save_layer

__all__ = ["Layer", "LayerError", "load_layer", "save_layer"]
