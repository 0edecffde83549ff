"""The distiller (paper, section 3 and Table 2): pooled audio in, one vector a_t for each interval out.

The same stages run in two ways on the same weights. Offline, a whole clip at once, padded as Keras pads.
Streamed, a few intervals at a time for many streams, each stage keeping the samples that its next kernel
still needs. Streaming knows where a stream begins and ends, and puts there what offline padding puts; so both
ways give the same a_t.

Knows nothing of normalising, of voices, or of time. Activations are laid out (batch, time, channels)
throughout: on a CPU this "channels last" keeps convolution and pooling twice as fast as torch's default. Delay, reach
and context are those of architecture.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcab.nn import integers
from streamcab.nn.architecture import FOREVER
from streamcab.nn.geometry import PAPER_STAGES, Geometry, StageShape, StageTiming, geometry

__all__ = [
    "FOREVER",
    "PAPER_STAGES",
    "Distiller",
    "Geometry",
    "Stage",
    "StageShape",
    "StageState",
    "geometry",
]


@dataclass
class StageState:
    """The state of one stage for each stream: the newest inputs of its convolution and of its pooling.

    Attributes:
        conv: (streams, context, input channels)
        pool: (streams, context, filters)
    """

    conv: Tensor
    pool: Tensor


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (B, T, C) by a weight of (filters, C, 1, kernel), no padding -> (B, T - kernel + 1, filters)."""
    y = F.conv2d(x.unsqueeze(1).permute(0, 3, 1, 2), weight, bias)
    return y.permute(0, 2, 3, 1).squeeze(1)


def _pool(x: Tensor, size: int, stride: int) -> Tensor:
    """Take the maximum over `size` samples every `stride`: (B, T, C) -> (B, (T - size) // stride + 1, C)."""
    y = F.max_pool2d(x.unsqueeze(1).permute(0, 3, 1, 2), (1, size), (1, stride))
    return y.permute(0, 2, 3, 1).squeeze(1)


