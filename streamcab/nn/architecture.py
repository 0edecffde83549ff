"""All that defines a net, as numbers: its layers, its input, and every count of intervals that follows from both.

An `Architecture` travels in the checkpoint. Knows nothing of weights, of a framework, of files or of streams.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from streamcab.dsp import bands
from streamcab.dsp.detector import FORMS
from streamcab.nn.geometry import PAPER_STAGES, BlockShape, StageShape, geometry

FOREVER = 1 << 40
"""End, in intervals, of a stream whose end is not known yet."""


LARGEST = 1_000_000
"""Sizes and rates above this can only come from a damaged file."""


@dataclass(frozen=True)
class Architecture:
    """The numbers that define a CAB-CNN. The defaults are the paper's, except for labels and audio rate."""

    labels: tuple[str, ...]
    rate: int = 8000
    """Hz to which audio is resampled before pooling: the maximum over 2 samples differs from that over 12."""
    pooled_rate: int = 4000
    """Sub-intervals a second."""
    stages: tuple[StageShape, ...] = PAPER_STAGES
    classifiers: int = 40
    hidden: tuple[int, ...] = (8, 4)
    attention: tuple[int, ...] = (160, 80)
    normaliser: str = "running"
    """`running` (live) or `clip` (the paper's, offline only)."""
    gate: bool = True
    """Whether intervals without speech are excluded from the mean."""
    summary: int = 0
    """Numbers per interval in its summary u_t, for evidence; 0, as in the paper: no evidence."""
    lags: tuple[int, ...] = ()
    """Distances, in intervals, between the two summaries whose products are averaged (moments.py)."""
    phones: int = 0
    """Number of phones that intervals are assigned to (phones.py), the first of which is no speech; 0: none."""
    reach: int = 0
    """Intervals on each side that a phone is recognised from."""
    phone_hidden: int = 0
    """Size of the hidden layer that recognises phones."""
    trunk: tuple[BlockShape, ...] = ()
    """Blocks between distiller and ACB; without any, as in the paper, the ACB reads a_t."""
    trunk_hidden: int = 0
    """Size of the hidden layer in each block."""
    detector: int = 0
    """Channels of the speech detector (detector.py); 0: none, and the gate judges by level."""
    detector_form: int = 1
    """The detector's form, by its number in detector.py."""
    voice: int = 0
    """Numbers of each interval by which voices are told apart (voice.py); 0: they are not."""
    other: bool = False
    """Whether each interval has a score that its accent is of none of the labels; it follows c_t."""
    integers: bool = False
    """Whether the distiller computes in whole numbers (integers.py)."""
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
        if (
            type(self.voice) is not int
            or not 0 <= self.voice <= 256
            or (self.voice and (self.summary or not self.trunk))
        ):
            raise ValueError(
                f"voice is {self.voice!r}; it can be 0 to 256: 0 with a summary or without a trunk"
            )
        if not isinstance(self.other, bool) or (self.other and not self.trunk):
            raise ValueError(f"other is {self.other!r}; it can be true with a trunk, or false")
        if not isinstance(self.integers, bool):
            raise ValueError(f"integers is {self.integers!r}; it can be true or false")
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
        """Numbers per interval in each part of the output: c_t and `other`, attention, and u_t, a summary or a
        voice."""
        return len(self.labels) + self.other, self.classifiers, self.summary or self.voice

    @property
    def interval(self) -> int:
        """Pooled samples per interval."""
        return geometry(self.stages).interval

    @property
    def delay(self) -> int:
        """Intervals by which a streamed answer lags behind the newest interval: the delays of all layers."""
        return geometry(self.stages).delay + sum(block.delay for block in self.trunk)

    @property
    def context(self) -> int:
        """Intervals on each side beyond which no sample affects the answer to an interval.

        The reaches of all layers together. (`reach` is that of the phones.)
        """
        ahead = sum(block.delay for block in self.trunk)
        return geometry(self.stages).reach + max(sum(b.context for b in self.trunk) - ahead, ahead)

    @property
    def memory(self) -> int:
        """Missing intervals after which nothing before them is left in a stream's state in the net."""
        return self.delay + self.context

    @property
    def moments(self) -> int:
        """Number of second moments of the summaries; those of lag 0 are symmetric."""
        k = self.summary
        return sum(k * k if lag else k * (k + 1) // 2 for lag in self.lags)

    @property
    def evidence(self) -> int:
        """Number of features that evidence is drawn from: moments, or the sounds of phones."""
        return (self.phones - 1) * self.summary if self.phones else self.moments

    @property
    def interval_s(self) -> float:
        """Seconds per interval."""
        return self.interval / self.pooled_rate

    def intervals(self, seconds: float) -> int:
        """Return the number of intervals nearest to `seconds`; at least one."""
        return max(round(seconds / self.interval_s), 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON takes them.

        Parts that a net lacks (phones, trunk, detector, voice, other, integers) are left out, so that older files
        stay unchanged.
        """
        d = asdict(self)
        absent: tuple[str, ...] = () if self.phones else ("phones", "reach", "phone_hidden")
        absent += () if self.trunk else ("trunk", "trunk_hidden")
        absent += () if self.detector else ("detector",)
        absent += () if self.detector_form > 1 else ("detector_form",)
        absent += () if self.voice else ("voice",)
        absent += () if self.other else ("other",)
        absent += () if self.integers else ("integers",)
        return {k: v for k, v in d.items() if k not in absent}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "Architecture":
        """Build an architecture from the result of `to_dict`.

        Raises:
            TypeError, ValueError: `d` is anything else.
        """
        d = dict(d)
        d["stages"] = tuple(StageShape(**s) for s in d["stages"])
        d["trunk"] = tuple(BlockShape(**s) for s in d.get("trunk", ()))
        # Checkpoints from before there was evidence have no lags.
        d["lags"] = d.get("lags", ())
        for key in ("labels", "hidden", "attention", "lags"):
            d[key] = tuple(d[key])
        return cls(**d)
