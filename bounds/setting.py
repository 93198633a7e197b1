"""What defines the problem of a layer, in the user's words: what commands, files and databases carry."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass
from typing import Any

from .errors import ProblemError

METHODS = ("quant", "prune", "joint")
GRID_WORDS = ("bits", "grid", "granularity", "range")
PATTERN_WORDS = ("sparsity", "nm", "block", "update", "scope")
"""Settings that say where quantized weights lie, and which weights are kept."""
_KINDS = {
    "bits": (int, type(None)),
    "grid": (str,),
    "granularity": (str,),
    "range": (str,),
    "sparsity": (int, float, type(None)),
    "block": (int, type(None)),
    "update": (bool,),
    "scope": (str,),
    "ridge": (int, float),
}
"""Types of a setting's values in JSON."""


@dataclass(frozen=True)
class Setting:
    """Everything that defines the problem of a layer, in the words of the command line."""

    method: str
    bits: int | None = None
    grid: str = "int"
    granularity: str = "tensor"
    range: str = "mse"
    sparsity: float | None = None
    nm: tuple[int, int] | None = None
    block: int | None = None
    update: bool = True
    scope: str = "row"
    rows: tuple[int, int] | None = None
    """Half-open range of rows, None for all; rows keep their numbers in the layer."""
    inputs: tuple[int, int] | None = None
    """Half-open range of inputs: the principal sub-problem, scales still from the whole weight tensor."""
    ridge: float = 0.0
    """H is the Gram matrix plus this part of its mean diagonal on the diagonal, see `with_ridge`."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            near = difflib.get_close_matches(self.method, METHODS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ProblemError(f"`method` must be one of {', '.join(METHODS)}, not '{self.method}'{hint}")
        self._check_words()
        if not 0 <= self.ridge < math.inf:
            raise ProblemError(
                f"`ridge` must be 0 or more (0.01 adds 1% of H's mean diagonal), not {self.ridge:g}"
            )
        if self.method != "quant":
            self._check_pattern()

    def _check_words(self) -> None:
        """Refuse words of the other method: an option that changes nothing is a mistake."""
        unused = () if self.method == "joint" else PATTERN_WORDS if self.method == "quant" else GRID_WORDS
        given = [name for name in unused if getattr(self, name) != getattr(Setting, name)]
        if given:
            names = " and ".join(f"`{name}`{'=False' * (name == 'update')}" for name in given)
            other, hint = ("prune", "") if self.method == "quant" else ("quant", "; give `sparsity` or `nm`")
            raise ProblemError(f"`method` {self.method} takes no {names}, `method` {other} or joint do{hint}")

    def _check_pattern(self) -> None:
        if self.sparsity is not None and self.nm is not None:
            raise ProblemError("give either `sparsity` or `nm`, not both")
        if self.sparsity is None and self.block is not None and self.nm is None:
            raise ProblemError("`block` says what is pruned together; `sparsity` (as 0.75) says how much of it")
        if self.sparsity is None and self.nm is None:
            raise ProblemError("pruning needs `sparsity` (as 0.75) or `nm` (as 2:4)")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise ProblemError(f"`sparsity` must be in [0, 1), not {self.sparsity:g}")
        if self.nm is not None and self.block is not None:
            raise ProblemError("give either `nm` or `block`, not both")
        if self.nm is not None and len(self.nm) != 2:
            raise ProblemError(f"`nm` is a pair N, M (as 2:4), not {len(self.nm)} numbers")
        if self.nm is not None and not 0 <= self.nm[0] <= self.nm[1] > 0:
            raise ProblemError(f"`nm` N:M needs 0 <= N <= M, not {self.nm[0]}:{self.nm[1]}")
        if self.block is not None and self.block < 1:
            raise ProblemError(f"`block` must be at least 1, not {self.block}")
        if self.scope not in ("row", "layer"):
            raise ProblemError(f"`scope` must be row or layer, not '{self.scope}'")
        if self.scope == "layer" and self.nm is not None:
            raise ProblemError("`scope` layer needs `sparsity`; N:M already fixes every group of every row")

    @property
    def quantizes(self) -> bool:
        """Whether there is a grid."""
        return self.method != "prune"

    @property
    def prunes(self) -> bool:
        """Whether there is a sparsity pattern."""
        return self.method != "quant"

    def as_json(self) -> dict[str, Any]:
        """The settings that matter for this method, as JSON values."""
        values = asdict(self)
        unused = [] if self.quantizes else [*GRID_WORDS]
        unused += [] if self.prunes else [*PATTERN_WORDS]
        for name in unused:
            del values[name]
        if values.get("nm"):
            values["nm"] = f"{values['nm'][0]}:{values['nm'][1]}"
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Setting:
        """The setting that `as_json` wrote.

        Raises
        ------
        ProblemError
            Unknown or missing names, values of another type, or no setting.
        """
        try:
            values = dict(values)
            for name, kinds in _KINDS.items():
                if name in values and type(values[name]) not in kinds:
                    raise ProblemError(f"the setting's {name} is {values[name]!r}")
            if values.get("nm"):
                kept_inputs, of = str(values["nm"]).split(":")
                values["nm"] = (int(kept_inputs), int(of))
            for name in ("rows", "inputs"):
                if values.get(name) is not None:
                    start, stop = values[name]
                    if (type(start), type(stop)) != (int, int):
                        raise ProblemError(f"the setting's {name} are {values[name]!r}")
                    values[name] = (start, stop)
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, ProblemError) else ProblemError("the setting is not one") from None
