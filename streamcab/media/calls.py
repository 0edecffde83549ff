"""The calls of all connections: they begin, go on over another connection, stall and end.

A call is known by its protocol and the platform's id. Each of its tracks becomes a stream with its first audio. Knows
nothing of messages, sockets or lines; `news` tells what happens to streams.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, Protocol

from streamcab.media.events import Audio, Start
from streamcab.media.tracks import Leg, Rings, Writer
from streamcab.rtp.bank import ScatterBank

STALL_S = 1.0
"""Seconds without audio after which a stream has stalled."""
STALLED = "no audio for 1 s: on hold, muted, or the way is gone"
BROKEN = "the connection broke off; the call goes on if it comes back"


class Owner(Protocol):
    """The connection that a call comes over."""

    def replaced(self) -> None:
        """Close the connection: another one carries the call now."""


@dataclass(eq=False)
class Stream:
    """One track of a call."""

    protocol: str
    start: Start
    track: str
    bank: ScatterBank
    row: int
    peer: str
    over: bool = False
    released: bool = False


@dataclass(frozen=True)
class News:
    """An event of a stream."""

    stream: Stream
    what: Literal["began", "stalled", "live", "lost", "ended"]
    why: str = ""


@dataclass(eq=False)
class Call:
    """A call, and the connection that carries it."""

    protocol: str
    start: Start
    owner: Owner | None
    peer: str
    legs: list[Leg]
    streams: dict[Leg, list[Stream]] = field(default_factory=dict)
    refused: set[Leg] = field(default_factory=set)
    stalled: set[Leg] = field(default_factory=set)
    lost_at: float | None = None

    @property
    def form(self) -> tuple[object, ...]:
        """Return what a connection must share to continue the call."""
        start = self.start
        return start.codec, start.rate, start.interleaved, start.tracks


class Calls:
    """Calls with up to `streams` streams together; a call whose connection broke off waits `idle_s` for another."""

    def __init__(self, streams: int, idle_s: float) -> None:
        self.idle_s = idle_s
        self.rings, self._writer = Rings(streams), Writer()
        self.news: deque[News] = deque()
        self._calls: dict[tuple[str, str], Call] = {}
        self.counts = {
            "media_calls": 0,
            "media_resumed": 0,
            "media_refused": 0,
            "media_late": 0,
            "media_messages": 0,
        }

    def begin(
        self, protocol: str, start: Start, owner: Owner, peer: str, lookback_s: float, now: float
    ) -> Call:
        """Begin the call that a connection has announced: a new one, or one that goes on."""
        key = protocol, start.call
        call = self._calls.get(key)
        if call is not None:
            previous, call.owner = call.owner, owner
            if previous is not None and previous is not owner:
                previous.replaced()
            fresh = Call(protocol, start, owner, peer, [])
            if call.form == fresh.form:
                self._resume(call, now)
                return call
            self.end(call, "the call goes on in another form", now)
        lookback, channels = round(lookback_s * start.rate), len(start.tracks) if start.interleaved else 1
        legs = [
            Leg(start.codec, start.rate, channels, lookback)
            for _ in range(1 if start.interleaved else len(start.tracks))
        ]
        call = self._calls[key] = Call(protocol, start, owner, peer, legs)
        self.counts["media_calls"] += 1
        return call

    def _resume(self, call: Call, now: float) -> None:
        self.counts["media_resumed"] += 1
        for leg in call.streams:
            if call.lost_at is not None:
                leg.miss(max(round((now - leg.last) * leg.rate), 0))
            leg.origin_ms, leg.first, leg.began, leg.last, leg.waits = None, now, leg.position, now, True
        call.stalled = set(call.streams)
        call.lost_at = None

    def audio(self, call: Call, audio: Audio, now: float) -> Leg | None:
        """Take some audio; the leg that it is of, or None if there is no room for it. Malformed."""
        self.counts["media_messages"] += 1
        leg = call.legs[audio.track]
        if leg.bank is None and not self._enter(call, leg, now):
            return None
        self._writer.put(leg, audio.payload, audio.at_ms, now)
        return leg

    def gap(self, call: Call, seconds: float) -> None:
        """Skip a part of a call that will never come."""
        for leg in call.streams:
            leg.miss(round(seconds * leg.rate))

    def _enter(self, call: Call, leg: Leg, now: float) -> bool:
        """Hear the first audio of a leg: its tracks become streams, if there is room for all of them."""
        if leg in call.refused:
            return False
        start = call.start
        tracks = start.tracks if start.interleaved else (start.tracks[call.legs.index(leg)],)
        taken = self.rings.take(start.rate, leg.compact, len(tracks))
        if taken is None:
            call.refused.add(leg)
            self.counts["media_refused"] += len(tracks)
            return False
        leg.bank, leg.rows = taken
        leg.first = leg.last = now
        call.streams[leg] = [
            Stream(call.protocol, start, track, taken[0], row, call.peer)
            for track, row in zip(tracks, leg.rows, strict=True)
        ]
        self.news.extend(News(stream, "began") for stream in call.streams[leg])
        return True

    def broke(self, call: Call, owner: Owner, now: float) -> None:
        """Note that the connection that carried a call is gone, and nobody has said that the call is over."""
        if call.owner is not owner:
            return
        call.owner, call.lost_at = None, now
        if not call.streams:
            self.end(call, "the connection broke off", now)
        call.stalled.clear()
        self._tell(call, "lost", BROKEN)

    def over(self, call: Call, owner: Owner, reason: str, now: float) -> None:
        """Note that the connection that carries a call says that it is over."""
        if call.owner is owner:
            self.end(call, reason, now)

    def end(self, call: Call, reason: str, now: float) -> None:
        """End a call."""
        key = call.protocol, call.start.call
        if self._calls.get(key) is call:
            del self._calls[key]
        for leg, streams in call.streams.items():
            self.counts["media_late"] += leg.late
            self._writer.finish(leg, now)
            for stream in streams:
                stream.over = True
                self._free(stream)
        self._tell(call, "ended", reason)
        call.streams = {}

    def end_all(self, reason: str, now: float) -> None:
        """End every call: the source closes."""
        for call in list(self._calls.values()):
            self.end(call, reason, now)

    def release(self, stream: Stream) -> None:
        """Release a stream: the daemon is done with it, or has refused it."""
        if not stream.released:
            stream.released = True
            self._free(stream)

    def _free(self, stream: Stream) -> None:
        if stream.over and stream.released:
            self.rings.give(stream.bank, stream.row)

    def tick(self, now: float) -> None:
        """Give the readers the samples that came. Call it several times a second."""
        self._writer.flush(now)

    def watch(self, now: float) -> None:
        """Act on silence: streams stall, and calls that broke off end."""
        for call in list(self._calls.values()):
            if call.lost_at is not None:
                if now - call.lost_at >= self.idle_s:
                    self.end(call, f"the connection broke off {self.idle_s:g} s ago", now)
                continue
            for leg, streams in call.streams.items():
                stalled = leg.waits or now - leg.last > STALL_S
                if stalled == (leg in call.stalled):
                    continue
                (call.stalled.add if stalled else call.stalled.discard)(leg)
                if stalled and leg.lookback:  # nothing later will come to let the reader go on
                    lookback, leg.lookback = leg.lookback, 0
                    self._writer.touch(leg)
                    self._writer.flush(now)
                    leg.lookback = lookback
                what: Literal["stalled", "live"] = "stalled" if stalled else "live"
                self.news.extend(News(s, what, STALLED if stalled else "") for s in streams)

    def _tell(self, call: Call, what: Literal["lost", "ended"], why: str) -> None:
        self.news.extend(News(s, what, why) for streams in call.streams.values() for s in streams)

    @property
    def alive(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)
