"""The audio of a rehearsal: the same in every period, to the sample.

A microphone that never ends plays a tape of two minutes over and over: talk, digital silence, a busy tone, music,
noise. Calls come as RTP through the real intake, with pauses, losses and packets out of order; each lives for a minute
or so, under a new name. Nothing here looks at a clock: `tick` is told the time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.bench.speech import babble, bundled_clips, encode
from streamcab.errors import ConfigError
from streamcab.rtp.batch import Batch
from streamcab.rtp.codec import STATIC
from streamcab.rtp.intake import Intake
from streamcab.rtp.names import CallNames
from streamcab.rtp.payload import PayloadTypes
from streamcab.source import Line
from streamcab.source.calls import Calls

TICK_S = 0.2
"""Between two looks at the programme; a call's packet is as long."""
TAPE_S = 120
TAPE_RATE = 16_000
CALL_RATE = 8_000
PACKET = round(TICK_S * CALL_RATE)
LOSS, SWAP = 97, 53
"""Each packet of a call whose number divides by these is lost, or changes places with the next."""
SHORTEST_S, LONGEST_S, PAUSE_S = 20.0, 100.0, 4.0
"""Of a call; and before the next one in its place."""
RING_S = 4.0
TALK, HUSH = 45, 8
"""Packets that a call sends, and packets that it omits in the pause after them: silence suppression."""
BUSY_S, MUSIC_S = 6.0, 8.0
"""Of a busy tone and of music on the tape."""
BUSY, CHORDS = (480.0, 620.0), ((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6))
"""Hz; a busy tone after ITU-T E.180, half a second on and off."""


def _busy() -> NDArray[np.float64]:
    t = np.arange(round(BUSY_S * TAPE_RATE)) / TAPE_RATE
    return np.where(t % 1.0 < 0.5, sum(0.1 * np.sin(2 * np.pi * hz * t) for hz in BUSY), 0.0)


def _music() -> NDArray[np.float64]:
    """Play a chord a second, each note with overtones, dying away."""
    t = np.arange(TAPE_RATE) / TAPE_RATE
    made = []
    for k in range(round(MUSIC_S)):
        overtones = [(hz * n, 0.05 / n) for hz in CHORDS[k % len(CHORDS)] for n in range(1, 6)]
        made.append(sum(a * np.sin(2 * np.pi * f * t) for f, a in overtones) * np.exp(-2 * t))
    return np.concatenate(made)


class Tape:
    """A source of one endless stream: a microphone without a device."""

    live, done = True, False

    def __init__(self) -> None:
        voice = babble(bundled_clips(), TAPE_RATE)
        noise = 0.003 * np.random.default_rng(1).standard_normal(20 * TAPE_RATE).astype(np.float32)
        self._tape = np.zeros(TAPE_S * TAPE_RATE, np.float32)
        self._tape[: len(voice)] = voice
        sound = np.concatenate((_busy(), _music(), noise)).astype(np.float32)
        self._tape[-len(sound) :] = sound
        self.line = Line("microphone", Bank(TAPE_RATE, 1, round(RING_S * TAPE_RATE)), 0, "a tape")
        self._told = False

    def tick(self, number: int, now: float) -> None:
        """Play the samples of tick `number`, which has just ended."""
        n = round(TICK_S * TAPE_RATE)
        at = number * n % len(self._tape)
        self.line.bank.write(0, self._tape[at : at + n], now)

    def start(self) -> None:
        """Do nothing: there is nothing to open."""

    def streams(self) -> list[Line]:
        """Return the stream, once."""
        told, self._told = self._told, True
        return [] if told else [self.line]

    def release(self, line: Line) -> None:
        """Do nothing: it ends with the rehearsal."""

    def counters(self) -> dict[str, int]:
        """Return none: it has no counters."""
        return {}

    def close(self) -> None:
        """Stop the tape."""
        self.line.bank.finish(0)


@dataclass(frozen=True)
class Call:
    """One call of the programme: its place, when it begins in the period, in ticks, and where in the voice."""

    place: int
    number: int
    first: int
    ticks: int
    start: int


