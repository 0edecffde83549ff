"""Positions of packets: converts numbers and timestamps of whole batches to positions in the rings.

Nearly every packet is the next one of its call, and begins where the previous one ended: these are placed here, a
batch at a time. The others go through a `Cursor`, one by one. Positions are float64, since the samples of a call that
has changed its codec need not coincide with samples of its ring. Columns over slots. Knows nothing of rings or
payloads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.cursor import EXPECTED_S, LEAK, STEADY, Cursor, Misfit, Packet, Verdict
from streamcab.rtp.loss import Sequences

Column = NDArray[np.int64]
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Arrivals:
    """Packets (m,) of calls, without repeats; samples as the ring counts them, 0 without audio.

    comfort (m,): whether it announces a pause; clock (m,): Hz of its timestamps
    """

    slot: Column
    sequence: NDArray[np.uint16]
    time: NDArray[np.uint32]
    samples: Samples
    clock: Column
    comfort: NDArray[np.bool_]


class Timeline:
    """The clocks of `slots` calls.

    restarts  number of restarts of numbers or a clock
    silences  (slot, from, to) of announced silences since the list was last emptied
    flaws     (slot, words) of clocks that are wrong, since the list was last emptied
    leapt     number and timestamp of the newest packet of each slot that waits for others to follow it
    """

    def __init__(self, slots: int, sequences: Sequences) -> None:
        self.restarts = 0
        self.silences: list[tuple[int, int, int]] = []
        self.flaws: list[tuple[int, str]] = []
        self.leapt: dict[int, tuple[int, int]] = {}
        self._sequences = sequences
        self._mark = np.zeros(slots, np.int64)  # scratch
        self._odd = np.zeros(slots, np.bool_)  # scratch
        self._number = np.zeros(slots, np.uint16)
        self._time = np.zeros(slots, np.uint32)
        self._position, self._span, self._largest = np.zeros((3, slots))
        self._rate, self._step, self._drift = np.zeros((3, slots))
        self._clock = np.zeros(slots, np.int64)
        self._count = np.zeros(slots, np.int64)
        self._at, self._begun = np.zeros((2, slots))
        self._announced = np.zeros(slots, np.bool_)
        self._wrong: dict[int, list[Misfit]] = {}

    def begin(
        self,
        slot: Column,
        sequence: NDArray[np.uint16],
        time: NDArray[np.uint32],
        edge: Column,
        rate: Samples,
        clock: Column,
        now: float,
    ) -> None:
        """Start calls with packets (m,) at positions edge (m,). If a slot occurs twice, the first packet counts."""
        self._number[slot[::-1]] = sequence[::-1] - np.uint16(1)
        self._time[slot[::-1]] = time[::-1]
        self._position[slot], self._rate[slot], self._clock[slot] = edge, rate, clock
        self._step[slot] = rate / clock
        for column in (self._span, self._largest, self._drift, self._count, self._announced):
            column[slot] = 0
        self._at[slot], self._begun[slot] = now, now - edge / rate
        for one in self._wrong.keys() & set(slot.tolist()):
            del self._wrong[one]

    def locate(self, packets: Arrivals, floor: Column, now: float) -> tuple[Samples, NDArray[np.uint8]]:
        """Return positions (m,) and verdicts (m,) of packets that arrived by `now`; floor (slots,): already read."""
        slot = packets.slot
        order = np.arange(len(slot))
        self._mark[slot] = order
        alone = bool((self._mark[slot] == order).all())
        place = self._one_each if alone else self._several
        position, easy = place(packets, now)
        verdict = np.zeros(len(slot), np.uint8)
        if not easy.all():
            hard = np.flatnonzero(~easy)
            self._walk(packets, hard, position, verdict, floor, now)
        return position, verdict

    def _one_each(self, packets: Arrivals, now: float) -> tuple[Samples, NDArray[np.bool_]]:
        """Return positions (m,) of packets, one per call, and which of them are simply the next ones; take these."""
        slot, samples = packets.slot, packets.samples
        off = (packets.time - self._time[slot]).view(np.int32) * self._step[slot]
        off -= self._span[slot]
        easy = packets.sequence - self._number[slot] == 1
        easy &= (samples > 0) & (packets.clock == self._clock[slot])
        drift = self._drift[slot] * LEAK + off
        if drift.any():
            easy &= np.abs(drift) <= EXPECTED_S * self._rate[slot]
            drift[np.abs(drift) < STEADY] = 0.0
        position: Samples = self._position[slot] + self._span[slot]
        if easy.all():
            self._take(slot, packets, slice(None), position, drift, now)
            self._count[slot] += 1
        else:
            some = np.flatnonzero(easy)
            self._take(slot[some], packets, some, position[some], drift[some], now)
            self._count[slot[some]] += 1
        return position, easy

    def _several(self, packets: Arrivals, now: float) -> tuple[Samples, NDArray[np.bool_]]:
        """Do the same for calls with several packets: all packets of a call must be the next ones."""
        order = np.argsort(packets.slot, kind="stable")
        slot, samples = packets.slot[order], packets.samples[order]
        number, time = packets.sequence[order], packets.time[order]
        head = np.r_[True, slot[1:] != slot[:-1]]
        before = np.maximum(np.arange(len(slot)) - 1, 0)
        span = np.where(head, self._span[slot], samples[before])
        off = (time - np.where(head, self._time[slot], time[before])).view(np.int32) * self._step[slot] - span
        drift = np.where(head, self._drift[slot] * LEAK + off, off)
        easy = number - np.where(head, self._number[slot], number[before]) == 1
        easy &= (samples > 0) & (packets.clock[order] == self._clock[slot])
        easy &= np.where(head, np.abs(drift) <= EXPECTED_S * self._rate[slot], drift == 0)
        self._odd[slot] = False
        self._odd[slot[~easy]] = True
        easy = ~self._odd[slot]
        first = np.flatnonzero(head)
        length = np.diff(np.r_[first, len(slot)])
        begin = np.cumsum(samples) - samples
        begin += np.repeat((self._position + self._span)[slot[first]] - begin[first], length)
        last = np.r_[head[1:], True] & easy
        drift = np.repeat(drift[first], length)
        drift[np.abs(drift) < STEADY] = 0.0
        some = np.flatnonzero(last)
        self._take(slot[some], packets, order[some], begin[some], drift[some], now)
        if easy.any():
            self._count[slot[some]] += np.repeat(length, length)[some]
            np.maximum.at(self._largest, slot[easy], samples[easy])
        position, which = np.empty(len(slot)), np.empty(len(slot), np.bool_)
        position[order], which[order] = begin, easy
        return position, which

    def _take(
        self,
        slot: Column,
        packets: Arrivals,
        which: NDArray[np.intp] | slice,
        position: Samples,
        drift: Samples,
        now: float,
    ) -> None:
        """Make these packets, one per call, the newest ones."""
        samples = packets.samples[which]
        self._number[slot], self._time[slot] = packets.sequence[which], packets.time[which]
        self._position[slot], self._span[slot], self._drift[slot] = position, samples, drift
        self._largest[slot] = np.maximum(self._largest[slot], samples)
        self._at[slot], self._announced[slot] = now, False

    def _walk(
        self,
        packets: Arrivals,
        rows: NDArray[np.intp],
        position: Samples,
        verdict: NDArray[np.uint8],
        floor: Column,
        now: float,
    ) -> None:
        """Place rows one by one, in order of arrival."""
        known = self._sequences.known(packets.slot[rows], packets.sequence[rows])
        cursors: dict[int, Cursor] = {}
        came: dict[int, set[int]] = {}
        for row, seen in zip(rows.tolist(), known.tolist(), strict=True):
            slot, number = int(packets.slot[row]), int(packets.sequence[row])
            cursor = cursors.get(slot)
            if cursor is None:
                cursor = cursors[slot] = self._cursor(slot, float(floor[slot]))
                came[slot] = set()
            packet = Packet(
                sequence=number,
                time=int(packets.time[row]),
                samples=float(packets.samples[row]),
                clock=int(packets.clock[row]),
                comfort=bool(packets.comfort[row]),
                known=seen or number in came[slot],
                now=now,
            )
            cursor.leapt = self.leapt.get(slot)
            found, place = cursor.place(packet)
            position[row], verdict[row] = place, found
            if found == Verdict.LEAP:
                self.leapt[slot] = packet.sequence, packet.time
            elif found == Verdict.GOOD:
                came[slot].add(packet.sequence)
                self._tell(slot, cursor, packet.samples, place)
        for slot, cursor in cursors.items():
            self._keep(slot, cursor)

    def _tell(self, slot: int, cursor: Cursor, samples: float, place: float) -> None:
        if cursor.lost[0]:
            self._sequences.gap(slot, cursor.lost[0], round(cursor.lost[1]), int(place))
        elif cursor.found:
            self._sequences.found(slot, round(samples))
        if cursor.silence is not None:
            self.silences.append((slot, int(cursor.silence[0]), int(cursor.silence[1])))
        if cursor.flaw:
            self.flaws.append((slot, cursor.flaw))
        self.restarts += cursor.stepped

    def _cursor(self, slot: int, floor: float) -> Cursor:
        return Cursor(
            number=int(self._number[slot]),
            time=int(self._time[slot]),
            position=float(self._position[slot]),
            span=float(self._span[slot]),
            largest=float(self._largest[slot]),
            rate=float(self._rate[slot]),
            clock=int(self._clock[slot]),
            step=float(self._step[slot]),
            drift=float(self._drift[slot]),
            count=int(self._count[slot]),
            at=float(self._at[slot]),
            begun=float(self._begun[slot]),
            announced=bool(self._announced[slot]),
            floor=floor,
            wrong=self._wrong.get(slot, []),
        )

    def _keep(self, slot: int, cursor: Cursor) -> None:
        self._number[slot], self._time[slot] = cursor.number, cursor.time
        self._position[slot], self._span[slot] = cursor.position, cursor.span
        self._largest[slot], self._clock[slot], self._step[slot] = cursor.largest, cursor.clock, cursor.step
        self._drift[slot], self._count[slot], self._at[slot] = cursor.drift, cursor.count, cursor.at
        self._announced[slot] = cursor.announced
        if cursor.wrong:
            self._wrong[slot] = cursor.wrong
        else:
            self._wrong.pop(slot, None)

    def restart(self, slot: int, sequence: int, time: int, clock: int, arrived: float) -> None:
        """Continue a call at the packet of this number and timestamp: nothing was lost, and a pause is announced."""
        cursor = self._cursor(slot, 0.0)
        pause, edge = cursor.pause(arrived), cursor.edge
        if pause:
            self.silences.append((slot, int(edge), int(edge + pause)))
        cursor.number, cursor.time = (sequence - 1) % 65536, time
        cursor.position, cursor.span, cursor.drift, cursor.count = edge + pause, 0.0, 0.0, 0
        cursor.clock, cursor.step, cursor.wrong = clock, cursor.rate / clock, []
        cursor.announced = False
        self._keep(slot, cursor)
        self.restarts += 1

    def shift(self, slot: int, by: int) -> None:
        """Renumber the positions of a call: `by` becomes 0."""
        self._position[slot] -= by
        self._begun[slot] += by / self._rate[slot]

    def edge(self, slot: int) -> float:
        """Return the position after the newest packet of a call."""
        return float(self._position[slot] + self._span[slot])

    def steady(self, slot: int) -> bool:
        """Return whether the timestamps of a call have counted its samples exactly so far."""
        return not self._drift[slot] and slot not in self._wrong

    def inherit(self, slot: int, other: int, by: int) -> None:
        """Continue a call with the packets of another slot, with positions counted from `by`."""
        cursor = self._cursor(other, 0.0)
        cursor.position -= by
        self._keep(slot, cursor)
