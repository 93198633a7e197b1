"""The Gram matrix of a layer, checked once and shared by all of its rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import ProblemError
from .stages import stage

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
T = TypeVar("T")

# An eigenvalue below -NOT_PSD * (largest) cannot come from rounding a float32 or float64 accumulation of X X'.
NOT_PSD = 1e-6
# Inputs up to which eigenvalues take no time worth a word.
SHORT = 256
# A Cholesky factor of H - CLEAR n eps |H| I shows that H needs no shift: |H|, the Frobenius norm, is no less than
# the largest eigenvalue, and factorising rounds by less than the rest. At 4096 inputs: 1 s, eigenvalues take 5.
CLEAR = 4.0


@dataclass(frozen=True, eq=False)
class Gram:
    """Positive semidefinite matrix H of the layer-wise error e(x) = (w - x)' H (w - x).

    Build it with `from_array`. Rows of a layer share one object, so that what a solver computes for the layer
    (factors, orders, diagonals) is computed once; see `memo`.
    """

    matrix: FloatArray
    """(n, n), exactly symmetric, read-only; `shift` is already in it."""
    shift: float = 0.0
    """tau >= 0 that was added to the diagonal of the live inputs, 0 where not needed."""
    rank: int = 0
    """Numerical rank of the matrix before the shift."""
    _memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _locks: dict[Hashable, threading.Lock] = field(default_factory=dict, repr=False)
    """One for each key of the memo: what is computed for one key may ask for another."""

    def __post_init__(self) -> None:
        self.matrix.setflags(write=False)

    def __reduce__(self) -> tuple[type[Gram], tuple[FloatArray, float, int]]:
        return Gram, (self.matrix, self.shift, self.rank)  # what is remembered is computed again

    @classmethod
    def from_array(cls, gram: npt.ArrayLike, shift: float | None = None) -> Gram:
        """Symmetrise, check and, where rounding made it indefinite, shift a Gram matrix.

        H = (G + G') / 2 + tau I on the live inputs (zero rows stay zero). tau is 0 if the smallest eigenvalue of
        the live block exceeds n eps lambda_max, the size of the rounding error of the eigenvalue itself; else the
        smallest shift that lifts it there.

        Parameters
        ----------
        gram : (n, n) array, X X' / samples.
        shift : tau as it was recorded for this matrix, perhaps on another machine, where the eigenvalues round
            differently: taken as it is if it differs from ours by at most n eps lambda_max.

        Raises
        ------
        ProblemError
            Not square, not finite, or clearly not positive semidefinite (the eigenvalue is named).
        """
        matrix = np.array(gram, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
            raise ProblemError(f"the Gram matrix must be square, not of shape {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise ProblemError("the Gram matrix has NaN or infinite entries")
        matrix = (matrix + matrix.T) / 2
        n = len(matrix)
        live = np.asarray(matrix.any(axis=1))
        own, rank, rounding = 0.0, 0, 0.0
        if n > SHORT:
            stage("eigenvalues of the Gram matrix")
        if n > SHORT and not shift and _clearly_positive(matrix, live):
            rank = int(live.sum())
        elif live.any():
            eigenvalues = np.linalg.eigvalsh(matrix[np.ix_(live, live)])
            smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
            if largest <= 0 or smallest < -NOT_PSD * largest:
                raise ProblemError(
                    f"the Gram matrix is not positive semidefinite: its smallest eigenvalue is {smallest:.3g} "
                    f"(largest {largest:.3g}); recompute it as X X' / samples"
                )
            rounding = n * np.finfo(np.float64).eps * largest
            rank = int((eigenvalues > rounding).sum())
            if smallest < rounding:
                own = float(rounding - smallest)
        if shift is None:
            shift = own
        elif not (shift >= 0 and abs(shift - own) <= rounding):
            raise ProblemError(f"the recorded shift {shift:g} of the Gram matrix is not its own, {own:g}")
        matrix[live, live] += shift
        return cls(matrix=matrix, shift=shift, rank=rank)

    def __len__(self) -> int:
        return len(self.matrix)

    @cached_property
    def live(self) -> BoolArray:
        """(n,) inputs whose row of H is not zero; the others are dead: no error depends on them."""
        return np.asarray(self.matrix.any(axis=1))

    def take(self, inputs: IntArray) -> Gram:
        """The principal submatrix on some inputs; asked twice, the same object, so that its memo is shared."""

        def build() -> Gram:
            return Gram(np.ascontiguousarray(self.matrix[np.ix_(inputs, inputs)]), self.shift, self.rank)

        return self.memo(Gram.take, build, inputs.tobytes())

    def error(self, difference: FloatArray) -> float:
        """u' H u for u = w - x, (n,); never negative."""
        return max(0.0, float(difference @ self.matrix @ difference))

    def memo(self, owner: Callable[..., object], compute: Callable[[], T], *arguments: Hashable) -> T:
        """Return `compute()`, computed once per Gram matrix and key: the place for layer-wide work.

        Threads that ask for a key while it is computed wait. `compute` must not ask for its own key, and its value
        must follow from the matrix and the key alone: else results would depend on which row asks first.

        Parameters
        ----------
        owner : the function that keeps the value, and the only one: with `arguments` it is the key.
        """
        key = (owner, *arguments)
        if key not in self._memo:
            with self._locks.setdefault(key, threading.Lock()):  # setdefault is atomic
                if key not in self._memo:
                    self._memo[key] = compute()
        value: T = self._memo[key]
        return value


def _clearly_positive(matrix: FloatArray, live: BoolArray) -> bool:
    """Whether the smallest eigenvalue of the live block is far above n eps lambda_max; a zero matrix has none."""
    h = matrix[np.ix_(live, live)]
    h[np.diag_indices(len(h))] -= CLEAR * len(matrix) * np.finfo(np.float64).eps * np.linalg.norm(h)
    try:
        np.linalg.cholesky(h)
    except np.linalg.LinAlgError:
        return False
    return len(h) > 0
