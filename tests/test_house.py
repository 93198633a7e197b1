"""The direction of imports, read from the source, lazy imports included; and how little each door loads."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("layers", "bounds", "solvers", "benchmarks")

FLOORS = {
    "layers": {"layers"},
    "bounds": {"layers", "bounds"},
    "bounds.verify": {"bounds"},
    "bounds.theory": {"layers", "bounds"},
    "solvers.kernels": {"bounds"},
    "solvers.base": {"bounds"},
    "solvers.empirical": {"bounds", "solvers.base", "solvers.kernels"},
    "solvers.relax": {"bounds", "solvers.base", "solvers.kernels", "solvers.empirical"},
    "solvers.bnb": {"bounds", "solvers.base", "solvers.kernels", "solvers.empirical", "solvers.relax"},
}
FLOORS["solvers.outside"] = FLOORS["solvers.relax"] | {"solvers.relax"}
FLOORS["solvers.bound"] = FLOORS["solvers.bnb"] | {"solvers.bnb"}
FLOORS["solvers"] = FLOORS["solvers.bound"] | {"layers", "solvers.bound", "bounds.verify"}
FLOORS["solvers.compare"] = FLOORS["solvers"] | {"solvers"}
FLOORS["solvers.allocate"] = FLOORS["solvers.compare"] | {"solvers.compare"}
FLOORS["solvers.ledger"] = FLOORS["solvers.allocate"]
FLOORS["solvers.cluster"] = FLOORS["solvers.ledger"] | {"solvers.ledger"}
FLOORS["benchmarks"] = FLOORS["solvers.cluster"] | {"solvers.cluster"}
FLOORS["bounds.api"] = FLOORS["benchmarks"] | {"solvers.allocate", "bounds.theory"}
FLOORS["bounds.app"] = FLOORS["benchmarks"] | FLOORS["bounds.api"] | {"benchmarks", "bounds.api"}
"""What a floor may import beside itself. `bounds` is what is in none of its named folders; so is `solvers`."""
ASKS_THE_VERIFIER = {"solvers.base", "solvers.bnb", "benchmarks"}
"""Floors below `solvers` that hand proofs to the verifier."""

BASE = (
    *("base", "checked", "compile_time", "composite", "flat", "limits", "options", "points", "result", "tiny"),
    *("units", "watch"),
)
"""Files of `solvers` that all solvers stand on."""


def modules():
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imported(name, path):
    """Modules of ours that a file imports, wherever in the file, as `layers.format`."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (
                "bounds.api" if name == "pvq" else name[4:] for name in names if f"{name}.".startswith("pvq.")
            )
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            target = ".".join(filter(None, base))
        elif node.module and node.module.startswith("pvq."):
            target = node.module.removeprefix("pvq.")
            if target.split(".")[0] not in FOLDERS:
                target = f"bounds.api.{target}"
        elif node.module == "pvq":
            target = "bounds.api"
        else:
            continue
        for alias in node.names:
            inner = f"{target}.{alias.name}"
            yield inner if inner in MODULES else target


def floor(name):
    """The longest floor that a module stands on."""
    if name.split(".")[0] == "solvers" and name.split(".")[1:2] and name.split(".")[1] in BASE:
        return "solvers.base"
    parts = name.split(".")
    return next(".".join(parts[:k]) for k in range(len(parts), 0, -1) if ".".join(parts[:k]) in FLOORS)


GRAPH = {name: set(imported(name, path)) - {name} for name, path in MODULES.items()}


def test_every_import_points_to_a_lower_floor():
    wrong = []
    for name, targets in GRAPH.items():
        mine = floor(name)
        allowed = FLOORS[mine] | {mine} | ({"bounds.verify"} if mine in ASKS_THE_VERIFIER else set())
        wrong += [f"{name} -> {target}" for target in sorted(targets) if floor(target) not in allowed]
    assert wrong == []


RUNS = {
    "solvers.layer": {"solve_layer"},
    "solvers.rows": {"prepare", "run_rows", "solve_row", "solve_rows", "unfinished"},
    "solvers.curve": {"solve_curve"},
    "solvers.scale": {"solve_scales"},
    "solvers.certify": {"build_certificate", "write_certificate"},
    "solvers.compare.layer": {"compare_layer"},
    "solvers.compare.network": {"compare_all", "found_in", "member_of"},
    "solvers.allocate.solve": {"allocate"},
    "solvers.ledger.go": {"go_on"},
    "solvers.ledger.plan": {"create"},
    "solvers.registry": {"get_solver", "solver_class", "solver_names"},
    "layers.extract": {"extract_layers"},
    "bounds.layer_problem": {"state_problem"},
    "bounds.verify.certificate": {"verify_certificate"},
    "bounds.verify.reference.certificate": {"check_certificate"},
    "bounds.volume.model": {"volume_model"},
}
"""What states, solves, compares or verifies: the command line has it done by the functions of `import pvq`."""


