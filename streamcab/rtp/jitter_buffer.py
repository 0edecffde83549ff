"""The jitter buffer: holds placed samples until the reader may read them.

Owns the rings, the look-back and the queue for the decoders.

The reader's limit (`Bank.written`) follows `floor`; samples that have not arrived by then are missing for good, and
stay marked. Loss becomes final there as well. Knows slots, formats and positions; nothing of addresses, SSRCs,
the fates of datagrams, or the start and end of calls.
"""

import math

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.decode_queue import DecodeQueue
from streamcab.rtp.decoder import Decoders, Job
from streamcab.rtp.loss import Sequences
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.scatter import place

Column = NDArray[np.int64]


class JitterBuffer:
    """The samples of `slots` calls. Slots and formats are columns (m,) of the same calls.

    newest  (slots,) int64  position after the newest sample
    floor   (slots,) int64  position up to which the reader may read; older packets are late
    generation (slots,) int64  number of calls that a slot has had
    look    (formats,) int64  samples of the look-back
    rate    (formats,) float64  Hz
    overrun  packets dropped by overloaded decoders
    """

    def __init__(
        self,
        types: PayloadTypes,
        slots: int,
        sequences: Sequences,
        *,
        lookback_s: float,
        ring_s: float,
        channel: int | None = None,
        each: bool = False,
        decoders: Decoders | None = None,
    ) -> None:
        self.newest = np.zeros(slots, np.int64)
        self.floor = np.zeros(slots, np.int64)
        self.generation = np.zeros(slots, np.int64)
        self.look = np.array([math.ceil(form.rate * lookback_s) for form in types.forms], np.int64)
        self.rate = np.array([form.rate for form in types.forms], np.float64)
        self.overrun = 0
        self._types, self._slots, self._sequences = types, slots, sequences
        self._ring_s, self._decoders = ring_s, decoders
        self._each = each
        self._channel = np.full(slots, channel or 0, np.int64)  # 0 for the mix
        self._queue = DecodeQueue()
        self._decoded = np.array([bool(form.decoder) for form in types.forms])
        self._queued = np.zeros(slots, np.bool_)  # calls whose payloads wait for a decoder
        self._newest_at = np.zeros(slots, np.float64)  # arrival time of the sample before `newest`
        self._final = np.zeros(slots, np.int64)  # packets whose loss is final
        self._past = 0
        self._banks: list[ScatterBank | None] = [None] * len(types.forms)
        for index, form in enumerate(types.forms):
            if form.compact and form.rate == 8000:
                self.bank(index, touch=True)

    @property
    def lost_packets(self) -> int:
        """Lost packets of all calls, including ended ones."""
        return self._past + int(self._final.sum())

    def bank(self, index: int, touch: bool = False) -> ScatterBank:
        """Return the rings of a format: created when it is first heard, except for the most common ones."""
        bank = self._banks[index]
        if bank is None:
            form = self._types.forms[index]
            bank = ScatterBank(form.rate, self._slots, self._ring_s, form.compact, touch)
            self._banks[index] = bank
        return bank

    def begin(self, slot: Column, form: Column, now: float, channel: Column | None = None) -> None:
        """Start calls a look-back into their rings: their first packet may have been overtaken.

        channel (m,): the channels that they are, where each is a call.
        """
        if channel is not None:
            self._channel[slot] = channel
        self.newest[slot] = self.look[form]
        self.floor[slot] = 0
        self.generation[slot] += 1  # once, even if a slot occurs twice
        self._newest_at[slot] = now
        self._final[slot] = 0
        for index in np.unique(form).tolist():
            self.bank(index).take(slot[form == index])
        self._queued[slot] = self._decoded[form]
        for one in slot.tolist() if self._queued[slot].any() else ():
            self._queue.forget(one)

    def convert(self, slot: int) -> bool:
        """Let a call change to a codec of another rate: from now on its decoder resamples to the rate of its ring.

        Returns False if there are no decoders.
        """
        if self._decoders is None:
            return False
        self._queued[slot] = True
        return True

    def silence(self, slot: int, form: int, start: int, end: int) -> None:
        """Mark announced silence: nothing was lost there, and the reader may skip it."""
        bank = self.bank(form)
        bank.silence_from[slot], bank.silence_to[slot] = start, end

    def take(self, slot: Column, position: Column, samples: Column, now: float) -> None:
        """Record the positions of packets that arrived by `now`; a slot may occur several times."""
        end = position + samples
        self._newest_at[slot[end > self.newest[slot]]] = now
        np.maximum.at(self.newest, slot, end)

    def scatter(
        self,
        kind: NDArray[np.uint8],
        data: NDArray[np.uint8],
        rows: NDArray[np.intp],
        start: NDArray[np.int64],
        size: NDArray[np.int64],
        slot: Column,
        position: Column,
        samples: Column,
    ) -> list[int]:
        """Move the payloads of rows (m,) of data (n, stride) to their rings, or to the decoders' queue.

        kind (m,): payload type; start and size (n,): first byte in the row, bytes. Returns the rows without room.
        """
        full: list[int] = []
        waits = self._queued[slot]
        if waits.any():
            late = np.flatnonzero(waits)
            some = rows[late]
            columns = (slot[late], position[late], samples[late], kind[late], start[some], size[some])
            for row, s, p, n, k, first, length in zip(
                some.tolist(), *(column.tolist() for column in columns), strict=True
            ):
                payload = data[row, first : first + length].tobytes()
                if not self._queue.keep(s, p, n, self._types.encodings[k], payload):
                    full.append(row)
            here = np.flatnonzero(~waits)
            kind, rows, slot, position, samples = (
                kind[here],
                rows[here],
                slot[here],
                position[here],
                samples[here],
            )
            if not len(rows):
                return full
        # Grouped by payload type, and by channel above it.
        group = kind.astype(np.int64) | self._channel[slot] << 7 if self._each else kind
        alone = bool((group == group[0]).all())
        for g in [int(group[0])] if alone else np.unique(group).tolist():
            which = slice(None) if alone else np.flatnonzero(group == g)
            k = g & 127
            place(
                self.bank(int(self._types.form[k])),
                self._types.encodings[k],
                int(self._channel[slot[which][0]]) or None,
                data,
                rows[which] * data.shape[1] + start[rows[which]],
                slot[which],
                position[which],
                samples[which],
            )
        return full

    def rebase(self, slot: int, form: int, first: int) -> tuple[ScatterBank, int]:
        """Make position `first`, or one near it, sample 0. Return the rings, and by how much positions decreased."""
        bank = self.bank(form)
        if self._queued[slot]:
            self._queue.shift(slot, first)
        else:
            first = int(self.newest[slot]) - bank.rebase(slot, first, int(self.newest[slot]))
        self.newest[slot] -= first
        return bank, first

    def inherit(self, slot: int, heir: int, form: int, first: int, start: int) -> None:
        """Continue a call at position `start` with the samples of the slot `heir` from position `first` on."""
        bank, end = self.bank(form), int(self.newest[heir])
        if self._queued[slot]:
            self._queue.hand_on(heir, slot, first - start)
        else:
            one = np.array([slot])
            samples = bank.data[heir, np.arange(first, end) % bank.capacity]
            bank.prepare(one, np.array([start + len(samples)]))
            bank.place(one, np.array([start]), samples[None])
        self.newest[slot] = start + end - first
        self._newest_at[slot] = self._newest_at[heir]

    def settled(self, slot: Column, form: Column) -> Column:
        """Return the positions (m,) before which nothing more will come.

        Where no packet is missing that is the newest one, else a look-back before it. What came before a call's first
        packet is not known until two of them have passed.
        """
        newest, look = self.newest[slot], self.look[form]
        target = newest - look
        whole = (self._sequences.hole_end[slot] <= target) & (target >= look)
        return np.where(whole, newest, target)

    def advance(self, slot: Column, form: Column, target: Column) -> None:
        """Let the reader read up to target (m,)."""
        on = target > self.floor[slot]
        if not on.all():
            slot, form, target = slot[on], form[on], target[on]
            if not len(slot):
                return
        self.floor[slot] = target
        final = self._sequences.hole_end[slot] <= target
        self._final[slot[final]] = self._sequences.lost_packets[slot[final]]
        alone = bool((form == form[0]).all())
        for index in [int(form[0])] if alone else np.unique(form).tolist():
            bank, here = self.bank(index), slice(None) if alone else np.flatnonzero(form == index)
            some, upto, settled = slot[here], target[here], final[here]
            waits = self._queued[some]
            if waits.any():
                for one in dict.fromkeys(some[waits].tolist()):
                    self._hand_over(one, index, int(self.floor[one]), ended=False)
                some, upto, settled = some[~waits], upto[~waits], settled[~waits]
                if not len(some):
                    continue
            bank.skipped[some[settled]] = self._sequences.lost[some[settled]]
            # Before `written`: a reader that sees a sample must not see an older sample's time with it.
            bank.stamp[some] = self._newest_at[some] - (self.newest[some] - upto) / self.rate[index]
            bank.written[some] = upto
            bank.arrived.set()

    def finish(self, slot: int, form: int) -> None:
        """Let the reader read all of an ended call."""
        self._sequences.hole_end[slot] = 0
        one = np.array([slot])
        self.advance(one, np.array([form]), self.newest[one])
        if self._queued[slot]:
            self._hand_over(slot, form, int(self.newest[slot]), ended=True)
        else:
            bank = self.bank(form)
            bank.skipped[slot] = self._sequences.lost[slot]
            bank.finish(slot)
        self._final[slot] = 0
        self._past += int(self._sequences.lost_packets[slot])
        self._queue.forget(slot)

    def _hand_over(self, slot: int, form: int, upto: int, ended: bool) -> None:
        """Hand packets before position `upto` to the decoders, which advance `written` when they are done."""
        assert self._decoders is not None, "a stateful codec without decoders"
        ahead = (int(self.newest[slot]) - upto) / float(self.rate[form])
        job = Job(
            key=(slot, int(self.generation[slot])),
            bank=self.bank(form),
            row=slot,
            packets=self._queue.due(slot, upto),
            upto=upto,
            stamp=float(self._newest_at[slot]) - ahead,
            skipped=int(self._sequences.lost[slot]) if self._sequences.hole_end[slot] <= upto else None,
            ended=ended,
            channel=int(self._channel[slot]) or None,
        )
        self.overrun += self._decoders.put(job)
