"""The feed as Prometheus metrics: counters, gauges and one histogram, for all streams together.

Owns the sums since this exporter began. No metric carries the name of a stream: a thousand calls a minute would
create as many time series. Knows nothing of sockets or HTTP; the caller passes the time.
"""

import threading
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, Status

if TYPE_CHECKING:
    from prometheus_client.core import Metric

FATES = (
    "accepted",
    "comfort_noise",
    "event",
    "unknown_type",
    "no_decoder",
    "empty",
    "malformed",
    "truncated",
    "not_allowed",
    "rtcp",
    "refused_full",
    "duplicate",
    "late",
    "jumped",
    "overrun",
)
"""The fates of RTP datagrams, as the daemon's counters spell them (`streamcab.rtp.packet.Fate`)."""
EVENTS = ("refused-full", "skips", "feed-refused")
"""Counters that are shown before they have counted anything: a series that begins at 1 has not increased."""
LAG_S = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the histogram's buckets."""
STATES = ("warming", "live", "silent", "lost")
NOBODY = "(nobody)"
OTHERS = "(others)"
MOST_LABELS = 64  # labels with a series of their own; a feed that makes up labels fills no database
MOST_MODELS = 8
STALE_S = 10.0  # a stream that ended unheard by us is forgotten after this
DEAD_S = 3.0


@dataclass(slots=True)
class _Stream:
    """The state kept for one stream."""

    at: float
    state: str = "warming"
    lag_s: float = 0.0
    heard_s: float | None = None


@dataclass(slots=True)
class Losses:
    """Losses that the subscriber counts and no message reports."""

    missed: int = 0
    malformed: int = 0
    restarts: int = 0