def plan(places: int, period_s: float) -> list[Call]:
    """Plan all calls of a period: at most `places` at a time, none beyond the period's end."""
    draw = np.random.default_rng(7)
    calls = []
    for place in range(places):
        at, number = 1.0 + draw.uniform(0, 10), 0
        while (length := draw.uniform(SHORTEST_S, LONGEST_S)) + at + 2 * PAUSE_S < period_s:
            first, ticks = round(at / TICK_S), round(length / TICK_S)
            calls.append(Call(place, number, first, ticks, int(draw.integers(0, 60 * CALL_RATE))))
            at, number = at + length + PAUSE_S, number + 1
    return calls


class PlannedCalls:
    """A source of calls as a plan has them: the real intake, without sockets and thread; datagrams are made here."""

    live, done = True, False

    def __init__(self, places: int, period_s: float, part: int = 0, parts: int = 1) -> None:
        """Part `part` of `parts` of a plan. ConfigError for a period that is no multiple of the tape's."""
        if period_s % TAPE_S:
            raise ConfigError(f"the period is {period_s:g} s; it must be a multiple of {TAPE_S}")
        # An ended call keeps its row until the daemon has said so.
        self._intake = Intake(PayloadTypes({0: STATIC[0]}, {}), 2 * places + 2, idle_s=2.0, ring_s=RING_S)
        self._calls = Calls(self._intake, CallNames(), ["127.0.0.1:0"])
        self._voice = encode("pcmu", np.tile(babble(bundled_clips(), CALL_RATE), 3))
        self._period = round(period_s / TICK_S)
        self._plan = [call for call in plan(places, period_s) if call.place % parts == part]
        self._begin_at: dict[int, list[Call]] = {}
        for call in self._plan:
            self._begin_at.setdefault(call.first, []).append(call)
        self._active: list[Call] = []
        self.begun = 0

    def start(self) -> None:
        """Do nothing: there is nothing to open."""

    def streams(self) -> list[Line]:
        """Return the calls that have left probation since the last time."""
        return self._calls.begun()

    def release(self, line: Line) -> None:
        """Free the call's row for another."""
        self._calls.release(line)

    def counters(self) -> dict[str, int]:
        """Return the intake's counters."""
        return self._intake.counters()

    def tick(self, number: int, now: float) -> None:
        """Feed the packets of tick `number`, and let the intake act on them."""
        at = number % self._period
        self._active = [call for call in self._active if at < call.first + call.ticks]
        begun = self._begin_at.get(at, [])
        self._active += begun
        self.begun += len(begun)
        datagrams = [d for call in self._active for d in self._packets(call, at, number // self._period)]
        if datagrams:
            self._intake.feed(Batch.of(datagrams), now)
        self._intake.sweep(now)
        self._calls.tell()

    def _packets(self, call: Call, at: int, period: int) -> Iterator[tuple[bytes, tuple[str, int]]]:
        """Yield the packets that a call sends in this tick, mostly one."""
        n = at - call.first
        if n % SWAP == 1 and n > 1:
            return
        for k in (n, n - 1) if n % SWAP == 2 and n > 2 else (n,):
            if k % LOSS == LOSS - 1 or k % (TALK + HUSH) >= TALK:
                continue
            number = k - k // (TALK + HUSH) * HUSH  # a pause takes time and no numbers
            ssrc = 1 + call.place + 1000 * (call.number % 1000) + 1_000_000 * (period % 4000)
            head = (
                bytes([0x80, 0]) + (number % 65536).to_bytes(2) + (k * PACKET).to_bytes(4) + ssrc.to_bytes(4)
            )
            start = call.start + k * PACKET
            yield head + self._voice[start : start + PACKET].tobytes(), ("127.0.0.1", 4000 + 2 * call.place)

    @property
    def planned(self) -> int:
        """Calls of a period."""
        return len(self._plan)

    def heard_s(self, periods: int) -> float:
        """Return the seconds of all calls in a number of periods."""
        return periods * TICK_S * sum(call.ticks for call in self._plan)

    def close(self) -> None:
        """End every call."""
        self._intake.end_all("the source was closed")
        self._calls.tell()


def identity(stream: str) -> tuple[int, int] | None:
    """Place and number in its period of a call, from its name `rtp-HOST-PORT-SSRC`; None for another stream."""
    word = stream.rpartition("-")[2]
    if not stream.startswith("rtp-"):
        return None
    within = (int(word, 16) - 1) % 1_000_000
    return within % 1000, within // 1000
