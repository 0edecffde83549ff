"""The health of a daemon, from two seconds of its feed: a verdict, and a screen of text.

Owns the judgement of a daemon's health. Knows nothing of sockets beyond a feed that is handed in.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, Status
from streamcab.text import LISTED, plural, printable

WELL, SICK, SILENT = 0, 1, 75
"""Exit codes: healthy; not healthy; no answer (EX_TEMPFAIL: try again)."""
LATE_MS = 2_000.0
"""A live stream further behind than this is not live: where the daemon skips, unless told otherwise."""
LOST = {
    **dict.fromkeys(
        ("refused-full", "refused_full", "media_refused", "media_refused_full", "evicted", "skips"),
        "reduce the load, or raise --max-streams if cores are idle",
    ),
    **dict.fromkeys(("refused-overload", "overrun"), "reduce the load: the machine is too slow for it"),
    "kernel_dropped": "the receive buffer is too small, or the machine too slow",
    "receive_errors": "the log says why",
    "undecodable": "payloads are damaged, or not of the codec that their type announces",
    "media_too_many_connections": "one address has too many calls: raise --media-per-address if they are yours",
    **dict.fromkeys(
        ("media_flooded", "media_too_big", "media_closed_malformed"),
        "a client's connection was closed: the log at level info says which, and why",
    ),
    **dict.fromkeys(("media_errors", "media_defects"), "an error inside streamcab; the log says where"),
    "overflows": "a source delivered audio faster than it was processed",
    "skipped": "a source lost samples",
    "not_a_number": "a source delivers NaN or infinite samples",
    "passes-failed": "the log says why",
    "shards-lost": "a shard died with its calls; the log says why",
    "worker-restarts": "a worker died with its calls; the log says why",
    "feed-refused": "a subscriber was refused; the log says why",
    "record-dropped-ms": "is there room on the disk?",
    "record-failed": "is there room on the disk?",
    "record-refused": "the log says which streams are not recorded, and why",
    "jsonl-dropped": "is there room on the disk?",
    "sink-dead": "a receiver refuses calls, or was away for a day: `streamcab sinks dead` says why",
    "sink-dropped": "a receiver is away: is there room on the disk?",
    "store-waiting": "the database is away or full: the log says why",
    "store-dropped": "is the database there, and is there room? The log says why",
}
"""Counters of losses and refusals, none of which may grow, each with a remedy."""
REFUSED = {
    "unknown_type": "the log names the payload types and the --pt to add",
    "no_decoder": "install PyAV: pip install streamcab[codecs]",
    "malformed": "a sender sends packets that are not RTP",
    "truncated": "a sender sends packets that are too long",
    "not_allowed": "a sender is not in --allow",
    "late": "the network delays packets: raise --lookback-ms",
    "jumped": "packets belong to no call: do two senders share an address, port and SSRC?",
}
"""Counters of refused packets. A small share is normal."""
SHARE = 0.1
"""Few."""
MOST_LINES = 20


class Feed(Protocol):
    """The part of `streamcab.feed.Subscriber` that is used here."""

    def recv(self, timeout_s: float | None = None) -> AnyMessage | None:
        """Return the next message, or None."""


@dataclass
class Snapshot:
    """The newest messages of a daemon."""

    run: str = ""
    first: DaemonStatus | None = None
    daemon: DaemonStatus | None = None
    streams: dict[str, Status] = field(default_factory=dict)
    models: dict[str, ModelInfo] = field(default_factory=dict)
    answers: dict[str, Prediction] = field(default_factory=dict)

    def take(self, message: AnyMessage) -> None:
        """Keep a message; a new run of the daemon forgets the one before."""
        if message.run != self.run:
            self.run = message.run
            self.first = self.daemon = None
            for kept in (self.streams, self.models, self.answers):
                kept.clear()
        match message:
            case DaemonStatus():
                self.first, self.daemon = self.first or message, message
            case Status() if message.state == "ended":
                self.streams.pop(message.stream, None)
                self.answers.pop(message.stream, None)
            case Status():
                self.streams[message.stream] = message
            case Prediction() if message.state != "ended":
                self.answers[message.stream] = message
            case ModelInfo():
                self.models[message.model] = message

    @property
    def twice(self) -> bool:
        """Whether two status messages of the daemon have arrived; their difference shows the present rates."""
        return self.daemon is not None and self.first is not None and self.daemon.seq > self.first.seq

    def grown(self, name: str) -> int:
        """Return how much a counter grew between the daemon's first and last status."""
        if self.daemon is None or self.first is None:
            return 0
        return self.daemon.counters.get(name, 0) - self.first.counters.get(name, 0)


def observe(feed: Feed, wait_s: float, clock: Callable[[], float] = time.monotonic) -> Snapshot:
    """Listen for two status messages of the daemon, for `wait_s` seconds at most."""
    snapshot, until = Snapshot(), clock() + wait_s
    while not snapshot.twice and (left := until - clock()) > 0:
        message = feed.recv(left)
        if message is not None:
            snapshot.take(message)
    return snapshot


