"""The volume model: what random weights would make of a layer, by counting grid points. Never a bound."""

from .model import CONTRADICTED, ROUNDING, Checks, Model, held, volume_model

__all__ = ["CONTRADICTED", "ROUNDING", "Checks", "Model", "held", "volume_model"]
