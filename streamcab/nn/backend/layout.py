"""A step of the distiller, laid out in memory once per shape: a `Pass` allocates nothing and calls few operations.

The same layers as `distiller.py`, for streams that are neither near their start nor near their end. Knows nothing of
slots, of devices, or of what comes after the distiller.
"""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from streamcab.nn.distiller import Stage, bytes_of, pass_on_

SMALL = 2_000_000
"""Multiply-adds below which a matrix product beats a convolution: oneDNN's overhead is 30 us a call."""


def contexts(stage: Stage) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (samples, channels) of what a stage keeps for its convolution and for its pooling."""
    return (stage.conv_context, stage.weight.shape[1]), (stage.pool_context, stage.shape.filters)


def unflatten(rows: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """View rows (b, floats) as (b, samples, channels), one after the other."""
    views, at = [], 0
    for n, c in shapes:
        views.append(rows[:, at : at + n * c].view(len(rows), n, c))
        at += n * c
    return views


class Kernel:
    """One stage's weights, as the two ways to convolve want them."""

    def __init__(self, stage: Stage, dtype: torch.dtype) -> None:
        self.stage = stage
        self.weight = stage.kernel().to(dtype, copy=True, memory_format=torch.channels_last)
        self.bias = stage.bias.to(dtype, copy=True)
        self.matrix = stage.weight.permute(2, 1, 0).flatten(0, 1).to(dtype, copy=True)
        """(kernel * channels, filters)."""


class Arena:
    """One block of memory for all passes, since they run one at a time."""

    def __init__(self, memory: Tensor) -> None:
        self._memory, self.taken = memory, 0

    def take(self, *shape: int) -> Tensor:
        """Take the next piece, or one apart if the block is too small: `taken` then says what it needs."""
        start, self.taken = self.taken, self.taken + prod(shape)
        if self.taken > len(self._memory):
            return self._memory.new_empty(shape)
        return self._memory[start : self.taken].view(shape)


class Pass:
    """The distiller over b streams and h intervals: every buffer, and every view of one, made once.

    rows    (b, floats) state: to be filled before a run, and the new one after it
    beyond  (b, further) the end of rows: state of what comes after the distiller, left alone here
    """

    def __init__(self, kernels: list[Kernel], b: int, h: int, arena: Arena, further: int = 0) -> None:
        stages = [kernel.stage for kernel in kernels]
        ends = [shape for stage in stages for shape in contexts(stage)]
        own = sum(n * c for n, c in ends)
        self.rows = arena.take(b, own + further)
        self.beyond = self.rows[:, own:]
        kept = unflatten(self.rows, ends)
        inputs = [arena.take(b, s.conv_context + h * s.unit, s.weight.shape[1]) for s in stages]
        convolved = [arena.take(b, s.pool_context + h * s.unit, s.shape.filters) for s in stages]
        a = arena.take(b, h * stages[-1].out_unit, stages[-1].shape.filters)
        self._features = a.flatten(0, 1)
        bodies = [x[:, s.conv_context :] for x, s in zip(inputs, stages, strict=True)]
        self._x, self._whole = bodies[0], stages[0].whole
        self._load: list[tuple[Tensor, Tensor]] = []
        self._save: list[tuple[Tensor, Tensor]] = []
        for buffers, rows in ((inputs, kept[::2]), (convolved, kept[1::2])):
            for buffer, row in zip(buffers, rows, strict=True):
                n = row.shape[1]
                self._load.append((buffer[:, :n], row))
                self._save.append((row, buffer[:, buffer.shape[1] - n :]))
        every = zip(kernels, inputs, convolved, [*bodies[1:], a], strict=True)
        self._stages = [_StagePass(kernel, x, y, out, arena) for kernel, x, y, out in every]

    def run(self, x: Tensor) -> Tensor:
        """Compute x (b, h * interval) -> a before the BatchNorm (b * h, features); valid until the next run."""
        for to, value in self._load:
            to.copy_(value)
        self._x.copy_(bytes_of(x) if self._whole else x.unsqueeze(-1))
        for stage in self._stages:
            stage.run()
        for to, value in self._save:
            to.copy_(value)
        return self._features


class _StagePass:
    """One stage of a pass: from x (b, context + n, channels) by way of y (b, context + n, filters) to out."""

    def __init__(self, kernel: Kernel, x: Tensor, y: Tensor, out: Tensor, arena: Arena) -> None:
        stage, shape = kernel.stage, kernel.stage.shape
        b, n = len(x), x.shape[1] - stage.conv_context
        self._kernel = kernel
        self._image = x.unsqueeze(1).permute(0, 3, 1, 2)
        self._y = y[:, stage.pool_context :]
        self._y_image = self._y.unsqueeze(1).permute(0, 3, 1, 2)
        self._small = x.device.type == "cpu" and b * n * kernel.matrix.numel() < SMALL
        if self._small:
            # Every kernel's span of x as a row: overlapping, so a view.
            channels = x.shape[2]
            spans = (b, n, shape.kernel * channels)
            self._spans = x.as_strided(spans, (x.stride(0), channels, 1), x.storage_offset())
            self._columns = arena.take(*spans)
            self._rows = self._columns.flatten(0, 1)
            self._product = arena.take(b * n, shape.filters)
            self._result = self._product.view(b, n, shape.filters)

        # A maximum over `pool` is one over `stride` and then over its neighbours; max_pool2d is five times
        # slower.
        self._maxima: list[tuple[list[Tensor], Tensor]] = []
        wanted = out.shape[1]
        if shape.pool % shape.stride == 0:
            shifts = shape.pool // shape.stride
            blocks = wanted + shifts - 1
            cut = y[:, : blocks * shape.stride].view(b, blocks, shape.stride, shape.filters)
            best = out if shifts == 1 else arena.take(b, blocks, shape.filters)
            self._maxima.append((list(cut.unbind(2)), best))
            if shifts > 1:
                self._maxima.append(([best[:, i : i + wanted] for i in range(shifts)], out))
        else:
            last = (wanted - 1) * shape.stride + 1
            self._maxima.append(([y[:, i : i + last : shape.stride] for i in range(shape.pool)], out))
        self._out = out

    def run(self) -> None:
        """Convolve, pool, ReLU."""
        kernel = self._kernel
        if self._small:
            self._columns.copy_(self._spans)
            torch.addmm(kernel.bias, self._rows, kernel.matrix, out=self._product)
            self._y.copy_(self._result)
        else:
            self._y_image.copy_(F.conv2d(self._image, kernel.weight, kernel.bias))
        for (one, *others), best in self._maxima:
            if not others:
                best.copy_(one)
                continue
            torch.maximum(one, others[0], out=best)
            for other in others[1:]:
                torch.maximum(best, other, out=best)
        self._out.relu_()
        if kernel.stage.whole:
            pass_on_(self._out)
