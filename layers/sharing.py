"""Gram sums of the layers of a running model: one for all layers that get the same inputs, as q, k and v do."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .format import LayerError
from .gram import Call, GramAccumulator, columns


@dataclass(eq=False)
class _Sum:
    """The inputs of its members, which have been the same tensors so far."""

    accumulator: GramAccumulator
    members: set[str]
    rounds: int = 0
    """Calls of each member."""
    waiting: set[str] = field(default_factory=set)
    """Members whose call in the last round has not come."""
    last: Call | None = None
    """The call of the last round, as long as anybody may still ask for its input."""
    version: int = 0
    mask: Tensor | None = None

    def is_last(self, call: Call) -> bool:
        """Whether a call has the input of the last round, unchanged, and the same geometry."""
        last = self.last
        if last is None or call.input is not last.input or call.input._version != self.version:
            return False
        return _geometry(call) == _geometry(last)


class Sums:
    """The sums of a pass.

    Whether layers share their inputs is seen in their first calls. A layer that goes its own way later gets a sum
    of its own, from which the last shared input is taken out again.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._of: dict[str, _Sum] = {}
        self._newest: _Sum | None = None

    def add(self, name: str, call: Call, mask: Tensor | None) -> None:
        """A layer is called."""
        own = self._of.get(name)
        newest = self._newest
        if own is None and newest is not None and newest.rounds == 1 and newest.is_last(call):
            newest.members.add(name)
            self._of[name] = newest
            return
        if own is not None and name in own.waiting:
            if own.is_last(call):
                own.waiting.discard(name)
                if not own.waiting and own is not newest:
                    own.last = None
                return
            own = self._parted(own, name)
        if own is None:
            inputs = call.weight[0].numel()
            own = self._of[name] = _Sum(GramAccumulator(call.groups, inputs, self._keep), {name})
        for late in sorted(own.waiting):
            self._parted(own, late)
        self._accumulate(own, name, call, mask)

    def end_batch(self) -> None:
        """Who has not been called by now got other inputs than the others."""
        for own in set(self._of.values()):
            for late in sorted(own.waiting):
                self._parted(own, late)
            own.last = None
        self._newest = None

    def accumulator(self, name: str) -> GramAccumulator | None:
        """The sum of a layer, the same object for those that share it; None if it was never called."""
        own = self._of.get(name)
        return None if own is None else own.accumulator

    def _accumulate(self, own: _Sum, name: str, call: Call, mask: Tensor | None) -> None:
        for piece in columns(call, mask):
            own.accumulator.add(piece)
        if self._newest is not None and self._newest is not own and not self._newest.waiting:
            self._newest.last = None
        self._newest = own
        own.rounds += 1
        own.waiting = own.members - {name}
        own.last, own.version, own.mask = call, call.input._version, mask

    def _parted(self, own: _Sum, name: str) -> _Sum:
        """A sum of its own for a member that has not had the input of the last round."""
        assert own.last is not None
        if own.last.input._version != own.version:
            raise LayerError("shares some of its inputs with other layers, not all; extract it by itself")
        own.members.discard(name)
        own.waiting.discard(name)
        apart = own.accumulator.without(columns(own.last, own.mask))
        self._of[name] = _Sum(apart, {name}, own.rounds - 1)
        return self._of[name]


def _geometry(call: Call) -> tuple[object, ...]:
    """All that says how the columns of an input are formed."""
    return call.kernel, call.stride, call.padding, call.dilation, call.groups
