"""What a batch of datagrams does to the calls: birth, samples, loss, death. No sockets, no clock, no thread.

Positions count from the first sample that came while the call was on probation. What the reader may have
(playout.py) ends `lookback` before the newest sample, or at the newest once the call has been silent for
that long.

A call whose timestamps jump out of proportion, twice in a row to the same place, has been given a new
clock (a transfer, a media server's restart; compare RFC 3550 appendix A.1). The same SSRC from the same
port means the same source, so the call goes on under its name with a hole as long as wall time says. A new
SSRC is another call, and so is a payload type of another sampling rate: its samples cannot stand in the
same ring.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.config.tree import Rtp
from streamcab.rtp.allow import AllowList
from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.batch import Batch, unpack_address
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.loss import Sequences
from streamcab.rtp.packet import Fate, Headers, parse
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.playout import Playout
from streamcab.rtp.rtcp import Bye, Name, reports
from streamcab.rtp.table import State, Table, key_words
from streamcab.rtp.timeline import STRAYS, Timeline

PROBATION = 5
"""Valid packets that make a call; RFC 3550 asks for 2, garbage for more."""
PROBATION_S = 2.0
SUPERSEDED_S = 2.0
"""Silence that ends a call whose source port has begun another one."""
REMEMBERED = 10_000
"""Refused calls, or a batch more, until somebody has been told of them."""
REPORTS = 64
"""RTCP packets that are looked at per batch."""

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Born:
    """A call has left probation."""

    slot: int
    generation: int
    bank: ScatterBank
    host: str
    port: int
    ssrc: int
    local: int
    """Index of the socket."""
    kind: int
    """Payload type of its newest packet."""


@dataclass(frozen=True)
class Died:
    """A call is over; its samples stay until the slot is released."""

    slot: int
    generation: int
    reason: str


Event = Born | Died | Name


class Intake:
    """Up to `slots` calls. Everything is called from one thread; what happens is told in `events`.

    lookback_s  how late a packet may be
    idle_s      silence that ends a call
    ring_s      seconds of audio kept per call
    rtcp_from   sockets numbered so and on carry RTCP only

    refused  calls for which there was no slot; who tells of them clears it
    """

    def __init__(
        self,
        types: PayloadTypes,
        slots: int,
        *,
        lookback_s: float = Rtp().lookback_ms / 1000,
        idle_s: float = Rtp().idle,
        ring_s: float = 4.0,
        channel: int | None = None,
        allow: AllowList | None = None,
        decoders: Decoders | None = None,
        rtcp_from: int = 2**15,
    ) -> None:
        self.types = types
        self.table = Table(slots)
        self.sequences = Sequences(slots)
        self.timeline = Timeline(slots)
        self.events: deque[Event] = deque()
        self.fates = np.zeros(len(Fate), np.int64)
        self.received = 0
        self.evicted = 0
        self.refused: set[tuple[int, int]] = set()
        self.playout = Playout(
            types,
            slots,
            self.sequences,
            lookback_s=lookback_s,
            ring_s=ring_s,
            channel=channel,
            decoders=decoders,
        )
        self._lookback_s, self._idle_s = lookback_s, idle_s
        self._allow, self._rtcp_from = allow, rtcp_from
        self._first = np.zeros(slots, np.int64)  # earliest position while on probation
        self._begun = np.zeros(slots, np.float64)
        self._kind = np.zeros(slots, np.uint8)
        self._bye = np.full(slots, np.inf)
        self._next_look = 0.0
        self._step = np.array([form.step for form in types.forms], np.int64)

    def retune(self, allow: AllowList | None, idle_s: float) -> None:
        """Other senders and another patience from the next batch on; from any thread."""
        self._allow, self._idle_s = allow, idle_s

    def feed(self, batch: Batch, now: float) -> None:
        """Take in n datagrams that arrived by monotonic time `now`, in s."""
        headers = parse(batch.data, batch.length, batch.truncated)
        fate = headers.fate
        if batch.port.max() >= self._rtcp_from:
            fate[(batch.port >= self._rtcp_from) & (fate < Fate.MALFORMED)] = Fate.MALFORMED
        if self._allow is not None:
            fate[~self._allow.match(batch.name)] = Fate.NOT_ALLOWED
        if fate.any():
            reports = np.flatnonzero(fate == Fate.RTCP)[:REPORTS]
            if len(reports):
                self._reports(batch, reports, now)
            audio = fate == Fate.ACCEPTED
            fate[audio] = self.types.fate[headers.kind[audio]]
        else:
            fate[:] = self.types.fate[headers.kind]
        samples = self.types.samples(headers, batch.data)
        if samples.min() <= 0:
            fate[(fate == Fate.ACCEPTED) & (samples <= 0)] = Fate.MALFORMED
        slot = self._match(batch, headers, now)
        rows = np.arange(len(fate))
        if fate.any():
            samples[fate != Fate.ACCEPTED] = 0
            rows = np.flatnonzero((slot >= 0) & (fate <= Fate.EMPTY))
            slot, samples = slot[rows], samples[rows]
        if len(rows):
            self._calls(batch, headers, rows, slot, samples, now)
        self.fates += np.bincount(fate, minlength=len(Fate))
        self.received += len(fate)

    def _match(self, batch: Batch, headers: Headers, now: float) -> Column:
        """The slot of each datagram (n,), -1 for none; unknown sources of audio are let in."""
        fate, form = headers.fate, self.types.form[headers.kind]
        words = key_words(batch.name, headers.ssrc, batch.port, form)
        slot = self.table.match(words, batch.wide)
        if slot.min() >= 0 and not fate.any():
            return slot
        audio = fate == Fate.ACCEPTED
        unknown = np.flatnonzero(audio & (slot < 0))
        if len(unknown):
            self._admit(batch, headers, unknown, now)
            slot = self.table.match(words, batch.wide)
            full = audio & (slot < 0)
            fate[full] = Fate.REFUSED_FULL
            if len(self.refused) < REMEMBERED:
                # By port, SSRC and (IPv4) address.
                self.refused.update(zip(words[0][full].tolist(), words[4][full].tolist(), strict=True))
        other = np.flatnonzero((fate > Fate.ACCEPTED) & (fate <= Fate.EMPTY))
        if len(other):
            # Events, comfort noise and the like have no format, but are numbered with their call's audio.
            slot[other] = -1
            source = batch.name[other], headers.ssrc[other], batch.port[other]
            for index in range(len(self.types.forms)):
                same = key_words(*source, np.full(len(other), index))
                slot[other] = np.maximum(slot[other], self.table.match(same, batch.wide))
        return slot

    def _admit(self, batch: Batch, headers: Headers, rows: NDArray[np.intp], now: float) -> None:
        """Slots for the unknown sources of these rows, as far as there are any."""
        form = self.types.form[headers.kind[rows]]
        words = key_words(batch.name[rows], headers.ssrc[rows], batch.port[rows], form)
        before = self.table.state.copy()
        taken = self.table.admit(words, batch.wide, form, now)
        self.evicted += int(np.count_nonzero(before[taken] == State.PROBATION))
        slot = self.table.match(words, batch.wide)
        slot, rows, form = slot[slot >= 0], rows[slot >= 0], form[slot >= 0]
        look, rate = self.playout.look[form], self.playout.rate[form]
        self.timeline.begin(slot, headers.time[rows], look, rate, self._step[form])
        self.sequences.begin(slot, headers.sequence[rows], look)
        self.playout.begin(slot, form, now)
        self._first[slot] = np.iinfo(np.int64).max
        self._begun[slot] = now
        self._bye[slot] = np.inf

    def _calls(
        self,
        batch: Batch,
        headers: Headers,
        rows: NDArray[np.intp],
        slot: Column,
        samples: Column,
        now: float,
    ) -> None:
        """Datagrams (m,) of calls, samples 0 for what is no audio: place them, count them, move on."""
        fate, time, sequence = headers.fate, headers.time[rows], headers.sequence[rows]
        audio = samples > 0
        playout = self.playout
        rate = playout.rate[self.table.form[slot]]
        # After we were suspended, what has waited in the socket comes all at once: older than the clock says.
        behind = np.maximum(now - self._begun[slot] - playout.newest[slot] / rate, 0.0)
        position, stray = self.timeline.locate(slot, time, now - self.table.last[slot], behind)
        good = ~(stray & audio)
        if not good.all():
            for k in np.flatnonzero(~good)[:STRAYS].tolist():
                found = self._stray(int(slot[k]), int(time[k]), int(sequence[k]), now)
                if found is not None:
                    position[k], good[k] = found, True
            fate[rows[~good]] = Fate.JUMPED
        if self.timeline.strays:
            self.timeline.settle(slot[audio & ~stray])
        repeated = self.sequences.repeated(slot, sequence)
        late = position < playout.floor[slot]
        good &= ~(repeated | (late & audio))
        if not good.all():
            heard = audio & (fate[rows] == Fate.ACCEPTED)
            fate[rows[heard & repeated]] = Fate.DUPLICATE
            fate[rows[heard & late & ~repeated]] = Fate.LATE
            rows, slot, samples, sequence = rows[good], slot[good], samples[good], sequence[good]
            position, time, audio = position[good], time[good], audio[good]
        self.table.last[slot] = now
        self.sequences.note(slot, sequence, position, samples)
        if not audio.all():
            rows, slot, samples = rows[audio], slot[audio], samples[audio]
            position, time = position[audio], time[audio]
        if not len(rows):
            return

        playout.take(slot, position, samples, now)
        np.minimum.at(self._first, slot, position)
        np.add.at(self.table.packets, slot, 1)
        self.timeline.move(slot, time, position)
        kind = self._kind[slot] = headers.kind[rows]
        full = playout.scatter(kind, batch.data, rows, headers.start, headers.size, slot, position, samples)
        if full:
            fate[full] = Fate.OVERRUN
        born = (self.table.state[slot] == State.PROBATION) & (self.table.packets[slot] >= PROBATION)
        if born.any():
            for one in np.unique(slot[born]).tolist():
                self._announce(one)
        self._advance(slot, playout.newest[slot] - playout.look[self.table.form[slot]])

    def _stray(self, slot: int, time: int, sequence: int, now: float) -> int | None:
        """The position of a packet out of proportion, or None while nothing confirms it."""
        silent = now - float(self.table.last[slot])
        found, moved = self.timeline.restart(slot, time, sequence, int(self.playout.newest[slot]), silent)
        if moved and found is not None:
            self.sequences.renumber(slot, sequence, found)
        return found

    def _announce(self, slot: int) -> None:
        """Probation is over: the earliest sample so far becomes sample 0."""
        bank, first = self.playout.rebase(slot, int(self.table.form[slot]), int(self._first[slot]))
        self.timeline.position[slot] -= first
        self.sequences.shift(slot, first)
        self.table.state[slot] = State.LIVE
        host, port = unpack_address(self.table.name(slot))
        born = Born(
            slot=slot,
            generation=int(self.playout.generation[slot]),
            bank=bank,
            host=host,
            port=port,
            ssrc=int(self.table.ssrc[slot]),
            local=self.table.port(slot),
            kind=int(self._kind[slot]),
        )
        self.events.append(born)

    def _advance(self, slot: Column, target: Column) -> None:
        """Let the reader of those that are live have what lies before target (m,)."""
        live = self.table.state[slot] == State.LIVE
        if not live.all():
            slot, target = slot[live], target[live]
        if len(slot):
            self.playout.advance(slot, self.table.form[slot], target)

    def sweep(self, now: float) -> None:
        """What happens because nothing arrived: call it every tick, after the sockets have been emptied."""
        table = self.table
        if not table.state.any():
            return
        live, silent = table.state == State.LIVE, now - table.last
        newest = self.playout.newest
        quiet = np.flatnonzero(live & (newest > self.playout.floor) & (silent >= self._lookback_s))
        if len(quiet):
            self._advance(quiet, newest[quiet])
        for slot in np.flatnonzero(live & (now - self._bye >= self._lookback_s)).tolist():
            self.end(slot, "the sender said goodbye")
        for slot in np.flatnonzero((table.state == State.LIVE) & (silent >= self._idle_s)).tolist():
            self.end(slot, f"no packet for {self._idle_s:g} s")
        unproven = (table.state == State.PROBATION) & (silent >= PROBATION_S)
        if unproven.any():
            table.leave(np.flatnonzero(unproven), State.FREE)
        if now >= self._next_look:
            self._next_look = now + SUPERSEDED_S / 4
            self._supersede(now)

    def _supersede(self, now: float) -> None:
        """End silent calls whose source address and port have begun another call since."""
        table = self.table
        live = table.state == State.LIVE
        silent = np.flatnonzero(live & (now - table.last >= SUPERSEDED_S))
        young = np.flatnonzero(live & (self._begun > now - self._idle_s - 1.0)) if len(silent) else silent
        heirs = {(table.name(s), table.port(s)): s for s in young[np.argsort(self._begun[young])].tolist()}
        for slot in silent.tolist() if heirs else []:
            heir = heirs.get((table.name(slot), table.port(slot)), slot)
            if heir != slot and self._begun[heir] > table.last[slot] - 0.5:
                self.end(slot, f"its port went on with SSRC {int(table.ssrc[heir]):08x}")

    def end(self, slot: int, reason: str) -> None:
        """A live call is over: the reader may have all of it, and nothing more can come."""
        self.playout.finish(slot, int(self.table.form[slot]))
        self.table.leave(np.array([slot]), State.ENDED)
        self.events.append(Died(slot, int(self.playout.generation[slot]), reason))

    def end_all(self, reason: str) -> None:
        """Every live call is over: the source closes."""
        for slot in np.flatnonzero(self.table.state == State.LIVE).tolist():
            self.end(slot, reason)

    def release(self, slot: int, generation: int) -> None:
        """The reader is done with an ended call."""
        if self.table.state[slot] == State.ENDED and self.playout.generation[slot] == generation:
            self.table.release(slot)

    def _reports(self, batch: Batch, rows: NDArray[np.intp], now: float) -> None:
        for row in rows.tolist():
            host, port = unpack_address(batch.name[row].tobytes())
            for report in reports(batch.data[row, : int(batch.length[row])].tobytes(), host):
                if isinstance(report, Bye):
                    self._goodbye(report, port, now)
                else:
                    self.events.append(report)

    def _goodbye(self, bye: Bye, port: int, now: float) -> None:
        """RTCP leaves by another port than the audio. The same or the next one is sure; any other will do
        for the only call with this SSRC from this address.
        """
        live = (self.table.state == State.LIVE) & (self.table.ssrc == np.uint32(bye.ssrc))
        sources = {slot: unpack_address(self.table.name(slot)) for slot in np.flatnonzero(live).tolist()}
        here = [slot for slot, (host, _) in sources.items() if host == bye.host]
        sure = [slot for slot in here if sources[slot][1] in (port, port - 1)]
        for slot in sure or (here if len(here) == 1 else []):
            self._bye[slot] = min(self._bye[slot], now)

    def counters(self) -> dict[str, int]:
        """Datagrams by fate; packets known to be lost; calls with a new clock; newcomers that made room."""
        fates = self.fates.copy()
        # Accepted when they came, and dropped at the decoders' door.
        fates[Fate.OVERRUN] += self.playout.overrun
        fates[Fate.ACCEPTED] -= self.playout.overrun
        return {
            "received": self.received,
            **{fate.name.lower(): int(fates[fate]) for fate in Fate},
            "lost_packets": self.playout.lost_packets,
            "restarts": self.timeline.restarts,
            "evicted": self.evicted,
        }
