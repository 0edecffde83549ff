"""The life of calls: they leave probation, change, are looked at, and end.

Knows nothing of datagrams: `intake.py` says what has come.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.batch import unpack_address
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.endings import Endings
from streamcab.rtp.events import CallEnded, CallStarted, CodecChanged, Event, FlawFound, SourceChanged
from streamcab.rtp.inspection import LOOK_S, Inspection
from streamcab.rtp.jitter_buffer import JitterBuffer
from streamcab.rtp.leaps import Leaps
from streamcab.rtp.loss import Sequences
from streamcab.rtp.packet import Fate
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.table import State, Table
from streamcab.rtp.timeline import Timeline

STOPPED_S = 0.03
"""A call that has sent nothing for so long, while another one has, has made room for it."""
REMEMBERED = 10_000
"""Callers that were refused, or a batch more, until somebody has been told; or whose packets do not fit their type."""

Column = NDArray[np.int64]


class Lives:
    """Up to `slots` calls, and all that is known of them; `events` tells what happens to them."""

    def __init__(
        self,
        types: PayloadTypes,
        slots: int,
        buffer: tuple[float, float, int | None, Decoders | None],
        *,
        idle_s: float,
        same_call: bool,
        each: bool = False,
    ) -> None:
        """`buffer`: seconds of look-back and of a ring, channel and decoders, as `JitterBuffer` wants them."""
        lookback_s, ring_s, channel, decoders = buffer
        self.types = types
        self.table = Table(slots)
        self.sequences = Sequences(slots)
        self.timeline = Timeline(slots, self.sequences)
        self.events: deque[Event] = deque()
        self.fates = np.zeros(len(Fate), np.int64)
        self.received = self.evicted = self.succeeded = 0
        self.jitter_buffer = JitterBuffer(
            types,
            slots,
            self.sequences,
            lookback_s=lookback_s,
            ring_s=ring_s,
            channel=channel,
            decoders=decoders,
            each=each,
        )
        self._endings, self._inspection, self._leaps = Endings(self.table), Inspection(slots), Leaps()
        self._lookback_s, self._idle_s, self._same_call = lookback_s, idle_s, same_call
        self._first = np.zeros(slots, np.int64)  # earliest position while on probation
        self._begun = np.zeros(slots, np.float64)
        self._kind, self._told = np.zeros((2, slots), np.uint8)
        self._converted = np.zeros(slots, np.bool_)
        self._early: dict[int, str] = {}  # what was wrong with clocks before their calls left probation
        self._misfits: set[tuple[int, int, int]] = (
            set()
        )  # callers whose packets are not what their type suggests
        self._next_look = 0.0

    def _give_up(self, slots: set[int]) -> None:
        for slot, packets in self._leaps.settle(slots):
            self._give_up_packets(slot, packets)

    def _give_up_packets(self, slot: int, packets: int) -> None:
        """What has leapt was a stray, or of another talk."""
        if self.table.channel(slot) <= 1:  # a packet of several channels is one packet
            self.fates[Fate.JUMPED] += packets
            self.received += packets
        self._inspection.refused[slot] += packets

    def _announce(self, slot: int) -> None:
        """Probation is over: the earliest sample so far becomes sample 0."""
        steady = self.timeline.steady(slot) and slot not in self._early
        if self.types.guessed[self._kind[slot]] and not steady:
            self._misfit(slot)
            return
        heir = self._predecessor(slot) if self._same_call else None
        if heir is not None:
            self._succeed(heir, slot)
            return
        bank, first = self.jitter_buffer.rebase(slot, int(self.table.form[slot]), int(self._first[slot]))
        self.timeline.shift(slot, first)
        self.sequences.shift(slot, first)
        self.table.state[slot] = State.LIVE
        self._told[slot] = self._kind[slot]
        host, port = unpack_address(self.table.name(slot))
        self.events.append(
            CallStarted(
                slot=slot,
                generation=int(self.jitter_buffer.generation[slot]),
                bank=bank,
                host=host,
                port=port,
                ssrc=int(self.table.ssrc[slot]),
                local=self.table.port(slot),
                kind=int(self._kind[slot]),
                channel=self.table.channel(slot),
            )
        )
        if slot in self._early:
            self.events.append(FlawFound(slot, "clock", self._early.pop(slot)))

    def _misfit(self, slot: int) -> None:
        """Its payload type suggests a format, and its timestamps do not fit it."""
        if len(self._misfits) < REMEMBERED:
            caller = hash(self.table.name(slot)), int(self.table.ssrc[slot]), int(self._kind[slot])
            self._misfits.add(caller)
        packets = int(self.table.packets[slot])
        self.fates[Fate.ACCEPTED] -= packets
        self.fates[Fate.UNKNOWN_TYPE] += packets
        self.table.leave(np.array([slot]), State.FREE)

    def _predecessor(self, slot: int) -> int | None:
        """The only live call of the same address and port that has stopped since this one began; None without one."""
        table = self.table
        live = (table.state == State.LIVE) & (table.form == table.form[slot])
        key = table.name(slot), table.port(slot), table.channel(slot)
        same = [
            s
            for s in np.flatnonzero(live).tolist()
            if (table.name(s), table.port(s), table.channel(s)) == key
        ]
        latest = min(self._begun[slot] + self._lookback_s, table.last[slot] - STOPPED_S)
        stopped = [s for s in same if table.last[s] <= latest]
        return stopped[0] if len(stopped) == len(same) == 1 else None

    def _succeed(self, slot: int, heir: int) -> None:
        """A call goes on with what has come under another SSRC, in the slot `heir`, which is free then."""
        form, buffer = int(self.table.form[slot]), self.jitter_buffer
        pause = (self._begun[heir] - self.table.last[slot]) * float(buffer.rate[form])
        edge = round(self.timeline.edge(slot))
        start = edge + (round(pause) if pause > self._lookback_s * buffer.rate[form] else 0)
        if start > edge:
            buffer.silence(slot, form, edge, start)
        by = int(self._first[heir]) - start
        buffer.inherit(slot, heir, form, int(self._first[heir]), start)
        self.timeline.inherit(slot, heir, by)
        self.sequences.inherit(slot, heir)
        self._endings.begin(np.array([slot]))
        self.table.inherit(slot, heir)
        self.succeeded += 1
        self.events.append(SourceChanged(slot, int(self.table.ssrc[slot])))

    def _news(self) -> None:
        """What the timeline has found out, told to who must know."""
        timeline, table = self.timeline, self.table
        for slot, start, end in timeline.silences:
            if table.state[slot] == State.LIVE:
                self.jitter_buffer.silence(slot, int(table.form[slot]), start, end)
        for slot, words in timeline.flaws:
            if table.state[slot] == State.LIVE:
                self.events.append(FlawFound(slot, "clock", words))
            else:
                self._early[slot] = words
        timeline.silences.clear()
        timeline.flaws.clear()

    def _advance(self, slot: Column, target: Column) -> None:
        """Let the reader of those that are live have what lies before target (m,)."""
        live = self.table.state[slot] == State.LIVE
        if not live.all():
            slot, target = slot[live], target[live]
        if len(slot):
            self.jitter_buffer.advance(slot, self.table.form[slot], target)

    def sweep(self, now: float) -> None:
        """What happens because nothing arrived: call it every tick, after the sockets have been emptied."""
        table = self.table
        if not table.state.any():
            return
        live, silent = table.state == State.LIVE, now - table.last
        newest = self.jitter_buffer.newest
        quiet = np.flatnonzero(live & (newest > self.jitter_buffer.floor) & (silent >= self._lookback_s))
        if len(quiet):
            self._advance(quiet, newest[quiet])
        for slot, reason in self._endings.due(now, self._idle_s):
            self.end(slot, reason)
        unproven = self._endings.unproven(now)
        if len(unproven):
            table.leave(unproven, State.FREE)
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            self._look(np.flatnonzero(table.state == State.LIVE), now)

    def _look(self, live: NDArray[np.intp], now: float) -> None:
        """Once a second: codecs that have changed, and what is wrong with packets."""
        for slot in live[self._kind[live] != self._told[live]].tolist():
            self._told[slot] = self._kind[slot]
            self.events.append(CodecChanged(slot, int(self._kind[slot])))
        found = self._inspection.collisions(live, self.table.packets, now)
        for index, form in enumerate(self.types.forms):
            if form.compact:
                same = live[(self.table.form[live] == index) & ~self._converted[live]]
                found += self._inspection.codes(
                    same, self.jitter_buffer.newest, self.jitter_buffer.bank(index)
                )
        self.events += [FlawFound(f.slot, f.name, f.words) for f in found]

    def _leave(self, slot: int, reason: str) -> None:
        if self.table.state[slot] == State.LIVE:
            self.end(slot, reason)
        elif self.table.state[slot] == State.PROBATION:
            self.table.leave(np.array([slot]), State.FREE)

    def end(self, slot: int, reason: str) -> None:
        """A live call is over: the reader may have all of it, and nothing more can come."""
        self._give_up({slot})
        self.jitter_buffer.finish(slot, int(self.table.form[slot]))
        self.table.leave(np.array([slot]), State.ENDED)
        self.events.append(CallEnded(slot, int(self.jitter_buffer.generation[slot]), reason))

    def end_all(self, reason: str) -> None:
        """Every live call is over: the source closes."""
        for slot in np.flatnonzero(self.table.state == State.LIVE).tolist():
            self.end(slot, reason)

    def release(self, slot: int, generation: int) -> None:
        """The reader is done with an ended call."""
        if self.table.state[slot] == State.ENDED and self.jitter_buffer.generation[slot] == generation:
            self.table.release(slot)
