"""The linear maps inside a model that have a weight of their own: what can be extracted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .format import LayerError
from .state import check_values

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
KINDS: dict[type[nn.Module], str] = {nn.Linear: "linear", nn.Conv1d: "conv1d", nn.Conv2d: "conv2d"}


@dataclass(frozen=True, eq=False)
class Part:
    """One linear map: a module, or a bare parameter of one, or a part of that.

    Parameters
    ----------
    module : the owner.
    kind : linear | conv1d | conv2d.
    parameter : its attribute that holds the weight.
    index : of the matrix in a stack of them (experts).
    rows : of the matrix, half-open, where several maps share it (attention).
    """

    module: nn.Module
    kind: str
    parameter: str = "weight"
    index: int | None = None
    rows: tuple[int, int] | None = None

    @property
    def bare(self) -> bool:
        """Whether the weight is known by its memory, and not by the module that runs."""
        return kind_of(self.module) is None

    def view(self) -> Tensor:
        """The weight as it is stored, sharing its memory."""
        weight: Tensor = getattr(self.module, self.parameter).detach()
        if self.index is not None:
            weight = weight[self.index]
        return weight if self.rows is None else weight[slice(*self.rows)]


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside what compiles it, runs it in parallel, or averages it."""
    while True:
        inner = getattr(module, "_orig_mod", module.module if isinstance(module, WRAPPERS) else None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def check_model(module: nn.Module) -> None:
    """Raise `LayerError` for a model with parameters that no pass can read; the message names the first."""
    for name, parameter in module.named_parameters():
        check_values(plain(name), parameter, "the model")
        if parameter.layout != torch.strided:
            raise LayerError(f"the model: {plain(name)} is a sparse tensor; put parameter.to_dense() in its place")


def kind_of(module: nn.Module) -> str | None:
    """linear | conv1d | conv2d, or None for a module that is none of these."""
    return next((kind for cls, kind in KINDS.items() if isinstance(module, cls)), None)


def candidates(module: nn.Module) -> dict[str, Part]:
    """What can be extracted, by name, in the order of the model.

    Linear, Conv1d and Conv2d modules; `in_proj_q`, `in_proj_k`, `in_proj_v` of nn.MultiheadAttention; `weight`
    matrices of modules that are not torch's (the Conv1D of GPT-2, routers); each matrix of stacked experts, as
    `experts.gate_up_proj.3`. A module with two names is given once, under the first.
    """
    found: dict[str, Part] = {}
    for name, owner in module.named_modules():
        kind = kind_of(owner)
        if kind is not None:
            found[plain(name)] = Part(owner, kind)
        elif isinstance(owner, nn.MultiheadAttention):
            found |= {plain(f"{name}.{own}"): part for own, part in _attention(owner).items()}
        elif not type(owner).__module__.startswith("torch.") and not isinstance(owner, nn.Embedding):
            found |= {plain(f"{name}.{own}"): part for own, part in _bare(owner).items()}
    return found


def plain(name: str) -> str:
    """A name without the marks of compiled modules."""
    return ".".join(part for part in name.split(".") if part not in ("", "_orig_mod"))


def second_names(module: nn.Module) -> dict[str, str]:
    """Further names of modules that are used in several places, and the first name of each."""
    first: dict[nn.Module, str] = {}
    found = {}
    for name, part in module.named_modules(remove_duplicate=False):
        if part in first:
            found[plain(name)] = plain(first[part])
        else:
            first[part] = name
    return {name: of for name, of in found.items() if name != of}


def not_covered(module: nn.Module) -> tuple[list[str], float]:
    """Names of the weights (2 dimensions and more) that no candidate covers, and their share of all weights."""
    covered = {id(getattr(part.module, part.parameter, None)) for part in candidates(module).values()}
    weights = {name: p for name, p in module.named_parameters() if p.dim() > 1 and p.is_floating_point()}
    missed = {name: p.numel() for name, p in weights.items() if id(p) not in covered}
    # a weight that is computed from others (weight norm, a mask) is covered as what they make
    computed = [plain(name) for name, part in module.named_modules() if kind_of(part) is not None]
    missed = {n: s for n, s in missed.items() if not any(plain(n).startswith(f"{of}.") for of in computed if of)}
    return [plain(name) for name in missed], sum(missed.values()) / max(
        1, sum(p.numel() for p in weights.values())
    )


def _attention(owner: nn.MultiheadAttention) -> dict[str, Part]:
    size = owner.embed_dim
    if getattr(owner, "in_proj_weight", None) is not None:
        return {
            f"in_proj_{letter}": Part(owner, "linear", "in_proj_weight", rows=(k * size, (k + 1) * size))
            for k, letter in enumerate("qkv")
        }
    parts = {f"in_proj_{letter}": Part(owner, "linear", f"{letter}_proj_weight") for letter in "qkv"}
    return {name: part for name, part in parts.items() if getattr(owner, part.parameter, None) is not None}


def _bare(owner: nn.Module) -> dict[str, Part]:
    """Matrices and stacks of matrices that a module of other packages holds itself."""
    found: dict[str, Part] = {}
    for own, weight in owner.named_parameters(recurse=False):
        if not weight.is_floating_point() or min(weight.shape, default=0) < 2:
            continue
        if weight.dim() == 2 and own == "weight":
            found[""] = Part(owner, "linear")
        elif weight.dim() == 3:
            found |= {f"{own}.{k}": Part(owner, "linear", own, index=k) for k in range(len(weight))}
    return found
