"""The result of a measurement, as numbers and as text, and whether it holds.

Knows nothing of how it was measured.
"""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Percentiles of a quantity over all its cases."""

    p50: float
    p99: float
    max: float

    def __str__(self) -> str:
        return f"{self.p50:.0f} / {self.p99:.0f} / {self.max:.0f}"


@dataclass
class Report:
    """One run of `bench calls`. Times in ms unless named otherwise, CPU in cores, memory in bytes."""

    settings: dict[str, Any]
    seconds: float
    packets_due: int
    packets_sent: int
    packets_withheld: int
    packets_received: int
    counters: dict[str, int]
    calls: int
    streams_seen: int
    streams_most: int
    streams_ended: int
    lost_audio_ms: float
    messages: int
    messages_missed: int
    predictions: int
    rhythm: float
    """Predictions of each stream per second, from when all had settled to the end."""
    latency_ms: Spread
    lag_ms: Spread
    appeared_ms: Spread
    pass_ms: float
    sender_late_ms: Spread
    cpu: dict[str, float]
    rss: list[int]
    bytes_per_stream: int
    details: dict[str, int]
    budget_ms: float
    events: dict[str, int] = field(default_factory=dict)
    """Changes during calls, by kind."""
    codecs_told: int = 0
    """Changes of codec that the feed has told."""
    failures: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, and everything was in time."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "holds": self.holds}


LOSSES = (
    ("kernel_dropped", "dropped by the kernel: the receive buffer was full"),
    ("refused_full", "packets of calls for which there was no row"),
    ("refused-full", "calls refused: all streams taken"),
    ("refused-overload", "calls refused: overloaded"),
    ("overrun", "packets overrun"),
    ("malformed", "packets malformed"),
    ("jumped", "packets out of proportion"),
    ("media_refused", "streams for which there was no room"),
    ("media_malformed", "messages malformed"),
    ("media_flooded", "connections closed as floods"),
    ("media_late", "messages too late, or twice"),
    ("skips", "skips to live: the engine was too slow"),
    ("receive_errors", "errors while receiving"),
    ("record-dropped-ms", "ms of audio dropped from recordings"),
    ("record-refused", "calls not recorded"),
    ("record-failed", "recordings that failed"),
)
"""Counters of the daemon that must be zero."""
IF_WHOLE = (
    ("late", "packets too late"),
    ("duplicate", "packets twice"),
    ("lost_packets", "packets missing in sequence"),
)
"""Must be zero too, if the load generator does no damage."""
EXPECTED = ("received", "accepted", "media_messages", "media_calls")
"""Counters that are above zero when all is well."""
RHYTHM = 0.9
"""Share of the predictions asked for that must come; calls that have just begun are not answered for a second."""
SENDER_LATE = 100.0
"""ms of p99 beyond which not the daemon was measured."""


def judge(report: Report, damaged: bool) -> list[str]:
    """Return the reasons why a measurement does not hold; empty when it does."""
    why = []
    if report.packets_sent + report.packets_withheld != report.packets_due:
        why.append(f"sent {report.packets_sent} packets of {report.packets_due}: the load generator failed")
    if report.sender_late_ms.p99 > SENDER_LATE:
        why.append(f"the load generator was late itself, p99 {report.sender_late_ms.p99:.0f} ms")
    missing = report.packets_sent - report.packets_received
    if missing:
        why.append(f"{missing} packets sent and not received")
    for name, meaning in LOSSES if damaged else LOSSES + IF_WHOLE:
        if report.counters.get(name):
            why.append(f"{report.counters[name]} {meaning}")
    if report.lost_audio_ms and not damaged:
        why.append(f"{report.lost_audio_ms:.0f} ms of audio never classified")
    if report.streams_seen != report.calls:
        why.append(f"{report.streams_seen} of {report.calls} calls seen in the feed")
    if report.streams_ended != report.calls:
        why.append(f"{report.streams_ended} of {report.calls} calls ended in the feed")
    leaps = report.events.get("restart", 0) + report.events.get("hold", 0)
    if report.counters.get("restarts", 0) < leaps:
        why.append(f"{report.counters.get('restarts', 0)} new clocks counted of {leaps}")
    if report.codecs_told < report.events.get("codec", 0):
        why.append(f"{report.codecs_told} changes of codec told of {report.events['codec']}")
    if report.messages_missed:
        why.append(f"{report.messages_missed} messages missed by the subscriber")
    asked = 1 / report.settings["every_s"]
    whole = not any(report.settings[name] for name in ("churn", "dtx", "mixed"))
    if report.rhythm < RHYTHM * asked and whole:
        why.append(f"{report.rhythm:.2f} predictions a second of each stream, of {asked:.2f} asked for")
    if not report.latency_ms.p99 <= report.budget_ms:
        why.append(f"p99 is {report.latency_ms.p99:.0f} ms, over {report.budget_ms:.0f}")
    return why


def text(r: Report) -> str:
    """Format it for people."""
    s = r.settings
    known = {k: v for k, v in r.counters.items() if v and k not in EXPECTED}
    known_events = ", ".join(f"{n} x {name}" for name, n in r.events.items() if n)
    settled, last, most = r.rss[len(r.rss) // 2], r.rss[-1], max(r.rss)
    megabytes = " -> ".join(f"{x / 1e6:.0f}" for x in r.rss[:: max(len(r.rss) // 8, 1)])
    lines = [
        f"{s['streams']} calls{' over WebSockets' if s['media'] else ''}, {s['codec']}, {s['ptime_ms']} ms, "
        f"for {r.seconds:.0f} s"
        + (f"; loss {s['loss']:.0%}{' in bursts' if s['burst'] else ''}" if s["loss"] else "")
        + (f"; reordered {s['reorder']:.0%}" if s["reorder"] else "")
        + (f"; jitter {s['jitter_ms']:g} ms" if s["jitter_ms"] else "")
        + (f"; {s['churn']:g} calls/s come and go" if s["churn"] else "")
        + ("; pauses without packets" if s["dtx"] else "")
        + (f"; changes {known_events}" if known_events else ""),
        f"packets     sent {r.packets_sent}, received {r.packets_received}"
        + (f", withheld {r.packets_withheld}" if r.packets_withheld else "")
        + f"; other counters {known or 'all 0'}",
        f"streams     {r.streams_seen} of {r.calls} seen, {r.streams_most} at once, {r.streams_ended} ended; "
        f"audio never classified {r.lost_audio_ms:.0f} ms",
        f"latency     packet sent -> prediction received, p50 / p99 / max: {r.latency_ms} ms "
        f"(the daemon's own lag_ms: {r.lag_ms})",
        f"appearing   first packet -> first message: {r.appeared_ms} ms",
        f"messages    {r.messages / r.seconds:.0f}/s, missed {r.messages_missed}; predictions "
        f"{r.rhythm:.2f}/s for each stream, of {1 / s['every_s']:.2f} asked for",
        "CPU         " + ", ".join(f"{name} {cores:.2f}" for name, cores in r.cpu.items()) + " cores",
        f"passes      the longest {r.pass_ms:.0f} ms; load generator late by {r.sender_late_ms} ms",
        f"memory      {r.bytes_per_stream / 1000:.0f} kB a stream; resident {megabytes} MB, "
        f"at most {most / 1e6:.0f}; {(last - settled) / 1e6:+.1f} in the second half",
        *(f"daemon      said {count} x: {detail}" for detail, count in r.details.items()),
        f"HOLDS: nothing lost, p99 {r.latency_ms.p99:.0f} ms <= {r.budget_ms:.0f} ms"
        if r.holds
        else "DOES NOT HOLD: " + "; ".join(r.failures),
    ]
    return "\n".join(lines)
