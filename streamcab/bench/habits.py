"""Habits of senders: pauses in which nothing is sent, and changes during a call.

Everything is a function of the call and the number of its packet, for many at once, so that load generator and probe
agree without communication. Pure: no sockets, no clock.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.bench.traffic import FORMATS, Format, Plan, Traffic

RESTART, HOLD, GOODBYE, CODEC = range(4)
EVENTS = ("restart", "hold", "goodbye", "codec")
"""Number and timestamp leap; nothing for a while, and then another clock; RTCP BYE while packets go on; for a while
another codec of another rate. All under the same SSRC and port, and nothing is lost by any of them."""
SHORTEST_S = 4.0
"""A call that is shorter changes nothing."""
HOLD_S = CODEC_S = 1.5
TALK_S, PAUSE_S = (2.5, 5.0), (0.5, 4.5)
"""Shortest and longest, with silence suppression. Audio soon after a long pause is another call, so changes come
in the midst of talk."""
COMFORT = 13
"""Payload type of comfort noise (RFC 3389)."""

Column = NDArray[np.int64]
Mask = NDArray[np.bool_]


def other_format(traffic: Traffic) -> Format:
    """Return the codec that calls change to."""
    return FORMATS["pcmu" if traffic.codec == "l16" else "l16"]


class Habits:
    """The habits of all calls of a plan. `event` (calls,) int64: the index in EVENTS of each call's event, or -1."""

    def __init__(self, plan: Plan, traffic: Traffic) -> None:
        n, rng = plan.calls, np.random.default_rng(traffic.seed + 3)

        def frames(seconds: float) -> int:
            return round(seconds / traffic.frame_s)

        if traffic.dtx:
            self._talk = rng.integers(frames(TALK_S[0]), frames(TALK_S[1]), n)
            self._pause = rng.integers(frames(PAUSE_S[0]), frames(PAUSE_S[1]), n)
            self._noise = np.arange(n) % 2  # every other call announces its pauses
        else:
            self._talk, self._pause, self._noise = np.full(n, 2**40), *np.zeros((2, n), np.int64)
        length = plan.last - plan.first
        self.event = np.full(n, -1)
        if traffic.mixed:
            some = np.flatnonzero(length >= frames(SHORTEST_S))
            self.event[some] = np.arange(len(some)) % len(EVENTS)
        period = self._talk + self._pause
        self._at = length // 2
        if traffic.dtx:
            self._at = self._at // period * period + self._talk // 4
            self.event[self._at + frames(CODEC_S) >= length] = -1
        self._hold = np.where(self.event == HOLD, frames(HOLD_S), 0)
        self._codec = np.where(self.event == CODEC, frames(CODEC_S), 0)
        leap = (self.event == RESTART) | (self.event == HOLD)
        self._clock = np.where(leap, rng.integers(2**24, 2**31, n), 0)
        self._number = np.where(self.event == RESTART, rng.integers(5_000, 60_000, n), 0)
        self._samples = traffic.samples
        self._ratio = other_format(traffic).rate / traffic.format.rate
        self._byes: dict[int, list[int]] = {}
        for serial in np.flatnonzero(self.event == GOODBYE).tolist():
            self._byes.setdefault(int(plan.first[serial] + self._at[serial]), []).append(serial)

    def counted(self) -> dict[str, int]:
        """Return the number of calls with each event."""
        return {name: int(np.count_nonzero(self.event == k)) for k, name in enumerate(EVENTS)}

    def sent(self, serial: Column, packet: Column) -> Mask:
        """Return which of these packets (m,) of these calls (m,) are sent at all, as audio or comfort noise."""
        since = packet - self._at[serial]
        held = (since >= 0) & (since < self._hold[serial])
        mask: Mask = (self._within(serial, packet) < self._talk[serial] + self._noise[serial]) & ~held
        return mask

    def comfort(self, serial: Column, packet: Column) -> Mask:
        """Return which of them are comfort noise."""
        return self._within(serial, packet) >= self._talk[serial]

    def changed(self, serial: Column, packet: Column) -> Mask:
        """Return which of them have the other codec."""
        since = packet - self._at[serial]
        return (since >= 0) & (since < self._codec[serial])

    def number(self, serial: Column, packet: Column) -> Column:
        """Return the packets' sequence numbers, from that of each call's first packet on."""
        at = self._at[serial]
        held = self._before(serial, np.minimum(packet, at + self._hold[serial])) - self._before(serial, at)
        count = self._before(serial, packet) - np.maximum(held, 0)
        numbers: Column = count + np.where(packet >= at, self._number[serial], 0)
        return numbers

    def ticks(self, serial: Column, packet: Column) -> Column:
        """Return the packets' timestamps, from that of each call's first packet on; another codec counts at its own
        rate."""
        since = np.clip(packet - self._at[serial], 0, self._codec[serial])
        faster = np.where(self.changed(serial, packet), since * (self._ratio - 1), 0)
        ticks = ((packet + faster) * self._samples).astype(np.int64)
        moved: Column = ticks + np.where(packet >= self._at[serial], self._clock[serial], 0)
        return moved

    def byes(self, frame: int) -> Column:
        """Return the calls that send a BYE in this frame and continue."""
        return np.array(self._byes.get(frame, []), np.int64)

    def _within(self, serial: Column, packet: Column) -> Column:
        return packet % (self._talk[serial] + self._pause[serial])

    def _before(self, serial: Column, packet: Column) -> Column:
        """Return the packets of a call before this one, if nothing befell it."""
        sent = self._talk[serial] + self._noise[serial]
        whole, rest = np.divmod(packet, self._talk[serial] + self._pause[serial])
        before: Column = whole * sent + np.minimum(rest, sent)
        return before
