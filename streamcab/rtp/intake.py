"""Applies batches of datagrams to calls, which start, receive and lose samples, and end. No sockets, clock or thread.

Positions count from the first sample that arrived while the call was on probation. The reader may read
(jitter_buffer.py) up to `lookback` before the newest sample, or up to the newest once the call has been silent for that
long.

The same SSRC from the same address and port is the same call: its codec, its numbers and its clock may change
(cursor.py). If number and timestamp both leap after seconds of silence, the sender has started another call with the
same SSRC. A new SSRC is a new call, unless the operator declares otherwise (`same_call`).
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import windows
from streamcab.config.tree import Rtp
from streamcab.rtp.allow import AllowList
from streamcab.rtp.batch import Batch, unpack_address
from streamcab.rtp.cursor import Verdict
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.endings import Endings
from streamcab.rtp.events import CallEnded, CallStarted, CodecChanged, Event, FlawFound, SourceChanged
from streamcab.rtp.inspection import LOOK_S, Inspection
from streamcab.rtp.jitter_buffer import JitterBuffer
from streamcab.rtp.leaps import Kept, Leaps
from streamcab.rtp.loss import Sequences, keys
from streamcab.rtp.packet import Fate, Headers, parse
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.rtcp import Bye, reports
from streamcab.rtp.strangers import Strangers
from streamcab.rtp.table import State, Table, key_words
from streamcab.rtp.timeline import Arrivals, Timeline

PROBATION = 5
"""Valid packets that make a call; RFC 3550 requires 2, and garbage requires more."""
ANOTHER_S = 2.0
"""Seconds of silence after which a leap of both number and timestamp means another call."""
STOPPED_S = 0.03
"""A call that has sent nothing for this many seconds, while another one has, has made room for it."""
REMEMBERED = 10_000
"""Refused calls that are remembered until they are reported, give or take a batch."""
REPORTS = 64
"""RTCP packets that are read per batch."""
EDGE = 1e-6
"""Fraction of a sample within which a position counts as whole."""
_KEPT = len(Fate)
"""Fate of packets that have leapt, until it is decided."""

Column = NDArray[np.int64]


class Intake:
    """Up to `slots` calls. All methods are called from one thread; `events` lists what happened.

    lookback_s  how long to wait for late packets
    idle_s      silence that ends a call
    ring_s      seconds of audio kept per call
    rtcp_from   sockets from this index on carry RTCP only
    same_call   a call continues under another SSRC of its address and port, once the old one has stopped

    refused    calls for which there was no slot; the reader clears it after reporting them
    strangers  senders of payload types that cannot be decoded
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
        same_call: bool = False,
    ) -> None:
        self.types = types
        self.table = Table(slots)
        self.sequences = Sequences(slots)
        self.timeline = Timeline(slots, self.sequences)
        self.events: deque[Event] = deque()
        self.fates = np.zeros(len(Fate), np.int64)
        self.received = 0
        self.evicted = 0
        self.succeeded = 0
        self.refused: set[tuple[int, int]] = set()
        self.strangers = Strangers()
        self.jitter_buffer = JitterBuffer(
            types,
            slots,
            self.sequences,
            lookback_s=lookback_s,
            ring_s=ring_s,
            channel=channel,
            decoders=decoders,
        )
        self._endings, self._inspection, self._leaps = Endings(self.table), Inspection(slots), Leaps()
        self._lookback_s, self._idle_s = lookback_s, idle_s
        self._allow, self._rtcp_from, self._same_call = allow, rtcp_from, same_call
        self._first = np.zeros(slots, np.int64)  # earliest position while on probation
        self._begun = np.zeros(slots, np.float64)
        self._kind, self._told = np.zeros((2, slots), np.uint8)
        self._converted = np.zeros(slots, np.bool_)
        self._early: dict[int, str] = {}  # faults of clocks from before their calls left probation
        self._over: dict[int, str] = {}  # calls that end with this batch
        self._again: list[Kept] = []  # datagrams to be processed after this batch
        self._misfits: set[tuple[int, int, int]] = set()  # calls whose packets do not fit their payload type
        self._next_look = 0.0

    def retune(self, allow: AllowList | None, idle_s: float) -> None:
        """Change the allowed senders and the idle time from the next batch on; may be called from any thread."""
        self._allow, self._idle_s = allow, idle_s

    # -- batches ---------------------------------------------------------------------------------------------

    def feed(self, batch: Batch, now: float) -> None:
        """Take in n datagrams that arrived by monotonic time `now`, in s."""
        self._take(batch, now)
        while self._again:
            kept, self._again = self._again, []
            self._take(Batch.of_rows([(k.data, k.name, k.port) for k in kept]), now)

    def _take(self, batch: Batch, now: float) -> None:
        headers = parse(batch.data, batch.length, batch.truncated)
        fate = headers.fate
        if batch.port.max() >= self._rtcp_from:
            fate[(batch.port >= self._rtcp_from) & (fate < Fate.MALFORMED)] = Fate.MALFORMED
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
        counted = np.bincount(fate, minlength=_KEPT + 1)
        self.fates += counted[:_KEPT]
        self.received += len(fate) - int(counted[_KEPT])
        while self._over:
            self._leave(*self._over.popitem())

    def _guesses(self, batch: Batch, headers: Headers, samples: Column) -> None:
        """Accept packets of a customary but unassigned type (118) as long as their sizes fit it."""
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
        """Return the slot of each datagram (n,), -1 for none; admit unknown sources of audio."""
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
        """Assign slots to the unknown sources of these rows, while there are free ones."""
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
        buffer.begin(slot, form, now)
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
        """Place and count datagrams (m,) of calls, and advance the calls; samples are 0 for packets without audio."""
        fate, buffer, stride = headers.fate, self.jitter_buffer, batch.data.shape[1]
        # The last bytes distinguish repeats from reused numbers; at least the header lies before them.
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
        """Convert sample counts of packets whose rate differs from their call's ring; return which packets continue."""
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
        """Keep packets (m,) whose number and timestamp have leapt until others follow them."""
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
        """Continue a call with this packet's numbers and clock, or start another call with it."""
        silent = first.arrived - float(self.table.last[slot])
        if self.table.state[slot] == State.LIVE and (silent >= ANOTHER_S or self._endings.said(slot)):
            self._over[slot] = "another call came under its address, port and SSRC"
        else:
            self.timeline.restart(slot, first.sequence, first.time, first.clock, first.arrived)

    def _give_up(self, slots: set[int]) -> None:
        for slot, packets in self._leaps.settle(slots):
            self._give_up_packets(slot, packets)

    def _give_up_packets(self, slot: int, packets: int) -> None:
        """Give up packets that have leapt: they were stray, or belong to another sender."""
        self.fates[Fate.JUMPED] += packets
        self.received += packets
        self._inspection.refused[slot] += packets

    # -- the life of calls -----------------------------------------------------------------------------------

    def _announce(self, slot: int) -> None:
        """End probation: the earliest sample so far becomes sample 0."""
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
        """Return the only live call of the same address and port that has stopped since this one began, or None."""
        table = self.table
        live = (table.state == State.LIVE) & (table.form == table.form[slot])
        name, port = table.name(slot), table.port(slot)
        same = [s for s in np.flatnonzero(live).tolist() if table.name(s) == name and table.port(s) == port]
        latest = min(self._begun[slot] + self._lookback_s, table.last[slot] - STOPPED_S)
        stopped = [s for s in same if table.last[s] <= latest]
        return stopped[0] if len(stopped) == len(same) == 1 else None

    def _succeed(self, slot: int, heir: int) -> None:
        """Continue a call with the packets of another SSRC, in the slot `heir`, and free that slot."""
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
        """Pass the findings of the timeline on to the parts that need them."""
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
        """Let the reader of live calls read up to target (m,)."""
        live = self.table.state[slot] == State.LIVE
        if not live.all():
            slot, target = slot[live], target[live]
        if len(slot):
            self.jitter_buffer.advance(slot, self.table.form[slot], target)

    def sweep(self, now: float) -> None:
        """Handle the absence of packets: call this every tick, after the sockets have been emptied."""
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
        """Check once a second for changed codecs and flaws of packets."""
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
        """End a live call: the reader may read all of it, and no more packets are accepted."""
        self._give_up({slot})
        self.jitter_buffer.finish(slot, int(self.table.form[slot]))
        self.table.leave(np.array([slot]), State.ENDED)
        self.events.append(CallEnded(slot, int(self.jitter_buffer.generation[slot]), reason))

    def end_all(self, reason: str) -> None:
        """End every live call, because the source closes."""
        for slot in np.flatnonzero(self.table.state == State.LIVE).tolist():
            self.end(slot, reason)

    def release(self, slot: int, generation: int) -> None:
        """Release the slot of an ended call that the reader has finished."""
        if self.table.state[slot] == State.ENDED and self.jitter_buffer.generation[slot] == generation:
            self.table.release(slot)

    def _reports(self, batch: Batch, rows: NDArray[np.intp], now: float) -> None:
        for row in rows.tolist():
            host, port = unpack_address(batch.name[row].tobytes())
            for report in reports(batch.data[row, : int(batch.length[row])].tobytes(), host):
                if isinstance(report, Bye):
                    self._endings.goodbye(report, port, now)
                else:
                    self.events.append(report)

    def counters(self) -> dict[str, int]:
        """Return counts of datagrams by fate, lost packets, restarted clocks, and evicted newcomers."""
        fates = self.fates.copy()
        # Accepted on arrival, and dropped before decoding.
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
