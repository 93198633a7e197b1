"""Every output of every command under a quota, through a link or pipe, and onto the input; what is printed."""

import csv
import io
import os
import re
import stat
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import output_cases
import pytest
from output_cases import BOUND, COMPARE, FINETUNE, KURTOSIS, OUTPUTS, SAYS, THEORY, VERIFY, Commands
from pvq.layers.format import Layer, save_layer
from safetensors.numpy import save_file

from faults import files_of_at_most, hidden, in_turn

every_output = pytest.mark.parametrize(
    ("command", "option", "suffix"), OUTPUTS, ids=lambda value: value[0] if isinstance(value, tuple) else value
)


MODEL = """
import torch
def model():
    torch.manual_seed(0)
    return torch.nn.Linear(6, 4).double()
"""


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A function that trains what `FINETUNE` compares, once, and says where."""

    @cache
    def train():
        folder = tmp_path_factory.mktemp("tuned") / "kept"
        helpers = str(Path(output_cases.__file__).parent)
        words = [str(folder) if word == "TUNED" else word for word in FINETUNE]
        path = os.pathsep.join(filter(None, [helpers, os.environ.get("PYTHONPATH")]))
        assert outside(*words, "--quiet", env={**os.environ, "PYTHONPATH": path}).returncode == 0
        return folder

    return train


@pytest.fixture
def run(cli, tmp_path, monkeypatch, tuned):
    """Run a command on a small layer, model or run, made when it is needed."""
    (tmp_path / "made.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made", raising=False)
    monkeypatch.setattr("pvq.bounds.app.theory.figure.RANGES", 2)  # each takes a second
    return Commands(cli, tmp_path, tuned)


@every_output
def test_a_quota_costs_the_file_and_not_the_result(run, tmp_path, command, option, suffix):
    out = tmp_path / f"out{suffix}"
    run(command, option, out)  # what is compiled or cached on the way is not what is tried
    whole = out.read_bytes()
    with files_of_at_most(20):
        done = run(command, option, out)
    assert done.code == 2
    assert SAYS.get(command, "dB") in done.out
    assert done.err == f"pvq: cannot write {out}: File too large\n"
    assert out.read_bytes() == whole
    assert hidden(tmp_path) == []


@every_output
def test_through_a_link(run, tmp_path, command, option, suffix):
    target, link = tmp_path / "target", tmp_path / f"link{suffix}"
    target.write_text("old")
    link.symlink_to("target")
    assert run(command, option, link).code == 0
    assert link.is_symlink()
    assert target.read_bytes() != b"old"


@every_output
def test_through_a_pipe(run, tmp_path, command, option, suffix):
    run(command, option, tmp_path / f"file{suffix}")
    pipe, got = tmp_path / f"pipe{suffix}", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run(command, option, pipe).code == 0
    reader.join(10)
    assert got[0][:20] == (tmp_path / f"file{suffix}").read_bytes()[:20]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@every_output
def test_onto_the_input_is_refused_before_the_search(run, tmp_path, command, option, suffix):
    if command in (THEORY, KURTOSIS):
        command = ("theory", "--layer", "LAYER")
    run.words(command)
    source = run.read(command)
    before = source.read_bytes()
    link = tmp_path / f"link{suffix}"
    os.link(source, link)
    done = run(command, option, link)
    assert (done.code, done.out) == (2, "")
    assert "which is read" in done.err
    assert source.read_bytes() == link.read_bytes() == before


@pytest.mark.parametrize("command", [BOUND, COMPARE], ids=lambda command: command[0])
def test_onto_a_matrix_that_layers_share_is_refused(run, tmp_path, command):
    shared = tmp_path / "net.0123456789abcdef.gram"
    shared.write_bytes(b"matrix")
    done = run(command, "--json", shared)
    assert (done.code, done.out) == (2, "")
    assert "which is read" in done.err
    assert shared.read_bytes() == b"matrix"


@every_output
@pytest.mark.parametrize("where", ["missing", "file", "folder"])
def test_a_place_that_cannot_be_written_is_refused_before_the_search(
    run, tmp_path, command, option, suffix, where
):
    out = tmp_path / where / f"x{suffix}"
    if where == "file":
        out.parent.write_text("precious")
    elif where == "folder":
        out.mkdir(parents=True)
    done = run(command, option, out)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"pvq: cannot write {out}: ")
    assert len(done.err.splitlines()) == 1
    assert where != "file" or out.parent.read_text() == "precious"


def test_a_folder_without_rights_is_refused_by_every_command(run, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    np.save(tmp_path / "x.npy", np.ones((3, 6)))
    commands = [[*run.words(command), option, f"closed/x{suffix}"] for command, option, suffix in OUTPUTS]
    extract = ["extract", "made:model", "--layer", "*", "--calibration", "x.npy", "--quiet", "-o"]
    ended = in_turn([*commands, [*extract, "closed"], [*extract, "closed/new"]], tmp_path)
    assert len(ended) == len(OUTPUTS) + 2
    for code, out, err in ended:
        assert (code, out) == (2, "")
        assert re.fullmatch(r"pvq: .*closed.*permission.*\n", err)
    assert list((tmp_path / "closed").iterdir()) == []


def test_two_outputs_of_one_name_are_refused(run, tmp_path):
    done = run(BOUND, "--solution", tmp_path / "x.npz", "--certificate", f"{tmp_path}/./x.npz")
    assert (done.code, done.out) == (2, "")
    assert "that of --solution" in done.err
    assert not (tmp_path / "x.npz").exists()


def test_the_levels_of_a_grid_are_an_input(run, tmp_path):
    levels = tmp_path / "levels.txt"
    levels.write_text("-1\n0\n1\n")
    done = run((*BOUND[:4], "--grid", levels), "--json", levels)
    assert done.code == 2
    assert levels.read_text() == "-1\n0\n1\n"


def test_all_that_fits_is_written(run, tmp_path):
    done = run(BOUND, "--json", "/dev/full", "--solution", tmp_path / "s.npz")
    assert done.code == 2
    assert done.err == "pvq: cannot write /dev/full: No space left on device\n"
    assert (tmp_path / "s.npz").exists()


COMMAND = "import sys; from pvq.bounds.app.main import pvq; sys.argv[0] = 'pvq'; pvq()"


def outside(*words, **more):
    """A command in a process of its own."""
    more.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([sys.executable, "-c", COMMAND, *map(str, words)], text=True, timeout=120, **more)


def test_standard_output_that_is_full_costs_no_file(run, tmp_path):
    with open("/dev/full", "w") as full:
        done = outside(
            *[tmp_path / "l.npz" if w == "LAYER" else w for w in BOUND], "--json", tmp_path / "j", stdout=full
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "pvq: cannot write standard output: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (tmp_path / "j").exists()


def close(*streams):
    for number in streams:
        os.close(number)


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_a_closed_stream_costs_no_file(run, tmp_path, closed):
    words = [tmp_path / "l.npz" if word == "LAYER" else word for word in BOUND]
    with (tmp_path / "err").open("w") as err:
        done = outside(*words, "--json", tmp_path / "j", stderr=err, preexec_fn=lambda: close(*closed))
    assert done.returncode == 0
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert (tmp_path / "j").read_text().startswith("{")


@pytest.mark.parametrize("fault", ["closed", "full", "gone"])
def test_what_standard_error_cannot_take_is_lost_and_goes_nowhere_else(run, tmp_path, fault):
    run(BOUND, "--certificate", tmp_path / "p.npz")
    save_layer(tmp_path / "other.npz", Layer("other", np.ones((2, 6)), np.eye(6)))
    read, gone = os.pipe()
    os.close(read)
    with open("/dev/full", "w") as full:
        done = outside(
            *("verify", tmp_path / "p.npz", tmp_path / "other.npz"),
            stdout=subprocess.PIPE,
            stderr={"closed": None, "full": full, "gone": gone}[fault],
            preexec_fn=(lambda: os.close(2)) if fault == "closed" else None,
        )
    os.close(gone)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("command", [VERIFY, ("solvers",)])
def test_a_standard_output_that_is_full_is_named(run, tmp_path, command):
    if command is VERIFY:
        run(BOUND, "--certificate", tmp_path / "p.npz")
    words = [{"PROOF": tmp_path / "p.npz", "LAYER": tmp_path / "l.npz"}.get(word, word) for word in command]
    more = ("--json", tmp_path / "j") if command is VERIFY else ()
    with open("/dev/full", "w") as full:
        done = outside(*words, *more, stdout=full)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "pvq: cannot write standard output: No space left on device"
    assert command is not VERIFY or (tmp_path / "j").exists()


def test_an_error_line_has_no_control_characters(cli, tmp_path):
    done = cli("bound", tmp_path / "a\x1b[31m\nb\u202e.npz", "--method", "quant", "--bits", "2")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "a\\x1b[31m b\\u202e.npz: no such file" in done.err


def test_json_on_a_closed_standard_output_is_refused(run, tmp_path):
    done = outside("theory", "--dist", "normal", "--json", "-", preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr


def test_a_reader_that_goes_away_costs_no_file(run, tmp_path):
    read, write = os.pipe()
    os.close(read)
    words = [tmp_path / "l.npz" if word == "LAYER" else word for word in BOUND]
    done = outside(*words, "--json", tmp_path / "j", stdout=write)
    os.close(write)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert (tmp_path / "j").exists()


def test_names_beyond_ascii_on_ascii_output(run, tmp_path):
    rng = np.random.default_rng(0)
    save_layer(tmp_path / "n.npz", Layer("Schicht-ä-層", rng.standard_normal((2, 3)), np.eye(3)))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = outside(*BOUND[:1], tmp_path / "n.npz", *BOUND[2:], "--quiet", stdout=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Schicht-\\xe4-\\u5c64" in done.stdout


@pytest.mark.parametrize("name", ["h[attn].0", "closed[/b]x", "[/]", "[red]x", "a[link=x]b", ":smile:", "a\\[b]"])
def test_names_are_printed_as_they_are(cli, tmp_path, name):
    rng = np.random.default_rng(0)
    file = save_layer(tmp_path / "n.npz", Layer(name, rng.standard_normal((2, 6)), np.eye(6)))
    levels = tmp_path / "levels[bold].txt"
    levels.write_text("-1\n0\n1\n")
    for words in (
        ("bound", file, "--method", "quant", "--grid", levels, "--quiet"),
        ("bound", file, "--method", "prune", "--sparsity", "0.3:0.6:0.3", "--quiet"),
        ("compare", file, "--bits", "8:8", "--quiet"),
        ("compare", file, "--grid", levels, "--bits", "8:8", "--quiet"),
        ("theory", "--layer", file, "--bits", "4:4"),
    ):
        done = cli(*words)
        assert (done.code, done.err) == (0, "")
        assert name in done.out
        assert levels not in words or str(levels) in done.out


def test_a_name_cannot_fake_output(cli, tmp_path):
    file = save_layer(tmp_path / "n.npz", Layer("a\x1b[2J\nverified", np.ones((2, 3)), np.eye(3)))
    done = cli("bound", file, "--method", "quant", "--bits", "2", "--quiet")
    assert done.out.startswith("a\\x1b[2J\\nverified: 2 rows")


def test_nothing_is_cut_in_a_pipe_or_on_a_narrow_terminal(monkeypatch):
    from pvq.bounds.app.console import Printer
    from rich.table import Table

    table = Table()
    for j in range(40):
        table.add_column(f"method-{j}")
    table.add_row(*(f"{j}.123456789" for j in range(40)))
    for terminal in (False, True):
        stream = io.StringIO()
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setenv("COLUMNS", "60")
        if terminal:
            monkeypatch.setenv("FORCE_COLOR", "1")
        Printer().table(table)
        said = stream.getvalue()
        assert "…" not in said
        assert all(f"{j}.123456789" in said and f"method-{j}" in said for j in range(40))


@pytest.mark.parametrize("name", ["$x_", "a$\\frac$b", "^[a](b)|c&d_~", "two\nlines"])
def test_names_in_figures_and_files_are_names(cli, tmp_path, name):
    rng = np.random.default_rng(0)
    file = save_layer(tmp_path / "n.npz", Layer(name, rng.standard_normal((2, 6)), np.eye(6)))
    words = ("compare", file, "--bits", "8:8", "--compare", "gptq", "--quiet")
    for option, out in (("--figure", "f.svg"), ("--table", "t.md"), ("--table", "t.tex"), ("--table", "t.csv")):
        done = cli(*words, option, tmp_path / out)
        assert (done.code, done.err) == (0, "")
    assert cli("theory", "--layer", file, "--bits", "4:4", "--figure", tmp_path / "f.png").code == 0
    with (tmp_path / "t.csv").open(newline="") as file:
        assert {line["layer"] for line in csv.DictReader(file)} == {name}
    heading = next(line for line in (tmp_path / "t.md").read_text().splitlines() if line.startswith("###"))
    assert heading.endswith(", 2 rows x 6 inputs")
    assert "](" not in heading.replace("\\]", "")


def test_tensors_of_any_name(cli, tmp_path):
    save_file({"w[red]$x": np.eye(9, dtype=np.float32)}, tmp_path / "m[b].safetensors")
    done = cli("weights", tmp_path / "m[b].safetensors", "--bits", "4:4", "--figure", tmp_path / "f.png")
    assert done.code == 0
    assert "w[red]$x" in done.out
    assert done.out.startswith("m[b]: ")
