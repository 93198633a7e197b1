"""What a sample of rows says of all rows, in one sentence of its own: sampled, neither proven nor modelled."""

from __future__ import annotations

from pvq.bounds.sampling import CONFIDENCE
from pvq.bounds.sqnr import sqnr_db
from pvq.results import Result


def sample_sentence(result: Result) -> str | None:
    """The estimate for all rows; None where all were bounded."""
    whole, sample = result.problem.drawn_from, result.sample
    if whole is None:
        return None
    if sample is None:
        return f"Nothing is estimated for all {len(whole)} rows: the run was interrupted."
    start = f"Sampled, not proven: over all {sample.of} rows"
    least, most = (sqnr_db(sample.reference, end.value or 0.0) for end in (sample.upper, sample.lower))
    if sample.upper.value is None:
        return f"{start} nothing is said: {sample.beside} has no error on the drawn ones."
    if sample.upper.high is None:
        few = "one row gives" if sample.rows == 1 else "these rows give"
        return (
            f"{start} the best possible SQNR is estimated as {_range(least, most)} dB, but {few} no "
            "confidence interval; draw more."
        )
    text = f"{start} the best possible SQNR is {_range(*sample.sqnr_db)} dB"
    for name, above in sample.least_db.items():
        if above.low is not None:
            text += f"; {name} is {_range(above.low, sample.most_db[name].high)} dB from it"
    return (
        f"{text} ({CONFIDENCE:.0%} confidence; {sample.rows} rows, drawn with seed {sample.seed}, by their ratio "
        f"to {sample.beside})."
    )


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return "exact" if most is None else f"at most {most:.2f}"
    return f"at least {least:.2f}" if most is None else f"{least:.2f} to {most:.2f}"
