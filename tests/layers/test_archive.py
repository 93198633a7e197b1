"""Hostile npz files: refused by what they say of themselves, before anything is allocated."""

import io
import struct
import zipfile

import numpy as np
import pytest
from pvq.layers import allowance, archive
from pvq.layers.archive import ArchiveError, read_arrays
from pvq.layers.format import LayerError, load_layer


def saved(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("long", [False, True])
def test_what_numpy_writes_is_read(tmp_path, monkeypatch, long):
    if long:
        monkeypatch.setattr(archive, "SIDE_BY_SIDE", 1)
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


def test_damage_is_found_where_arrays_are_unpacked_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SIDE_BY_SIDE", 1)
    file = saved(tmp_path / "a.npz", a=np.arange(500.0), b=np.arange(900.0))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        read_arrays(file)


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


def layer_bomb(path, **arrays):
    """A file of a few kB."""
    return saved(path, **{"weight": np.ones((2, 600)), "gram": np.zeros((600, 600)), **arrays})


@pytest.fixture
def small(monkeypatch):
    """Limits as if these files were of gigabytes."""
    monkeypatch.setattr(archive, "BASE", 2**16)
    monkeypatch.setattr(archive.read_arrays, "__defaults__", (2**16, None, None))
    monkeypatch.setattr(allowance, "MOST", 2**23)


def test_a_layer_may_unpack_to_what_its_shapes_justify(small, tmp_path):
    path = layer_bomb(tmp_path / "good.npz")
    assert path.stat().st_size < 2**14
    assert load_layer(path).inputs == 600
    groups = layer_bomb(tmp_path / "groups.npz", gram=np.zeros((2, 600, 600)))
    assert load_layer(groups).groups == 2
    assert load_layer(layer_bomb(tmp_path / "one.npz", samples=np.array([3]))).samples == 3


@pytest.mark.parametrize(
    "arrays",
    [
        {"gram": np.zeros((601, 601))},
        {"gram": np.zeros((601, 600))},
        {"gram": np.zeros((3, 600, 600))},
        {"gram": np.zeros((1, 2, 600, 600))},
        {"gram": np.zeros((600 * 600,))},
        {"weight": np.zeros((1, 2, 600))},
        {"activations": np.zeros((600, 599))},
        {"activations": np.zeros(600 * 600)},
        {"samples": np.zeros(10**5)},
        {"meta": np.array("x" * 10**5)[None].repeat(2)},
        {"gram": np.zeros((2, 600, 600)), "activations": np.zeros((700, 600))},
        {"gram": np.zeros((2, 600, 600), np.int8), "weight": np.zeros((2**10, 600), np.int8)},
    ],
    ids=lambda arrays: " ".join(f"{name}{array.shape}{array.dtype}" for name, array in arrays.items()),
)
def test_a_small_layer_file_that_unpacks_to_more_is_refused_before_that(small, tmp_path, monkeypatch, arrays):
    path = layer_bomb(tmp_path / "bomb.npz", **arrays)
    monkeypatch.setattr(archive, "_array", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(LayerError, match=r"unpacks to .* PVQ_LAYER_BYTES"):
        load_layer(path)


def test_more_is_allowed_by_the_environment(small, tmp_path, monkeypatch):
    path = layer_bomb(tmp_path / "large.npz", gram=np.zeros((2, 600, 600)), weight=np.zeros((2**10, 600)))
    with pytest.raises(LayerError):
        load_layer(path)
    monkeypatch.setenv(allowance.LIFTED, "1e8")
    assert load_layer(path).out == 2**10
    monkeypatch.setenv(allowance.LIFTED, "much")
    with pytest.raises(LayerError):
        load_layer(path)


def test_what_is_no_part_of_a_layer_is_not_unpacked(small, tmp_path):
    assert load_layer(layer_bomb(tmp_path / "more.npz", notes=np.zeros((9, 600, 600)))).inputs == 600


@pytest.mark.parametrize("pieces", [[], [np.zeros(0)], [np.arange(3.0), np.ones((2, 2)).T, np.array([7.0])]])
def test_pieces_of_a_flat_array_are_read_as_one(tmp_path, pieces):
    with (tmp_path / "a.npz").open("wb") as file:
        archive.write_flat(file, {"real": (np.float64, pieces), "none": (np.int64, [])})
    found = read_arrays(tmp_path / "a.npz")
    assert found["real"].dtype == np.float64
    assert found["none"].shape == (0,)
    assert found["real"].tolist() == [value for piece in pieces for value in piece.ravel().tolist()]
