"""`streamcab metrics`: sums over messages, scrapes of the real command, rules and dashboard that fit them."""

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest
from feeding import PATIENCE_S, status
from health_feed import Speaker, command, daemon, model, prediction, printed, run, running
from patience import until

from streamcab.health.metrics import FATES, MOST_LABELS, Ledger
from streamcab.message import AnyMessage
from streamcab.rtp.packet import Fate

core = pytest.importorskip("prometheus_client.core", reason="pip install 'streamcab[health]'")
parser = pytest.importorskip("prometheus_client.parser")
exposition = pytest.importorskip("prometheus_client.exposition")

DOCS = Path(__file__).parents[1] / "docs"
RULES = DOCS / "prometheus" / "alerts.yml"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    """Samples by name and labels."""
    return {
        (sample.name.removeprefix("streamcab_"), frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


class Fixed:
    """A collector at a moment."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        self.ledger, self.now = ledger, now

    def collect(self) -> Iterable[object]:
        return self.ledger.families(self.now)


def shown(ledger: Ledger, now: float = 0.0) -> Samples:
    registry = core.CollectorRegistry()
    registry.register(Fixed(ledger, now))
    return parsed(exposition.generate_latest(registry).decode())


def taken(*messages: AnyMessage, now: float = 0.0) -> Ledger:
    ledger = Ledger("0.1")
    ledger.take(messages, now)
    return ledger


def scrape(url: str) -> Samples:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return parsed(answer.read().decode())


def test_the_fates_are_those_of_rtp() -> None:
    assert [f.name.lower() for f in Fate] == list(FATES)


def test_lag_is_a_histogram_of_answers_that_are_live() -> None:
    ledger = taken(
        *(prediction(lag_ms=ms) for ms in (40, 50, 90, 20_000)),
        prediction(lag_ms=9, state="lost"),
        prediction(lag_ms=9, state="ended"),
    )
    samples = shown(ledger)
    counts = [value(samples, "lag_seconds_bucket", le=le) for le in ("0.05", "0.1", "10.0", "+Inf")]
    assert counts == [2, 3, 3, 4]
    assert value(samples, "lag_seconds_count") == 4
    assert value(samples, "lag_seconds_sum") == pytest.approx(20.18)


def test_speech_is_what_was_added_since_we_listen() -> None:
    ledger = taken(prediction(heard_s=100.0), prediction(heard_s=101.5), prediction("other", heard_s=7.0))
    assert value(shown(ledger), "voiced_seconds_total") == 1.5
    ledger.take([prediction(heard_s=0.5)], 1.0)  # a new stream of the same name
    assert value(shown(ledger), "voiced_seconds_total") == 2.0


def test_labels_are_bounded() -> None:
    ledger = taken(*(prediction(top=f"label {n}") for n in range(1_000)), prediction(top=None))
    samples = shown(ledger)
    labels = {
        dict(key)["label"]: count for (name, key), count in samples.items() if name == "predictions_total"
    }
    assert len(labels) <= MOST_LABELS + 2
    assert sum(labels.values()) == 1_001
    assert labels["label 0"] == 1
    assert labels["(others)"] > 900


def test_streams_that_end_or_fall_silent_are_no_longer_counted() -> None:
    quiet = status("d", source_state="stalled", lag_ms=9e6)
    ledger = taken(
        status("a"), status("b", state="lost", lag_ms=9e6), status("c", lag_ms=300.0), quiet, daemon()
    )
    samples = shown(ledger)
    states = {s: value(samples, "streams_by_state", state=s) for s in ("live", "lost", "silent", "warming")}
    assert states == {"live": 3, "lost": 1, "silent": 0, "warming": 0}
    assert value(samples, "lag_worst_seconds") == 0.3, "what is lost or brings nothing is not late"
    ledger.take([status("c", state="ended")], 1.0)
    ledger.take([status("a"), daemon()], 30.0)
    assert value(shown(ledger, 30.0), "streams_by_state", state="lost") == 0, "it has not been heard of since"
    assert value(shown(ledger, 30.0), "streams_by_state", state="live") == 1


def test_a_silent_daemon_is_down_and_its_gauges_are_gone_but_no_counter_is() -> None:
    ledger = taken(status(), prediction(), daemon(lost_ms=1500.0), now=100.0)
    assert value(shown(ledger, 102.0), "up") == 1
    samples = shown(ledger, 104.0)
    assert value(samples, "up") == 0
    assert value(samples, "streams") is None
    assert value(samples, "lag_worst_seconds") is None
    assert value(samples, "lost_seconds_total") == 1.5
    assert value(samples, "predictions_total", label="uk") == 1


def test_a_restart_forgets_the_streams() -> None:
    ledger = Ledger("0.1")
    with_run = [prediction("mic", heard_s=50.0, run="a"), status("mic", run="a"), status("new", run="b")]
    ledger.take(with_run, 0.0)
    assert value(shown(ledger), "streams_by_state", state="live") == 1


def test_a_scrape_of_the_command() -> None:
    counters = {"received": 10, "accepted": 8, "late": 2, "lost_packets": 3, "skips": 1}
    with (
        Speaker() as speaker,
        running(*command("metrics", speaker.endpoint, "--listen", "127.0.0.1:0")) as process,
    ):
        url = printed(process, r"http://127\.0\.0\.1:\d+/metrics")[0]
        speaker.say(
            model(), status(), prediction(heard_s=1.0), daemon(counters=counters), prediction(heard_s=3.0)
        )
        # Messages from before the connection are repeated, those after it arrive.
        speaker.beat = [prediction(heard_s=3.0), daemon(counters=counters), status()]
        until(lambda: (value(scrape(url), "predictions_total", label="uk") or 0) >= 2)
        samples = scrape(url)
    assert value(samples, "up") == 1
    assert value(samples, "streams") == 1
    assert value(samples, "streams_by_state", state="live") == 1
    assert value(samples, "intervals_per_second") == 40
    assert value(samples, "pass_seconds") == 0.002
    assert value(samples, "packets_total", fate="late") == 2
    assert value(samples, "packets_received_total") == 10
    assert value(samples, "packets_lost_total") == 3
    assert value(samples, "events_total", event="skips") == 1
    assert value(samples, "events_total", event="refused-full") == 0
    assert value(samples, "daemon_restarts_total") == 0
    info = [dict(key) for (name, key), _ in samples.items() if name == "model_info"]
    assert info == [
        {"model": "5f0c", "name": "test", "licence": "none", "normaliser": "running", "rate": "8000"}
    ]


def test_a_restart_is_counted_by_the_command() -> None:
    with (
        Speaker(run="a1") as first,
        running(*command("metrics", first.endpoint, "--listen", "[::1]:0")) as process,
    ):
        url = printed(process, r"http://\[::1\]:\d+/metrics")[0]
        first.beat = [daemon()]
        until(lambda: value(scrape(url), "up") == 1)
        first.__exit__(None, None, None)
        with Speaker(first.endpoint, run="b2") as second:
            second.beat = [daemon()]
            until(lambda: value(scrape(url), "daemon_restarts_total") == 1)


def test_a_taken_port_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run("metrics", "--listen", f"127.0.0.1:{other.getsockname()[1]}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: metrics cannot be served on 127.0.0.1:")
    assert done.stderr.count("\n") == 1


def test_other_machines_are_served_only_when_told_so() -> None:
    done = run("metrics", "--listen", "0.0.0.0:0")
    assert done.returncode == 2
    assert "--expose" in done.stderr
    assert run("metrics", "--listen", "9464").returncode == 2


def test_without_the_extra_it_is_named() -> None:
    done = run(
        "metrics", "--listen", "127.0.0.1:0", before="import sys; sys.modules['prometheus_client'] = None"
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: streamcab metrics needs prometheus_client, which is not installed: pip install 'streamcab[health]'\n"
    )


def everything() -> set[str]:
    """The names of all metrics that there are."""
    counters = {"received": 1, "lost_packets": 0, "accepted": 1}
    samples = shown(taken(model(), status(), prediction(), daemon(counters=counters)))
    names = {f"streamcab_{name}" for name, _ in samples}
    return names | {name.removesuffix("_bucket") for name in names}


def test_rules_and_dashboard_ask_for_metrics_that_there_are() -> None:
    dashboard = (DOCS / "grafana" / "streamcab.json").read_text(encoding="utf-8")
    asked = {
        name
        for text in (
            *re.findall(r"expr: (?:>-\n)?(.*(?:\n {10}.*)*)", RULES.read_text(encoding="utf-8")),
            *expressions(dashboard),
        )
        for name in re.findall(r"streamcab_\w+", text)
    }
    assert len(asked) > 10
    assert sorted(asked - everything()) == []
    told = set(
        re.findall(r"streamcab_[a-z_]+", (DOCS / "how-to" / "operations.md").read_text(encoding="utf-8"))
    )
    assert len(told) > 10
    assert sorted(told - everything()) == []


def test_promtool_accepts_the_metrics() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: apt install prometheus")
    registry = core.CollectorRegistry()
    registry.register(Fixed(taken(model(), status(), prediction(), daemon(counters={"received": 1})), 0.0))
    text = exposition.generate_latest(registry)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def expressions(dashboard: str) -> list[str]:
    return [target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel["targets"]]


def test_promtool_accepts_the_rules_and_they_fire(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: apt install prometheus")
    labels = '{instance="h:9464", job="streamcab"}'
    series = {
        f"streamcab_up{labels}": "1 0x9",
        'streamcab_events_total{instance="h:9464", job="streamcab", event="skips"}': "0x10",
        'streamcab_streams_by_state{instance="h:9464", job="streamcab", state="lost"}': "0 2x9",
    }
    listed = "".join(f"      - {{series: '{name}', values: '{values}'}}\n" for name, values in series.items())
    expected = {"StreamcabDown": 1, "StreamcabSourceLost": 1, "StreamcabRefusingStreams": 0}
    test = tmp_path / "test.yml"
    test.write_text(
        f"rule_files: [{RULES}]\nevaluation_interval: 15s\ntests:\n  - interval: 15s\n"
        f"    input_series:\n{listed}"
        "    promql_expr_test:\n"
        + "".join(
            f'      - {{expr: \'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)\', '
            f"eval_time: 2m15s, exp_samples: [{{value: {count}}}]}}\n"
            for name, count in expected.items()
        )
    )
    for words in (["check", "rules", str(RULES)], ["test", "rules", str(test)]):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr
