"""Certificates: what is claimed of a layer, with the proofs, in one npz file (schema `pvq.certificate/2`).

The file holds a JSON header and the numbers of all proofs in three flat arrays, to which the header refers. It is
read without unpickling, and nothing in it is believed: `verify_certificate` rebuilds the problem from the layer.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pvq.layers.archive import ArchiveError, read_arrays, write_flat
from pvq.layers.files import write_atomically

from .codebooks import GRIDS
from .errors import ProblemError
from .gram import FloatArray
from .layer_problem import LayerProblem, Setting
from .proof import Basis, Below, Block, Boxes, Cover, Enumeration, Order, Proof, Reduced, Scales, Split, Tree
from .ranges import GIVEN, OPTIMAL

SCHEMA = "pvq.certificate/2"
BASE, RATIO = 2**26, 8
"""Bytes that a certificate may unpack to, and times its own size on top."""
HEADER, PACKED = 2**23, 1
"""Bytes of JSON, and times the file's size on top: parsed, they take up to thirty times as much memory, whereas
the numbers that they describe hardly shrink in the file."""
TYPES = {"real": np.float64, "index": np.int64}


class CertificateError(ValueError):
    """A file is not a certificate that this program can read; one line."""


@dataclass(frozen=True, eq=False)
class Claim:
    """lower <= the row's smallest error, if it may keep at most `keep` units."""

    lower: float
    proof: Proof | None
    """None claims 0 only."""
    keep: int | None = None
    """For scope layer, where a row has claims for several budgets; None: the budget of the setting."""


