"""Describes a load of calls (number, codec, damage) and plans which call sends which packet when.

Load generator and probe make the same plan from the same `Traffic`, so the probe knows when each packet
was due without being told. Time is counted in frames of one packet duration; in each frame every place
sends one packet, the places evenly spread over the frame. Pure: no sockets, no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError

FIRST_SSRC = 0xCAB00000
GAP_FRAMES = 5
"""Between the end of a call and the beginning of the next one in its place."""
LEAST_FRAMES = 10
"""Of the last call in a place: a call is one after five packets."""
RAMP = 250.0
"""Calls that begin per second at the start."""


@dataclass(frozen=True)
class Format:
    """A codec as it is sent: its name, payload type, samples per second, bytes per sample, and the `--pt` it needs."""

    name: str
    kind: int
    rate: int
    width: int
    pt: str = ""


FORMATS = {
    "pcmu": Format("pcmu", 0, 8000, 1),
    "pcma": Format("pcma", 8, 8000, 1),
    "l16": Format("l16", 97, 16000, 2, "97=L16/16000"),
}


@dataclass(frozen=True)
class Traffic:
    """streams    calls at a time
    seconds    for so long after the last of them has begun
    ptime_ms   of a packet
    loss       share of packets that are never sent, in bursts if `burst`
    reorder    share of packets that are sent one to three packets late
    jitter_ms  every packet is sent late by up to this
    churn      calls that end, and others that begin, per second
    dtx        silence suppression: pauses without packets, in every other call announced by comfort noise
    mixed      a restart, a hold, a goodbye or another codec in the midst of each call
    media      over WebSockets, as Twilio sends them, in place of RTP
    levels     calls at a time in stretches of equal length, of which `streams` is the most; empty: always as many
    """

    streams: int
    seconds: float = 30.0
    codec: str = "pcmu"
    ptime_ms: int = 20
    loss: float = 0.0
    burst: bool = False
    reorder: float = 0.0
    jitter_ms: float = 0.0
    churn: float = 0.0
    dtx: bool = False
    mixed: bool = False
    seed: int = 0
    media: bool = False
    levels: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.streams < 1 or self.seconds <= 0:
            raise ConfigError(f"{self.streams} streams for {self.seconds:g} s are nothing to measure")
        if self.codec not in FORMATS:
            raise ConfigError(f"no such codec: {self.codec!r}; use {', '.join(FORMATS)}")
        if self.media and (self.codec != "pcmu" or self.damaged or self.dtx or self.mixed):
            raise ConfigError(
                "over WebSockets calls are pcmu, and nothing of them is lost, late, paused or changed"
            )
        if self.damaged and (self.dtx or self.mixed):
            raise ConfigError(
                "with pauses or changes in calls nothing else is damaged: drop loss, reorder and jitter"
            )
        if not 0 <= self.loss < 1 or not 0 <= self.reorder <= 1:
            raise ConfigError("loss and reordering are shares of the packets: 0 to 1")
        if self.levels and (max(self.levels) != self.streams or self.churn):
            raise ConfigError(
                "where the number of calls changes, streams is the most of them, and none are replaced"
            )
        if self.churn * self.frame_s * (GAP_FRAMES + 1) > self.streams:
            raise ConfigError(f"{self.churn:g} calls a second cannot change among {self.streams}")

    @property
    def format(self) -> Format:
        """The format of the codec."""
        return FORMATS[self.codec]

    @property
    def frame_s(self) -> float:
        """Seconds of a packet."""
        return self.ptime_ms / 1000

    @property
    def samples(self) -> int:
        """In a packet."""
        return self.format.rate * self.ptime_ms // 1000

    @property
    def damaged(self) -> bool:
        """Whether packets are missing, late or out of order on purpose."""
        return bool(self.loss or self.reorder or self.jitter_ms)


class Plan:
    """The calls, by serial number.

    place  (calls,) int64, which sends at place / streams of each frame    ssrc  (calls,) uint32
    first, last  (calls,) int64, frames [first, last) in which a call sends
    frames  in all        steady  the first frame in which all are there and have settled
    """

    def __init__(self, traffic: Traffic) -> None:
        n, frame_s = traffic.streams, traffic.frame_s
        self.streams, self.frame_s = n, frame_s
        if traffic.levels:
            self._by_levels(traffic)
            return
        ramp = ceil(n / RAMP / frame_s)
        self.frames = ramp + ceil(traffic.seconds / frame_s)
        # A talk is first held for a second (docs/explanation/architecture.md): an answer can be expected after that.
        self.steady = min(ramp + ceil(2.0 / frame_s), self.frames - 1)
        place = [*range(n)]
        first = [p * ramp // n for p in range(n)]
        last = [self.frames] * n
        holder = [*range(n)]
        # A step near the golden ratio visits all places, and neighbours in time are no neighbours in phase.
        step = next(s for s in range(max(round(n * 0.618), 1), 2 * n + 1) if np.gcd(s, n) == 1)
        changes = int(max(self.frames - ramp - GAP_FRAMES, 0) * frame_s * traffic.churn)
        for k in range(changes):
            where = k * step % n
            frame = ramp + int((k + 1) / traffic.churn / frame_s)
            if frame + GAP_FRAMES + LEAST_FRAMES > self.frames or frame <= first[holder[where]]:
                continue
            last[holder[where]] = frame
            holder[where] = len(place)
            place.append(where)
            first.append(frame + GAP_FRAMES)
            last.append(self.frames)
        self.place = np.array(place, np.int64)
        self.first = np.array(first, np.int64)
        self.last = np.array(last, np.int64)
        self.ssrc = (FIRST_SSRC + np.arange(len(place))).astype(np.uint32)

    def _by_levels(self, traffic: Traffic) -> None:
        """Place calls so that a place has one in each run of levels of more calls than its number."""
        levels = np.array(traffic.levels)
        length = ceil(traffic.seconds / self.frame_s / len(levels))
        place, first, last = [], [], []
        for p in range(self.streams):
            busy = np.flatnonzero(levels > p)
            for run in np.split(busy, np.flatnonzero(np.diff(busy) > 1) + 1):
                # Those that begin with a level do so one after the other.
                before = int(levels[run[0] - 1]) if run[0] else 0
                spread = ceil((p - before) / RAMP / self.frame_s)
                place.append(p)
                first.append(int(run[0]) * length + min(spread, length // 4))
                last.append((int(run[-1]) + 1) * length)
        order = np.argsort(first, kind="stable")
        self.place, self.first, self.last = (
            np.array(column, np.int64)[order] for column in (place, first, last)
        )
        self.frames, self.steady = len(levels) * length, ceil(2.0 / self.frame_s)
        self.ssrc = (FIRST_SSRC + np.arange(len(place))).astype(np.uint32)

    @property
    def calls(self) -> int:
        """In all, one after the other in the same places."""
        return len(self.place)

    def serial(self, stream: str) -> int | None:
        """Return the call that a stream's name `rtp-<address>-<port>-<ssrc>` stands for."""
        try:
            serial = int(stream.rpartition("-")[2], 16) - FIRST_SSRC
        except ValueError:
            return None
        return serial if 0 <= serial < self.calls else None

    def due(self, serial: NDArray[np.int64], packet: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the seconds from the start at which calls (m,) send their packets (m,), counted from 0."""
        return (self.first[serial] + packet + self.place[serial] / self.streams) * self.frame_s


class Losses:
    """Packet loss of many calls: independent, or in bursts of five on average (Gilbert)."""

    BURST = 5.0

    def __init__(self, calls: int, share: float, burst: bool, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        stay = 1 - 1 / self.BURST if burst else share
        self._from_bad = stay
        self._from_good = share * (1 - stay) / (1 - share) if burst else share
        self._bad = self._random.random(calls) < share

    def next(self, calls: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the next packet of each of these calls (no call twice) is lost."""
        chance = np.where(self._bad[calls], self._from_bad, self._from_good)
        lost: NDArray[np.bool_] = self._random.random(len(calls)) < chance
        self._bad[calls] = lost
        return lost
