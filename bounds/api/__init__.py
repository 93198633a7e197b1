"""`import pvq`: certified bounds on the error of quantizing and pruning a layer, from Python.

    layer = pvq.Layer.from_activations(W, X)
    result = pvq.bound(layer, pvq.Quant(bits=4))

Names load what they need when they are first used, so that the import itself is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvq.bounds.certificate import Certificate as Certificate
    from pvq.bounds.certificate import CertificateError as CertificateError
    from pvq.bounds.certificate import load_certificate as load_certificate
    from pvq.bounds.errors import ProblemError as ProblemError
    from pvq.bounds.verify.row import NotProven as NotProven
    from pvq.layers.format import Layer as Layer
    from pvq.layers.format import LayerError as LayerError
    from pvq.layers.format import load_layer as load_layer
    from pvq.layers.format import save_layer as save_layer
    from pvq.solvers.base import SolverUnavailable as SolverUnavailable
    from pvq.solvers.base import UnsupportedProblem as UnsupportedProblem

    from .allocating import Allocation as Allocation
    from .allocating import allocate as allocate
    from .applying import apply as apply
    from .bounding import bound as bound
    from .bounding import curve as curve
    from .checking import verify as verify
    from .comparing import compare as compare
    from .comparison import Comparison as Comparison
    from .evaluating import evaluate as evaluate
    from .ledgers import Ledger as Ledger
    from .listing import extract as extract
    from .listing import installed_solvers as installed_solvers
    from .listing import solver_cards as solver_cards
    from .problems import Joint as Joint
    from .problems import Prune as Prune
    from .problems import Quant as Quant
    from .results import Interval as Interval
    from .results import Result as Result
    from .results import Row as Row
    from .results import Score as Score
    from .scoring import ModelScore as ModelScore
    from .scoring import score_model as score_model

    __version__: str

_HOME = {
    "Allocation": "pvq.allocating",
    "Certificate": "pvq.bounds.certificate",
    "CertificateError": "pvq.bounds.certificate",
    "Comparison": "pvq.comparison",
    "Interval": "pvq.results",
    "Joint": "pvq.problems",
    "Layer": "pvq.layers.format",
    "LayerError": "pvq.layers.format",
    "Ledger": "pvq.ledgers",
    "ModelScore": "pvq.scoring",
    "NotProven": "pvq.bounds.verify.row",
    "ProblemError": "pvq.bounds.errors",
    "Prune": "pvq.problems",
    "Quant": "pvq.problems",
    "Result": "pvq.results",
    "Row": "pvq.results",
    "Score": "pvq.results",
    "SolverUnavailable": "pvq.solvers.base",
    "UnsupportedProblem": "pvq.solvers.base",
    "allocate": "pvq.allocating",
    "apply": "pvq.applying",
    "bound": "pvq.bounding",
    "compare": "pvq.comparing",
    "curve": "pvq.bounding",
    "evaluate": "pvq.evaluating",
    "extract": "pvq.listing",
    "installed_solvers": "pvq.listing",
    "load_certificate": "pvq.bounds.certificate",
    "load_layer": "pvq.layers.format",
    "save_layer": "pvq.layers.format",
    "score_model": "pvq.scoring",
    "solver_cards": "pvq.listing",
    "verify": "pvq.checking",
}
"""Where each name lives."""

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pvq-bound")
    if name not in _HOME:
        raise AttributeError(f"module 'pvq' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
