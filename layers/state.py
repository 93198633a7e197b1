"""State dicts as they come: inside checkpoints, with prefixes, with masks and norms beside the weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from .foreign import foreign
from .format import LayerError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weight", "weights")
"""Keys under which training scripts save the state dict, the usual ones first."""

AVERAGED = "n_averaged"
"""What torch's AveragedModel saves beside the model."""


def unwrap(state: Any, source: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: wrappers opened, marks of compiled and parallel models dropped.

    Raises
    ------
    LayerError
        There is no state dict in it; the message says which keys there are.
    """
    import torch

    while isinstance(state, Mapping) and not any(isinstance(value, torch.Tensor) for value in state.values()):
        key = next((key for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if key is None:
            found = ", ".join(map(str, list(state)[:8])) or "nothing"
            raise LayerError(f"{source}: no state dict under a known key (found {found}); save it alone")
        state = state[key]
    if not isinstance(state, Mapping):
        raise LayerError(f"{source}: holds a {type(state).__name__}, expected a state dict")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    # compiling puts one mark before the names of what it compiled, data parallelism another
    tensors = {_without(name, "_orig_mod"): value for name, value in tensors.items()}
    if all(name.startswith("module.") for name in tensors if name != AVERAGED):
        tensors.pop(AVERAGED, None)  # the count of AveragedModel, which is no weight of the model
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def fit(tensors: dict[str, Tensor], wanted: Collection[str], source: str) -> dict[str, Tensor]:
    """The tensors under the names of a model, if some way to take marks, masks and norms off makes them fit.

    A first part that all names share goes if they fit without it; `module` too, which parallel parts add.
    """
    found = _renamed(tensors, wanted)
    if found is None and not any("parametrizations." in name for name in wanted):
        found = _renamed(effective(tensors, source), wanted)
    return tensors if found is None else found


def _renamed(tensors: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor] | None:
    one = len({name.partition(".")[0] for name in tensors}) == 1
    ways: tuple[tuple[Callable[[str], str], tuple[str, ...]], ...] = (
        (lambda name: name, ()),
        (lambda name: f"module.{name}", ()),  # a part of the model, and no mark
        (lambda name: name.partition(".")[2] if one else name, ()),
        (lambda name: _without(name, "module"), ("module",)),
    )
    for change, marks in ways:
        own = {_without(name, "_orig_mod", *marks): name for name in wanted}
        found = {change(name): value for name, value in tensors.items()}
        if len(found) == len(tensors) and len(own) == len(wanted) and set(found) == set(own):
            return {own[name]: value for name, value in found.items()}
    return None


def effective(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Weights as they are used: masks multiplied in, weight norm applied.

    w = w_orig * mask (pruning); w = g v / ||v||, the norm over all axes but those of g (weight norm, old and new).

    Raises
    ------
    LayerError
        A tensor is a part of a weight that is made in another way (spectral norm, a parametrization).
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        base = base_of(name, tensors)
        if base is None and is_part(name, tensors):
            raise LayerError(
                f"{source}: {name} is a part of a weight that only its model can make of it; save the state dict "
                "after parametrize.remove_parametrizations or remove_spectral_norm"
            )
        if base is None:
            found[name] = value
        elif base not in found:
            with foreign(f"{source}: {name} and what belongs to it do not make a weight"):
                found[base] = _product(base, tensors)
    return found


def check_values(name: str, tensor: Tensor, source: str) -> None:
    """Raise `LayerError` for a tensor without values: lazy, or on the meta device."""
    import torch

    if torch.nn.parameter.is_lazy(tensor):
        raise LayerError(f"{source}: {name} has no shape yet (a lazy module); run the model once before")
    if tensor.is_meta:
        raise LayerError(f"{source}: {name} has no values (meta device); load the weights first")


def dense(name: str, tensor: Tensor, source: str) -> Tensor:
    """A tensor with its values as a plain one.

    Raises
    ------
    LayerError
        It has no values, or none that torch can take out of it.
    """
    import torch

    check_values(name, tensor, source)
    with foreign(f"{source}: {name} cannot be read as a plain tensor"):
        tensor = tensor.detach()
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        return tensor if tensor.layout == torch.strided else tensor.to_dense()


def _without(name: str, *marks: str) -> str:
    return ".".join(part for part in name.split(".") if part not in marks)


def is_part(name: str, tensors: Collection[str]) -> bool:
    """Whether a tensor that `base_of` does not know is no weight by itself."""
    base = name.removesuffix("_orig")
    return "parametrizations." in name or (base != name and base + "_u" in tensors and base not in tensors)


def base_of(name: str, tensors: Collection[str]) -> str | None:
    """The weight that a tensor is a part of, None if it is one itself."""
    for ending, other in (("_orig", "_mask"), ("_mask", "_orig"), ("_g", "_v"), ("_v", "_g")):
        base = name.removesuffix(ending)
        # an ending by chance: both parts have to be there
        if base != name and base + other in tensors and base not in tensors:
            return base
    before, inside, after = name.rpartition("parametrizations.")
    weight, _, part = after.partition(".")
    if inside and part in ("original0", "original1") and f"{before}{inside}{weight}.original1" in tensors:
        return before + weight
    return None


def _product(base: str, tensors: Mapping[str, Tensor]) -> Tensor:
    import torch

    if base + "_mask" in tensors:
        return tensors[base + "_orig"] * tensors[base + "_mask"]
    before, _, last = base.rpartition(".")
    inside = f"{before}.parametrizations.{last}." if before else f"parametrizations.{last}."
    old = base + "_g" in tensors
    g = tensors[base + "_g" if old else inside + "original0"]
    v = tensors[base + "_v" if old else inside + "original1"]
    axes = [axis for axis in range(v.dim()) if g.dim() == 0 or g.shape[axis] == 1]
    if g.dim() not in (0, v.dim()) or (g.numel() > 1 and g.numel() != v.numel() // _size(v, axes)):
        raise LayerError(f"{base}: shapes {tuple(g.shape)} and {tuple(v.shape)} are no weight norm")
    return g * v / torch.linalg.vector_norm(v, dim=axes or None, keepdim=bool(axes))


def _size(tensor: Tensor, axes: list[int]) -> int:
    size = 1
    for axis in axes:
        size *= tensor.shape[axis]
    return size
