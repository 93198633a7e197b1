"""Outputs: replaced whole or written through, never onto an input; nothing is left of a killed run."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from pvq.layers.files import Record, remove_dead, write_atomically, write_each, write_json, write_text
from pvq.layers.outputs import OutputError, check_outputs, place_of

from faults import files_of_at_most, hidden


def test_a_link_stays_and_its_file_is_replaced_with_its_mode(tmp_path):
    target, link, second = tmp_path / "store" / "run.json", tmp_path / "latest.json", tmp_path / "again.json"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("store/run.json")
    second.symlink_to(link)
    with target.open() as before:
        write_text(second, "new")
        assert before.read() == "old"  # a reader keeps the whole old file
    assert second.is_symlink()
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert hidden(target.parent) == hidden(tmp_path) == []


def test_a_link_to_nothing_gets_its_file(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "there").read_text() == "new"


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match="circle"):
        write_text(tmp_path / "a", "x")


def test_a_new_file_has_the_mode_of_the_umask(tmp_path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "new", "x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_text(pipe, "a" * 200_000)
    reader.join(10)
    assert got == [b"a" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_null_stays_a_device(tmp_path):
    write_text("/dev/null", "x")
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_text(link, "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert link.is_symlink()


def test_a_descriptor_keeps_its_place_in_its_file(tmp_path):
    """As `--json /dev/fd/3 3>>log`: what was written before stays, whatever the file is called by now."""
    log = tmp_path / "log"
    with log.open("wb", buffering=0) as file:
        file.write(b"before ")
        log.rename(tmp_path / "renamed")
        write_text(f"/dev/fd/{file.fileno()}", "json")
        file.write(b" after")
    assert (tmp_path / "renamed").read_text() == "before json after"


def test_a_descriptor_that_is_not_open_or_only_read_is_refused(tmp_path):
    (tmp_path / "in").write_text("x")
    with (tmp_path / "in").open() as file, pytest.raises(OutputError, match="reading only"):
        check_outputs({"--json": f"/dev/fd/{file.fileno()}"})
    with pytest.raises(OutputError, match="cannot write /dev/fd/987"):
        check_outputs({"--json": "/dev/fd/987"})


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, size):
    path = tmp_path / "run.json"
    path.write_text("old")
    with files_of_at_most(size), pytest.raises(OutputError, match=r"cannot write .*run\.json: File too large"):
        write_text(path, "x" * 10_000)
    assert path.read_text() == "old"
    assert hidden(tmp_path) == []


def test_a_device_without_space_is_said():
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
        write_text("/dev/full", "x")


def test_an_error_of_the_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")

    def broken(file):
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(path, broken)
    assert path.read_text() == "old"
    assert hidden(tmp_path) == []


KILLED = """
import os, signal, sys
from pvq.layers.files import write_atomically
def write(file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
write_atomically(sys.argv[1], write)
"""


def test_the_next_run_removes_what_a_killed_one_left_but_not_what_is_being_written(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in running:
        assert process.stdout.readline() == "writing\n"
    assert len(hidden(tmp_path)) == 2
    running[0].send_signal(signal.SIGKILL)
    running[0].communicate()
    write_text(tmp_path / "other.json", "x")
    assert hidden(tmp_path) == [name for name in hidden(tmp_path) if f"-{running[1].pid}-" in name]
    assert len(hidden(tmp_path)) == 1
    running[1].communicate("\n")
    assert path.read_text() == "half"
    assert hidden(tmp_path) == []


def test_only_names_of_ours_are_removed(tmp_path):
    names = [".pvq-12-0123456789abcdef.tmp.bak", ".pvq-x-0123456789abcdef.tmp", "pvq-12-0123456789abcdef.tmp"]
    for name in [*names, ".pvq-12-0123456789abcdef.tmp"]:
        (tmp_path / name).write_text("")
    remove_dead(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_link_with_a_temporary_name_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".pvq-12-0123456789abcdef.tmp").symlink_to("precious")
    remove_dead(tmp_path)
    assert (tmp_path / "precious").exists()


def test_one_file_by_any_name_is_an_input_only_once(tmp_path):
    layer = tmp_path / "l.npz"
    layer.write_text("x")
    os.link(layer, tmp_path / "hard")
    (tmp_path / "soft").symlink_to("l.npz")
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("l.npz", "./l.npz", "hard", "soft", "folder/l.npz", f"../{tmp_path.name}/l.npz"):
        with pytest.raises(OutputError, match="which is read"):
            check_outputs({"--json": f"{tmp_path}/{name}"}, [layer])
    check_outputs({"--json": tmp_path / "new"}, [layer, None, "zoo:model", "no\0name"])


def test_two_outputs_are_two_files_also_before_they_exist(tmp_path):
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "soft").symlink_to("both")
    for name in ("both", "./both", "folder/both", "soft"):
        with pytest.raises(OutputError, match="that of --json"):
            check_outputs({"--json": tmp_path / "both", "--csv": f"{tmp_path}/{name}"})
    check_outputs({"--json": tmp_path / "a", "--csv": tmp_path / "b"})
    check_outputs({"--json": "/dev/null", "--csv": "/dev/null", "--table": None, "--figure": "-"})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="that of --json"):
        check_outputs({"--json": tmp_path / "pipe", "--csv": tmp_path / "pipe"})


def test_where_standard_output_goes_is_taken(tmp_path):
    code = "from pvq.layers.outputs import check_outputs; check_outputs({'--json': %r})"
    out = tmp_path / "out"
    for name, good in ((str(out), False), ("/dev/stdout", True), (str(tmp_path / "other"), True)):
        with out.open("w") as stream:
            done = subprocess.run(
                [sys.executable, "-c", code % name], stdout=stream, stderr=subprocess.PIPE, text=True
            )
        assert (done.returncode == 0) == good
        assert good or "standard output goes there already" in done.stderr


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, words in (
        (tmp_path, "it is a folder"),
        (tmp_path / "no" / "x", "there is no folder"),
        (tmp_path / "file" / "x", "there is no folder|Not a directory"),
        (tmp_path / "x.txt", "must end in .npz"),
    ):
        with pytest.raises(OutputError, match=words):
            check_outputs({"--json": path}, suffixes={"--json": (".npz",)} if path.suffix else None)


def test_all_files_are_tried_and_all_failures_said(tmp_path):
    done = []

    def fails(path):
        raise OutputError(f"cannot write {path}")

    with pytest.raises(OutputError, match="cannot write a; cannot write c"):
        write_each(lambda: done.append("shown"), ("a", fails), ("b", done.append), ("c", fails), (None, fails))
    assert done == ["shown", "b"]


def test_a_reader_that_has_gone_costs_no_file():
    done = []

    def gone():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        write_each(gone, ("b", done.append))
    assert done == ["b"]
    write_each(gone, ("-", done.append))  # JSON on standard output: nothing else is printed
    assert done == ["b", "-"]


def test_a_record_that_cannot_be_written_is_said_once_and_tried_again(tmp_path, capsys):
    path = tmp_path / "run.json"
    record = Record(path, every=0)
    with files_of_at_most(10):
        for _ in range(3):
            record.update(lambda: {"long": "x" * 100})
    assert capsys.readouterr().err.count("cannot write") == 1
    assert not path.exists()
    assert hidden(tmp_path) == []
    end = time.monotonic() + 10
    while not path.exists() and time.monotonic() < end:
        record.update(lambda: {"now": 1})
    assert json.loads(path.read_text()) == {"now": 1}


def test_a_record_is_not_kept_in_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    Record(tmp_path / "pipe", every=0).update(lambda: pytest.fail("written"))
    Record(None, every=0).update(lambda: pytest.fail("written"))
    Record(tmp_path / "later", every=1e9).update(lambda: pytest.fail("written"))


def test_the_lock_of_a_file_ends_with_it(tmp_path):
    write_json(tmp_path / "a", {})
    with (tmp_path / "a").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert place_of(tmp_path / "a").is_replaced


def test_no_number_of_a_record_has_the_sign_of_nothing(tmp_path):
    ends = {"lower": -0.0, "upper": -1.5, "rows": [{"lower": -0.0}, (0.0, [-0.0])]}
    write_json(tmp_path / "a", {**ends, "list": [-0.0, ends]})
    assert "-0.0" not in (tmp_path / "a").read_text()
    assert json.loads((tmp_path / "a").read_text())["list"][1]["upper"] == -1.5