@dataclass
class Ledger:
    """Adds messages up on one thread, and is read on another."""

    version: str = ""
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._heard = float("-inf")
        self._run = ""
        self._daemon: DaemonStatus | None = None
        self._streams: dict[str, _Stream] = {}
        self._models: OrderedDict[str, ModelInfo] = OrderedDict()
        self._labels: Counter[str] = Counter()
        self._buckets = [0] * (len(LAG_S) + 1)
        self._lag_sum = 0.0
        self._voiced_s = 0.0

    def take(self, messages: Iterable[AnyMessage], now: float) -> None:
        """Add messages that arrived at `now` (monotonic seconds)."""
        with self._lock:
            for message in messages:
                self._heard = now
                if message.run != self._run:
                    self._run = message.run
                    self._streams.clear()
                match message:
                    case Prediction():
                        self._predicted(message, now)
                    case Status():
                        self._standing(message, now)
                    case DaemonStatus():
                        self._daemon = message
                        self._forget(now)
                    case ModelInfo():
                        self._models[message.model] = message
                        self._models.move_to_end(message.model)
                        if len(self._models) > MOST_MODELS:
                            self._models.popitem(last=False)

    def _predicted(self, m: Prediction, now: float) -> None:
        stream = self._streams.setdefault(m.stream, _Stream(now))
        stream.at = now
        if stream.heard_s is not None:
            # Less than before is a new stream of the same name: all of it is news.
            self._voiced_s += m.heard_s - stream.heard_s if m.heard_s >= stream.heard_s else m.heard_s
        stream.heard_s = m.heard_s
        label = NOBODY if m.top is None else m.top
        if label not in self._labels and len(self._labels) > MOST_LABELS:
            label = OTHERS
        self._labels[label] += 1
        if m.state not in ("lost", "ended"):
            self._buckets[bisect_left(LAG_S, m.lag_ms / 1000)] += 1
            self._lag_sum += m.lag_ms / 1000

    def _standing(self, m: Status, now: float) -> None:
        if m.state == "ended":
            self._streams.pop(m.stream, None)
            return
        stream = self._streams.setdefault(m.stream, _Stream(now))
        # Without new audio there is no lag: the newest sample grows old by itself.
        stream.at, stream.state = now, m.state
        stream.lag_s = 0.0 if m.source_state == "stalled" else m.lag_ms / 1000

    def _forget(self, now: float) -> None:
        for name in [n for n, s in self._streams.items() if now - s.at > STALE_S]:
            del self._streams[name]

    def families(self, now: float) -> "Iterator[Metric]":
        """Yield every metric at `now`. A silent daemon is `up 0` and has no gauges: old ones would lie."""
        with self._lock:
            up = now - self._heard < DEAD_S
            yield _gauge("up", "Whether the daemon was heard in the last 3 s.", up)
            yield _labelled("build_info", "Version of this exporter.", "version", {self.version: 1}, "gauge")
            if self._daemon is not None:
                yield from self._of_daemon(self._daemon, up)
            if up:
                yield from self._of_streams()
            yield from self._of_answers()
            yield self._of_models()
            for name, text, value in (
                ("feed_missed", "Messages that were sent and never arrived here.", self.losses.missed),
                ("feed_malformed", "Messages that no daemon of this version sends.", self.losses.malformed),
                (
                    "daemon_restarts",
                    "Starts of the daemon seen since this exporter began.",
                    self.losses.restarts,
                ),
            ):
                yield _counter(name, text, value)

    def _of_daemon(self, d: DaemonStatus, up: bool) -> "Iterator[Metric]":
        if up:
            yield _gauge("streams", "Streams that live now.", d.streams)
            turn = "Longest turn in the last second: admitting streams, a forward pass, publishing."
            yield _gauge("pass_seconds", turn, d.pass_ms / 1000)
            yield _gauge("intervals_per_second", "Intervals of 25 ms classified a second.", d.intervals_per_s)
            yield _gauge("uptime_seconds", "Since the daemon's start.", d.uptime_s)
        yield _counter("lost_seconds", "Audio captured or announced and never classified.", d.lost_ms / 1000)
        counts = d.counters
        if "received" in counts:
            yield _counter("packets_received", "RTP datagrams received.", counts["received"])
            yield _counter("packets_lost", "RTP packets that never came.", counts.get("lost_packets", 0))
            fates = {f: counts[f] for f in FATES if f in counts}
            yield _labelled("packets", "RTP datagrams by what became of them.", "fate", fates)
        known = {*FATES, "received", "lost_packets"}
        events = dict.fromkeys(EVENTS, 0) | {name: n for name, n in counts.items() if name not in known}
        yield _labelled("events", "The daemon's other counters: refused, dropped, skipped.", "event", events)

    def _of_streams(self) -> "Iterator[Metric]":
        states = Counter(s.state for s in self._streams.values())
        counts = {state: states[state] for state in STATES}
        yield _labelled("streams_by_state", "Streams by state.", "state", counts, "gauge")
        worst = max((s.lag_s for s in self._streams.values() if s.state != "lost"), default=0.0)
        yield _gauge("lag_worst_seconds", "Lag of the stream that is furthest behind.", worst)

    def _of_answers(self) -> "Iterator[Metric]":
        from prometheus_client.core import HistogramMetricFamily

        total, buckets = 0, []
        for bound, count in zip((*map(str, LAG_S), "+Inf"), self._buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        yield HistogramMetricFamily(
            "streamcab_lag_seconds",
            "From the capture of the newest sample to its answer, of each prediction.",
            buckets=buckets,
            sum_value=self._lag_sum,
        )
        yield _counter("voiced_seconds", "Speech heard, of all streams.", self._voiced_s)
        yield _labelled("predictions", "Predictions by likeliest label.", "label", self._labels)

    def _of_models(self) -> "Metric":
        from prometheus_client.core import GaugeMetricFamily

        labels = ("model", "name", "licence", "normaliser", "rate")
        family = GaugeMetricFamily("streamcab_model_info", "Models that have answered.", labels=labels)
        for m in self._models.values():
            family.add_metric((m.model, m.name, m.licence, m.normaliser, str(m.rate)), 1)
        return family


def _gauge(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"streamcab_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"streamcab_{name}", text, value=value)


def _labelled(
    name: str, text: str, label: str, values: "dict[str, int] | Counter[str]", kind: str = "counter"
) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(
        f"streamcab_{name}", text, labels=(label,)
    )
    for value, count in values.items():
        family.add_metric((value,), count)
    return family
