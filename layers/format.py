"""The layer file: weights and Gram matrix of one layer, in numpy's npz container."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .allowance import allowance, how_to_lift
from .archive import ArchiveError, read_arrays
from .checks import (
    SHAPES,
    FloatArray,
    array_of,
    check_activations,
    check_groups,
    check_size,
    gram_of,
    real_array,
    summed_in_float32,
)
from .checks import LayerError as LayerError
from .checks import array_sha256 as array_sha256
from .files import write_atomically
from .gram_file import load_gram, one_array
from .outputs import OutputError

SCHEMA = "pvq.layer/1"
"""What this program writes and the newest version it reads."""
ASYMMETRY = 1e-9
"""Largest |gram - gram'| accepted, relative to the largest entry; up to it the file is symmetrised."""
FLOAT32 = 2.0**-24
"""Rounding of one float32 sum; those of N samples add up to about sqrt(N) of it, 16 where N is not known."""
ARRAYS = ("weight", "gram", "activations", "samples", "meta")


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """Weights W of one layer and the Gram matrix H = X X' / samples of what reaches them.

    A convolution is the linear layer of its unfolded patches: in = in_channels / groups * kernel size. A bias is
    the same before and after compression, cancels in the error and is not kept.

    Parameters
    ----------
    name : str
        What tables and results call it.
    weight : array
        W, (out, in); the rows of a grouped layer are stored group after group.
    grams : array
        H, (in, in) or (groups, in, in); symmetrised here.
    samples : int, optional
        Number of columns of X behind `grams`, None if unknown.
    meta : dict
        What else is known (JSON values): kind, original shape, model, calibration, hashes.
    activations : array, optional
        The first columns of X, (kept, in) or (groups, kept, in), where they were asked for.

    Raises
    ------
    LayerError
        Shapes that do not match, entries that are not finite real numbers, an asymmetric Gram matrix.
    """

    name: str
    weight: FloatArray
    grams: FloatArray
    samples: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    activations: FloatArray | None = None
    asymmetry: float = field(default=0.0, init=False)
    """|gram - gram'| of the given array relative to its largest entry, where float32 explains it; else 0."""

    def __post_init__(self) -> None:
        weight = real_array(self.weight, "weight")
        grams = real_array(self.grams, "gram")
        if weight.ndim != 2:
            raise LayerError(f"weight has shape {weight.shape}; {SHAPES}")
        grams = grams[None] if grams.ndim == 2 else grams
        check_groups("gram", grams, weight)
        if grams.shape[1:] != (weight.shape[1],) * 2:
            raise LayerError(f"gram {self.grams.shape} does not fit weight {weight.shape}; {SHAPES}")
        check_size(weight, grams)
        transposed = grams.transpose(0, 2, 1)
        asymmetry = float(np.abs(grams - transposed).max())
        largest = float(np.abs(grams).max())
        allowed = ASYMMETRY * largest
        if asymmetry > allowed and summed_in_float32(self.grams, grams, self.samples):
            allowed = FLOAT32 * max(16.0, (self.samples or 1) ** 0.5) * largest
            object.__setattr__(self, "asymmetry", asymmetry / largest)
        if asymmetry > allowed:
            raise LayerError(
                f"gram is not symmetric: entries differ from their mirror image by up to {asymmetry:.3g}, "
                f"expected at most {allowed:.3g} ({allowed / largest:.3g} of the largest entry)"
            )
        grams = 0.5 * (grams + transposed)
        activations = self.activations
        if activations is not None:
            activations = real_array(activations, "activations")
            check_activations(activations, weight)
            activations.setflags(write=False)
        if self.samples is not None and self.samples < 1:
            raise LayerError(f"samples is {self.samples}, expected a whole number of at least 1")
        weight.setflags(write=False)
        grams.setflags(write=False)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "grams", grams)
        object.__setattr__(self, "activations", activations)

    @classmethod
    def from_activations(cls, weight: Any, activations: Any, name: str = "layer") -> Layer:
        """The layer of weights W and calibration inputs: H = X X' / samples.

        Parameters
        ----------
        weight : array, torch tensor or list
            W, (out, in).
        activations : array, torch tensor or list
            X', (..., in); every leading axis counts samples.
        name : str
            What tables and results call it.

        Raises
        ------
        LayerError
            Shapes that do not match, entries that are not finite real numbers.
        """
        rows, samples = array_of(weight, "weight"), array_of(activations, "activations")
        if samples.ndim < 2 or rows.ndim != 2 or samples.shape[-1] != rows.shape[1]:
            raise LayerError(
                f"activations {samples.shape} does not fit weight {rows.shape}; "
                "expected weight (out, in) and activations (samples, in)"
            )
        samples = samples.reshape(-1, samples.shape[-1])
        return cls(name, rows, gram_of(samples), len(samples))

    @classmethod
    def from_gram(cls, weight: Any, gram: Any, name: str = "layer", samples: int | None = None) -> Layer:
        """The layer of weights W and a Gram matrix X X' / samples.

        Parameters
        ----------
        weight : array, torch tensor or list
            W, (out, in).
        gram : array, torch tensor or list
            (in, in) or (groups, in, in).
        name : str
            What tables and results call it.
        samples : int, optional
            Number of columns of X, None if unknown.

        Raises
        ------
        LayerError
            Shapes that do not match, entries that are not finite real numbers, an asymmetric Gram matrix.
        """
        return cls(name, array_of(weight, "weight"), array_of(gram, "gram"), samples)

    @classmethod
    def from_linear(cls, module: Any, activations: Any, name: str = "linear") -> Layer:
        """The layer of a torch `nn.Linear` and what reaches it; for convolutions see `extract`.

        Parameters
        ----------
        module : torch.nn.Linear
            Its bias cancels in the error and is not kept.
        activations : array, torch tensor or list
            (..., in); every leading axis counts samples.
        name : str
            What tables and results call it.

        Raises
        ------
        LayerError
            Not a linear module, or as `from_activations`.
        """
        shape = (getattr(module, "out_features", None), getattr(module, "in_features", None))
        weight = getattr(module, "weight", None)
        if weight is None or tuple(weight.shape) != shape:
            raise LayerError(f"{type(module).__name__} is no Linear module; for others use pvq.extract")
        return cls.from_activations(weight, activations, name)

    def __repr__(self) -> str:
        samples = "" if self.samples is None else f", {self.samples} samples"
        groups = "" if self.groups == 1 else f", {self.groups} groups"
        return f"Layer({self.name!r}, {self.out} rows x {self.inputs} inputs{groups}{samples})"

    @property
    def out(self) -> int:
        """Number of rows (output channels)."""
        return self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """Number of inputs of one row."""
        return self.weight.shape[1]

    @property
    def groups(self) -> int:
        """Number of Gram matrices; each serves out / groups consecutive rows."""
        return self.grams.shape[0]

    def gram_of_row(self, row: int) -> int:
        """Index into `grams` of the Gram matrix that belongs to a row.

        Parameters
        ----------
        row : int
            Its number in the layer.
        """
        if not 0 <= row < self.out:
            raise IndexError(f"row {row} is not in 0:{self.out}")
        return row // (self.out // self.groups)

    def error(self, x: FloatArray, rows: Sequence[int] | None = None, inputs: range | None = None) -> float:
        """Mean squared difference of the outputs with other weights: the sum over rows of (w - x)'H(w - x).

        Parameters
        ----------
        x : array
            (rows, inputs) float64.
        rows : sequence of int, optional
            Those that `x` is of; all without.
        inputs : range, optional
            The same of inputs.
        """
        numbers = np.arange(self.out) if rows is None else np.array(rows)
        cut = slice(None) if inputs is None else slice(inputs.start, inputs.stop)
        moved = self.weight[numbers, cut] - x
        group = numbers // (self.out // self.groups)
        parts = ((self.grams[g, cut, cut], moved[group == g]) for g in np.unique(group))
        return max(0.0, float(sum(np.sum((u @ gram) * u) for gram, u in parts)))

    @cached_property
    def sha256(self) -> str:
        """Hash of the float64 weights and Gram matrices with their shapes: of the numbers, not of a file."""
        return array_sha256(self.weight, self.grams)


