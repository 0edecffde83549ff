"""Audio of many calls into rings: each message gets its place, and all that came in a tick is decoded at once.

A message's place follows from the protocol's own timestamps where it has them, else from the samples before it. What
the timestamps leave out is missing. Knows nothing of calls, names or sockets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamcab.media.events import Malformed
from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.codec import TABLES, decode_g711

RING_S = 4.0
BUNCH = 64
"""Rows of a ring bank, at rates that few calls have."""
NEAR, NEAR_S = 0.75, 0.012
"""A message is in its place if it is off by less than this share of itself, or this many seconds."""
FOLLOW = 1 / 64
"""How much of such an offset the clock follows: the platform's clock and its samples drift apart."""
LEAP_S = 30.0
"""Timestamps that are off by more carry no information: the clock was reset."""
HOLES = 64
"""Of a leg, that may still be filled by late messages."""
PIECES = 4
"""Parts of a ring that one message may fill, of which the newest are kept."""
QUIET = 64
"""Mean step between samples of an unknown byte order, below which they tell nothing."""

Column = NDArray[np.int64]


class Rings:
    """Rows for `rows` streams at a time, in banks by rate."""

    def __init__(self, rows: int, ring_s: float = RING_S) -> None:
        self._ring_s, self._most = ring_s, rows
        self.free = rows
        """Streams for which there is room."""
        self._banks: dict[tuple[int, bool], dict[ScatterBank, list[int]]] = {}

    def take(self, rate: int, compact: bool, many: int) -> tuple[ScatterBank, tuple[int, ...]] | None:
        """Take rows of one bank for streams that begin together; return None if there is no room for all of them."""
        if self.free < many:
            return None
        banks = self._banks.setdefault((rate, compact), {})
        bank = next((bank for bank, rows in banks.items() if len(rows) >= many), None)
        if bank is None:
            rows = max(self._most if compact else min(self._most, BUNCH), many)
            bank = ScatterBank(rate, rows, self._ring_s, compact, touch=False)
            banks[bank] = list(reversed(range(rows)))
        taken = tuple(banks[bank].pop() for _ in range(many))
        self.free -= many
        bank.take(np.array(taken))
        return bank, taken

    def give(self, bank: ScatterBank, row: int) -> None:
        """Give a row back: the stream is over, and nobody reads it any more."""
        self._banks[bank.rate, bank.compact][bank].append(row)
        self.free += 1


@dataclass(eq=False)
class Leg:
    """One payload after another, for one row or, if they are interleaved, for several rows of one bank."""

    codec: str
    rate: int
    channels: int
    lookback: int
    """Samples that a message may be late."""
    bank: ScatterBank | None = None
    rows: tuple[int, ...] = ()
    position: int = 0
    """One past the newest sample."""
    floor: int = 0
    """What lies before is the reader's."""
    late: int = 0
    """Messages that came too late, or twice."""
    first: float = 0.0
    last: float = 0.0
    """When the first and the newest message came, monotonic."""
    waits: bool = False
    """Whether nothing has come since another connection took the call over."""
    began: int = 0
    """The position when the first message came."""
    origin_ms: float | None = None
    """The protocol's time of sample 0."""
    holes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def compact(self) -> bool:
        """Whether its samples fit the smaller rings."""
        return self.codec in TABLES

    def place(self, n: int, at_ms: int | None) -> int | None:
        """Return the place of the next n samples; None if the reader has been there."""
        if at_ms is None:
            return self._append(n)
        if self.origin_ms is None:
            self.origin_ms = at_ms - self.position * 1000 / self.rate
        at = (at_ms - self.origin_ms) * self.rate / 1000
        off = at - self.position
        if abs(off) > LEAP_S * self.rate:
            self.origin_ms = at_ms - self.position * 1000 / self.rate
        elif abs(off) < max(NEAR * n, NEAR_S * self.rate):
            self.origin_ms += FOLLOW * off * 1000 / self.rate
        elif off > 0:
            self.miss(round(off))
        else:
            return self._fill(round(at), n)
        return self._append(n)

    def miss(self, n: int) -> None:
        """Add n missing samples."""
        self.holes.append((self.position, self.position + n))
        self.position += n
        if len(self.holes) > HOLES:
            self._count(self.holes.pop(0))

    def _append(self, n: int) -> int:
        at = self.position
        self.position += n
        return at

    def _fill(self, at: int, n: int) -> int | None:
        """Return the hole that a late message fills; None if it came twice."""
        kept = [(start, end) for start, end in self.holes if end <= at or at + n <= start]
        if at < self.floor or len(kept) == len(self.holes):
            self.late += 1
            return None
        for start, end in self.holes:
            if (start, end) not in kept:
                kept += [(a, b) for a, b in ((start, min(at, end)), (max(at + n, start), end)) if a < b]
        self.holes = sorted(kept)
        return at

    def settle(self, floor: int) -> None:
        """Give the reader all samples before `floor`; missing ones there are lost."""
        self.floor = max(self.floor, min(floor, self.position))
        while self.holes and self.holes[0][0] < self.floor:
            start, end = self.holes.pop(0)
            self._count((start, min(end, self.floor)))
            if end > self.floor:
                self.holes.insert(0, (self.floor, end))

    def _count(self, hole: tuple[int, int]) -> None:
        if self.bank is not None:
            self.bank.skipped[list(self.rows)] += hole[1] - hole[0]


