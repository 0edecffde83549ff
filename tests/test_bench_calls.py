"""The whole of `bench calls`: a load generator, a daemon and a subscriber, each real; what the report says of them."""

import json

import pytest
from click.testing import CliRunner

from streamcab.bench.calls import Serving, measure
from streamcab.bench.report import Spread, judge, text
from streamcab.bench.traffic import Traffic
from streamcab.cli.bench import bench

# The machine may be busy: how quick it was is reported, and not asserted.
PATIENT = Serving(every_s=0.2, budget_ms=60_000, options=["--backend", "torch", "--max-lag", "9"])


@pytest.fixture(scope="module")
def report():
    return measure(Traffic(20, 5.0), PATIENT)


def test_twenty_calls_lose_nothing(report):
    assert report.packets_received == report.packets_sent == report.packets_due == 20 * 254 - 30
    assert report.streams_seen == report.streams_ended == report.calls == report.streams_most == 20
    assert report.lost_audio_ms == 0
    assert report.messages_missed == 0
    lossy = ("late", "duplicate", "lost_packets", "kernel_dropped", "refused_full", "malformed", "skips")
    assert not any(report.counters.get(name, 0) for name in lossy)


def test_the_report_says_what_was_measured(report):
    assert 0 < report.latency_ms.p50 <= report.latency_ms.p99 <= report.latency_ms.max
    assert report.predictions >= 20
    assert set(report.cpu) == {"daemon", "load generator", "subscriber"}
    assert all(used > 0 for used in report.cpu.values())
    assert report.bytes_per_stream > 10_000
    assert min(report.rss) > 1e7
    said = text(report)
    assert "20 calls, pcmu, 20 ms" in said
    assert "sent 5050, received 5050" in said
    assert json.loads(json.dumps(report.as_dict()))["packets_sent"] == 5050


def test_damage_on_purpose_is_told_from_damage(report):
    hurt = measure(
        Traffic(10, 4.0, loss=0.1, burst=True, reorder=0.05, jitter_ms=5.0, churn=2.0, codec="l16"), PATIENT
    )
    assert hurt.packets_withheld > 0
    assert hurt.packets_received == hurt.packets_sent == hurt.packets_due - hurt.packets_withheld
    assert hurt.calls > 10
    taken = hurt.calls - hurt.counters.get("refused-overload", 0)  # a busy machine refuses newcomers
    assert hurt.streams_seen == hurt.streams_ended == taken
    assert hurt.counters["lost_packets"] > 0
    assert hurt.lost_audio_ms > 0
    assert not any("lost" in why or "sent" in why for why in hurt.failures)


def test_websocket_calls_lose_nothing() -> None:
    # More than are read at once, so that each is read in turns.
    over = measure(Traffic(40, 4.0, media=True), PATIENT)
    assert over.packets_received == over.packets_sent == over.packets_due
    taken = over.calls - over.counters.get("refused-overload", 0)  # a busy machine refuses newcomers
    assert over.streams_seen == over.streams_ended == taken
    assert over.counters["media_calls"] == over.calls == 40
    assert not any("sent" in why or "message" in why for why in over.failures)
    assert "40 calls over WebSockets" in text(over)


def test_whatever_was_lost_is_a_reason_not_to_hold(report):
    good = judge(report, damaged=False)
    assert not any("packets" in why or "calls" in why for why in good)
    for field, value, reason in [
        ("packets_received", 5000, "50 packets sent and not received"),
        ("lost_audio_ms", 20.0, "never classified"),
        ("streams_seen", 19, "19 of 20 calls seen"),
        ("messages_missed", 3, "3 messages missed"),
        ("counters", {"kernel_dropped": 4}, "receive buffer was full"),
        ("counters", {"refused-overload": 4}, "overloaded"),
        ("latency_ms", Spread(10, 70_000, 80_000), "over 60000"),
        ("latency_ms", Spread(*[float("nan")] * 3), "over 60000"),
        ("rhythm", 1.0, "predictions a second"),
        ("sender_late_ms", Spread(10, 300, 400), "load generator was late"),
    ]:
        before = getattr(report, field)
        setattr(report, field, value)
        try:
            assert any(reason in why for why in judge(report, damaged=False)), field
        finally:
            setattr(report, field, before)


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    done = CliRunner().invoke(
        bench, ["calls", "--streams", "1", "--seconds", "3", "--model", str(tmp_path / "none")]
    )
    assert done.exit_code == 1
    assert "Error: the daemon did not start" in done.output
    assert "Traceback" not in done.output