@dataclass(frozen=True, eq=False)
class RowClaim:
    """What is claimed of one row."""

    row: int
    x: FloatArray
    """(n,) feasible point, with dead inputs."""
    upper: float
    """At least e(x)."""
    lower: tuple[Claim, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """lower <= smallest error of the rows together <= upper."""

    name: str
    sha256: str
    """Of the layer's float64 arrays."""
    setting: Setting
    shifts: tuple[float, ...]
    """tau of each Gram matrix in use."""
    levels: tuple[float, ...] | None
    """The codebook where the setting names a file of levels."""
    lower: float
    upper: float
    rows: tuple[RowClaim, ...]
    scales: tuple[FloatArray, FloatArray] | None = None
    """Scales and zero points of the whole layer, (out or 1, groups), where the setting's range is `given`, or
    `optimal`: then those of the upper end."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all.

        Parameters
        ----------
        path : path
            Ends in .npz; a file that is there is replaced.

        Raises
        ------
        CertificateError
            Another ending.
        """
        if Path(path).suffix != ".npz":  # numpy would add it
            raise CertificateError(f"cannot write {path}: a certificate's name must end in .npz")
        write_atomically(Path(path), lambda temporary: save_certificate(temporary, self))

    def __repr__(self) -> str:
        ends = f"{self.lower:.6g} <= error <= {self.upper:.6g}"
        return f"<pvq.Certificate {self.name!r}: {len(self.rows)} rows, claims {ends}>"


def certify(
    name: str, sha256: str, problem: LayerProblem, rows: list[RowClaim], lower: float, upper: float
) -> Certificate:
    """The certificate of a layer problem's row claims."""
    grid, setting = problem.grid, problem.setting
    own = grid is not None and setting.grid not in GRIDS
    levels = tuple(map(float, grid.codebook.levels)) if grid is not None and own else None
    shifts = tuple(gram.shift for gram in problem.grams)
    scales = (grid.scale, grid.zero) if grid is not None and setting.range in (GIVEN, OPTIMAL) else None
    return Certificate(name, sha256, setting, shifts, levels, lower, upper, tuple(rows), scales)


class _Writer:
    """Collects arrays, and objects that proofs share, under numbers."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {kind: [] for kind in TYPES}
        self.size = dict.fromkeys(TYPES, 0)
        self.shared: dict[str, list[Any]] = {"below": [], "order": [], "basis": [], "split": []}
        self._known: dict[int, int] = {}

    def array(self, kind: str, array: np.ndarray) -> list[Any]:
        start = self.size[kind]
        self.parts[kind].append(array.ravel())
        self.size[kind] += array.size
        return [kind, start, list(array.shape)]

    def once(self, kind: str, thing: Below | Order | Basis | Split) -> int:
        """Number of a shared object, described when it is first met (it lives as long as the certificate)."""
        if id(thing) not in self._known:
            description = getattr(self, f"_{kind}")(thing)
            self._known[id(thing)] = len(self.shared[kind])
            self.shared[kind].append(description)
        return self._known[id(thing)]

    def _below(self, below: Below) -> dict[str, Any]:
        blocks = [[self.array("index", b.inputs), self.array("real", b.matrix)] for b in below.blocks]
        described = {"d": self.array("real", below.d), "blocks": blocks}
        if len(below.pairs):
            described |= {"pairs": self.array("index", below.pairs), "across": self.array("real", below.across)}
        return described

    def _order(self, order: Order) -> list[Any]:
        return [self.array("index", order.order), self.array("real", order.diagonal)]

    def _basis(self, basis: Basis) -> list[Any]:
        whole = (self.array("index", a) for a in (basis.matrix, basis.inverse))
        return [*whole, self.array("real", basis.diagonal)]

    def _split(self, split: Split) -> dict[str, Any]:
        return {
            "below": self.once("below", split.below),
            "v": self.array("real", split.v),
            "blocks": [self.enumeration(proof) for proof in split.blocks],
        }

    def enumeration(self, proof: Enumeration) -> dict[str, Any]:
        return {"order": self.once("order", proof.order), "threshold": float(proof.threshold)}

    def proof(self, proof: Proof | None) -> Any:
        if proof is None:
            return None
        if isinstance(proof, Split):
            return {"split": self.once("split", proof)}
        if isinstance(proof, Enumeration):
            return {"enumeration": self.enumeration(proof)}
        if isinstance(proof, Scales):
            named = ("edges", "anchors", "stiffness")
            arrays = {name: self.array("real", getattr(proof, name)) for name in named}
            return {"scales": {**arrays, "searches": [self.proof(search) for search in proof.searches]}}
        if isinstance(proof, Reduced):
            return {"reduced": {"basis": self.once("basis", proof.basis), "threshold": float(proof.threshold)}}
        if isinstance(proof, Boxes):
            code, v = self.array("index", proof.code), self.array("real", proof.v)
            return {"boxes": {"code": code, "below": self.once("below", proof.below), "v": v}}
        splits = [self.once("split", split) for split in proof.splits]
        if isinstance(proof, Cover):
            p, edges = self.array("real", proof.p), self.array("real", proof.edges)
            return {"cover": {"p": p, "floor": float(proof.floor), "edges": edges, "splits": splits}}
        return {"tree": {"code": self.array("index", proof.code), "splits": splits}}


def save_certificate(file: BinaryIO, certificate: Certificate) -> None:
    """Write a certificate; the caller makes it atomic."""
    writer = _Writer()
    rows = [
        {
            "row": row.row,
            "x": writer.array("real", row.x),
            "upper": row.upper,
            "lower": [[claim.lower, claim.keep, writer.proof(claim.proof)] for claim in row.lower],
        }
        for row in certificate.rows
    ]
    header = {
        "schema": SCHEMA,
        "layer": {"name": certificate.name, "sha256": certificate.sha256},
        "problem": certificate.setting.as_json(),
        "levels": certificate.levels,
        "scales": None if certificate.scales is None else [writer.array("real", a) for a in certificate.scales],
        "gram_shift": certificate.shifts,
        "total": {"lower": certificate.lower, "upper": certificate.upper},
        "rows": rows,
        **writer.shared,
    }
    text = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)
    numbers = {kind: (TYPES[kind], parts) for kind, parts in writer.parts.items()}
    write_flat(file, {**numbers, "header": (np.uint8, [text])})


def load_certificate(path: str | os.PathLike[str]) -> Certificate:
    """Read a certificate.

    Parameters
    ----------
    path : path
        Of a file that `Certificate.save` or `pvq-bound --certificate` wrote.

    Raises
    ------
    CertificateError
        No such file, damaged, of a newer schema, with NaN, with a pickle, or not a certificate; one line.
    """
    path = Path(path)
    try:
        return _Reader(read_arrays(path, BASE, ratio=RATIO), path.stat().st_size).certificate()
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from None
    except ArchiveError as error:
        raise CertificateError(f"{path}: not a certificate: {error}") from None
    except ProblemError as error:
        raise CertificateError(f"{path}: states no problem: {error}") from None
    except FileNotFoundError:
        raise CertificateError(f"{path}: no such file") from None
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # json and our own parsing each raise their own types
        raise CertificateError(f"{path}: a damaged or incomplete certificate") from None


def _no_constant(text: str) -> float:
    raise CertificateError(f"holds {text} where a number is expected")


class _Reader:
    """From a header and arrays to a certificate; any exception means that the file is not one."""

    def __init__(self, arrays: dict[str, np.ndarray], size: int) -> None:
        if "header" not in arrays:
            raise CertificateError("not a certificate: it has no header")
        if arrays["header"].nbytes > HEADER + PACKED * size:
            raise CertificateError("its header is longer than what it describes")
        if arrays["header"].dtype != np.uint8:
            raise CertificateError("not a certificate: its header is no text")
        text = arrays["header"].tobytes().decode()
        self.header = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
        schema = self.header.get("schema")
        if schema != SCHEMA:
            raise CertificateError(
                f"has schema {schema!r}, this program reads {SCHEMA!r}: make it again with this version, or read "
                "it with the one that made it"
            )
        if set(arrays) != {"header", *TYPES}:
            raise CertificateError("not a certificate: it has other arrays than one")
        self.flat = {kind: arrays[kind] for kind in TYPES}
        for kind, array in self.flat.items():
            if array.dtype != TYPES[kind] or array.ndim != 1:
                raise CertificateError(f"its {kind} array is not one")
        if not np.isfinite(self.flat["real"]).all():
            raise CertificateError("holds NaN or infinite numbers")
        self.left = {kind: len(array) for kind, array in self.flat.items()}
        self.order = [Order(self.array(o, "index", 1), self.array(d, "real", 2)) for o, d in self.header["order"]]
        self.basis = [
            Basis(self.array(t, "index", 2), self.array(i, "index", 2), self.array(d, "real", 2))
            for t, i, d in self.header.get("basis", [])  # absent before there were any
        ]
        self.below = [self.described(below) for below in self.header["below"]]
        self.split = [
            Split(
                self.pick(self.below, s["below"]),
                self.array(s["v"], "real", 1),
                tuple(map(self.enumeration, s["blocks"])),
            )
            for s in self.header["split"]
        ]

    def array(self, reference: list[Any], expected: str, axes: int) -> np.ndarray:
        kind, start, shape = reference
        if kind != expected or len(shape) != axes:
            raise CertificateError("refers to an array of another kind")
        size = math.prod(map(_whole, shape))
        if not 0 <= _whole(start) <= start + size <= len(self.flat[kind]):
            raise CertificateError("refers to numbers that it does not hold")
        self.left[kind] -= size
        if self.left[kind] < 0:  # references are copied when they are used: 3,000 to one array were 24 GB
            raise CertificateError("refers to the same numbers twice")
        return self.flat[kind][start : start + size].reshape(shape)

    def described(self, below: dict[str, Any]) -> Below:
        blocks = tuple(Block(self.array(i, "index", 1), self.array(m, "real", 2)) for i, m in below["blocks"])
        some = (("pairs", "index", 2), ("across", "real", 1)) if "pairs" in below else ()
        pairs = (self.array(below[name], kind, axes) for name, kind, axes in some)
        return Below(self.array(below["d"], "real", 1), blocks, *pairs)

    def pick(self, things: list[Any], number: int) -> Any:
        if not 0 <= _whole(number) < len(things):
            raise CertificateError("refers to a part that it does not hold")
        return things[number]

    def enumeration(self, value: dict[str, Any]) -> Enumeration:
        return Enumeration(self.pick(self.order, value["order"]), _number(value["threshold"]))

    def search(self, value: dict[str, Any]) -> Enumeration | Reduced | Boxes:
        if set(value) not in ({"enumeration"}, {"reduced"}, {"boxes"}):  # before what is within is looked at
            raise CertificateError("has an interval of scales without a search")
        search = self.proof(value)
        assert isinstance(search, Enumeration | Reduced | Boxes)
        return search

    def proof(self, value: dict[str, Any] | None) -> Proof | None:
        if value is None:
            return None
        ((kind, body),) = value.items()
        if kind == "split":
            return self.pick(self.split, body)
        if kind == "enumeration":
            return self.enumeration(body)
        if kind == "reduced":
            return Reduced(self.pick(self.basis, body["basis"]), _number(body["threshold"]))
        if kind == "scales":
            arrays = {name: self.array(body[name], "real", 1) for name in ("edges", "anchors", "stiffness")}
            return Scales(**arrays, searches=tuple(map(self.search, body["searches"])))
        if kind == "boxes":
            code, v = self.array(body["code"], "index", 2), self.array(body["v"], "real", 2)
            return Boxes(code, self.pick(self.below, body["below"]), v)
        if kind not in ("tree", "cover"):
            raise CertificateError(f"has a proof of unknown kind {kind!r}")
        splits = tuple(self.pick(self.split, number) for number in body["splits"])
        if kind == "cover":
            p, edges = self.array(body["p"], "real", 1), self.array(body["edges"], "real", 1)
            return Cover(p, _number(body["floor"]), edges, splits)
        return Tree(self.array(body["code"], "index", 1), splits)

    def certificate(self) -> Certificate:
        h = self.header
        rows = [
            RowClaim(
                _whole(row["row"]),
                self.array(row["x"], "real", 1),
                _number(row["upper"]),
                tuple(
                    Claim(_number(lower), self.proof(proof), None if keep is None else _whole(keep))
                    for lower, keep, proof in row["lower"]
                ),
            )
            for row in h["rows"]
        ]
        setting, levels = Setting.from_json(h["problem"]), h["levels"]
        if levels is not None:
            levels = tuple(map(_number, levels))
            # words for a known grid with other levels would mislead the reader
            if setting.grid in GRIDS or len(levels) < 2 or not (np.diff(levels) > 0).all():
                raise CertificateError("its levels are not those of a grid file")
        if (scales := h.get("scales")) is not None:
            scale, zero = (self.array(of_inputs, "real", 2) for of_inputs in scales)
            scales = scale, zero
        return Certificate(
            str(h["layer"]["name"]),
            str(h["layer"]["sha256"]),
            setting,
            tuple(map(_number, h["gram_shift"])),
            levels,
            _number(h["total"]["lower"]),
            _number(h["total"]["upper"]),
            tuple(rows),
            scales,
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys are there once: readers differ in which of two they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CertificateError("has an entry twice")
    return found


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise CertificateError(f"holds {value!r} where a number is expected")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise CertificateError(f"holds {value!r} where a whole number is expected")
    return value
