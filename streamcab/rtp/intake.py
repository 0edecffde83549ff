"""What a batch of datagrams does to the calls: they begin, get samples, lose some, end. No sockets, clock or thread.

Positions count from the first sample that came while the call was on probation. What the reader may have
(jitter_buffer.py) ends `lookback` before the newest sample, or at the newest once the call has been silent for that
long.

The same SSRC from the same address and port is the same call: its codec, its numbers and its clock may change
(cursor.py). Where number and timestamp both leap after seconds of silence, the sender has placed another call under
the same SSRC. Another SSRC is another call, unless the operator says that it is not (`same_call`).
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import windows
from streamcab.rtp.allow import AllowList
from streamcab.rtp.batch import Batch, unpack_address
from streamcab.rtp.channels import SHIFT, SOCKET, apart
from streamcab.rtp.cursor import Verdict
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.leaps import Kept
from streamcab.rtp.lives import REMEMBERED, Lives
from streamcab.rtp.loss import keys
from streamcab.rtp.packet import Fate, Headers, parse
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.rtcp import Bye, reports
from streamcab.rtp.strangers import Strangers
from streamcab.rtp.table import State, key_words
from streamcab.rtp.timeline import Arrivals

PROBATION = 5
"""Valid packets that make a call; RFC 3550 asks for 2, garbage for more."""
ANOTHER_S = 2.0
"""After so long a silence, a number and a timestamp that both leap are of another call."""
REPORTS = 64
"""RTCP packets that are looked at per batch."""
EDGE = 1e-6
"""Of a sample: what is less far from a whole one is one."""
_KEPT = len(Fate)
"""Fate of what has leapt, until it is decided."""

Column = NDArray[np.int64]


class Intake(Lives):
    """Up to `slots` calls. Everything is called from one thread; what happens is told in `events`.

    lookback_s  how late a packet may be
    idle_s      silence that ends a call
    ring_s      seconds of audio kept per call
    rtcp_from   sockets numbered so and on carry RTCP only
    same_call   a call goes on under another SSRC of its address and port, once the old one has stopped
    each        every channel of a packet is a call of its own

    refused    calls for which there was no slot; who tells of them clears it
    strangers  who sends payload types that cannot be heard
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
        same_call: bool = False,
        each: bool = False,
    ) -> None:
        buffer = (lookback_s, ring_s, channel, decoders)
        super().__init__(types, slots, buffer, idle_s=idle_s, same_call=same_call, each=each)
        self.refused: set[tuple[int, int]] = set()
        self.strangers = Strangers()
        self._allow, self._rtcp_from, self._each = allow, rtcp_from, each
        self._over: dict[int, str] = {}  # calls that end with this batch
        self._again: list[Kept] = []  # datagrams to be taken in after this batch

    def retune(self, allow: AllowList | None, idle_s: float) -> None:
        """Other senders and another patience from the next batch on; from any thread."""
        self._allow, self._idle_s = allow, idle_s

    # -- batches ---------------------------------------------------------------------------------------------

    def feed(self, batch: Batch, now: float) -> None:
        """Take in n datagrams that arrived by monotonic time `now`, in s."""
        self._take(self._apart(batch) if self._each else batch, now)
        while self._again:
            kept, self._again = self._again, []
            self._take(Batch.of_rows([(k.data, k.name, k.port) for k in kept]), now)

    def _apart(self, batch: Batch) -> Batch:
        headers = parse(batch.data, batch.length, batch.truncated)

        def known(rows: NDArray[np.intp], port: Column) -> NDArray[np.bool_]:
            found = self.table.match(key_words(batch.name[rows], headers.ssrc[rows], port), batch.wide)
            there: NDArray[np.bool_] = found >= 0
            return there

        return apart(batch, headers, self.types, known)

    def _take(self, batch: Batch, now: float) -> None:
        headers = parse(batch.data, batch.length, batch.truncated)
        fate = headers.fate
        socket = batch.port & SOCKET if self._each else batch.port
        if socket.max() >= self._rtcp_from:
            fate[(socket >= self._rtcp_from) & (fate < Fate.MALFORMED)] = Fate.MALFORMED
        if self._allow is not None:
            fate[~self._allow.match(batch.name)] = Fate.NOT_ALLOWED
        if fate.any():
            some = np.flatnonzero(fate == Fate.RTCP)[:REPORTS]
            if len(some):
                self._reports(batch, some, now)
            audio = fate == Fate.ACCEPTED
            fate[audio] = self.types.fate[headers.kind[audio]]
        else:
            fate[:] = self.types.fate[headers.kind]
        samples = self.types.samples(headers, batch.data)
        self._guesses(batch, headers, samples)
        if samples.min() <= 0:
            fate[(fate == Fate.ACCEPTED) & (samples <= 0)] = Fate.MALFORMED
        slot = self._match(batch, headers, now)
        rows = np.arange(len(fate))
        if fate.any():
            unheard = np.flatnonzero((fate == Fate.UNKNOWN_TYPE) | (fate == Fate.NO_DECODER))
            self.strangers.note(unheard, batch.name, headers, now)
            samples[fate != Fate.ACCEPTED] = 0
            rows = np.flatnonzero((slot >= 0) & (fate <= Fate.EMPTY))
            slot, samples = slot[rows], samples[rows]
        if len(rows):
            self._calls(batch, headers, rows, slot, samples.astype(np.float64), now)
        if self._each:  # a packet of several channels is one packet
            fate = fate[batch.port >> SHIFT <= 1]
        counted = np.bincount(fate, minlength=_KEPT + 1)
        self.fates += counted[:_KEPT]
        self.received += len(fate) - int(counted[_KEPT])
        while self._over:
            self._leave(*self._over.popitem())

    def _guesses(self, batch: Batch, headers: Headers, samples: Column) -> None:
        """Packets whose type is a custom and no rule (118) are heard as long as their sizes fit it."""
        guessed = self.types.guessed[headers.kind]
        if not guessed.any():
            return
        fate = headers.fate
        for row in np.flatnonzero(guessed & (fate == Fate.ACCEPTED)).tolist():
            odd = headers.size[row] % self.types.guess_bytes
            if odd or (self._misfits and self._caller(batch, headers, row) in self._misfits):
                fate[row] = Fate.UNKNOWN_TYPE
                samples[row] = 0

    @staticmethod
    def _caller(batch: Batch, headers: Headers, row: int) -> tuple[int, int, int]:
        return hash(batch.name[row].tobytes()), int(headers.ssrc[row]), int(headers.kind[row])

    def _match(self, batch: Batch, headers: Headers, now: float) -> Column:
        """The slot of each datagram (n,), -1 for none; unknown sources of audio are let in."""
        fate = headers.fate
        words = key_words(batch.name, headers.ssrc, batch.port)
        slot = self.table.match(words, batch.wide)
        if slot.min() >= 0:
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
        return slot

    def _admit(self, batch: Batch, headers: Headers, rows: NDArray[np.intp], now: float) -> None:
        """Slots for the unknown sources of these rows, as far as there are any."""
        words = key_words(batch.name[rows], headers.ssrc[rows], batch.port[rows])
        before = self.table.state.copy()
        taken = self.table.admit(words, batch.wide, self.types.form[headers.kind[rows]], now)
        self.evicted += int(np.count_nonzero(before[taken] == State.PROBATION))
        slot = self.table.match(words, batch.wide)
        slot, first = np.unique(slot, return_index=True)  # of each caller, the first packet
        slot, rows = slot[slot >= 0], rows[first[slot >= 0]]
        form, buffer = self.table.form[slot], self.jitter_buffer
        clock = self.types.clock[headers.kind[rows]]
        self.timeline.begin(
            slot, headers.sequence[rows], headers.time[rows], buffer.look[form], buffer.rate[form], clock, now
        )
        self.sequences.begin(slot)
        buffer.begin(slot, form, now, batch.port[rows] >> SHIFT if self._each else None)
        self._endings.begin(slot)
        self._inspection.begin(slot)
        self._give_up(set(slot.tolist()))
        for one in self._early.keys() & set(slot.tolist()):
            del self._early[one]
        self._first[slot] = np.iinfo(np.int64).max
        self._begun[slot] = now
        self._converted[slot] = False

    def _calls(
        self,
        batch: Batch,
        headers: Headers,
        rows: NDArray[np.intp],
        slot: Column,
        samples: NDArray[np.float64],
        now: float,
    ) -> None:
        """Datagrams (m,) of calls, samples 0 for what is no audio: place them, count them, move on."""
        fate, buffer, stride = headers.fate, self.jitter_buffer, batch.data.shape[1]
        # The last bytes tell repeats from numbers that come again; the header lies before them at least.
        tail = rows * stride + headers.start[rows] + headers.size[rows] - 8
        content = windows(batch.data.reshape(-1), 8)[tail].view(np.uint64)[:, 0]
        key = keys(headers.sequence[rows], headers.time[rows], content)
        good = ~self.sequences.repeated(slot, key)
        if not good.all():
            again = rows[~good]
            fate[again[fate[again] == Fate.ACCEPTED]] = Fate.DUPLICATE
            rows, slot, samples, key = rows[good], slot[good], samples[good], key[good]
        other = (self.types.form[headers.kind[rows]] != self.table.form[slot]) & (samples > 0)
        if other.any():
            kept = self._convert(batch, headers, rows, slot, samples, other, now)
            rows, slot, samples, key = rows[kept], slot[kept], samples[kept], key[kept]
        if not len(rows):
            return
        kind = headers.kind[rows]
        packets = Arrivals(
            slot,
            headers.sequence[rows],
            headers.time[rows],
            samples,
            self.types.clock[kind],
            fate[rows] == Fate.COMFORT_NOISE,
        )
        self.timeline.leapt = self._leaps.newest()
        position, verdict = self.timeline.locate(packets, buffer.floor, now)
        if verdict.any():
            late, leapt = verdict == Verdict.LATE, np.flatnonzero(verdict == Verdict.LEAP)
            fate[rows[late]] = Fate.LATE
            good = verdict == Verdict.GOOD
            if self._leaps:
                self._give_up(set(slot[good & (samples > 0)].tolist()))
            self._keep(batch, headers, rows[leapt], slot[leapt], now)
            rows, slot, samples, key = rows[good], slot[good], samples[good], key[good]
            position, kind = position[good], kind[good]
        elif self._leaps:
            self._give_up(set(slot[samples > 0].tolist()))
        self.table.last[slot] = now
        self.sequences.note(slot, key)
        audio = samples > 0
        if not audio.all():
            rows, slot, samples = rows[audio], slot[audio], samples[audio]
            position, kind = position[audio], kind[audio]
        if not len(rows):
            return

        start = (position + EDGE).astype(np.int64)
        length = (position + samples + EDGE).astype(np.int64) - start
        buffer.take(slot, start, length, now)
        np.minimum.at(self._first, slot, start)
        np.add.at(self.table.packets, slot, 1)
        self._kind[slot] = kind
        full = buffer.scatter(kind, batch.data, rows, headers.start, headers.size, slot, start, length)
        if full:
            fate[full] = Fate.OVERRUN
        self._news()
        ready = (self.table.state[slot] == State.PROBATION) & (self.table.packets[slot] >= PROBATION)
        if ready.any():
            for one in np.unique(slot[ready]).tolist():
                self._announce(one)
        self._advance(slot, buffer.newest[slot] - buffer.look[self.table.form[slot]])

    def _convert(
        self,
        batch: Batch,
        headers: Headers,
        rows: NDArray[np.intp],
        slot: Column,
        samples: NDArray[np.float64],
        other: NDArray[np.bool_],
        now: float,
    ) -> NDArray[np.intp]:
        """Packets of another rate than their call's: samples as its ring counts them. Returns which go on."""
        buffer, table = self.jitter_buffer, self.table
        for one in np.unique(slot[other & ~self._converted[slot]]).tolist():
            if table.state[one] == State.LIVE and buffer.convert(one):
                self._converted[one] = True
            else:
                self._over[one] = "its codec changed"
        stays = np.ones(len(rows), np.bool_)
        for k in np.flatnonzero(other).tolist() if self._over else ():
            if int(slot[k]) in self._over:
                stays[k] = False
                self._again.append(self._copy(batch, headers, int(rows[k]), now))
                headers.fate[rows[k]] = _KEPT
        some = np.flatnonzero(other & stays)
        rate = buffer.rate[self.types.form[headers.kind[rows[some]]]]
        samples[some] *= buffer.rate[table.form[slot[some]]] / rate
        return np.flatnonzero(stays)

    # -- leaps -----------------------------------------------------------------------------------------------

    @staticmethod
    def _copy(batch: Batch, headers: Headers, row: int, now: float, clock: int = 0) -> Kept:
        data = batch.data[row, : int(batch.length[row])].tobytes()
        number, time = int(headers.sequence[row]), int(headers.time[row])
        return Kept(data, batch.name[row].tobytes(), int(batch.port[row]), number, time, clock, now)

    def _keep(self, batch: Batch, headers: Headers, rows: NDArray[np.intp], slot: Column, now: float) -> None:
        """Packets (m,) of calls whose number and timestamp have leapt: kept until others follow them."""
        believed: set[int] = set()
        for row, one in zip(rows.tolist(), slot.tolist(), strict=True):
            headers.fate[row] = _KEPT
            packet = self._copy(batch, headers, row, now, int(self.types.clock[headers.kind[row]]))
            if one in believed:
                self._again.append(packet)
                continue
            kept, given_up = self._leaps.offer(one, packet)
            self._give_up_packets(one, given_up)
            if kept:
                believed.add(one)
                self._again += kept
                self._believe(one, kept[0], now)

    def _believe(self, slot: int, first: Kept, now: float) -> None:
        """A call goes on with this packet under other numbers and another clock; or it is another call."""
        silent = first.arrived - float(self.table.last[slot])
        if self.table.state[slot] == State.LIVE and (silent >= ANOTHER_S or self._endings.said(slot)):
            self._over[slot] = "another call came under its address, port and SSRC"
        else:
            self.timeline.restart(slot, first.sequence, first.time, first.clock, first.arrived)

    def _reports(self, batch: Batch, rows: NDArray[np.intp], now: float) -> None:
        for row in rows.tolist():
            host, port = unpack_address(batch.name[row].tobytes())
            for report in reports(batch.data[row, : int(batch.length[row])].tobytes(), host):
                if isinstance(report, Bye):
                    self._endings.goodbye(report, port, now)
                else:
                    self.events.append(report)

    def counters(self) -> dict[str, int]:
        """Datagrams by fate; packets known to be lost; calls with a new clock; newcomers that made room."""
        fates = self.fates.copy()
        # Accepted when they came, and dropped at the decoders' door.
        fates[Fate.OVERRUN] += self.jitter_buffer.overrun
        fates[Fate.ACCEPTED] -= self.jitter_buffer.overrun
        return {
            "received": self.received,
            **{fate.name.lower(): int(fates[fate]) for fate in Fate},
            "lost_packets": self.jitter_buffer.lost_packets,
            "restarts": self.timeline.restarts,
            "ssrc_changes": self.succeeded,
            "evicted": self.evicted,
        }
