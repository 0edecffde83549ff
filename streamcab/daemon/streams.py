"""The streams that are being answered, as columns over slots, and the progress of each.

Values that the daemon needs for hundreds of streams at once (pace, due time, progress) are columns, so that no loop is
needed. Knows nothing of threads, sockets or of how answers are computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.clock import MACHINE, Clock
from streamcab.inference.answer import Standings
from streamcab.inference.slots import Slots, SlotTable
from streamcab.message import Prediction, State
from streamcab.nn.architecture import Architecture
from streamcab.source import GONE, Line, Source
from streamcab.text import LONGEST

Times = NDArray[np.float64]

FLOW_S = 1.0
"""Seconds without audio after which a source counts as costing nothing."""


def flowing(bank: Bank, rows: Slots, now: float) -> NDArray[np.bool_]:
    """Return which rows of a bank have brought audio of late, or are still to bring their first, at monotonic `now`."""
    found: NDArray[np.bool_] = (bank.stamp[rows] > now - FLOW_S) | (bank.written[rows] == 0)
    return found


@dataclass
class Live:
    """A stream that is being answered. `state`, `detail`, `flaws` and `told` are what the feed was told last."""

    line: Line
    source: Source
    name: str
    slot: int
    description: str = ""
    words: str = ""
    """The text from which `description` was made."""
    state: State = "warming"
    detail: str = ""
    flaws: list[str] = field(default_factory=list)
    told: Prediction | None = None


class StreamNames(Protocol):
    """The names of streams that are in use; those of this process end in `suffix`."""

    suffix: str

    def take(self, name: str) -> bool:
        """Take a name; return False if it is in use."""

    def free(self, name: str) -> None:
        """Give a name back."""


class OwnNames:
    """The names that this process uses."""

    suffix = ""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def take(self, name: str) -> bool:
        """See StreamNames."""
        free = name not in self._used
        self._used.add(name)
        return free

    def free(self, name: str) -> None:
        """See StreamNames."""
        self._used.discard(name)


class StreamTable(SlotTable):
    """The streams that are being answered, by slot.

    paced   (size,) bool     the source sets the pace: a microphone or a socket, not a file that can wait
    turn    (size,) float64  monotonic time of its next turn
    news    (size,) bool     paced, and intervals were answered since the last prediction
    due     (size,) float64  monotonic time of the next prediction
    told    (size,) float64  monotonic time of the last status
    flows   (size,) bool     paced, and its source has brought audio of late, when that was last looked at
    resting (size,) bool     paced, and left out for a while (duty.py)
    duty    (size,) float64  share of the time in which it is heard
    power   (size,) float64  level of the newest intervals
    """

    def __init__(
        self, architecture: Architecture, size: int, clock: Clock = MACHINE, names: StreamNames | None = None
    ) -> None:
        super().__init__(size)
        self._architecture, self._clock = architecture, clock
        self._live: dict[int, Live] = {}
        self._names = names or OwnNames()
        self._lost_before_ms = 0.0
        self.paced: NDArray[np.bool_] = self.column(np.bool_)
        self.turn: Times = self.column(np.float64, np.inf)
        self.news: NDArray[np.bool_] = self.column(np.bool_)
        self.due: Times = self.column(np.float64)
        self.told: Times = self.column(np.float64)
        self.flows: NDArray[np.bool_] = self.column(np.bool_)
        self.resting: NDArray[np.bool_] = self.column(np.bool_)
        self.duty: NDArray[np.float64] = self.column(np.float64, 1.0)
        self.power: NDArray[np.float64] = self.column(np.float64)

    def __iter__(self) -> Iterator[Live]:
        return iter(self._live.values())

    def __getitem__(self, slot: int) -> Live:
        return self._live[slot]

    def has(self, live: Live) -> bool:
        """Return whether this stream is still being answered."""
        return self._live.get(live.slot) is live

    def of(self, slots: Slots) -> list[Live]:
        """Return the streams in these slots."""
        return [self._live[slot] for slot in slots.tolist()]

    def join(
        self,
        line: Line,
        source: Source,
        now: float,
        name: str = "",
        description: str = "",
        turn: float | None = None,
    ) -> Live:
        """Add a stream: it gets a slot, a unique name, and its first turn, `now` unless given.

        ValueError if all slots are taken.
        """
        slot = self.attach(line.bank, line.row)
        live = Live(line, source, self._name(name or line.name), slot, description)
        self._live[slot] = live
        self.paced[slot] = self.flows[slot] = source.live
        # A stream that is not paced has a turn whenever there is time.
        self.turn[slot] = (now if turn is None else turn) if source.live else 0.0
        self.news[slot], self.due[slot], self.told[slot] = source.live, now, now
        return live

    def leave(self, live: Live) -> None:
        """Remove a stream; its lost audio stays counted."""
        self._lost_before_ms += float(self.lost_ms(np.array([live.slot]))[0])
        del self._live[live.slot]
        self._names.free(live.name)
        self.detach(live.slot)

    def look(self, now: float) -> None:
        """Note which sources have brought audio of late."""
        for which, bank, rows in self.by_bank(self.slots):
            some = self.slots[which]
            self.flows[some] = self.paced[some] & flowing(bank, rows, now)

    def over(self, slots: Slots) -> NDArray[np.bool_]:
        """Return which of these streams bring no more audio, (B,)."""
        found = np.zeros(len(slots), np.bool_)
        for which, bank, rows in self.by_bank(slots):
            found[which] = bank.ended[rows]
        return found

    def _name(self, wanted: str) -> str:
        """Return this name, with a number appended if it is taken."""
        suffix, n = self._names.suffix, 1
        room = LONGEST - 8 - len(suffix)
        name = wanted[:room] + suffix if suffix else wanted
        while not self._names.take(name):
            n += 1
            name = f"{wanted[:room]}-{n}{suffix}"
        return name

    def lost_ms(self, slots: Slots) -> NDArray[np.float64]:
        """Return the audio of each stream that was captured or announced and never classified, in ms."""
        lost = np.zeros(len(slots))
        for which, bank, rows in self.by_bank(slots):
            lost[which] = (self.dropped[slots[which]] + bank.skipped[rows]) / bank.rate * 1000
        return lost

    @property
    def all_lost_ms(self) -> float:
        """Return the same over all streams since the start."""
        return self._lost_before_ms + float(self.lost_ms(self.slots).sum())

    def standings(
        self,
        slots: Slots,
        now: float,
        intervals: NDArray[np.int64] | None = None,
        power: NDArray[np.float64] | None = None,
    ) -> Standings:
        """Return the progress of some streams at monotonic time `now`.

        intervals, power (B,)  progress in intervals, and level, of an answer from before the end of a pass
        """
        arch, lives, n = self._architecture, self.of(slots), len(slots)
        heard = self.stepped[slots] if intervals is None else intervals
        ended = self.finished[slots] & (intervals is None)
        written, sample, rate, overflows = np.zeros((4, n), np.int64)
        captured = np.full(n, now)
        ahead = (heard > 0) & ~ended
        for which, bank, rows in self.by_bank(slots):
            have = bank.written[rows]
            used = heard[which] * arch.interval * bank.rate // arch.pooled_rate
            ahead[which] &= used <= have
            used = np.minimum(used, have)
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
            power=self.power[slots] if power is None else power,
            # An answer is as old as its newest interval, which waits for what the net hears ahead of it.
            lag_ms=(np.maximum(now - captured, 0.0) + ahead * arch.delay * arch.interval_s) * 1000,
            lost_ms=self.lost_ms(slots),
            overflows=overflows,
            ended=ended,
            duty=self.duty[slots],
            lost=np.array([live.line.state in GONE for live in lives], np.bool_),
        )
