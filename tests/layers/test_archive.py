"""Hostile npz files: refused by what they say of themselves, before anything is allocated."""

import io
import struct
import zipfile

import numpy as np
import pytest
from pvq.layers import archive
from pvq.layers.archive import ArchiveError, read_arrays


def saved(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_what_numpy_writes_is_read(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.standard_normal((3, 4)),
        "f": np.asfortranarray(rng.standard_normal((5, 2)).astype(np.float32)),
        "i": np.arange(6, dtype=np.int64).reshape(1, 2, 3),
        "text": np.array("some words"),
        "none": np.zeros((0, 4)),
        "big-endian": np.arange(3, dtype=">f8"),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_arrays(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert np.array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_zeros_that_unpack_to_more_than_the_file_justifies(tmp_path, monkeypatch):
    path = saved(tmp_path / "bomb.npz", a=np.zeros(10**6))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(archive, "BASE", 2**20)
    with pytest.raises(ArchiveError, match="unpacks to"):
        read_arrays(path, 2**20)
    assert read_arrays(path, 2**23)["a"].shape == (10**6,)


def header(shape, dtype="<f8"):
    text = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "data",
    [
        header((10**13,)) + bytes(80),
        header((9,)) + bytes(80),
        header((11,)) + bytes(80),
        header((-10,)) + bytes(80),
        b"",
        b"no array",
    ],
)
def test_headers_that_lie_about_their_size(tmp_path, data):
    with pytest.raises(ArchiveError, match="damaged"):
        read_arrays(zipped(tmp_path / "a.npz", ("a.npy", data)))


def test_names_twice_foreign_members_and_too_many(tmp_path):
    good = header((1,)) + bytes(8)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(tmp_path / "twice.npz", ("a.npy", good), ("a.npy", good))
    with pytest.raises(ArchiveError, match="damaged"):
        read_arrays(twice)
    with pytest.raises(ArchiveError, match="not an array"):
        read_arrays(zipped(tmp_path / "b.npz", ("a.txt", b"words")))
    with pytest.raises(ArchiveError, match="damaged"):
        read_arrays(zipped(tmp_path / "c.npz", *((f"{i}.npy", good) for i in range(200))))


def test_pickles_are_never_loaded(tmp_path):
    class Bad:
        def __reduce__(self):
            return (pytest.fail, ("loaded",))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Bad()], dtype=object), allow_pickle=True)
    with pytest.raises(ArchiveError, match="pickled"):
        read_arrays(zipped(tmp_path / "a.npz", ("a.npy", buffer.getvalue())))


def test_a_cut_or_foreign_file(tmp_path):
    path = saved(tmp_path / "a.npz", a=np.arange(1000.0))
    whole = path.read_bytes()
    for data, words in ((whole[: len(whole) // 2], "damaged"), (b"", "not an npz"), (b"PK\x03\x04", "damaged")):
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match=words):
            read_arrays(path)
