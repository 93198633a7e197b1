"""Certificate files that are damaged, of another schema, or hold junk: refused in one line."""

import json
import re
import tracemalloc

import numpy as np
import pytest
from pvq.bounds.certificate import (
    BASE,
    HEADER,
    PACKED,
    RATIO,
    CertificateError,
    Claim,
    RowClaim,
    certify,
    load_certificate,
    save_certificate,
)
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.verify import NotProven
from pvq.bounds.verify.certificate import verify_certificate

from certificate_cases import (
    EXAMPLES,
    is_true,
    layer,
)


def stored(file):
    with np.load(file) as archive:
        return {name: archive[name] for name in archive.files}


def write(file, header=None, **arrays):
    kept = stored(file) | arrays
    if header is not None:
        kept["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(file, **kept)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.npz"
    save_certificate(path, next(c for name, kind, _, _, c in EXAMPLES if (name, kind) == ("joint", "tree")))
    return path


def header_of(file):
    return json.loads(stored(file)["header"].tobytes())


def rejects(file, match):
    with pytest.raises(CertificateError, match=match) as error:
        load_certificate(file)
    assert "\n" not in str(error.value)


def test_files_that_are_no_certificates(file):
    good, header = file.read_bytes(), header_of(file)
    for length in (0, 3, 30, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:length])
        rejects(file, "certificate")
    file.write_bytes(good)
    write(file, header | {"schema": "pvq.certificate/3"})
    rejects(file, "make it again")
    file.write_bytes(good)
    write(file, real=np.where(np.arange(len(stored(file)["real"])) == 3, np.nan, stored(file)["real"]))
    rejects(file, "NaN")
    file.write_bytes(good)
    write(file, header | {"total": {"lower": float("nan"), "upper": 1.0}})
    rejects(file, "NaN")
    file.write_bytes(good)
    write(file, real=np.array([{"a": 1}], dtype=object))
    rejects(file, "pickle")
    np.savez(file, weight=np.zeros(3))
    rejects(file, "no header")
    file.unlink()
    rejects(file, "no such file")
    rejects(file.parent, "cannot be read")


def test_one_damaged_byte(file):
    """The archive's checksums notice; what they do not cover does not matter."""
    name, kind, weight, gram, certificate = next(e for e in EXAMPLES if e[:2] == ("joint", "tree"))
    good, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        file.write_bytes(bad)
        try:
            found = load_certificate(file)
        except CertificateError:
            continue
        assert found.lower == certificate.lower
        verify_certificate(found, weight, gram, "0" * 64)


JUNK = (None, -1, 10**6, 10**400, 1e308, -0.5, True, "x", [], {}, [1], {"a": 1})


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def test_headers_with_junk_are_refused_without_a_traceback(file):
    """Every place of the header takes something else: unreadable, not proven, or true all the same."""
    name, kind, weight, gram, _ = next(e for e in EXAMPLES if e[:2] == ("joint", "tree"))
    good, header, rng = file.read_bytes(), header_of(file), np.random.default_rng(0)
    spots = [path for path in places(header) if path]
    outcomes = []
    for path in spots:
        for junk in rng.choice(np.array(JUNK, dtype=object), 4, replace=False):
            changed = json.loads(json.dumps(header))
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if rng.random() < 0.1 and isinstance(parent, dict):
                del parent[path[-1]]
            else:
                parent[path[-1]] = junk
            file.write_bytes(good)
            write(file, changed)
            try:
                found = load_certificate(file)
                verify_certificate(found, weight, gram, "0" * 64)
            except (CertificateError, NotProven) as error:
                outcomes.append(type(error) if len(str(error).splitlines()) == 1 else str(error))
                continue
            assert is_true(weight, gram, found), (path, junk)
    assert outcomes.count(CertificateError) > 100
    assert outcomes.count(NotProven) > 10


