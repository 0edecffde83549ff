"""The lifecycle of calls: they begin on probation, are announced, change their codec or SSRC, and end.

Knows nothing of datagrams: `intake.py` reports what has arrived.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.batch import unpack_address
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.endings import Endings
from streamcab.rtp.events import CallEnded, CallStarted, CodecChanged, Event, FlawFound, SourceChanged
from streamcab.rtp.inspection import LOOK_S, Inspection
from streamcab.rtp.jitter_buffer import JitterBuffer
from streamcab.rtp.leaps import Kept, Leaps
from streamcab.rtp.loss import Sequences
from streamcab.rtp.packet import Fate
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.screening import Caller, caller
from streamcab.rtp.table import State, Table
from streamcab.rtp.timeline import Timeline

STOPPED_S = 0.03
"""Silence after which a call may be continued by another one of its address and port."""
ANOTHER_S = 2.0
"""Silence after which a leap of both number and timestamp means another call."""
REMEMBERED = 10_000
"""Limit of the callers kept because they were refused or because their packets do not fit their type."""

Column = NDArray[np.int64]


class Lifecycle:
    """Up to `slots` calls and the state of each.

    Attributes:
        events: Events of the calls, for the reader of this queue.
        tell: Called before a ring ends, so that its reader can know the reason from `events`.
        fates: Datagrams by fate.
        first: Earliest position of a call on probation.
        kind: Payload type of a call's newest packet.
        converted: Whether a call changed its rate and is resampled.
        misfits: Callers whose packets do not fit the format that their type suggests.
        leaps: Packets whose number and timestamp leapt, until others follow them.
    """

    def __init__(
        self,
        types: PayloadTypes,
        slots: int,
        *,
        lookback_s: float,
        idle_s: float,
        ring_s: float,
        channel: int | None,
        decoders: Decoders | None,
        same_call: bool,
        each: bool = False,
    ) -> None:
        self.table = Table(slots)
        self.sequences = Sequences(slots)
        self.timeline = Timeline(slots, self.sequences)
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
        self.events: deque[Event] = deque()
        self.tell: Callable[[], object] = lambda: None
        self.fates = np.zeros(len(Fate), np.int64)
        self.succeeded = 0
        self.idle_s = idle_s
        self.first = np.zeros(slots, np.int64)
        self.kind, self._told = np.zeros((2, slots), np.uint8)
        self.converted = np.zeros(slots, np.bool_)
        self.misfits: set[Caller] = set()
        self.endings, self.leaps = Endings(self.table), Leaps()
        self._types, self._inspection = types, Inspection(slots)
        self._lookback_s, self._same_call = lookback_s, same_call
        self._begun = np.zeros(slots, np.float64)
        self._early: dict[int, str] = {}  # flaws of clocks that were found during probation
        self._next_look = 0.0

    def begin(
        self,
        slot: Column,
        sequence: NDArray[np.uint16],
        time: NDArray[np.uint32],
        clock: Column,
        now: float,
        channel: Column | None = None,
    ) -> None:
        """Start the probation of calls (m,) with the number and timestamp of their first packets."""
        form, buffer = self.table.form[slot], self.jitter_buffer
        self.timeline.begin(slot, sequence, time, buffer.look[form], buffer.rate[form], clock, now)
        self.sequences.begin(slot)
        buffer.begin(slot, form, now, channel)
        self.endings.begin(slot)
        self._inspection.begin(slot)
        self.give_up(set(slot.tolist()))
        for one in self._early.keys() & set(slot.tolist()):
            del self._early[one]
        self.first[slot] = np.iinfo(np.int64).max
        self._begun[slot] = now
        self.converted[slot] = False

    def resume(self, slot: int, first: Kept) -> bool:
        """Continue a call at a packet that leapt. False: the packet begins another call, and this one is over."""
        silent = first.arrived - float(self.table.last[slot])
        if self.table.state[slot] == State.LIVE and (silent >= ANOTHER_S or self.endings.said(slot)):
            return False
        self.timeline.restart(slot, first.sequence, first.time, first.clock, first.arrived)
        return True

    def give_up(self, slots: set[int]) -> None:
        """Give up the packets of these calls that leapt: others went on as before."""
        for slot, packets in self.leaps.settle(slots):
            self.give_up_packets(slot, packets)

    def give_up_packets(self, slot: int, packets: int) -> None:
        """Count packets that leapt and were strays, or of another sender."""
        if self.table.channel(slot) <= 1:  # a packet of several channels is one packet
            self.fates[Fate.JUMPED] += packets
        self._inspection.refused[slot] += packets

    def announce(self, slot: int) -> None:
        """End the probation of a call. Its earliest sample becomes sample 0."""
        steady = self.timeline.steady(slot) and slot not in self._early
        if self._types.guessed[self.kind[slot]] and not steady:
            self._misfit(slot)
            return
        heir = self._predecessor(slot) if self._same_call else None
        if heir is not None:
            self._succeed(heir, slot)
            return
        bank, first = self.jitter_buffer.rebase(slot, int(self.table.form[slot]), int(self.first[slot]))
        self.timeline.shift(slot, first)
        self.sequences.shift(slot, first)
        self.table.state[slot] = State.LIVE
        self._told[slot] = self.kind[slot]
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
                kind=int(self.kind[slot]),
                channel=self.table.channel(slot),
            )
        )
        if slot in self._early:
            self.events.append(FlawFound(slot, "clock", self._early.pop(slot)))

    def _misfit(self, slot: int) -> None:
        """Remove a call whose timestamps do not fit the format that its payload type suggests."""
        if len(self.misfits) < REMEMBERED:
            key = caller(self.table.name(slot), int(self.table.ssrc[slot]), int(self.kind[slot]))
            self.misfits.add(key)
        packets = int(self.table.packets[slot])
        self.fates[Fate.ACCEPTED] -= packets
        self.fates[Fate.UNKNOWN_TYPE] += packets
        self.table.leave(np.array([slot]), State.FREE)

    def _predecessor(self, slot: int) -> int | None:
        """Return the only live call of this address and port, if it stopped when this one began; else None."""
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
        """Continue a call with the one in slot `heir`, which has another SSRC; slot `heir` becomes free."""
        form, buffer = int(self.table.form[slot]), self.jitter_buffer
        pause = (self._begun[heir] - self.table.last[slot]) * float(buffer.rate[form])
        edge = round(self.timeline.edge(slot))
        start = edge + (round(pause) if pause > self._lookback_s * buffer.rate[form] else 0)
        if start > edge:
            buffer.silence(slot, form, edge, start)
        by = int(self.first[heir]) - start
        buffer.inherit(slot, heir, form, int(self.first[heir]), start)
        self.timeline.inherit(slot, heir, by)
        self.sequences.inherit(slot, heir)
        self.endings.begin(np.array([slot]))
        self.table.inherit(slot, heir)
        self.succeeded += 1
        self.events.append(SourceChanged(slot, int(self.table.ssrc[slot])))

    def news(self) -> None:
        """Pass on the silences and flaws that the timeline found."""
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

    def advance(self, slot: Column, target: Column) -> None:
        """Release the samples of live calls before target (m,) to the reader."""
        live = self.table.state[slot] == State.LIVE
        if not live.all():
            slot, target = slot[live], target[live]
        if len(slot):
            self.jitter_buffer.advance(slot, self.table.form[slot], target)

    def sweep(self, now: float) -> None:
        """Handle silence. Call it every tick, after the sockets have been emptied."""
        table = self.table
        if not table.state.any():
            return
        live, silent = table.state == State.LIVE, now - table.last
        newest = self.jitter_buffer.newest
        quiet = np.flatnonzero(live & (newest > self.jitter_buffer.floor) & (silent >= self._lookback_s))
        if len(quiet):
            self.advance(quiet, newest[quiet])
        for slot, reason in self.endings.due(now, self.idle_s):
            self.end(slot, reason)
        unproven = self.endings.unproven(now)
        if len(unproven):
            table.leave(unproven, State.FREE)
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            self._look(np.flatnonzero(table.state == State.LIVE), now)

    def _look(self, live: NDArray[np.intp], now: float) -> None:
        """Report changed codecs and flaws of packets, once a second."""
        for slot in live[self.kind[live] != self._told[live]].tolist():
            self._told[slot] = self.kind[slot]
            self.events.append(CodecChanged(slot, int(self.kind[slot])))
        found = self._inspection.collisions(live, self.table.packets, now)
        for index, form in enumerate(self._types.forms):
            if form.compact:
                same = live[(self.table.form[live] == index) & ~self.converted[live]]
                found += self._inspection.codes(
                    same, self.jitter_buffer.newest, self.jitter_buffer.bank(index)
                )
        self.events += [FlawFound(f.slot, f.name, f.words) for f in found]

    def leave(self, slot: int, reason: str) -> None:
        """End a call, whether it is live or on probation."""
        if self.table.state[slot] == State.LIVE:
            self.end(slot, reason)
        elif self.table.state[slot] == State.PROBATION:
            self.table.leave(np.array([slot]), State.FREE)

    def end(self, slot: int, reason: str) -> None:
        """End a live call. The reader gets all that has arrived."""
        self.give_up({slot})
        self.table.leave(np.array([slot]), State.ENDED)
        self.events.append(CallEnded(slot, int(self.jitter_buffer.generation[slot]), reason))
        self.tell()
        self.jitter_buffer.finish(slot, int(self.table.form[slot]))

    def end_all(self, reason: str) -> None:
        """End every live call, since the source closes."""
        for slot in np.flatnonzero(self.table.state == State.LIVE).tolist():
            self.end(slot, reason)

    def release(self, slot: int, generation: int) -> None:
        """Free the slot of an ended call that has been read."""
        if self.table.state[slot] == State.ENDED and self.jitter_buffer.generation[slot] == generation:
            self.table.release(slot)