def bytes_of(x: Tensor) -> Tensor:
    """Split samples (..., T) into their coarse and their fine bytes, both in the unit of x: (..., T, 2)."""
    n = (x / integers.SAMPLE).round().clamp(integers.LOWEST, integers.HIGHEST)
    coarse = ((n + integers.COARSE // 2) / integers.COARSE).floor() * integers.COARSE
    return torch.stack((coarse, n - coarse), -1) * integers.SAMPLE


def pass_on_(y: Tensor) -> Tensor:
    """Round what a stage passes on, not negative, to whole numbers of its unit, in place."""
    return y.div_(integers.PASSED).round_().clamp_(max=integers.MOST).mul_(integers.PASSED)


def _outside(first: Tensor, end: Tensor, per_interval: int, delay: int, length: int) -> Tensor:
    """Return which of a step's samples lie before their stream's start or after its end: (B, length, 1).

    Args:
        first: Intervals of each stream before this step, (B,).
        end: Intervals of the whole stream, (B,).
        per_interval: Samples per interval.
        delay: Samples by which the masked signal lags behind the step.
        length: Samples of the step.
    """
    position = first[:, None] * per_interval - delay + torch.arange(length, device=first.device)
    return ((position < 0) | (position >= end[:, None] * per_interval)).unsqueeze(-1)


class Stage(nn.Module):
    """Convolution, pooling, ReLU, dropout. Pooling comes before ReLU: they commute, and less is left."""

    def __init__(
        self, shape: StageShape, channels: int, delay: int, unit: int, *, whole: bool = False
    ) -> None:
        """Make a stage.

        Args:
            shape: Its shape.
            channels: Of its input.
            delay: Samples by which its input lags.
            unit: Samples of its input per interval.
            whole: Whether it passes on whole numbers: see integers.py.
        """
        super().__init__()
        timing = StageTiming.of(shape, delay, unit)
        self.shape, self.whole = shape, whole
        self.weight = nn.Parameter(torch.empty(shape.filters, channels, shape.kernel))
        self.bias = nn.Parameter(torch.zeros(shape.filters))
        # Keras: Glorot-uniform kernels, zero biases.
        nn.init.xavier_uniform_(self.weight)
        self.dropout = nn.Dropout(shape.dropout)

        self.conv_pad, self.pool_pad = shape.conv_pad, shape.pool_pad
        self.unit, self.out_unit = timing.unit, timing.out_unit
        self.conv_delay, self.delay = timing.conv_delay, timing.delay
        self.conv_context, self.pool_context = timing.conv_context, timing.pool_context

    def kernel(self) -> Tensor:
        """Return the weight as the two-dimensional, channels-last convolution takes it."""
        return self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Compute a whole clip: (B, T, channels) -> (B, T / stride, filters)."""
        y = _convolve(F.pad(x, (0, 0, *self.conv_pad)), self.kernel(), self.bias)
        y = _pool(F.pad(y, (0, 0, *self.pool_pad), value=-torch.inf), self.shape.pool, self.shape.stride)
        y = y.relu()
        out: Tensor = self.dropout(pass_on_(y) if self.whole else y)
        return out

    def new_state(self, streams: int) -> StageState:
        """Return the state of streams that have not begun: as if padding had been heard."""
        conv = self.weight.new_zeros(streams, self.conv_context, self.weight.shape[1])
        pool = self.weight.new_full((streams, self.pool_context, self.shape.filters), -torch.inf)
        return StageState(conv, pool)

    def step(
        self, x: Tensor, state: StageState, kernel: Tensor, edges: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, StageState]:
        """Compute H more intervals: x (B, H * unit, channels) -> (B, H * out_unit, filters), and the new state.

        edges  (first, end) of `_outside` where a stream of the batch is near its start or its end, else None
        """
        x = torch.cat((state.conv, x), 1)
        y = _convolve(x, kernel, self.bias)
        if edges is not None:
            y = y.masked_fill(_outside(*edges, self.unit, self.conv_delay, y.shape[1]), -torch.inf)
        y = torch.cat((state.pool, y), 1)
        used = y.shape[1] - self.pool_context
        out = _pool(y, self.shape.pool, self.shape.stride)[:, : used // self.shape.stride].relu()
        if self.whole:
            out = pass_on_(out)
        if edges is not None:
            out = out.masked_fill(_outside(*edges, self.out_unit, self.delay, out.shape[1]), 0.0)
        after = StageState(x[:, x.shape[1] - self.conv_context :], y[:, y.shape[1] - self.pool_context :])
        return out, after


class Distiller(nn.Module):
    """Table 2: stages, then BatchNorm (epsilon 1e-3, momentum 0.99 in Keras' sense).

    `interval`, `delay` and `reach` are those of its `Geometry`.
    """

    def __init__(self, stages: Sequence[StageShape], *, whole: bool = False) -> None:
        """`whole`: it computes in whole numbers, as integers.py has it."""
        super().__init__()
        found, self.whole = geometry(stages), whole
        self.interval, self.delay, self.reach = found.interval, found.delay, found.reach
        self.stages = nn.ModuleList()
        channels, delay, unit = integers.channels(True, 0) if whole else 1, 0, self.interval
        for shape in stages:
            stage = Stage(shape, channels, delay, unit, whole=whole)
            self.stages.append(stage)
            channels, delay, unit = shape.filters, stage.delay, stage.out_unit
        self.norm = nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Compute whole clips: normalised samples (B, T), whole intervals -> a (B, T / interval, filters)."""
        y = self.heard(x)
        for stage in self.stages:
            y = stage(y)
        out: Tensor = self.norm(y.flatten(0, 1)).view_as(y)
        return out

    def heard(self, x: Tensor) -> Tensor:
        """Return samples (B, T) as the first stage hears them: (B, T, channels)."""
        return bytes_of(x) if self.whole else x.unsqueeze(-1)

    def new_state(self, streams: int) -> list[StageState]:
        """Return the state of streams that have not begun, a StageState for each stage."""
        return [stage.new_state(streams) for stage in self._typed()]

    def kernels(self) -> list[Tensor]:
        """Return the stages' weights as `step` wants them; made once, not at each step."""
        return [stage.kernel().detach() for stage in self._typed()]

    def step(
        self,
        x: Tensor,
        state: list[StageState],
        kernels: list[Tensor],
        edges: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, list[StageState]]:
        """Compute H more intervals of B streams: x (B, H * interval) -> a (B, H, filters), and the state after them.

        The a_t given back belong to the H intervals that lie `delay` before those of x. Samples of x beyond a
        stream's end must be 0.
        """
        y = self.heard(x)
        after = []
        for stage, before, kernel in zip(self._typed(), state, kernels, strict=True):
            y, kept = stage.step(y, before, kernel, edges)
            after.append(kept)
        out: Tensor = self.norm(y.flatten(0, 1)).view_as(y)
        return out, after

    def _typed(self) -> list[Stage]:
        return [stage for stage in self.stages if isinstance(stage, Stage)]