def test_references_do_not_multiply_numbers(file):
    """3,000 references to one array of 8 MB asked for 24 GB."""
    header = header_of(file)
    first = header["below"][0]["d"] if header["below"] else header["split"][0]["v"]
    header["below"] += [{"d": first, "blocks": []} for _ in range(3000)]
    write(file, header)
    rejects(file, "same numbers twice")


def test_readers_could_not_differ_in_what_a_file_says(file):
    """Text as a number, an array of another kind or shape, an entry twice: nothing is converted or guessed."""
    good = file.read_bytes()
    for path, value, match in (
        (("rows", 0, "upper"), "1e3", "number is expected"),
        (("rows", 0, "upper"), True, "number is expected"),
        (("total", "lower"), "nan", "number is expected"),
        (("rows", 0, "x", 0), "index", "another kind"),
        (("rows", 0, "x", 2), [1, 2], "another kind"),
        (("rows", 0, "lower", 0, 2, "tree", "code", 0), "real", "another kind"),
        (("rows", 0, "row"), 0.0, "whole number is expected"),
        (("problem", "rows"), [0.0, 2.0], "setting's rows"),
    ):
        header = header_of(file)
        parent = header
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        write(file, header)
        rejects(file, match)
        file.write_bytes(good)
    text = json.dumps(header_of(file))
    for false, match in (
        (re.sub(r'"upper": [^,}]+', '"upper": 1e9999', text, count=1), "number is expected"),
        ('{"levels": null, ' + text[1:], "an entry twice"),
    ):
        np.savez(file, **stored(file) | {"header": np.frombuffer(false.encode(), np.uint8)})
        rejects(file, match)
        file.write_bytes(good)
    np.savez(file, **stored(file) | {"header": np.frombuffer(text.encode(), np.uint8).astype(float)})
    rejects(file, "no text")


def test_headers_longer_than_what_they_describe(file, monkeypatch):
    monkeypatch.setattr("pvq.bounds.certificate.HEADER", 20_000)
    load_certificate(file)
    text = json.dumps(header_of(file) | {"more": [[]] * 50_000})
    np.savez_compressed(file, **stored(file) | {"header": np.frombuffer(text.encode(), np.uint8)})
    rejects(file, "longer than what it describes")


@pytest.mark.parametrize(
    ("key", "thing"),
    [
        ("junk", {"a": 1}),
        ("below", {"d": ["real", 0, [0]], "blocks": []}),
        ("split", {"below": 0, "v": ["real", 0, [0]], "blocks": []}),
        ("order", [["index", 0, [0]], ["real", 0, [0, 0]]]),
    ],
)
def test_what_a_header_becomes_in_memory_is_bounded(file, key, thing):
    """Forty times its text at most, so that a file of 10 MB, whose header has 18 MB at most, stays below 1 GB."""
    header = header_of(file)
    header[key] = header.get(key, []) + [thing] * 5000
    write(file, header)
    length = len(json.dumps(header))
    tracemalloc.start()
    load_certificate(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * length
    assert 40 * (HEADER + PACKED * 10**7) + BASE + RATIO * 10**7 < 10**9


def test_files_of_the_first_schema_are_to_be_made_again(file):
    """They had an array more, for states of leaves."""
    write(file, header_of(file) | {"schema": "pvq.certificate/1"}, state=np.zeros(3, np.int8))
    rejects(file, "pvq.certificate/1.*make it again")


def test_one_claim_for_each_budget():
    rng = np.random.default_rng(0)
    weight, gram = layer(rng)
    problem = state_problem(weight, gram, Setting("prune", sparsity=0.5, scope="layer"))
    claims = tuple(Claim(0.0, None, k) for k in (1, 1))
    rows = [RowClaim(i, np.zeros(6), 1e9, claims) for i in range(2)]
    with pytest.raises(NotProven, match="two lower bounds for one budget"):
        verify_certificate(certify("x", "0" * 64, problem, rows, 0.0, 1e10), weight, gram, "0" * 64)
