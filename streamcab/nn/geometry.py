"""The shapes of a net's layers, and the counts that follow from them: lags, contexts and reaches.

    delay    how far a layer's output lags behind the newest pooled sample, in its own samples
    reach    how far on either side of an interval lie the samples that its a_t depends on, in intervals
    context  how many of its input's past samples a layer keeps

Knows nothing of weights, of a framework, of files or of streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StageShape:
    """One row pair of Table 2 of the paper: a convolution of stride 1, a maximum pooling, and dropout."""

    filters: int
    kernel: int
    pool: int
    stride: int
    dropout: float

    @property
    def conv_pad(self) -> tuple[int, int]:
        """Zeros before and after the input of the convolution: Keras' `same` for an even kernel."""
        return (self.kernel - 1) // 2, self.kernel // 2

    @property
    def pool_pad(self) -> tuple[int, int]:
        """Padding before and after the input of the pooling, whose stride divides the length."""
        left = (self.pool - self.stride) // 2
        return left, self.pool - self.stride - left

    def lag(self, delay: int) -> int:
        """Return the delay of this stage's output, in its own samples, for an input delayed by `delay` of its own."""
        return -(-(delay + self.conv_pad[1] + self.pool_pad[1]) // self.stride)


@dataclass(frozen=True)
class Geometry:
    """The counts that follow from the shapes of all stages.

    Attributes:
        interval: Pooled samples per interval.
        delay: Intervals by which a streamed a_t lags behind the newest interval.
        reach: Intervals on each side of an interval beyond which no sample affects its a_t.
    """

    interval: int
    delay: int
    reach: int


@dataclass(frozen=True)
class StageTiming:
    """Counts of one stage in a streamed distiller, in samples of its input unless stated otherwise.

    Attributes:
        unit: Samples per interval.
        out_unit: Output samples per interval.
        conv_delay: Lag of the convolution.
        delay: Lag of the output, in output samples.
        conv_context: Samples of a stream that the convolution keeps.
        pool_context: Convolved samples that the pooling keeps.
    """

    unit: int
    out_unit: int
    conv_delay: int
    delay: int
    conv_context: int
    pool_context: int

    @classmethod
    def of(cls, shape: StageShape, delay: int, unit: int) -> "StageTiming":
        """Compute the counts of a stage.

        Args:
            shape: The stage.
            delay: Lag of its input, in samples.
            unit: Samples of its input per interval.

        Raises:
            ValueError: The stage's stride does not divide `unit`.
        """
        if unit % shape.stride:
            raise ValueError(f"a stride of {shape.stride} does not divide {unit} samples per interval")
        conv_delay, lag = delay + shape.conv_pad[1], shape.lag(delay)
        return cls(
            unit=unit,
            out_unit=unit // shape.stride,
            conv_delay=conv_delay,
            delay=lag,
            conv_context=shape.kernel - 1,
            pool_context=shape.stride * lag + shape.pool_pad[0] - conv_delay,
        )


def timings(stages: Sequence[StageShape]) -> list[StageTiming]:
    """Return the counts of each stage of a streamed distiller."""
    found: list[StageTiming] = []
    delay, unit = 0, geometry(stages).interval
    for shape in stages:
        found.append(StageTiming.of(shape, delay, unit))
        delay, unit = found[-1].delay, found[-1].out_unit
    return found


def geometry(stages: Sequence[StageShape]) -> Geometry:
    """Return the geometry of a distiller with these stages."""
    unit, delay, samples = 1, 0, 0
    for stage in stages:
        samples += (stage.kernel + stage.pool - 2) * unit
        unit *= stage.stride
        delay = stage.lag(delay)
    return Geometry(interval=unit, delay=delay, reach=-(-samples // unit))


PAPER_STAGES = (
    StageShape(16, 4, 4, 2, 0.15),
    StageShape(32, 4, 4, 2, 0.15),
    StageShape(32, 10, 10, 5, 0.10),
    StageShape(128, 10, 10, 5, 0.0),
)


@dataclass(frozen=True)
class BlockShape:
    """One block of the trunk.

    Attributes:
        kernel: Number of taps.
        dilation: Intervals between the taps.
        ahead: How many of the taps lie ahead.
    """

    kernel: int
    dilation: int
    ahead: int

    @property
    def context(self) -> int:
        """Intervals of its input that a streamed block keeps."""
        return (self.kernel - 1) * self.dilation

    @property
    def delay(self) -> int:
        """Intervals by which the output lags behind the input."""
        return self.ahead * self.dilation


def looking(blocks: Sequence[BlockShape]) -> int:
    """Return how many blocks it takes until none looks ahead any more, at least one.

    What comes of them lags as much as h_t, but has heard little more than what they look ahead: h_t has heard seconds,
    which blur where one voice ends and another begins.
    """
    return max((i for i, shape in enumerate(blocks, 1) if shape.ahead), default=1)