def load_layer(path: str | os.PathLike[str]) -> Layer:
    """Read and check a layer file.

    Needed are `weight` and either `gram` (already divided by the number of samples) or `activations`, of which
    the Gram matrix is then computed as A'A / samples. Nothing in the file is ever unpickled.

    Parameters
    ----------
    path : path
        An npz file.

    Raises
    ------
    LayerError
        The file is missing, not an npz archive, damaged, newer than this program, or its arrays are not a layer.
    """
    path = Path(path)
    try:
        arrays = _read(path)
        return _layer(arrays, path)
    except LayerError as error:
        raise LayerError(f"{path}: {error}") from None


def save_layer(path: str | os.PathLike[str], layer: Layer) -> Path:
    """Write a layer file; the file appears complete or not at all, and equal layers give equal bytes.

    Parameters
    ----------
    path : path
        `.npz` is appended if it is not there.
    layer : Layer
        What to write.

    Returns
    -------
    path
        The one that was written.

    Raises
    ------
    LayerError
        The path cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    return write_layer(path, layer)


def write_layer(path: Path, layer: Layer, pointer: Mapping[str, str] | None = None) -> Path:
    """Write a layer file, with its Gram matrix or with what says where that is."""
    meta = {**layer.meta, "schema": SCHEMA, "name": layer.name}
    meta.pop("gram", None)
    arrays: dict[str, npt.NDArray[Any]] = {"weight": _compact(layer.weight)}
    if pointer is None:
        arrays["gram"] = layer.grams[0] if layer.groups == 1 else layer.grams
    else:
        meta["gram"] = dict(pointer)
    arrays["meta"] = np.array(json.dumps(meta, sort_keys=True))
    if layer.samples is not None:
        arrays["samples"] = np.array(layer.samples)
    if layer.activations is not None:
        arrays["activations"] = _compact(layer.activations)
    try:
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
    except OutputError as error:
        raise LayerError(str(error)) from None
    return path


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an npz file."""
    expected = "expected a layer file (.npz with weight and gram or activations)"
    try:
        return read_arrays(path, only=ARRAYS, allowance=allowance)
    except ArchiveError as error:
        raise LayerError(f"{error}; {expected}{how_to_lift(error)}") from None
    except MemoryError:
        raise LayerError(f"is larger than the memory that is left; {expected}") from None
    except FileNotFoundError:
        raise LayerError(f"no such file; {expected}") from None
    except OSError as error:
        raise LayerError(f"cannot be read: {error.strerror or error}; {expected}") from None


