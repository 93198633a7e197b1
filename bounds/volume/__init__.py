"""The volume model: what random weights would make of a layer, by counting grid points. Never a bound."""

from .model import Checks, Model, volume_model

__all__ = ["Checks", "Model", "volume_model"]
