"""Options that several commands have: each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

PROBLEM, SEARCH, OUTPUT = "The problem", "The search", "Output"
"""Headings of --help."""

Grid = Annotated[
    str,
    Option(
        metavar="NAME|FILE",
        help="int, int-sym, int-asym, ternary, fp4-e2m1, fp8-e4m3, nf4, or a file of levels.",
        rich_help_panel=PROBLEM,
    ),
]
Granularity = Annotated[
    str, Option(help="Weights that share a scale: tensor, channel or group:G.", rich_help_panel=PROBLEM)
]
Range = Annotated[
    str,
    Option(
        "--range",
        metavar="NAME",
        help="How scales are chosen: mse, minmax, gram (layer error), none (as given), optimal (searched; not in "
        "`pvq compare`).",
        rich_help_panel=PROBLEM,
    ),
]
BitRange = Annotated[
    str | None,
    Option(metavar="A:B", help="A to B bits, both included. Default 2:8 for int grids.", rich_help_panel=PROBLEM),
]
Base = Annotated[
    int, Option(metavar="16|32", help="Bits of a weight that is not quantized.", rich_help_panel=PROBLEM)
]
Mask = Annotated[
    str,
    Option(
        metavar="none|bitmask|index",
        help="What the sparsity pays for saying which weights are kept: nothing (as in the paper), a bit for "
        "every weight, or an index for every kept one.",
        rich_help_panel=PROBLEM,
    ),
]
ScaleBits = Annotated[
    int, Option(help="Bits of each scale, 0 to leave scales out of the cost.", rich_help_panel=PROBLEM)
]
Block = Annotated[
    int | None, Option(metavar="K", help="Prune K consecutive inputs together.", rich_help_panel=PROBLEM)
]
Update = Annotated[
    bool,
    Option("--update/--no-update", help="Re-optimise the kept weights, or keep them.", rich_help_panel=PROBLEM),
]
Scope = Annotated[
    str,
    Option(
        metavar="row|layer",
        help="The sparsity holds for each row, or for all rows together.",
        rich_help_panel=PROBLEM,
    ),
]
Solver = Annotated[str, Option(help="Where bounds come from, see `pvq solvers`.", rich_help_panel=SEARCH)]
Odds = Annotated[
    float | None,
    Option(
        metavar="P",
        help="Odds of the volume model's level (0.001; above 2048 inputs or 32 Gram matrices the model is stated "
        "only if asked).",
        rich_help_panel=SEARCH,
    ),
]
Methods = Annotated[
    str | None,
    Option(
        "--compare",
        metavar="NAMES|all",
        help="Published methods to score, as rtn,gptq.",
        rich_help_panel=SEARCH,
    ),
]
Gap = Annotated[float, Option(metavar="REL", help="Relative gap that counts as optimal.", rich_help_panel=SEARCH)]
Seed = Annotated[
    int, Option(help="For methods that draw at random, and for --sample-rows.", rich_help_panel=SEARCH)
]
SampleRows = Annotated[
    int | None,
    Option(
        "--sample-rows",
        metavar="K",
        help="Bound K rows drawn at random (--seed); the sum over all rows is estimated from them, not proven.",
        rich_help_panel=PROBLEM,
    ),
]
Budget = Annotated[
    str | None,
    Option(
        metavar="TIME",
        help="Time of the whole run, as 90s, 30m or 2h, without compiling (once for this machine): first a bound "
        "of everything, then better ones where they count most.",
        rich_help_panel=SEARCH,
    ),
]
Device = Annotated[
    str,
    Option(
        metavar="cpu|gpu|auto",
        help="Where long searches of quantized rows run (solver bnb); auto: on a GPU where there is one.",
        rich_help_panel=SEARCH,
    ),
]
Effort = Annotated[
    str,
    Option(
        metavar="normal|high",
        help="high: seconds more for each quantized row that no search ends, for a higher lower end.",
        rich_help_panel=SEARCH,
    ),
]
Json = Annotated[
    str | None,
    Option("--json", metavar="FILE|-", help="Write all results as JSON.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[bool, Option("--quiet", help="No progress.", rich_help_panel=OUTPUT)]
Cluster = Annotated[
    str | None,
    Option(
        metavar="local[:N]|ADDRESS|FILE",
        help="Instead of --jobs: N processes of this machine, a dask scheduler (tcp://host:8786) or its file.",
        rich_help_panel=SEARCH,
    ),
]
Send = Annotated[
    bool,
    Option(
        "--send",
        help="Send layer files to the workers of --cluster, where they do not see their folder.",
        rich_help_panel=SEARCH,
    ),
]
Ledger = Annotated[
    Path | None,
    Option(
        metavar="RUN",
        help="Keep every result in this run, see `pvq run`, and go on where it is; --time-limit is of a row then.",
        rich_help_panel=OUTPUT,
    ),
]
