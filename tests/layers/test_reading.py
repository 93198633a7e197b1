"""Text and JSON from outside: what is wrong is one line, and nothing is read without end."""

import os
import threading
from contextlib import suppress

import pytest
from pvq.layers.reading import Unreadable, read_json, read_text


def test_what_is_there_is_read(tmp_path):
    file = tmp_path / "x"
    file.write_bytes('{"ä": [1, 2.5e3, null]}'.encode())
    assert read_json(file) == {"ä": [1, 2500.0, None]}
    assert read_text(file, most=file.stat().st_size) == file.read_text()


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("[1]",), daemon=True)
    writer.start()
    assert read_json(tmp_path / "pipe") == [1]


@pytest.mark.parametrize(
    ("content", "said"),
    {
        b"[" * 100_000: "nested too deeply",
        b'{"a": NaN}': "NaN is no number of JSON",
        b"[-Infinity]": "-Infinity is no number of JSON",
        b'{"a": 1,}': "is not JSON: .*line 1 column",
        b"": "is not JSON: .*line 1 column 1",
        b'{"\xe4": 1}': "is not UTF-8 text",
        b"9" * 5000: "is not JSON",
    }.items(),
    ids=lambda value: str(value)[:12],
)
def test_what_is_no_json(tmp_path, content, said):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Unreadable, match=said) as caught:
        read_json(tmp_path / "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "said"), [("", "directory"), ("nowhere", "No such"), ("a" * 300, "too long")])
def test_what_is_no_file(tmp_path, name, said):
    with pytest.raises(Unreadable, match=f"cannot be read: .*{said}"):
        read_json(tmp_path / name)


def test_a_file_without_end_is_not_read_to_its_end():
    with pytest.raises(Unreadable, match="has more than 1 MiB"):
        read_text("/dev/zero", most=2**20)


def test_no_more_is_read_than_says_that_it_is_too_long(tmp_path):
    pipe, taken = tmp_path / "pipe", [0]
    os.mkfifo(pipe)

    def write_without_end():
        with suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
            while True:
                taken[0] += file.write(b"9" * 2**16)

    writer = threading.Thread(target=write_without_end, daemon=True)
    writer.start()
    with pytest.raises(Unreadable, match="has more than 1 MiB"):
        read_text(pipe, most=2**20)
    writer.join(10)
    assert 2**20 < taken[0] <= 2**20 + 2**18  # a pipe holds 64 KiB, a reader's buffer as much again
