"""Watch a running model and hand over what actually reaches its linear and convolution functions.

A module's attributes do not tell: it may pad its input, or compute the weight it uses, inside `forward`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .gram import Call
from .parts import KINDS, Part, kind_of

_WATCHED = tuple(KINDS.values())
_PRODUCTS = {
    torch.mm: 0,
    torch.matmul: 0,
    torch.bmm: 0,
    torch.addmm: 1,
    torch.baddbmm: 1,
    Tensor.mm: 0,
    Tensor.matmul: 0,
    Tensor.__matmul__: 0,
    Tensor.bmm: 0,
    Tensor.addmm: 1,
    Tensor.baddbmm: 1,
}
"""Products of matrices, and which argument is the first factor."""


@contextmanager
def capture(module: nn.Module, parts: Mapping[str, Part], seen: Callable[[str, Call], None]) -> Iterator[None]:
    """While active, report every call that the chosen modules make.

    A call belongs to the innermost linear or convolution module whose `forward` is running, if its weight is that
    module's, or of that shape (a weight may be computed on the fly). Outside of all of them, as in
    nn.MultiheadAttention, which never calls its `out_proj`, it belongs to the chosen module that owns the weight.
    A bare parameter is recognised by its memory, in products of matrices too, as stored or transposed.

    Parameters
    ----------
    module : the model that runs.
    parts : what was chosen, by name.
    seen : called with a name and the call, before the function runs.
    """
    names = {part.module: name for name, part in parts.items() if not part.bare}
    bare = _Bare({name: part for name, part in parts.items() if part.bare}, seen)
    running: list[nn.Module] = []
    # a weight that is computed on the fly is no parameter, and its id means nothing
    owners = {id(own): name for m, name in names.items() if (own := m._parameters.get("weight")) is not None}

    def record(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = _call(kind, args, kwargs)
        name = owners.get(id(call.weight))
        if running:
            current = running[-1]
            own = current.weight
            same = own is call.weight or (kind_of(current) == kind and own.shape == call.weight.shape)
            name = names.get(current) if same else None
        if name is not None:
            seen(name, call)
        elif kind == "linear":
            bare.product(call.input, call.weight)

    def product(x: Tensor, other: Tensor) -> None:
        if other.dim() == 2:
            bare.product(x, other.T)
        elif other.dim() == 3 and x.dim() == 3 and len(x) == len(other):
            for each, matrix in zip(x, other, strict=True):
                bare.product(each, matrix.T)

    with ExitStack() as stack:
        for candidate in module.modules():
            if kind_of(candidate) is not None:
                stack.enter_context(candidate.register_forward_pre_hook(lambda m, _: running.append(m)))
                stack.enter_context(candidate.register_forward_hook(lambda *_: _drop(running)))
        stack.enter_context(_without_fast_path())
        stack.enter_context(_plainly(module))
        stack.enter_context(_Watch(record, product))
        yield


class _Watch(TorchFunctionMode):
    """Intercept the functions however they were imported, also from inside functions written in Python."""

    def __init__(
        self,
        record: Callable[[str, tuple[Any, ...], dict[str, Any]], None],
        product: Callable[[Tensor, Tensor], None],
    ) -> None:
        super().__init__()
        self._record, self._product = record, product
        self._kinds = {getattr(functional, kind): kind for kind in _WATCHED}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        kind = self._kinds.get(func)
        if kind is not None:
            self._record(kind, args, kwargs)
            return func(*args, **kwargs)
        first = _PRODUCTS.get(func)
        if first is not None and len(args) > first + 1:
            self._product(args[first], args[first + 1])
        if func is not functional.multi_head_attention_forward:
            return func(*args, **kwargs)
        # torch switches this mode off in here, so what that function calls is seen by patching it
        with ExitStack() as stack:
            for original, kind in self._kinds.items():
                stack.enter_context(mock.patch.object(functional, kind, self._recorder(kind, original)))
            return func(*args, **kwargs)

    def _recorder(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            self._record(kind, args, kwargs)
            return original(*args, **kwargs)

        return recorded


class _Bare:
    """The chosen bare parameters, found again by their place in memory."""

    def __init__(self, parts: Mapping[str, Part], seen: Callable[[str, Call], None]) -> None:
        self._seen = seen
        self._of: defaultdict[int, list[tuple[str, Tensor]]] = defaultdict(list)
        for name, part in parts.items():
            view = part.view()
            memory = view.untyped_storage().data_ptr()
            self._of[memory] += [(name, view), (name, view.T)]

    def product(self, x: Tensor, weight: Tensor) -> None:
        """x W' was computed: report the chosen parameters that are W, or rows of it."""
        if not self._of or not isinstance(weight, Tensor) or weight.dim() != 2 or weight.layout != torch.strided:
            return
        for name, view in self._of.get(weight.untyped_storage().data_ptr(), ()):
            if _rows_of(view, weight):
                self._seen(name, Call(x, view))


def _rows_of(view: Tensor, whole: Tensor) -> bool:
    """Whether a matrix is a block of rows of another in the same memory."""
    if view.dtype != whole.dtype or view.shape[1] != whole.shape[1] or view.stride() != whole.stride():
        return False
    first, rest = divmod(int(view.storage_offset() - whole.storage_offset()), int(view.stride(0)))
    return rest == 0 and 0 <= first <= len(whole) - len(view)


def _call(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """The arguments of a functional call in one form."""
    given = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, strict=False))
    given.update(kwargs)
    x, weight = given["input"], given["weight"]
    if kind == "linear":
        return Call(x, weight)
    axes = weight.dim() - 2
    stride = _each(given.get("stride", 1), axes)
    dilation = _each(given.get("dilation", 1), axes)
    padding = given.get("padding", 0)
    if padding == "same":
        total = [d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True)]
        both = tuple((size // 2, size - size // 2) for size in total)  # torch pads the odd one at the end
    else:
        both = tuple((size, size) for size in _each(0 if padding == "valid" else padding, axes))
    return Call(x, weight, stride, both, dilation, int(given.get("groups", 1)))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """An argument that is given once or per axis, per axis."""
    values = tuple(value) if isinstance(value, tuple | list | torch.Size) else (value,)
    return tuple(int(v) for v in (values * axes if len(values) == 1 else values))


def _drop(running: list[nn.Module]) -> None:
    running.pop()


@contextmanager
def _plainly(module: nn.Module) -> Iterator[None]:
    """Compiled parts run as they are written, and experts one after the other, each with its own matrix."""
    chosen = "_experts_implementation"
    configs = {id(c): c for part in module.modules() if hasattr(c := getattr(part, "config", None), chosen)}
    before = [(config, getattr(config, chosen)) for config in configs.values()]
    for config, _ in before:
        setattr(config, chosen, "eager")
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for config, value in before:
            setattr(config, chosen, value)


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Keep torch from replacing attention and encoder layers by one fused call that hides their linear layers."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def weight_matrix(weight: Tensor) -> Tensor:
    """(out, n) float64 on the CPU: one row per output channel, in the order of the unfolded patches."""
    return weight.detach().to("cpu").to(torch.float64).reshape(len(weight), -1).clone()