def troubles(snapshot: Snapshot) -> list[str]:
    """Return the problems found, each with a remedy; empty if there are none.

    One rule: just now nothing is lost, less than a packet in ten is refused, and the daemon itself says nothing.
    """
    daemon, first = snapshot.daemon, snapshot.first
    if daemon is None or first is None:
        return ["the daemon sends no status of itself"]
    found = []
    if not snapshot.twice:
        found.append("no more messages: the daemon hangs or has just ended")
    lost = [s for s in snapshot.streams.values() if s.state == "lost"]
    if lost:
        found.append(
            f"{_some(s.stream for s in lost)} lost: is the source plugged in, is the sender running?"
        )
    # Without new audio there is no lag: the newest sample grows old by itself.
    late = [
        s
        for s in snapshot.streams.values()
        if s.state != "lost" and s.source_state != "stalled" and s.lag_ms > LATE_MS
    ]
    if late:
        found.append(
            f"{_some(s.stream for s in late)} more than {LATE_MS / 1000:g} s behind: too many streams"
        )
    if daemon.lost_ms > first.lost_ms:
        found.append(f"{daemon.lost_ms - first.lost_ms:.0f} ms of audio lost just now")
    found.extend(
        f"{name} grew by {grown} just now: {what}"
        for name, what in LOST.items()
        if (grown := snapshot.grown(name)) > 0
    )
    received = snapshot.grown("received")
    refused = {name: grown for name in REFUSED if (grown := snapshot.grown(name)) > 0}
    if refused and sum(refused.values()) >= SHARE * received:
        counted = ", ".join(f"{name} {n}" for name, n in refused.items())
        most = max(refused, key=lambda name: refused[name])
        found.append(
            f"of {received} packets just now {sum(refused.values())} are refused ({counted}): {REFUSED[most]}"
        )
    return found + ([printable(daemon.detail)] if daemon.detail else [])


def verdict(snapshot: Snapshot) -> int:
    """Return the exit code for a snapshot."""
    if snapshot.daemon is None and not snapshot.streams:
        return SILENT
    return SICK if troubles(snapshot) else WELL


def screen(snapshot: Snapshot, endpoint: str) -> str:
    """Format a snapshot as text, streams with problems first."""
    if verdict(snapshot) == SILENT:
        return f"no answer at {endpoint}: is the daemon running, and is this its endpoint?\n"
    wrong = troubles(snapshot)
    lines = [f"streamcab at {endpoint}: {'NOT WELL' if wrong else 'well'}"]
    lines += [f"  ! {text}" for text in wrong]
    if (d := snapshot.daemon) is not None:
        lines.append(
            f"up {duration(d.uptime_s)}, {plural(d.streams, 'stream')}, {d.intervals_per_s:g} intervals/s, "
            f"longest pass {d.pass_ms:.0f} ms, lost {d.lost_ms / 1000:.1f} s in all"
        )
    lines += [
        f"model {printable(m.name)} {printable(m.model)}: {printable(', '.join(m.labels))}"
        for m in snapshot.models.values()
    ]
    lines += _stream_lines(snapshot)
    counted = {name: n for name, n in sorted(d.counters.items()) if n} if d is not None else {}
    if counted:
        lines.append("counted: " + ", ".join(f"{printable(name)} {n}" for name, n in counted.items()))
    if letters := counted.get("sink-dead"):
        lines.append(
            f"dead letters: {letters}; `streamcab sinks dead` lists them, `sinks resend` sends them again"
        )
    return "\n".join(lines) + "\n"


def report(snapshot: Snapshot, endpoint: str) -> str:
    """Format a snapshot as one JSON object, with the messages as the feed carried them."""
    members = {
        "endpoint": endpoint,
        "code": verdict(snapshot),
        "troubles": [] if verdict(snapshot) == SILENT else troubles(snapshot),
        "daemon": snapshot.daemon,
        "models": list(snapshot.models.values()),
        "streams": list(snapshot.streams.values()),
    }
    return msgspec.json.encode(members).decode()


def duration(seconds: float) -> str:
    """Format seconds in two units of time at most: 3 d 4 h, 12 min 5 s."""
    parts: list[str] = []
    left = int(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _stream_lines(snapshot: Snapshot) -> list[str]:
    ranked = sorted(snapshot.streams.values(), key=lambda s: (s.state != "lost", -s.lag_ms, s.stream))
    width = min(max((len(s.stream) for s in ranked[:MOST_LINES]), default=0), LISTED)
    lines = []
    for s in ranked[:MOST_LINES]:
        answer = snapshot.answers.get(s.stream)
        said = (
            "-"
            if answer is None or answer.top is None
            else f"{printable(answer.top)} {answer.confidence or 0:.0%}"
        )
        lines.append(
            f"  {s.stream:<{width}}  {s.state:<7}  {said:<14}  {s.lag_ms:5.0f} ms behind"
            f"  lost {s.lost_ms / 1000:.1f} s  overflows {s.overflows}  {_source(s)}"
        )
    if len(ranked) > MOST_LINES:
        lines.append(f"  and {len(ranked) - MOST_LINES} more")
    return lines


def _source(s: Status) -> str:
    """Describe the state of the source."""
    words: list[str] = [s.source_state] if s.source_state in ("silent", "stalled", "reconnecting") else []
    words += [s.detail or s.source, *([f"samples: {', '.join(s.flaws)}"] if s.flaws else [])]
    return printable(": ".join(words))


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} others" if len(listed) > 3 else "")
