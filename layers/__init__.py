"""Layers of neural networks as files: `pvq.layers.format` reads and writes them, `pvq.layers.extract` makes them.

Importing this package never imports torch; only `pvq.layers.extract` and what it uses does. Its names load
`format`, with numpy, when they are first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .format import Layer, LayerError, load_layer, save_layer

__all__ = ["Layer", "LayerError", "load_layer", "save_layer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import format

    return getattr(format, name)
