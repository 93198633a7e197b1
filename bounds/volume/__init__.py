"""The volume model: what random weights would make of a layer, by counting grid points. Never a bound."""

from .model import CONTRADICTED, ROUNDING, BeforeProofs, Checks, Model, before_proofs, held, volume_model

__all__ = ["CONTRADICTED", "ROUNDING", "BeforeProofs", "Checks", "Model", "before_proofs", "held", "volume_model"]
