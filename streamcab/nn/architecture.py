"""All that shapes a net, as numbers: its layers, what it must be fed with, and every count that follows from both.

An `Architecture` travels in the checkpoint. Knows nothing of weights, of a framework, of files or of streams.

    delay    how far a layer's output lags behind the newest pooled sample, in its own samples
    reach    how far on either side of an interval lie the samples that its a_t depends on, in intervals
    context  how many of its input's past samples a layer keeps
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from streamcab.dsp import bands
from streamcab.dsp.detector import FORMS

FOREVER = 1 << 40
"""End of a stream whose end is not known yet, in intervals."""


@dataclass(frozen=True)
class StageShape:
    """One row pair of Table 2: a convolution of stride 1, a maximum pooling, and the dropout after it."""

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
        """The same for the pooling, whose stride divides the length."""
        left = (self.pool - self.stride) // 2
        return left, self.pool - self.stride - left

    def lag(self, delay: int) -> int:
        """The delay of this stage's output, in its own samples, for the delay of its input, in the input's."""
        return -(-(delay + self.conv_pad[1] + self.pool_pad[1]) // self.stride)


@dataclass(frozen=True)
class Geometry:
    """What follows from the shapes of all stages.

    interval  pooled samples per interval
    delay     intervals by which a streamed a_t lags behind the newest interval heard
    reach     intervals on each side of an interval beyond which no sample touches its a_t
    """

    interval: int
    delay: int
    reach: int


@dataclass(frozen=True)
class StageTiming:
    """Where a stage stands in a streamed distiller, in samples of its input unless it says otherwise.

    unit          samples per interval            out_unit      the same of its output
    conv_delay    lag of its convolution          delay         lag of its output, in samples of its output
    conv_context  samples that its convolution keeps of a stream
    pool_context  convolved samples that its pooling keeps
    """

    unit: int
    out_unit: int
    conv_delay: int
    delay: int
    conv_context: int
    pool_context: int

    @classmethod
    def of(cls, shape: StageShape, delay: int, unit: int) -> "StageTiming":
        """Of a stage whose input lags by `delay` and has `unit` samples per interval; ValueError unless it fits."""
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
    """Where each stage of a distiller stands."""
    found: list[StageTiming] = []
    delay, unit = 0, geometry(stages).interval
    for shape in stages:
        found.append(StageTiming.of(shape, delay, unit))
        delay, unit = found[-1].delay, found[-1].out_unit
    return found


def geometry(stages: Sequence[StageShape]) -> Geometry:
    """The geometry of a distiller of these stages."""
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
    """One block: its kernel's taps, the intervals between them, and how many of the taps lie ahead."""

    kernel: int
    dilation: int
    ahead: int

    @property
    def context(self) -> int:
        """Intervals of its input that a streamed block keeps."""
        return (self.kernel - 1) * self.dilation

    @property
    def delay(self) -> int:
        """Intervals by which its output lags behind its input."""
        return self.ahead * self.dilation


LARGEST = 1_000_000
"""No size and no rate is beyond this: what is, is damage."""


