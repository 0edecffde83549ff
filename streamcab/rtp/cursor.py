"""One call's sequence numbers and timestamps, packet by packet: every packet that is not simply the next one.

RFC 3550 section 5.1 requires sequence numbers that count packets and timestamps that count samples. Some senders step
in one or both, count at another rate, or use the time of day. The rules here, in order:

* Contiguous numbers mean contiguous audio. A timestamp that is a few ms off changes nothing. One that leaps ahead is
  announced silence when wall time has passed too, or when comfort noise has announced it; otherwise it is a new clock.
* Where numbers are missing, the timestamp says how much sound went with them.
* A repeated or old number with a timestamp that continues is new audio: the numbers have stepped back.
* An old number with an old timestamp was overtaken on its way.
* If number and timestamp both leap, other packets must follow to the same place before the leap is accepted.

Knows nothing of rings, tables or payloads. `timeline.py` uses this for packets that its columns cannot place.
"""

from dataclasses import dataclass, field
from enum import IntEnum

EXPECTED_S = 0.018
"""A clock error up to this is common: less than a packet, more than the 16 ms of a coarse clock."""
TOLERANCE_S = 0.045
"""A larger clock error means another time. The error of a clock that is off by up to 20 ms either way stays below twice
as much, since it is relative to earlier packets."""
GROWN_S = 0.024
"""An error that grows beyond this is one of the rate. SRTP's tag of 10 bytes looks like an error of 20 ms."""
LEAK = 15 / 16
"""Share of a clock's error that is kept at the next packet: a clock that runs 5 % fast is followed."""
STEADY = 1e-6
"""Samples: a smaller error of a clock is one of rounding."""
SLACK_S = 0.1
"""A pause may be shorter by our clock than by its timestamps by this much, since delays of packets vary."""
PAUSE_S = 0.25
"""After a pause of this length the clock may have changed: the hole then has the length of the wall time."""
MAX_DROPOUT = 3000
"""A number further ahead than this is a restart, not loss (RFC 3550 appendix A.1)."""
MAX_MISORDER = 256
"""A number further behind than this was not overtaken."""
LONGEST_S = 0.12
"""The longest packet of a common format, in seconds."""
CERTAIN = 4
"""Packets whose timestamps are wrong in the same way before their clock is corrected."""
SLOWLY = 8
"""The same where the error grows within what is tolerated, from packet to packet."""
HOPELESS = 16
"""Packets whose timestamps are wrong in different ways before timestamps are ignored."""
NEAR = 16
"""Packets between two intolerable ones that are counted together."""


class Verdict(IntEnum):
    """The decision on a packet."""

    GOOD = 0
    LATE = 1
    LEAP = 2


@dataclass(slots=True)
class Packet:
    """What is needed of a packet. Samples are those of the ring, 0 if it holds no audio."""

    sequence: int
    time: int
    samples: float
    clock: int
    comfort: bool
    """It announces a pause (RFC 3389)."""
    known: bool
    """Its number has arrived before, and it is not a repeat."""
    now: float


def difference(time: int, base: int) -> int:
    """Return the ticks from one RTP timestamp to another, -2^31 .. 2^31 - 1."""
    return (time - base + 2**31) % 2**32 - 2**31


@dataclass(frozen=True, slots=True)
class Misfit:
    """A packet whose timestamp disagrees with the length of the packet before it."""

    ticks: int
    span: float
    """Samples of the packet before it."""
    sequence: int
    near: int
    """Packets ahead at which another one is counted with it, at most."""


