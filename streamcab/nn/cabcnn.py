"""CAB-CNN (paper, section 3; Table 2): the distiller, the ACB, and the mean over time.

An `Architecture` says all that shapes the network and what it must be fed with; it travels in the checkpoint. Knows
nothing of files, streams or audio rates below the pooled signal.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from streamcab.dsp import bands, detector
from streamcab.nn.acb import Acb
from streamcab.nn.distiller import PAPER_STAGES, Distiller, StageShape

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
    detector: int = 0
    """Channels of the speech detector that says what is voiced (detector.py); 0: the gate hears level."""
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
        if self.detector and (self.rate, self.interval * self.rate) != (
            bands.RATE,
            bands.INTERVAL * self.pooled_rate,
        ):
            raise ValueError(
                f"a detector hears intervals of {bands.INTERVAL} samples at {bands.RATE} Hz, no others"
            )
        if len(set(self.lags)) != len(self.lags) or any(
            type(n) is not int or not 0 <= n <= 400 for n in self.lags
        ):
            raise ValueError(f"lags are different whole numbers from 0 to 400, not {self.lags}")
        if not isinstance(self.gate, bool) or not isinstance(self.extra, dict):
            raise ValueError(f"gate is true or false and extra a table, not {self.gate!r} and {self.extra!r}")

    @property
    def widths(self) -> tuple[int, int, int]:
        """How many numbers an interval is answered with: c_t, attention, u_t."""
        return len(self.labels), self.classifiers, self.summary

    @property
    def interval(self) -> int:
        """Pooled samples per interval."""
        n = 1
        for stage in self.stages:
            n *= stage.stride
        return n

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

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it. Without phones or detector nothing is said of them: older files and caches stay as is."""
        without = set() if self.phones else {"phones", "reach", "phone_hidden"}
        without |= set() if self.detector else {"detector"}
        return {k: v for k, v in asdict(self).items() if k not in without}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "Architecture":
        """The inverse of `to_dict`; TypeError or ValueError for anything else."""
        d = dict(d)
        d["stages"] = tuple(StageShape(**s) for s in d["stages"])
        # Checkpoints from before there was evidence have no lags.
        d["lags"] = d.get("lags", ())
        for key in ("labels", "hidden", "attention", "lags"):
            d[key] = tuple(d[key])
        return cls(**d)


class PhoneLayer(nn.Module):
    """What `phones.py` reads: a net of two layers, and how each phone usually sounds. Taught, not trained."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        k, phones = architecture.summary, architecture.phones
        self.hidden = nn.Linear((2 * architecture.reach + 1) * k, architecture.phone_hidden)
        self.out = nn.Linear(architecture.phone_hidden, phones)
        self.usual: Tensor
        self.deviation: Tensor
        self.register_buffer("usual", torch.zeros(phones, k))
        self.register_buffer("deviation", torch.ones(k))
        self.requires_grad_(False)

    def forward(self, around: Tensor) -> Tensor:
        """u around intervals (N, (2 * reach + 1) * summary) -> logarithms of phones, up to a constant, (N, phones)."""
        found: Tensor = self.out(torch.relu(self.hidden(around)))
        return found


class DetectorLayer(nn.Module):
    """The weights of `detector.py`: taught apart, and no part of the net's training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, shape in detector.shapes(channels).items():
            self.register_buffer(name, torch.zeros(shape))


class CabCnn(nn.Module):
    """Normalised pooled audio -> c_t and attention for each interval."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.distiller = Distiller(architecture.stages)
        self.acb = Acb(
            architecture.stages[-1].filters,
            len(architecture.labels),
            architecture.classifiers,
            architecture.hidden,
            architecture.attention,
        )
        features, k = architecture.stages[-1].filters, architecture.summary
        self.summary = nn.Linear(features, k) if k else None
        """a_t -> u_t, what `moments.py` averages products of, or `phones.py` for each phone."""
        self.evidence = nn.Linear(architecture.evidence, len(architecture.labels)) if k else None
        """The numbers of a window -> what they say for each label, in logarithms; nothing until it is fitted."""
        if self.evidence is not None:
            nn.init.zeros_(self.evidence.weight)
            nn.init.zeros_(self.evidence.bias)
        self.phones = PhoneLayer(architecture) if architecture.phones else None
        self.detector = DetectorLayer(architecture.detector) if architecture.detector else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whole clips: x (B, T), T a multiple of the interval -> c (B, T / interval, labels), attention."""
        c, alpha = self.acb(self.distiller(x))
        return c, alpha

    def read(self, a: Tensor) -> Tensor:
        """All that is made of a_t: a (..., features) -> c, attention and u side by side (..., width)."""
        parts = [*self.acb(a)] if self.summary is None else [*self.acb(a), self.summary(a)]
        return torch.cat(parts, -1)


def detector_of(model: CabCnn) -> detector.Weights | None:
    """The weights of a model's speech detector; None where the gate hears level."""
    layer = model.detector
    return (
        None
        if layer is None
        else detector.weights({k: v.cpu().numpy() for k, v in layer.state_dict().items()})
    )


def answer(c: Tensor, voiced: Tensor) -> Tensor:
    """Unweighted mean of c_t over the intervals that vote (paper, section 3.3; equation 4 up to its factor).

    c       (B, K, labels)        voiced  (B, K), 1 or 0
    Returns (B, labels); a clip without a voiced interval gets the uniform distribution, which says nothing.
    """
    weight = voiced.to(c.dtype)
    n = weight.sum(1, keepdim=True)
    mean = torch.einsum("bkm,bk->bm", c, weight) / n.clamp(min=1)
    return torch.where(n > 0, mean, torch.full_like(mean, 1 / c.shape[-1]))