def test_the_command_line_has_its_work_done_by_the_package():
    for module, names in RUNS.items():
        defined = {node.name for node in ast.parse(MODULES[module].read_text()).body if hasattr(node, "name")}
        assert names <= defined, module
    working = set().union(*RUNS.values())
    files = {name: path for name, path in MODULES.items() if name.startswith("bounds.app.")}
    assert len(files) > 20
    for name, path in files.items():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level != 1]  # commands' own
        imports = {alias.name for node in froms for alias in node.names}
        assert not working & imports, name
    calls = {
        "allocate": "allocate",
        "bound": "bound",
        "verify": "verify",
        "solvers": "solver_cards",
        "compare.run": "compare",
        "extract": "extract",
    }
    for command, function in calls.items():
        tree = ast.parse(MODULES[f"bounds.app.{command}"].read_text())
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert f"pvq.{function}" in called


def test_no_option_is_declared_twice():
    """What several commands have stands in `options`."""
    seen = {}
    for name, path in MODULES.items():
        if not name.startswith("bounds.app."):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Option":
                seen.setdefault(ast.unparse(node), []).append(name)
    assert len(seen) > 50
    assert {option: places for option, places in seen.items() if len(places) > 1} == {}


def test_no_circles():
    """No module reaches itself, not even through an import inside a function."""
    state = {}

    def visit(name, path):
        state[name] = "open"
        for target in GRAPH.get(name, ()):
            if target.count(".") < 1 or target not in GRAPH:
                continue
            if state.get(target) == "open":
                pytest.fail(" -> ".join([*path[path.index(target) :], target]))
            if target not in state:
                visit(target, [*path, target])
        state[name] = "done"

    for name in sorted(GRAPH):
        if name not in state:
            visit(name, [name])


def loaded_by(statement):
    """Names of the modules that are loaded after a statement in a fresh interpreter."""
    code = f"import sys; {statement}; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_the_verifier_loads_no_solver_and_nothing_for_a_gpu():
    names = loaded_by("import pvq.bounds.verify, pvq.bounds.verify.exact, pvq.bounds.certificate")
    assert "pvq.bounds.verify.row" in names
    assert not [name for name in names if name.startswith(("pvq.solvers", "torch", "numba.cuda"))]
    assert not {"pvq.bounds.cuda", "pvq.bounds.verify.gpu"} & set(names)


def test_a_look_at_a_run_loads_no_solver_and_compiles_nothing():
    door = "from pvq.bounds.app.main import commands; commands()"
    names = loaded_by(f"{door}; import pvq, pvq.bounds.app.run.text; pvq.Ledger")
    assert "pvq.solvers.ledger.status" in names
    heavy = {"numba", "numpy", "scipy", "torch", "pandas", "dask"}
    assert not heavy & {name.split(".")[0] for name in names}


def test_no_file_is_too_long_to_read():
    """400 lines at most, tests included."""
    files = [path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


COMMANDS = {"allocate", "apply", "bench", "bound", "compare", "extract", "finetune", "go", "init", "score"}
"""Functions of `bounds.app` whose parameters are the options of a command."""
LAUNCHED = {"bounds.verify.gpu.kernel.search", "solvers.bnb.gpu.kernel.search"}
"""A device takes arrays one by one."""


def test_functions_take_a_few_named_things():
    """At most twelve that have a place: what belongs together is a named tuple."""
    taken = {}
    for name, path in MODULES.items():
        commands = COMMANDS if name.startswith("bounds.app.") else set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name not in commands:
                taken[f"{name}.{node.name}"] = len(node.args.posonlyargs) + len(node.args.args)
    assert len(taken) > 2000
    assert {name: count for name, count in taken.items() if count > 12 and name not in LAUNCHED} == {}


def test_tests_ask_for_nothing_private():
    """No name with an underscore in front is imported from ours, or asked of one of our modules."""
    found, files = [], sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 150
    for path in files:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pvq")]
        names = {alias.asname or alias.name for node in froms for alias in node.names}
        asked = [node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) in names]
        private = [name for name in (*names, *(node.attr for node in asked)) if re.match("_[^_]", name)]
        found += [f"{path.name}: {name}" for name in private]
    assert found == []


def test_what_is_there_is_asked_in_a_way_that_cannot_raise():
    """Path.is_file raises for a name too long and in a folder without rights; os.path.isfile says no."""
    asking = {"is_file", "is_dir", "exists"}
    wrong = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in asking:
                wrong += [] if ast.unparse(node.func) == "os.path.exists" else [f"{name}:{node.lineno}"]
    assert wrong == []
