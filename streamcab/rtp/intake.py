"""Batches of datagrams into calls: has them screened and assigned, then places and counts them.

Positions count from the first sample that came while the call was on probation. What the reader may have
(jitter_buffer.py) ends at the newest sample. While a packet is missing it ends `lookback` before that, until the call
has been silent for as long.

The same SSRC from the same address and port is the same call: its codec, its numbers and its clock may change
(cursor.py). Where number and timestamp both leap after seconds of silence, the sender has placed another call under
the same SSRC. Another SSRC is another call, unless the operator says that it is not (`same_call`).
Knows no sockets, clock or threads.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import windows
from streamcab.rtp.admission import Admission
from streamcab.rtp.allow import AllowList
from streamcab.rtp.batch import Batch, unpack_address
from streamcab.rtp.channels import SHIFT, apart
from streamcab.rtp.cursor import Verdict
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.leaps import Kept, copy
from streamcab.rtp.lifecycle import Lifecycle
from streamcab.rtp.loss import keys
from streamcab.rtp.packet import Fate, Headers, parse
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.rtcp import Bye, reports
from streamcab.rtp.screening import Screening
from streamcab.rtp.strangers import Strangers
from streamcab.rtp.table import State
from streamcab.rtp.timeline import Arrivals

PROBATION = 5
"""Valid packets that make a call. RFC 3550 asks for 2; random data needs more."""
REPORTS = 64
"""RTCP packets that are read per batch."""
EDGE = 1e-6
"""Distance, in samples, below which a position counts as whole."""
_KEPT = len(Fate)
"""Provisional fate of packets that leapt."""

Column = NDArray[np.int64]


class Intake:
    """The receiver of up to `slots` calls, all of it on one thread.

    lookback_s  how long a missing packet is waited for
    idle_s      silence that ends a call
    ring_s      seconds of audio kept per call
    rtcp_from   sockets with this number and above carry RTCP only
    same_call   a call continues under another SSRC of its address and port, once the old one has stopped
    each        every channel of a packet is a call of its own

    calls      the calls and their state
    events     what has happened to the calls
    fates      datagrams by fate
    refused    calls for which there was no slot, until the reader clears it
    strangers  senders of payload types that cannot be decoded
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
        self.types = types
        self.calls = Lifecycle(
            types,
            slots,
            lookback_s=lookback_s,
            idle_s=idle_s,
            ring_s=ring_s,
            channel=channel,
            decoders=decoders,
            same_call=same_call,
            each=each,
        )
        self.table, self.events, self.fates = self.calls.table, self.calls.events, self.calls.fates
        self.jitter_buffer = self.calls.jitter_buffer
        self._timeline, self._sequences = self.calls.timeline, self.calls.sequences
        self._screening = Screening(types, allow, rtcp_from, self.calls.misfits, each)
        self._admission = Admission(types, self.calls, each)
        self.refused = self._admission.refused
        self.strangers = Strangers()
        self._each = each
        self._over: dict[int, str] = {}  # calls that end with this batch
        self._again: list[Kept] = []  # datagrams to be taken in after this batch

    def retune(self, allow: AllowList | None, idle_s: float) -> None:
        """Replace the allowed senders and the idle time from the next batch on; from any thread."""
        self._screening.allow, self.calls.idle_s = allow, idle_s

    @property
    def received(self) -> int:
        """Datagrams received, less those whose fate is not yet decided."""
        return int(self.fates.sum())

    def feed(self, batch: Batch, now: float) -> None:
        """Process n datagrams that arrived by monotonic time `now`, in s."""
        self._take(self._apart(batch) if self._each else batch, now)
        while self._again:
            kept, self._again = self._again, []
            self._take(Batch.of_rows([(k.data, k.name, k.port) for k in kept]), now)

    def _apart(self, batch: Batch) -> Batch:
        headers = parse(batch.data, batch.length, batch.truncated)
        return apart(batch, headers, self.types, partial(self._admission.known, batch, headers))

    def _take(self, batch: Batch, now: float) -> None:
        headers = parse(batch.data, batch.length, batch.truncated)
        fate = headers.fate
        samples = self._screening.judge(batch, headers)
        self._reports(batch, np.flatnonzero(fate == Fate.RTCP)[:REPORTS], now)
        slot = self._admission.match(batch, headers, now)
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
        while self._over:
            self.calls.leave(*self._over.popitem())

    def _calls(
        self,
        batch: Batch,
        headers: Headers,
        rows: NDArray[np.intp],
        slot: Column,
        samples: NDArray[np.float64],
        now: float,
    ) -> None:
        """Place and count datagrams (m,) of calls, with samples 0 for those without audio."""
        fate, buffer, stride = headers.fate, self.jitter_buffer, batch.data.shape[1]
        # The last bytes tell repeats from numbers that come again; the header lies before them at least.
        tail = rows * stride + headers.start[rows] + headers.size[rows] - 8
        content = windows(batch.data.reshape(-1), 8)[tail].view(np.uint64)[:, 0]
        key = keys(headers.sequence[rows], headers.time[rows], content)
        good = ~self._sequences.repeated(slot, key)
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
        self._timeline.leapt = self.calls.leaps.newest()
        position, verdict = self._timeline.locate(packets, buffer.floor, now)
        if verdict.any():
            late, leapt = verdict == Verdict.LATE, np.flatnonzero(verdict == Verdict.LEAP)
            fate[rows[late]] = Fate.LATE
            good = verdict == Verdict.GOOD
            if self.calls.leaps:
                self.calls.give_up(set(slot[good & (samples > 0)].tolist()))
            self._keep(batch, headers, rows[leapt], slot[leapt], now)
            rows, slot, samples, key = rows[good], slot[good], samples[good], key[good]
            position, kind = position[good], kind[good]
        elif self.calls.leaps:
            self.calls.give_up(set(slot[samples > 0].tolist()))
        self.table.last[slot] = now
        self._sequences.note(slot, key)
        audio = samples > 0
        if not audio.all():
            rows, slot, samples = rows[audio], slot[audio], samples[audio]
            position, kind = position[audio], kind[audio]
        if not len(rows):
            return

        start = (position + EDGE).astype(np.int64)
        length = (position + samples + EDGE).astype(np.int64) - start
        buffer.take(slot, start, length, now)
        np.minimum.at(self.calls.first, slot, start)
        np.add.at(self.table.packets, slot, 1)
        self.calls.kind[slot] = kind
        full = buffer.scatter(kind, batch.data, rows, headers.start, headers.size, slot, start, length)
        if full:
            fate[full] = Fate.OVERRUN
        self.calls.news()
        ready = (self.table.state[slot] == State.PROBATION) & (self.table.packets[slot] >= PROBATION)
        if ready.any():
            for one in np.unique(slot[ready]).tolist():
                self.calls.announce(one)
        self.calls.advance(slot, buffer.settled(slot, self.table.form[slot]))

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
        """Convert the samples of packets whose rate differs from their call's; return the rows to process further."""
        buffer, table = self.jitter_buffer, self.table
        for one in np.unique(slot[other & ~self.calls.converted[slot]]).tolist():
            if table.state[one] == State.LIVE and buffer.convert(one):
                self.calls.converted[one] = True
            else:
                self._over[one] = "its codec changed"
        stays = np.ones(len(rows), np.bool_)
        for k in np.flatnonzero(other).tolist() if self._over else ():
            if int(slot[k]) in self._over:
                stays[k] = False
                self._again.append(copy(batch, headers, int(rows[k]), now))
                headers.fate[rows[k]] = _KEPT
        some = np.flatnonzero(other & stays)
        rate = buffer.rate[self.types.form[headers.kind[rows[some]]]]
        samples[some] *= buffer.rate[table.form[slot[some]]] / rate
        return np.flatnonzero(stays)

    def _keep(self, batch: Batch, headers: Headers, rows: NDArray[np.intp], slot: Column, now: float) -> None:
        """Keep packets (m,) whose number and timestamp leapt, until others follow them."""
        believed: set[int] = set()
        for row, one in zip(rows.tolist(), slot.tolist(), strict=True):
            headers.fate[row] = _KEPT
            packet = copy(batch, headers, row, now, int(self.types.clock[headers.kind[row]]))
            if one in believed:
                self._again.append(packet)
                continue
            kept, given_up = self.calls.leaps.offer(one, packet)
            self.calls.give_up_packets(one, given_up)
            if kept:
                believed.add(one)
                self._again += kept
                if not self.calls.resume(one, kept[0]):
                    self._over[one] = "another call came under its address, port and SSRC"

    def _reports(self, batch: Batch, rows: NDArray[np.intp], now: float) -> None:
        for row in rows.tolist():
            host, port = unpack_address(batch.name[row].tobytes())
            for report in reports(batch.data[row, : int(batch.length[row])].tobytes(), host):
                if isinstance(report, Bye):
                    self.calls.endings.goodbye(report, port, now)
                else:
                    self.events.append(report)

    # -- silence, ends, figures ------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Handle silence. Call it every tick, after the sockets have been emptied."""
        self.calls.sweep(now)

    def end_all(self, reason: str) -> None:
        """End every live call, since the source closes."""
        self.calls.end_all(reason)

    def release(self, slot: int, generation: int) -> None:
        """Free the slot of an ended call that has been read."""
        self.calls.release(slot, generation)

    def counters(self) -> dict[str, int]:
        """Return datagrams by fate; lost packets; calls with a new clock or SSRC; calls on probation that made room."""
        fates = self.fates.copy()
        # Accepted on arrival, and dropped later by a full queue of the decoders.
        fates[Fate.OVERRUN] += self.jitter_buffer.overrun
        fates[Fate.ACCEPTED] -= self.jitter_buffer.overrun
        return {
            "received": self.received,
            **{fate.name.lower(): int(fates[fate]) for fate in Fate},
            "lost_packets": self.jitter_buffer.lost_packets,
            "restarts": self._timeline.restarts,
            "ssrc_changes": self.calls.succeeded,
            "evicted": self._admission.evicted,
        }
