"""`bridge otlp`: metrics and spans of calls, as a collector gets them; the endpoint decodes the library's messages."""

import gzip
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from feeding import status
from health_feed import model, prediction
from patience import until
from ports import free_port
from serving import ANYWHERE, running

from streamcab.calls import Call
from streamcab.errors import ConfigError
from streamcab.feed import Publisher, Subscriber
from streamcab.health import otlp

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel")
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP over HTTP; `code` is what it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.code = 200
        self.metrics: dict[str, Any] = {}
        self.spans: list[Any] = []
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.asked += 1
        if self.server.code == 200 and self.path == "/v1/metrics":
            for one in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.server.metrics |= {m.name: m for scope in one.scope_metrics for m in scope.metrics}
        elif self.server.code == 200 and self.path == "/v1/traces":
            for one in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.server.spans += [span for scope in one.scope_spans for span in scope.spans]
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def bridging(feed: Publisher, collector: Collector) -> Iterator[None]:
    stop, ready = threading.Event(), threading.Event()
    with Subscriber(feed.endpoint) as own:
        words = (own, collector.url, stop, lambda _: ready.set())
        thread = threading.Thread(target=otlp.bridge, args=words, kwargs={"every_s": 0.05})
        thread.start()
        try:
            assert ready.wait(60)
            yield
        finally:
            stop.set()
            thread.join()


def speak(feed: Publisher, name: str) -> None:
    """A call of ten seconds, from its first message to its last."""
    feed.publish(model(name, time=1000.0))
    for s in (1, 4, 9):
        answer = prediction(name, time=1000.0 + s, sample=8000 * s, heard_s=s / 2, top="uk", lag_ms=60.0)
        feed.publish(answer)
    last = {"time": 1010.0, "captured_s": 10.0, "call": {"call": "CA1"}, "flaws": ["noisy"]}
    feed.publish(status(name, state="ended", **last))
    feed.poll()


def told(span: Any) -> dict[str, Any]:
    values = {a.key: a.value for a in span.attributes}
    return {k: getattr(v, v.WhichOneof("value")) for k, v in values.items()}


def test_a_call_is_a_span_and_the_metrics_come_as_they_are_counted() -> None:
    with collecting() as collector, Publisher(ANYWHERE) as feed, bridging(feed, collector):
        until(lambda: speak(feed, "alice") or collector.spans)  # type: ignore[func-returns-value]
        until(lambda: "streamcab_predictions" in collector.metrics)
        span = collector.spans[0]
        assert (span.name, span.start_time_unix_nano, span.end_time_unix_nano) == (
            "call",
            1000 * 10**9,
            1009 * 10**9,
        )
        attributes = told(span)
        assert {k: attributes[f"streamcab.{k}"] for k in ("stream", "top", "call.call", "speech_s")} == {
            "stream": "alice", "top": "uk", "call.call": "CA1", "speech_s": 4.5,
        }  # fmt: skip
        predictions = collector.metrics["streamcab_predictions"]
        assert predictions.sum.is_monotonic
        (point,) = predictions.sum.data_points
        assert [(a.key, a.value.string_value) for a in point.attributes] == [("label", "uk")]
        lag = collector.metrics["streamcab_lag_seconds"].histogram.data_points[0]
        assert lag.count == sum(lag.bucket_counts) == lag.bucket_counts[1]
        assert list(lag.explicit_bounds)[:2] == [0.05, 0.075]
        assert collector.metrics["streamcab_up"].gauge.data_points[0].as_double == 1.0


def test_a_collector_that_fails_for_a_while_loses_none_of_the_calls() -> None:
    with collecting() as collector, Publisher(ANYWHERE) as feed, bridging(feed, collector):
        collector.code = 503
        until(lambda: speak(feed, "alice") or collector.asked > 2)  # type: ignore[func-returns-value]
        collector.code = 200
        until(lambda: any(told(span)["streamcab.stream"] == "alice" for span in collector.spans))


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://localhost", "http://10.0.0.1:4318", "http://"])
def test_addresses_that_cannot_be_right(url: str) -> None:
    with pytest.raises(ConfigError):
        otlp.checked(url)
    assert otlp.checked("https://collector.example:4318/") == "https://collector.example:4318"


def test_what_is_not_known_of_a_call_is_left_out() -> None:
    call = Call(
        number=1, name="a", source="", state="ended", began=1.0, seen=2.0, ended=2.0, audio_s=1.0, speech_s=0.0,
        top=None, confidence=None, sure=None, other=None, probs={}, model="m", flaws=[], snr_db=None, lost_ms=0.0,
        overflows=0, detail="", labels={},
    )  # fmt: skip
    assert not {"streamcab.top", "streamcab.confidence", "streamcab.detail"} & set(otlp.attributes(call, "r"))


def test_the_command_sends_and_ends_at_a_signal() -> None:
    port = free_port()
    endpoint = f"tcp://127.0.0.1:{port}"
    words = ("bridge", "otlp", endpoint, "--collector")
    with collecting() as collector, Publisher(endpoint), running(*words, collector.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline().decode() == f"{endpoint} to {collector.url}\n"
        process.terminate()
        until(lambda: process.poll() is not None)
        assert process.returncode == 0
        assert "streamcab_up" in collector.metrics