@dataclass
class _Group:
    """Messages of one form and size."""

    legs: list[Leg] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)


class Writer:
    """Collects the samples that have come since the last flush."""

    def __init__(self) -> None:
        self._groups: dict[tuple[ScatterBank, str, int, int], _Group] = {}
        self._touched: dict[Leg, None] = {}

    def put(self, leg: Leg, payload: bytes, at_ms: int | None, now: float) -> None:
        """Take a payload. Malformed if it is no whole number of samples."""
        assert leg.bank is not None
        width = leg.channels * (1 if leg.codec in TABLES else 2)
        n, rest = divmod(len(payload), width)
        if rest:
            raise Malformed("half a sample")
        if not n:
            return
        at = leg.place(n, at_ms)
        leg.last, leg.waits = now, False
        if at is None:
            return
        if leg.codec == "L16":
            leg.codec = byte_order(payload) or leg.codec
        most = max(leg.bank.capacity // PIECES, 1)
        for start in range(0, n, most):
            part = payload if n <= most else payload[start * width : (start + most) * width]
            key = (leg.bank, leg.codec, leg.channels, len(part))
            group = self._groups.setdefault(key, _Group())
            group.legs.append(leg)
            group.positions.append(at + start)
            group.payloads.append(part)
        self._touched[leg] = None

    def touch(self, leg: Leg) -> None:
        """Let the reader go on, though nothing came."""
        self._touched[leg] = None

    def flush(self, now: float) -> None:
        """Decode and write it all, and let the readers have it."""
        touched = [leg for leg in self._touched if leg.bank is not None]
        groups, self._groups, self._touched = self._groups, {}, {}
        banks: dict[ScatterBank, list[Leg]] = {}
        for leg in touched:
            assert leg.bank is not None
            banks.setdefault(leg.bank, []).append(leg)
        for bank, legs in banks.items():
            rows, ends = _by_row(legs, [leg.position for leg in legs])
            bank.prepare(rows, ends)
        for (bank, codec, channels, _), group in groups.items():
            samples = decoded(codec, channels, group.payloads)
            _write(bank, group, samples)
        for bank, legs in banks.items():
            for leg in legs:
                leg.settle(leg.position - leg.lookback)
            rows, floors = _by_row(legs, [leg.floor for leg in legs])
            behind = np.concatenate([np.full(len(leg.rows), leg.position - leg.floor) for leg in legs])
            bank.stamp[rows] = now - behind / bank.rate
            bank.written[rows] = floors
            bank.arrived.set()

    def finish(self, leg: Leg, now: float) -> None:
        """Let the reader have all of a leg that is over. The caller ends the rings, once the reason is known."""
        leg.lookback = 0
        self.touch(leg)
        self.flush(now)


def _by_row(legs: Sequence[Leg], values: Sequence[int]) -> tuple[NDArray[np.intp], Column]:
    counts = [len(leg.rows) for leg in legs]
    rows = np.array([row for leg in legs for row in leg.rows], np.intp)
    return rows, np.repeat(np.array(values, np.int64), counts)


def _write(bank: ScatterBank, group: _Group, samples: NDArray[np.int16] | NDArray[np.float32]) -> None:
    positions = np.array(group.positions, np.int64)
    for channel in range(samples.shape[2]):
        rows = np.array([leg.rows[channel] for leg in group.legs], np.intp)
        fits = positions >= bank.claimed[rows] - bank.capacity
        part = np.ascontiguousarray(samples[:, :, channel])
        if not fits.all():
            rows, part = rows[fits], part[fits]
        bank.place(rows, positions[fits], part)


def decoded(codec: str, channels: int, payloads: Sequence[bytes]) -> NDArray[np.int16] | NDArray[np.float32]:
    """Decode payloads of one size, m of them, to (m, n, channels): int16 for G.711, else float32 in [-1, 1]."""
    octets = np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), -1)
    if codec in TABLES:
        whole = octets.shape[1] % 2 == 0
        codes = decode_g711(codec, octets) if whole else TABLES[codec][octets]
        return codes.reshape(len(payloads), -1, channels)
    samples = octets.view(">i2" if codec == "L16BE" else "<i2").astype(np.float32) * np.float32(2**-15)
    return samples.reshape(len(payloads), -1, channels)


def byte_order(payload: bytes) -> str:
    """Return the likelier order of 16-bit samples: speech changes less from one sample to the next.

    Empty while they are too quiet to tell; then each order would do.
    """
    octets = np.frombuffer(payload, np.uint8)
    little, big = (
        float(np.abs(np.diff(octets.view(order).astype(np.float32))).mean()) if len(payload) > 2 else 0.0
        for order in ("<i2", ">i2")
    )
    if max(little, big) < QUIET or not 4 * min(little, big) < max(little, big):
        return ""
    return "L16LE" if little < big else "L16BE"