def _layer(arrays: dict[str, npt.NDArray[Any]], path: Path) -> Layer:
    """The layer that the arrays of a file describe."""
    meta = _meta(arrays.get("meta"))
    if "weight" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise LayerError(f"has no weight (found {found}); {SHAPES}")
    samples = _samples(arrays.get("samples"))
    activations = arrays.get("activations")
    if "gram" in arrays:
        grams = arrays["gram"]
    elif "gram" in meta:
        grams = load_gram(path.parent, meta["gram"], arrays["weight"].shape[-1] if arrays["weight"].ndim else 0)
    elif activations is not None:
        activations = real_array(activations, "activations")
        check_activations(activations, real_array(arrays["weight"], "weight"))
        if samples not in (None, activations.shape[-2]):
            raise LayerError(f"samples is {samples}, but activations has {activations.shape[-2]} rows")
        samples = activations.shape[-2]
        grams = gram_of(activations)
    else:
        raise LayerError(f"has neither gram nor activations; {SHAPES}")
    name = meta.get("name")
    name = name if isinstance(name, str) and name else path.stem
    layer = Layer(name, arrays["weight"], grams, samples, meta, activations)
    if "gram" not in arrays and "gram" in meta:
        object.__setattr__(layer, "grams", one_array(meta["gram"], layer.grams))
    return layer


def _samples(array: npt.NDArray[Any] | None) -> int | None:
    """The number of samples, if the file has it."""
    if array is None:
        return None
    if array.size != 1 or array.dtype.kind not in "iuf" or not float(array.item()).is_integer():
        raise LayerError("samples is not a single whole number")
    return int(array.item())


def _meta(array: npt.NDArray[Any] | None) -> dict[str, Any]:
    """The parsed meta entry; {} without one."""
    if array is None:
        return {}
    expected = f'expected a JSON object such as {{"schema": "{SCHEMA}"}}'
    if array.size != 1 or array.dtype.kind not in "US":
        raise LayerError(f"meta has type {array.dtype} and shape {array.shape}; {expected}")
    try:
        text = array.item()
        meta = json.loads(text.decode() if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise LayerError(f"meta is not JSON ({first}); {expected}") from None
    if not isinstance(meta, dict):
        raise LayerError(f"meta is a JSON {type(meta).__name__}; {expected}")
    schema = meta.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise LayerError(f"has schema {schema!r}, this program reads {SCHEMA!r}: a newer pvq-bound may read it")
    return meta


def _compact(array: FloatArray) -> npt.NDArray[Any]:
    """The array in float32 if that is exact, as it is for the weights of nearly every network."""
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if np.array_equal(single, array) else array