@dataclass(slots=True)
class Cursor:
    """The newest packet of a call: its number, time, position and length in samples; and its last result."""

    number: int
    time: int
    position: float
    span: float
    largest: float
    rate: float
    """Hz of the ring."""
    clock: int
    """Hz of the timestamps of its format."""
    step: float
    """Samples per tick of this sender's clock; 0: its timestamps are meaningless."""
    drift: float
    """The clock's error in samples."""
    count: int
    """Numbers since the first packet, or since the numbers stepped."""
    at: float
    """Monotonic time of its arrival."""
    begun: float
    """Monotonic time at which position 0 would have arrived."""
    announced: bool
    floor: float
    """Position before which everything has been read."""
    leapt: tuple[int, int] | None = None
    """Number and timestamp of the newest leap that has been neither accepted nor given up."""
    wrong: list[Misfit] = field(default_factory=list)
    """Packets whose timestamps did not fit."""

    lost: tuple[int, float] = (0, 0.0)
    """Results for the last packet: the numbers and samples missing before it,"""
    found: bool = False
    """whether it had been counted as lost,"""
    silence: tuple[float, float] | None = None
    """the announced silence before it, as start and end,"""
    stepped: bool = False
    """whether numbers or clock restarted with it,"""
    flaw: str = ""
    """and the fault of its clock, in words, if it has just become certain."""

    @property
    def edge(self) -> float:
        """Return the position after the newest packet."""
        return self.position + self.span

    def place(self, p: Packet) -> tuple[Verdict, float]:
        """Return the position of the next packet in order of arrival."""
        self.lost, self.found, self.silence, self.stepped, self.flaw = (0, 0.0), False, None, False, ""
        ahead = (p.sequence - self.number + 32768) % 65536 - 32768
        ticks = difference(p.time, self.time)
        timed = p.clock == self.clock and self.step > 0
        # Samples from the end of the newest packet to its start; by its number if its timestamp is meaningless.
        off = ticks * self.step - self.span if timed else (ahead - 1) * self.span
        if not p.samples:
            return self._no_audio(p, ahead, off)
        tolerance = TOLERANCE_S * self.rate
        drift = self.drift * LEAK + off
        expected = abs(drift) <= EXPECTED_S * self.rate
        if not (ahead == 1 and expected) and self.leapt is not None and self._follows(p, *self.leapt):
            return Verdict.LEAP, 0.0
        if ahead == 1 and abs(drift) <= tolerance:
            if abs(drift) > max(GROWN_S * self.rate, abs(self.drift)):
                self._doubt(ticks, p.sequence, 1, SLOWLY)
            return self._move(p, self.edge, 0.0 if self.flaw else drift)
        if ahead == 1:
            return self._next(p, ticks, off)
        if 1 < ahead < MAX_DROPOUT:
            return self._after_gap(p, ahead, off, tolerance)
        if timed and off >= -self.span / 2 and not self._belongs(p, ahead, ticks * self.step, tolerance):
            return self._stepped(p, off, tolerance)
        if -MAX_MISORDER < ahead <= 0 and not p.known:
            return self._overtaken(p, ahead, ticks if timed else None, tolerance)
        return Verdict.LEAP, 0.0

    def _next(self, p: Packet, ticks: int, off: float) -> tuple[Verdict, float]:
        """Handle a packet whose number is the next one, but whose timestamp is not."""
        if off > 0 and not self._again(ticks, off, p.sequence) and self._passed(off, p):
            return self._move(p, self.edge + off, 0.0)
        pause = self.pause(p.now)
        if not pause:
            self._doubt(ticks, p.sequence, NEAR, CERTAIN)
        self.stepped = True
        return self._move(p, self.edge + pause, 0.0)

    def _again(self, ticks: int, off: float, number: int) -> bool:
        """Return whether a short step that took no time before comes again: a clock's, though this packet is late."""
        again = [m for m in self.wrong[-1:] if m.ticks == ticks and (number - m.sequence) % 65536 == 1]
        return bool(again) and off <= SLACK_S * self.rate

    def _follows(self, p: Packet, number: int, time: int) -> bool:
        """Return whether a packet follows exactly on the newest leap."""
        near = abs(difference(p.time, time) * self.step - p.samples) <= EXPECTED_S * self.rate
        return near and p.sequence == (number + 1) % 65536

    def _after_gap(self, p: Packet, ahead: int, off: float, tolerance: float) -> tuple[Verdict, float]:
        """Handle a packet before which numbers are missing: lost, or still on their way."""
        missing = ahead - 1
        # If all packets have one length, the missing samples follow from the missing numbers.
        alike = self.largest == self.span == p.samples
        most = missing * (self.span if alike else LONGEST_S * self.rate) + tolerance
        drift = self.drift * LEAK + off - missing * self.span
        if self.drift and abs(drift) <= tolerance and p.samples == self.span:
            off = missing * self.span  # its clock is known to be unsteady, but its numbers are not
        elif off < -tolerance or (off > most and not self._passed(off - most, p)):
            return Verdict.LEAP, 0.0
        else:
            drift = self.drift
        off = max(off, 0.0)
        if off > 0:
            self.lost = missing, min(off, missing * self.largest + tolerance)
        self.count += missing
        return self._move(p, self.edge + off, drift)

    def _stepped(self, p: Packet, off: float, tolerance: float) -> tuple[Verdict, float]:
        """Handle a packet whose number is old or far away, and whose timestamp continues."""
        if off > tolerance and not self._passed(off, p):
            return Verdict.LEAP, 0.0
        self.stepped, self.count = True, 0
        return self._move(p, self.edge + (off if off > tolerance else 0.0), 0.0)

    def _overtaken(self, p: Packet, ahead: int, ticks: int | None, tolerance: float) -> tuple[Verdict, float]:
        """Handle a packet whose number is an old one that has not arrived yet."""
        by_number = self.position + ahead * self.span
        start = by_number if ticks is None else self.position + ticks * self.step
        if ticks is not None and self._belongs(p, ahead, ticks * self.step, tolerance):
            start = by_number
        far = 2 * (1 - ahead) * LONGEST_S * self.rate + SLACK_S * self.rate
        if not self.position - far <= start <= self.position + EXPECTED_S * self.rate - p.samples:
            return Verdict.LEAP, 0.0
        counted = self.count + ahead > 0
        if start < self.floor:
            return (Verdict.LATE if counted else Verdict.LEAP), start
        self.found = counted
        return Verdict.GOOD, start

    def _belongs(self, p: Packet, ahead: int, samples: float, tolerance: float) -> bool:
        """Return whether an old number tells where a packet belongs, `samples` after the newest one by its timestamp.

        The clock is known to be unsteady, and the number has not arrived yet.
        """
        missing = not p.known and ahead <= 0 < self.count + ahead
        near = p.samples == self.span and abs(samples - ahead * self.span) <= tolerance
        return missing and near and self.drift != 0

    def _no_audio(self, p: Packet, ahead: int, off: float) -> tuple[Verdict, float]:
        """Handle a packet without audio (event, comfort noise): it takes a number, and no time."""
        if not 0 < ahead < MAX_DROPOUT:
            return Verdict.GOOD, self.edge
        self.number = p.sequence
        self.announced |= p.comfort
        self.count += ahead
        sound = min(max(off, 0.0), (ahead - 1) * self.largest)
        if ahead > 1:
            self.lost = ahead - 1, sound
        return Verdict.GOOD, self.edge + sound

    def _move(self, p: Packet, start: float, drift: float) -> tuple[Verdict, float]:
        """Make this the newest packet."""
        if start - self.edge - self.lost[1] > PAUSE_S * self.rate:
            self.silence = self.edge + self.lost[1], start
        if p.clock != self.clock:
            self.step, self.clock, self.wrong = self.rate / p.clock, p.clock, []
        self.number, self.time, self.at = p.sequence, p.time, p.now
        self.position, self.span, self.drift = start, p.samples, drift if abs(drift) >= STEADY else 0.0
        self.largest = max(self.largest, p.samples)
        self.count += 1
        self.announced = False
        return Verdict.GOOD, start

    def pause(self, now: float) -> float:
        """Return the samples of the pause since the newest packet by wall time; 0 without a notable pause."""
        pause = (now - self.at) * self.rate - self.span
        return float(round(pause)) if pause > PAUSE_S * self.rate else 0.0

    def _passed(self, off: float, p: Packet) -> bool:
        """Return whether there was time for this many samples of silence since the newest packet."""
        # After a suspension, packets that waited in the socket arrive at once: older than the clock says.
        passed = (p.now - self.begun) * self.rate - self.edge
        if off > SLACK_S * self.rate:  # a shorter pause looks like packets that arrive in twos and threes
            passed = max(passed, (p.now - self.at) * self.rate - self.span)
        return self.announced or off - min(SLACK_S * self.rate, off / 2) <= passed

    def _doubt(self, ticks: int, number: int, near: int, enough: int) -> None:
        """Record that a packet's length and the next timestamp disagree; correct the clock after `enough` of these.

        near: the next one counts with this one if it is at most so many packets ahead.
        """
        if self.wrong and (number - self.wrong[-1].sequence) % 65536 > self.wrong[-1].near:
            self.wrong.clear()
        self.wrong.append(Misfit(ticks, self.span, number, near))
        chosen = self.wrong[-enough:]
        nominal = self.rate / self.clock
        if not self.step or len(chosen) < enough or any(misfit.span <= 0 for misfit in self.wrong):
            return
        ratios = [misfit.ticks / misfit.span for misfit in chosen]
        thousandths = all(abs(m.ticks - 1000 * m.span / self.rate) <= 1.01 for m in chosen)
        said = f"its timestamps count {ticks} a packet of {self.span / nominal:.0f}"
        if max(ratios) == 0 == min(ratios):
            self.step, self.flaw = 0.0, "its timestamps stand still: its numbers are gone by"
        elif thousandths and self.clock != 1000:
            self.step, self.flaw = self.rate / 1000, f"{said}, in milliseconds: corrected"
        elif 1 / 64 < min(ratios) * nominal < 64 and max(ratios) <= 1.01 * min(ratios):
            self.step = sum(misfit.span for misfit in chosen) / sum(misfit.ticks for misfit in chosen)
            self.flaw = f"{said}: corrected"
        elif len(self.wrong) >= HOPELESS:
            self.step, self.flaw = 0.0, f"{said}, now so and now so: its numbers are gone by"
        if self.flaw:
            self.wrong.clear()
