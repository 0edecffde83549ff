"""Sends the feed to an OpenTelemetry collector by OTLP over HTTP: the exporter's metrics, and a span for each call.

The metrics are those of `metrics.py`, under the same names. A span begins and ends with its call. What a collector
misses while it is away is not kept beyond the library's queue. Knows nothing of what is counted.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from streamcab import __version__
from streamcab.calls import Call, Entry, Tally
from streamcab.config.address import is_loopback
from streamcab.errors import ConfigError
from streamcab.extras import missing
from streamcab.feed import Subscriber
from streamcab.health.metrics import Ledger
from streamcab.message import ModelInfo

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric as Sent
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Tracer
    from prometheus_client.core import Metric

log = logging.getLogger("streamcab.otlp")

TURN_S = 0.5
EVERY_S = 10.0
"""Between two exports of the metrics."""
PATIENCE_S = 5.0
"""For an answer of the collector."""


def bridge(
    feed: Subscriber,
    collector: str,
    stop: threading.Event,
    say: Callable[[str], None],
    *,
    every_s: float = EVERY_S,
) -> None:
    """Pass `feed` on until `stop`.

    Raises:
        ConfigError: The address cannot be right, or would send names of streams over a network in the clear.
        InstallError: The library is not installed.
    """
    collector = checked(collector)
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise missing("opentelemetry", "streamcab bridge otlp") from None

    resource = Resource.create({"service.name": "streamcab", "service.version": __version__})
    metrics = OTLPMetricExporter(f"{collector}/v1/metrics", timeout=PATIENCE_S)
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    spans = OTLPSpanExporter(f"{collector}/v1/traces", timeout=PATIENCE_S)
    traces.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=every_s * 1000))
    tracer = traces.get_tracer("streamcab", __version__)
    ledger, began, over = Ledger(__version__), time.time_ns(), threading.Event()

    def export() -> None:
        last = False
        while not last:
            last = over.wait(every_s)
            metrics.export(data_of(ledger.families(time.monotonic()), resource, began, time.time_ns()))

    exporting = threading.Thread(target=export, name="otlp")
    exporting.start()
    say(f"{feed.endpoint} to {collector}")
    run, tally = "", Tally(lambda entry: None)
    try:
        while not stop.is_set():
            first = feed.recv(TURN_S)
            ledger.losses.missed, ledger.losses.malformed = feed.missed, feed.malformed
            ledger.losses.restarts = feed.restarts
            if first is None:
                continue
            messages = (first, *feed.drain())
            ledger.take(messages, time.monotonic())
            for message in messages:
                if message.run != run:
                    run, tally = message.run, Tally(_spans(tracer, message.run))
                tally(message)
    finally:
        over.set()
        exporting.join()
        metrics.shutdown()
        traces.shutdown()


def checked(collector: str) -> str:
    """Return the address of a collector without its last slash; raise ConfigError."""
    parts = urlsplit(collector)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--collector {collector!r} is no URL; write https://HOST:4318")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(
            f"--collector {collector} is not encrypted: write https://, or run a collector on this machine"
        )
    return collector.rstrip("/")


def _spans(tracer: "Tracer", run: str) -> Callable[[Entry | ModelInfo], None]:
    """Return a function that makes a span of each call that ends."""

    def tell(entry: Entry | ModelInfo) -> None:
        if isinstance(entry, Entry) and entry.call.ended is not None:
            call = entry.call
            span = tracer.start_span("call", start_time=_ns(call.began), attributes=attributes(call, run))
            span.end(_ns(call.ended))  # type: ignore[arg-type]

    return tell


def attributes(call: Call, run: str) -> dict[str, Any]:
    """Return the attributes of a call's span; unknown ones are left out."""
    told = {
        "run": run, "stream": call.name, "source": call.source, "top": call.top, "confidence": call.confidence,
        "sure": call.sure, "other": call.other, "speech_s": call.speech_s, "audio_s": call.audio_s,
        "lost_ms": call.lost_ms, "overflows": call.overflows, "model": call.model, "flaws": call.flaws,
        "detail": call.detail or None,
        **{f"call.{key}": text for key, text in call.labels.items()},
    }  # fmt: skip
    return {f"streamcab.{key}": value for key, value in told.items() if value is not None}


def data_of(families: "Iterable[Metric]", resource: "Resource", began: int, now: int) -> Any:
    """Convert metrics of Prometheus to what the library exports; `began` and `now` are Unix times in ns."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    scope = InstrumentationScope("streamcab", __version__)
    sent = [one for family in families if (one := _sent(family, began, now)) is not None]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, sent, "")], "")])


def _sent(family: "Metric", began: int, now: int) -> "Sent | None":
    from opentelemetry.sdk.metrics import export as otel

    if not family.samples:
        return None
    cumulative = otel.AggregationTemporality.CUMULATIVE
    data: Any
    if family.type == "histogram":
        bounds, counts, total = _buckets(family)
        point = otel.HistogramDataPoint({}, began, now, sum(counts), total, counts, bounds, 0.0, 0.0)
        data = otel.Histogram([point], cumulative)
    else:
        points = [otel.NumberDataPoint(s.labels, began, now, float(s.value)) for s in family.samples]
        data = otel.Sum(points, cumulative, True) if family.type == "counter" else otel.Gauge(points)
    return otel.Metric(family.name, family.documentation, "", data)


def _buckets(family: "Metric") -> tuple[Sequence[float], Sequence[int], float]:
    """Return bounds, counts between them, and the sum: Prometheus counts from below, OpenTelemetry between."""
    bounds = [s.labels["le"] for s in family.samples if s.name.endswith("_bucket")]
    below = [int(s.value) for s in family.samples if s.name.endswith("_bucket")]
    total = next(s.value for s in family.samples if s.name.endswith("_sum"))
    return [float(b) for b in bounds if b != "+Inf"], list(_steps(below)), total


def _steps(below: Iterable[int]) -> Iterator[int]:
    before = 0
    for n in below:
        yield n - before
        before = n


def _ns(unix: float) -> int:
    return round(unix * 1e9)
