"""The streams that are being answered, as columns over slots; and where each of them stands.

What the daemon asks of hundreds of streams at a time (who is paced, what is due, how far it has come) is a
column, so that it costs no loop. Knows nothing of threads, sockets or of how answers come about.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.clock import MACHINE, Clock
from streamcab.inference.answer import Standings
from streamcab.inference.engine import Engine
from streamcab.message import State
from streamcab.source import GONE, Line, Source

Slots = NDArray[np.intp]


@dataclass
class Live:
    """A stream that is being answered. `state`, `detail` and `flaws` are those that the feed was told last."""

    line: Line
    source: Source
    name: str
    slot: int
    description: str = ""
    state: State = "warming"
    detail: str = ""
    flaws: list[str] = field(default_factory=list)


class StreamTable:
    """Up to as many streams as the engine has slots.

    paced   (slots,) bool     the world sets the pace: a microphone or a socket, not a file that can wait
    news    (slots,) bool     intervals were answered since the last prediction
    due     (slots,) float64  monotonic time of the next prediction
    told    (slots,) float64  monotonic time of the last status
    power   (slots,) float64  level of the newest intervals
    """

    def __init__(self, engine: Engine, clock: Clock = MACHINE) -> None:
        slots = engine.slots
        self._clock = clock
        self._engine = engine
        self._live: dict[int, Live] = {}
        self.paced = np.zeros(slots, np.bool_)
        self.news = np.zeros(slots, np.bool_)
        self.due = np.zeros(slots)
        self.told = np.zeros(slots)
        self.power = np.zeros(slots)
        self._banks: list[Bank] = []
        self._bank = np.zeros(slots, np.intp)
        self._row = np.zeros(slots, np.intp)
        self._lost_before_ms = 0.0

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Live]:
        return iter(self._live.values())

    def __getitem__(self, slot: int) -> Live:
        return self._live[slot]

    def has(self, live: Live) -> bool:
        """Whether this stream is being answered still."""
        return self._live.get(live.slot) is live

    def of(self, slots: Slots) -> list[Live]:
        """The streams in these slots."""
        return [self._live[slot] for slot in slots.tolist()]

    def rows(self, slots: Slots) -> Slots:
        """Which rows of their banks the streams in these slots read."""
        return self._row[slots]

    def slots(self) -> Slots:
        """Of all streams."""
        return np.array(sorted(self._live), np.intp)

    def join(self, live: Live, now: float) -> None:
        """A stream begins."""
        slot, line = live.slot, live.line
        self._live[slot] = live
        self.paced[slot] = live.source.live
        self.news[slot], self.due[slot], self.told[slot], self.power[slot] = True, now, now, 0.0
        known = next((i for i, bank in enumerate(self._banks) if bank is line.bank), None)
        if known is None:
            known = len(self._banks)
            self._banks.append(line.bank)
        self._bank[slot], self._row[slot] = known, line.row

    def leave(self, live: Live) -> None:
        """A stream is over; what it lost stays counted."""
        self._lost_before_ms += float(self.lost_ms(np.array([live.slot]))[0])
        del self._live[live.slot]
        self.paced[live.slot] = False

    def lost_ms(self, slots: Slots) -> NDArray[np.float64]:
        """Audio of each stream that was captured or announced, and never classified."""
        lost = np.zeros(len(slots))
        for which, bank, rows in self.by_bank(slots):
            lost[which] = (self._engine.dropped[slots[which]] + bank.skipped[rows]) / bank.rate * 1000
        return lost

    @property
    def all_lost_ms(self) -> float:
        """The same of all streams since the start."""
        return self._lost_before_ms + float(self.lost_ms(self.slots()).sum())

    def standings(self, slots: Slots, now: float, intervals: int | None = None) -> Standings:
        """Where some streams stand at monotonic time `now`; `intervals`: how far, if not as the engine is."""
        engine, n = self._engine, len(slots)
        arch, lives = engine.architecture, self.of(slots)
        heard = engine.stepped[slots] if intervals is None else np.full(n, intervals)
        ended = engine.finished[slots] & (intervals is None)
        written, sample, rate, overflows = np.zeros((4, n), np.int64)
        captured = np.full(n, now)
        for which, bank, rows in self.by_bank(slots):
            have = bank.written[rows]
            used = np.minimum(heard[which] * arch.interval * bank.rate // arch.pooled_rate, have)
            used = np.where(ended[which], have, used)
            begun = have > 0
            captured[which[begun]] = (bank.stamp[rows] - (have - used) / bank.rate)[begun]
            written[which], sample[which], rate[which] = have, used, bank.rate
            overflows[which] = bank.overflows[rows]
        return Standings(
            stream=[live.name for live in lives],
            time=captured + (self._clock.time() - now),
            written=written,
            sample=sample,
            rate=rate,
            power=self.power[slots],
            lag_ms=np.maximum(now - captured, 0.0) * 1000,
            lost_ms=self.lost_ms(slots),
            overflows=overflows,
            ended=ended,
            lost=np.array([live.line.state in GONE for live in lives], np.bool_),
        )

    def by_bank(self, slots: Slots) -> Iterator[tuple[Slots, Bank, Slots]]:
        """Bank by bank: which of `slots` it has, the bank, their rows."""
        banks = self._bank[slots]
        for b in np.unique(banks).tolist():
            which = np.flatnonzero(banks == b)
            yield which, self._banks[b], self._row[slots[which]]
