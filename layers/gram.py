"""Gram matrices in one pass: patches are unfolded piece by piece and only X X' is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .checks import FloatArray
from .format import LayerError

CHUNK_BYTES = 128 * 2**20
"""Memory for unfolded float64 patches; at least one row of outputs of one image is unfolded at a time."""


@dataclass(frozen=True)
class Call:
    """One call of a linear or convolution function, as it reached torch.nn.functional.

    `weight` is (out, in) or (out, in / groups, *kernel); `padding` is (left, right) per spatial axis, zeros.
    """

    input: Tensor
    weight: Tensor
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def kernel(self) -> tuple[int, ...]:
        """Kernel size; () for a linear layer."""
        return tuple(self.weight.shape[2:])


class GramAccumulator:
    """Sum of x x' over all samples of one layer, in float64.

    Memory is O(groups n^2) between calls, however many samples there are.

    Parameters
    ----------
    groups : number of Gram matrices.
    inputs : n, the number of inputs of one row.
    keep : how many of the first samples to store as they are.
    """

    def __init__(self, groups: int, inputs: int, keep: int = 0) -> None:
        self.total: Tensor | None = None
        self.groups, self.inputs, self.keep = groups, inputs, keep
        self.samples = 0
        self._kept: list[Tensor] = []
        self._gram: FloatArray | None = None

    def add(self, columns: Tensor) -> None:
        """Add samples, given as (groups, n, samples)."""
        columns = _wide(columns)
        if self.total is None:
            self.total = columns.new_zeros(self.groups, self.inputs, self.inputs)
        self.total.baddbmm_(columns, columns.transpose(1, 2))
        missing = self.keep - self.samples
        if missing > 0:
            self._kept.append(columns[:, :, :missing].transpose(1, 2).cpu().clone())
        self.samples += columns.shape[2]

    def without(self, last: Iterable[Tensor]) -> GramAccumulator:
        """Another one, of the samples but for the last ones, which are given again."""
        other = GramAccumulator(self.groups, self.inputs, self.keep)
        assert self.total is not None
        other.total, other.samples = self.total.clone(), self.samples
        for piece in last:
            piece = _wide(piece)
            other.total.baddbmm_(piece, piece.transpose(1, 2), alpha=-1.0)
            other.samples -= piece.shape[2]
        kept = torch.cat(self._kept, dim=1)[:, : other.samples] if self._kept else None
        other._kept = [] if kept is None or not kept.shape[1] else [kept.clone()]
        return other

    def gram(self) -> FloatArray:
        """H = X X' / samples, (groups, n, n), exactly symmetric and read-only: the same array when asked again.

        Raises
        ------
        LayerError
            There were no samples, or some were NaN or infinite.
        """
        if self._gram is not None:
            return self._gram
        if self.total is None or self.samples == 0:
            raise LayerError("no calibration sample reached it")
        gram = self.total / self.samples
        gram = (gram + gram.transpose(1, 2)) / 2
        if not torch.isfinite(gram).all():
            raise LayerError("NaN or infinite activations reached it; check the calibration data and the weights")
        array: FloatArray = gram.cpu().numpy()
        array.setflags(write=False)
        self._gram, self.total = array, None
        return array

    def activations(self) -> FloatArray | None:
        """The first samples, (samples, n) or (groups, samples, n); None if none were to be kept."""
        if not self._kept:
            return None
        array: FloatArray = torch.cat(self._kept, dim=1).numpy()
        return array[0] if self.groups == 1 else array


def columns(call: Call, mask: Tensor | None = None, chunk_bytes: int | None = None) -> Iterator[Tensor]:
    """Yield the columns of X that a call multiplies its weights with, (groups, n, samples) float64 at a time.

    Parameters
    ----------
    mask : (batch, positions) attention mask; samples where it is 0 are padding and left out.
    chunk_bytes : memory for one piece, `CHUNK_BYTES` if None.

    Raises
    ------
    LayerError
        The mask marks padding but cannot be laid over the samples.
    """
    chunk_bytes = CHUNK_BYTES if chunk_bytes is None else chunk_bytes
    if not call.kernel:
        yield from _linear_columns(call, mask, chunk_bytes)
    else:
        yield from _convolution_columns(call, mask, chunk_bytes)


def _linear_columns(call: Call, mask: Tensor | None, chunk_bytes: int) -> Iterator[Tensor]:
    """Columns of a linear call: all leading axes of the input are samples."""
    x = call.input.detach()
    kept = _kept_samples(tuple(x.shape[:-1]), mask)
    x = x.reshape(-1, x.shape[-1])
    if kept is not None:
        x = x[kept.to(x.device)]
    step = max(1, chunk_bytes // (8 * x.shape[1]))
    for start in range(0, len(x), step):
        yield _wide(x[start : start + step]).T[None]


def _convolution_columns(call: Call, mask: Tensor | None, chunk_bytes: int) -> Iterator[Tensor]:
    """Columns of a convolution: one per output position, the patch under the kernel."""
    x, kernel, stride, padding, dilation = (
        call.input.detach(),
        call.kernel,
        call.stride,
        call.padding,
        call.dilation,
    )
    if x.dim() == len(kernel) + 1:
        x = x[None]  # torch accepts input without a batch axis
    if len(kernel) == 1:
        # a 1-d convolution is a 2-d one of width 1; so the rows, along which chunks are cut, are its positions
        x = x[..., None]
        kernel, stride, dilation = (*kernel, 1), (*stride, 1), (*dilation, 1)
        padding = (*padding, (0, 0))
    rows, across = (
        (x.shape[2 + axis] + sum(padding[axis]) - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    )
    kept = _kept_samples((len(x), rows), mask) if len(call.kernel) == 1 else None
    inputs = x.shape[1] * kernel[0] * kernel[1]
    step = max(1, chunk_bytes // (8 * inputs * across))  # output rows per piece
    images = max(1, step // rows)
    extent = dilation[0] * (kernel[0] - 1) + 1
    for image in range(0, len(x), images):
        (top, bottom), (left, right) = padding
        batch = functional.pad(x[image : image + images], (left, right, top, bottom))
        for row in range(0, rows, step):
            last = min(row + step, rows)
            rows_under = _wide(batch[:, :, row * stride[0] : (last - 1) * stride[0] + extent])
            patches = functional.unfold(rows_under, kernel, dilation, 0, stride)
            if kept is not None:
                chosen = kept.view(len(x), rows)[image : image + images, row:last].reshape(-1)
            patches = patches.view(len(batch), call.groups, inputs // call.groups, -1).permute(1, 2, 0, 3)
            flat = patches.reshape(call.groups, inputs // call.groups, -1)
            yield flat if kept is None else flat[:, :, chosen.to(flat.device)]


def _kept_samples(shape: tuple[int, ...], mask: Tensor | None) -> Tensor | None:
    """Flat boolean over the samples of this shape, False at padding; None: all of them count."""
    if mask is None or bool((mask != 0).all()):
        return None
    batch, positions = mask.shape
    if shape[:2] == (batch, positions):
        each = (mask != 0).reshape(-1)
        return each.repeat_interleave(int(torch.Size(shape[2:]).numel()))
    if shape == (batch * positions,):
        return (mask != 0).reshape(-1)
    if shape == (batch,):
        return None  # one sample per sequence, such as a pooled vector
    raise LayerError(
        f"its samples of shape {shape} cannot be matched with an attention mask of shape {tuple(mask.shape)} that "
        "marks padding; use batches without padding, such as a batch size of 1"
    )


def _wide(x: Tensor) -> Tensor:
    """In float64; on the CPU where the device has no float64."""
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