@dataclass(frozen=True)
class Architecture:
    """The numbers of a CAB-CNN. The defaults are the paper's, but for the labels and the audio rate."""

    labels: tuple[str, ...]
    rate: int = 8000
    """Hz to which audio is brought before pooling: the maximum over 2 samples is not that over 12."""
    pooled_rate: int = 4000
    """Sub-intervals a second."""
    stages: tuple[StageShape, ...] = PAPER_STAGES
    classifiers: int = 40
    hidden: tuple[int, ...] = (8, 4)
    attention: tuple[int, ...] = (160, 80)
    normaliser: str = "running"
    """`running` (live) or `clip` (the paper's, offline only)."""
    gate: bool = True
    """Whether intervals without speech are left out of the mean."""
    summary: int = 0
    """How many numbers each interval is summed up in for `moments.py`; 0, as in the paper: there is none of that."""
    lags: tuple[int, ...] = ()
    """Intervals between the two whose products are averaged there."""
    phones: int = 0
    """How many phones intervals are told apart as, for `phones.py`, the first no speech; 0: no lags either, or lags."""
    reach: int = 0
    """Intervals on each side that are heard for that."""
    phone_hidden: int = 0
    """Size of the layer between."""
    trunk: tuple[BlockShape, ...] = ()
    """Blocks between distiller and ACB; without any, as in the paper, the ACB reads a_t."""
    trunk_hidden: int = 0
    """Size of the layer within each of them."""
    detector: int = 0
    """Channels of the speech detector that says what is voiced (detector.py); 0: the gate hears level."""
    detector_form: int = 1
    """Which of the nets in detector.py it is."""
    voice: int = 0
    """How many numbers each interval has for telling voices apart (voices.py); 0: voices are not told apart."""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a classifier needs two or more different labels, not {self.labels}")
        if not all(isinstance(label, str) and label for label in self.labels):
            raise ValueError(f"labels are words, not {self.labels}")
        if self.normaliser not in ("running", "clip"):
            raise ValueError(f"normaliser is {self.normaliser!r}; it can be 'running' or 'clip'")
        shapes = [n for s in self.stages for n in (s.filters, s.kernel, s.pool, s.stride)]
        for n in (self.rate, self.pooled_rate, self.classifiers, *self.hidden, *self.attention, *shapes):
            if type(n) is not int or not 0 < n <= LARGEST:
                raise ValueError(f"sizes and rates are whole numbers from 1 to {LARGEST}, not {n!r}")
        if any(isinstance(s.dropout, bool) or not 0 <= s.dropout <= 1 for s in self.stages):
            raise ValueError(f"a dropout lies in 0 to 1, not {[s.dropout for s in self.stages]}")
        if not self.stages or any(s.pool < s.stride for s in self.stages):
            raise ValueError("a distiller needs stages, and each must pool over no less than its stride")
        if self.pooled_rate > self.rate:
            raise ValueError(f"cannot pool {self.rate} Hz to {self.pooled_rate} sub-intervals a second")
        if (
            type(self.summary) is not int
            or not 0 <= self.summary <= 256
            or (self.summary > 0) != bool(self.lags or self.phones)
            or (self.lags and self.phones)
        ):
            raise ValueError(
                f"summary is {self.summary!r}, lags {self.lags} and phones {self.phones!r}: the first with one of the "
                "others, or 0 and none"
            )
        told = (self.phones, self.reach, self.phone_hidden)
        if any(type(n) is not int or not 0 <= n <= 400 for n in told) or (
            any(told) and not (self.phones > 1 and self.phone_hidden)
        ):
            raise ValueError(
                f"phones is {self.phones!r}, reach {self.reach!r} and phone_hidden {self.phone_hidden!r}: whole "
                "numbers to 400, 2 phones or more and a layer, or all 0"
            )
        if type(self.detector) is not int or not 0 <= self.detector <= 256:
            raise ValueError(f"detector is {self.detector!r}: channels, a whole number to 256, or 0")
        if self.detector_form not in FORMS:
            raise ValueError(f"detector_form is {self.detector_form!r}; this version knows {sorted(FORMS)}")
        if type(self.voice) is not int or not 0 <= self.voice <= 256 or (self.voice and self.summary):
            raise ValueError(f"voice is {self.voice!r}: whole numbers to 256, or 0, as with a summary")
        heard = bands.INTERVAL * self.pooled_rate
        if self.detector and (self.rate, self.interval * self.rate) != (bands.RATE, heard):
            raise ValueError(
                f"a detector hears intervals of {bands.INTERVAL} samples at {bands.RATE} Hz, no others"
            )
        if len(set(self.lags)) != len(self.lags) or any(
            type(n) is not int or not 0 <= n <= 400 for n in self.lags
        ):
            raise ValueError(f"lags are different whole numbers from 0 to 400, not {self.lags}")
        for block in self.trunk:
            sizes = (block.kernel, block.dilation)
            whole = all(type(n) is int for n in (*sizes, block.ahead))
            if not whole or not all(0 < n <= 400 for n in sizes) or not 0 <= block.ahead < block.kernel:
                raise ValueError(
                    f"a block needs taps and a dilation of 1 to 400 and fewer taps ahead, not {block}"
                )
        if type(self.trunk_hidden) is not int or (self.trunk_hidden > 0) != bool(self.trunk):
            raise ValueError(
                f"trunk_hidden is {self.trunk_hidden!r}: a whole number with a trunk, or 0 without"
            )
        if self.trunk_hidden > LARGEST:
            raise ValueError(f"trunk_hidden is {self.trunk_hidden}; at most {LARGEST}")
        if not isinstance(self.gate, bool) or not isinstance(self.extra, dict):
            raise ValueError(f"gate is true or false and extra a table, not {self.gate!r} and {self.extra!r}")

    @property
    def widths(self) -> tuple[int, int, int]:
        """How many numbers an interval is answered with: c_t, attention, and u_t, its summary or its voice."""
        return len(self.labels), self.classifiers, self.summary or self.voice

    @property
    def interval(self) -> int:
        """Pooled samples per interval."""
        return geometry(self.stages).interval

    @property
    def delay(self) -> int:
        """Intervals by which a streamed answer lags behind the newest interval heard: the delays of all layers."""
        return geometry(self.stages).delay + sum(block.delay for block in self.trunk)

    @property
    def context(self) -> int:
        """Intervals on each side beyond which no sample touches the answer to an interval: the reaches of all layers.

        (`reach` is that of the phones.)
        """
        ahead = sum(block.delay for block in self.trunk)
        return geometry(self.stages).reach + max(sum(b.context for b in self.trunk) - ahead, ahead)

    @property
    def memory(self) -> int:
        """Intervals of nothing after which a stream's state in the net knows of nothing that was before them."""
        return self.delay + self.context

    @property
    def moments(self) -> int:
        """How many second moments there are of the summaries: for lag 0 they are symmetric."""
        k = self.summary
        return sum(k * k if lag else k * (k + 1) // 2 for lag in self.lags)

    @property
    def evidence(self) -> int:
        """How many numbers evidence is drawn from: moments, or the sounds of phones."""
        return (self.phones - 1) * self.summary if self.phones else self.moments

    @property
    def interval_s(self) -> float:
        """Seconds per interval."""
        return self.interval / self.pooled_rate

    def intervals(self, seconds: float) -> int:
        """How many intervals come nearest to so many seconds; at least one."""
        return max(round(seconds / self.interval_s), 1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it. What is absent (phones, trunk, detector, voice) is not named: old files stay what they are."""
        d = asdict(self)
        absent: tuple[str, ...] = () if self.phones else ("phones", "reach", "phone_hidden")
        absent += () if self.trunk else ("trunk", "trunk_hidden")
        absent += () if self.detector else ("detector",)
        absent += () if self.detector_form > 1 else ("detector_form",)
        absent += () if self.voice else ("voice",)
        return {k: v for k, v in d.items() if k not in absent}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "Architecture":
        """The inverse of `to_dict`; TypeError or ValueError for anything else."""
        d = dict(d)
        d["stages"] = tuple(StageShape(**s) for s in d["stages"])
        d["trunk"] = tuple(BlockShape(**s) for s in d.get("trunk", ()))
        # Checkpoints from before there was evidence have no lags.
        d["lags"] = d.get("lags", ())
        for key in ("labels", "hidden", "attention", "lags"):
            d[key] = tuple(d[key])
        return cls(**d)
