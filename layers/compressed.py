"""Weights as compressed-tensors stores them, unpacked by that library."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Plain
from .foreign import foreign
from .format import LayerError
from .packed import Packed

if TYPE_CHECKING:
    from torch import Tensor

NEEDED = "weights of compressed-tensors need that package: pip install 'pvq-bound[packed]'"


def read_compressed(
    name: str, parts: Mapping[str, Callable[[], Plain]], config: Mapping[str, Any], shape: tuple[int, ...]
) -> Packed | Plain:
    """One layer; a grid of whole numbers is known from its scales, of others there are the weights.

    Parameters
    ----------
    name : of the layer.
    parts : what reads its arrays, by the end of their names.
    config : `quantization_config` of the checkpoint.
    shape : of the layer.

    Raises
    ------
    LayerError
        The library is missing, or cannot unpack the layer; it does not fit the shape.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it imports deprecates its own parts
            import compressed_tensors.compressors  # noqa: F401
    except ImportError:
        raise LayerError(f"{name}: {NEEDED}") from None
    import torch

    with foreign(f"{name}: compressed-tensors cannot unpack it"):
        tensors = {key: torch.from_numpy(np.array(read().array)) for key, read in parts.items()}
        scheme, form = _scheme(name, config)
        dense, zeros = _unpacked(tensors, scheme, form)
        weights = scheme.weights
        out, n = shape
        if tuple(dense.shape) != (out, n):
            raise LayerError(f"{name} is of {tuple(dense.shape)} weights, the layer of the model of {out} x {n}")
        kinds = {"tensor": n, "channel": n, "group": weights.group_size}
        if weights.type != "int" or weights.strategy not in kinds:
            return Plain(dense.double().numpy(), float(np.finfo(np.float32).eps))
        scale = _each(tensors["weight_scale"], out)
        zero = np.zeros_like(scale) if zeros is None else _each(zeros, out)
        group = int(kinds[weights.strategy])
        index = tensors.get("weight_g_idx")
        given = np.arange(n) // group if index is None or (index < 0).any() else index.numpy().astype(np.int64)
    order = None if (np.diff(given) >= 0).all() else np.argsort(given, kind="stable")
    if (np.sort(given) != np.arange(n) // group).any() or scale.shape[1] != -(-n // group):
        raise LayerError(f"{name}: its scales do not fit groups of {group} inputs")
    # the library multiplies in the type of the scales; the numbers behind are whole
    exact = scale[:, given] * np.round(dense.double().numpy() / scale[:, given])
    middle = 2.0 ** (weights.num_bits - 1)
    return Packed(exact, weights.num_bits, group, scale, zero + middle, order, "compressed-tensors")


def _scheme(name: str, config: Mapping[str, Any]) -> tuple[Any, str]:
    """The scheme of a layer, and the form in which it is stored."""
    import torch
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.utils import is_match

    if not config.get("config_groups"):
        raise LayerError(f"{name}: no config.json beside the weights says how compressed-tensors packed them")
    whole = QuantizationConfig.model_validate(dict(config))
    module = torch.nn.Linear(1, 1)
    schemes = list(whole.config_groups.values())
    chosen = next((scheme for scheme in schemes if is_match(name, module, scheme.targets)), schemes[0])
    return chosen, str(getattr(chosen.format or whole.format, "value", chosen.format or whole.format))


def _unpacked(tensors: Mapping[str, Tensor], scheme: Any, form: str) -> tuple[Tensor, Tensor | None]:
    """Weights and zero points."""
    from compressed_tensors.compressors.base import BaseCompressor

    found = BaseCompressor.get_value_from_registry(form).decompress(dict(tensors), scheme)
    return found["weight"], found.get("weight_zero_point")


def _each(values: Tensor, out: int) -> Any:
    """(out, groups) scales or zero points of a tensor, of rows or of groups."""
    array = values.double().numpy().reshape(-1, 1) if values.dim() < 2 else values.double().numpy()
    return np.ascontiguousarray(np.broadcast_to(array, (out, array.shape[1])))
