"""What a batch of datagrams does to the calls: birth, samples, loss, death. No sockets, no clock, no thread.

Positions count from the first sample that came while the call was on probation. What the reader may have
(`Bank.written`) ends `lookback` before the newest sample, or at the newest once the call has been silent for
that long; what has not come by then is missing for good, and stays marked.

A call whose timestamps jump out of proportion, twice in a row to the same place, has been given a new
clock (a transfer, a media server's restart; compare RFC 3550 appendix A.1). The same SSRC from the same
port means the same source, so the call goes on under its name with a hole as long as wall time says. A new
SSRC is another call, and so is a payload type of another sampling rate: its samples cannot stand in the
same ring.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.allow import AllowList
from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.batch import Batch, unpack_address
from streamcab.rtp.decoder import Decoders, Job
from streamcab.rtp.loss import Sequences
from streamcab.rtp.packet import Fate, Headers, parse
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.placing import place
from streamcab.rtp.reorder import Reorder
from streamcab.rtp.rtcp import Bye, Name, reports
from streamcab.rtp.table import State, Table, key_words
from streamcab.rtp.timeline import STRAYS, Timeline

PROBATION = 5
"""Valid packets that make a call; RFC 3550 asks for 2, garbage for more."""
PROBATION_S = 2.0
SUPERSEDED_S = 2.0
"""Silence that ends a call whose source port has begun another one."""
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

    newest  (slots,) int64  position after the newest sample
    floor   (slots,) int64  position up to which the reader may have it; what is older came late
    """

    def __init__(
        self,
        types: PayloadTypes,
        slots: int,
        *,
        lookback_s: float = 0.06,
        idle_s: float = 10.0,
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
        self.banks: list[ScatterBank | None] = [None] * len(types.forms)
        self.newest = np.zeros(slots, np.int64)
        self.floor = np.zeros(slots, np.int64)
        self.generation = np.zeros(slots, np.int64)
        self._lookback_s, self._idle_s, self._ring_s = lookback_s, idle_s, ring_s
        self._channel, self._allow, self._rtcp_from = channel, allow, rtcp_from
        self._decoders = decoders
        self._reorder = Reorder()
        self._first = np.zeros(slots, np.int64)  # earliest position while on probation
        self._begun = np.zeros(slots, np.float64)
        self._newest_at = np.zeros(slots, np.float64)  # when the sample before `newest` came
        self._kind = np.zeros(slots, np.uint8)
        self._bye = np.full(slots, np.inf)
        self._lost_packets = np.zeros(slots, np.int64)  # as far as they are final
        self._past_lost_packets = 0
        self._next_look = 0.0
        self._rate = np.array([form.rate for form in types.forms], np.float64)
        self._look = np.array([math.ceil(form.rate * lookback_s) for form in types.forms], np.int64)
        self._step = np.array([form.step for form in types.forms], np.int64)
        for index, form in enumerate(types.forms):
            if form.compact and form.rate == 8000:
                self._bank(index, touch=True)

    def _bank(self, index: int, touch: bool = False) -> ScatterBank:
        """The rings of a format: made when it is first heard, but for those that everybody uses."""
        bank = self.banks[index]
        if bank is None:
            form = self.types.forms[index]
            bank = ScatterBank(form.rate, self.table.slots, self._ring_s, form.compact, touch)
            self.banks[index] = bank
        return bank

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
            fate[audio & (slot < 0)] = Fate.REFUSED_FULL
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
        # The first packet may have been overtaken: there is room for earlier ones before it.
        look = self._look[form]
        self.timeline.begin(slot, headers.time[rows], look, self._rate[form], self._step[form])
        self.sequences.begin(slot, headers.sequence[rows], look)
        self.newest[slot] = look
        self.floor[slot] = 0
        self.generation[taken] += 1
        self._first[slot] = np.iinfo(np.int64).max
        self._begun[slot] = now
        self._newest_at[slot] = now
        self._bye[slot] = np.inf
        self._lost_packets[slot] = 0
        for index in np.unique(form).tolist():
            self._bank(index).take(slot[form == index])
        for index in taken.tolist() if any(f.decoder for f in self.types.forms) else ():
            self._reorder.forget(index)

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
        rate = self._rate[self.table.form[slot]]
        # After we were suspended, what has waited in the socket comes all at once: older than the clock says.
        behind = np.maximum(now - self._begun[slot] - self.newest[slot] / rate, 0.0)
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
        late = position < self.floor[slot]
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

        end = position + samples
        self._newest_at[slot[end > self.newest[slot]]] = now
        np.maximum.at(self.newest, slot, end)
        np.minimum.at(self._first, slot, position)
        np.add.at(self.table.packets, slot, 1)
        self.timeline.move(slot, time, position)
        self._kind[slot] = headers.kind[rows]
        self._scatter(batch, headers, rows, slot, position, samples)
        born = (self.table.state[slot] == State.PROBATION) & (self.table.packets[slot] >= PROBATION)
        if born.any():
            for one in np.unique(slot[born]).tolist():
                self._announce(one)
        self._advance(slot, self.newest[slot] - self._look[self.table.form[slot]])

    def _stray(self, slot: int, time: int, sequence: int, now: float) -> int | None:
        """The position of a packet out of proportion, or None while nothing confirms it."""
        silent = now - float(self.table.last[slot])
        found, moved = self.timeline.restart(slot, time, sequence, int(self.newest[slot]), silent)
        if moved and found is not None:
            self.sequences.renumber(slot, sequence, found)
        return found

    def _scatter(
        self,
        batch: Batch,
        headers: Headers,
        rows: NDArray[np.intp],
        slot: Column,
        position: Column,
        samples: Column,
    ) -> None:
        """Payloads to their rings, or to where they wait for a decoder."""
        kind = headers.kind[rows]
        alone = bool((kind == kind[0]).all())
        for k in [int(kind[0])] if alone else np.unique(kind).tolist():
            which = slice(None) if alone else np.flatnonzero(kind == k)
            encoding, bank = self.types.encodings[k], self._bank(int(self.types.form[k]))
            some = rows[which]
            if not encoding.stateful:
                start = some * batch.data.shape[1] + headers.start[some]
                place(
                    bank,
                    encoding,
                    self._channel,
                    batch.data,
                    start,
                    slot[which],
                    position[which],
                    samples[which],
                )
                continue
            columns = (
                some,
                slot[which],
                position[which],
                samples[which],
                headers.start[some],
                headers.size[some],
            )
            for row, s, p, n, start, size in zip(*(column.tolist() for column in columns), strict=True):
                if not self._reorder.keep(s, p, n, batch.data[row, start : start + size].tobytes()):
                    headers.fate[row] = Fate.OVERRUN

    def _announce(self, slot: int) -> None:
        """Probation is over: the earliest sample so far becomes sample 0."""
        form = int(self.table.form[slot])
        bank, first = self._bank(form), int(self._first[slot])
        if self.types.forms[form].decoder:
            self._reorder.shift(slot, first)
        else:
            first = int(self.newest[slot]) - bank.rebase(slot, first, int(self.newest[slot]))
        self.newest[slot] -= first
        self.timeline.position[slot] -= first
        self.sequences.shift(slot, first)
        self.table.state[slot] = State.LIVE
        host, port = unpack_address(self.table.name(slot))
        born = Born(
            slot=slot,
            generation=int(self.generation[slot]),
            bank=bank,
            host=host,
            port=port,
            ssrc=int(self.table.ssrc[slot]),
            local=self.table.port(slot),
            kind=int(self._kind[slot]),
        )
        self.events.append(born)

    def _advance(self, slot: Column, target: Column) -> None:
        """Let the reader of live calls (m,) have what lies before target (m,)."""
        on = (self.table.state[slot] == State.LIVE) & (target > self.floor[slot])
        if not on.all():
            slot, target = slot[on], target[on]
            if not len(slot):
                return
        self.floor[slot] = target
        form = self.table.form[slot]
        final = self.sequences.hole_end[slot] <= target
        self._lost_packets[slot[final]] = self.sequences.lost_packets[slot[final]]
        alone = bool((form == form[0]).all())
        for index in [int(form[0])] if alone else np.unique(form).tolist():
            bank, here = self._bank(index), slice(None) if alone else np.flatnonzero(form == index)
            some = slot[here]
            if self.types.forms[index].decoder:
                for one in dict.fromkeys(some.tolist()):
                    self._hand_over(one, bank, int(self.floor[one]), ended=False)
                continue
            settled = some[final[here]]
            bank.skipped[settled] = self.sequences.lost[settled]
            # Before `written`: a reader that sees a sample must not see an older sample's time with it.
            bank.stamp[some] = self._newest_at[some] - (self.newest[some] - target[here]) / self._rate[index]
            bank.written[some] = target[here]
            bank.arrived.set()

    def _hand_over(self, slot: int, bank: ScatterBank, upto: int, ended: bool) -> None:
        """What lies before position `upto` to the decoders; they advance `written` when it is done."""
        assert self._decoders is not None, "a stateful codec without decoders"
        form = int(self.table.form[slot])
        ahead = (int(self.newest[slot]) - upto) / self.types.forms[form].rate
        job = Job(
            key=(slot, int(self.generation[slot])),
            codec=self.types.forms[form].decoder,
            bank=bank,
            row=slot,
            packets=self._reorder.due(slot, upto),
            upto=upto,
            stamp=float(self._newest_at[slot]) - ahead,
            skipped=int(self.sequences.lost[slot]) if self.sequences.hole_end[slot] <= upto else None,
            ended=ended,
        )
        refused = self._decoders.put(job)
        self.fates[Fate.OVERRUN] += refused
        self.fates[Fate.ACCEPTED] -= refused

    def sweep(self, now: float) -> None:
        """What happens because nothing arrived: call it every tick, after the sockets have been emptied."""
        table = self.table
        if not table.state.any():
            return
        live, silent = table.state == State.LIVE, now - table.last
        quiet = np.flatnonzero(live & (self.newest > self.floor) & (silent >= self._lookback_s))
        if len(quiet):
            self._advance(quiet, self.newest[quiet])
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
        form = int(self.table.form[slot])
        bank = self._bank(form)
        self.sequences.hole_end[slot] = 0
        one = np.array([slot])
        self._advance(one, self.newest[one])
        if self.types.forms[form].decoder:
            self._hand_over(slot, bank, int(self.newest[slot]), ended=True)
        else:
            bank.skipped[slot] = self.sequences.lost[slot]
            bank.finish(slot)
        self._lost_packets[slot] = 0
        self._past_lost_packets += int(self.sequences.lost_packets[slot])
        self.table.leave(one, State.ENDED)
        self._reorder.forget(slot)
        self.events.append(Died(slot, int(self.generation[slot]), reason))

    def end_all(self, reason: str) -> None:
        """Every live call is over: the source closes."""
        for slot in np.flatnonzero(self.table.state == State.LIVE).tolist():
            self.end(slot, reason)

    def release(self, slot: int, generation: int) -> None:
        """The reader is done with an ended call."""
        if self.table.state[slot] == State.ENDED and self.generation[slot] == generation:
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
        return {
            "received": self.received,
            **{fate.name.lower(): int(self.fates[fate]) for fate in Fate},
            "lost_packets": self._past_lost_packets + int(self._lost_packets.sum()),
            "restarts": self.timeline.restarts,
            "evicted": self.evicted,
        }
