"""`bench calls`: load generator, daemon and subscriber as in real use, and the resulting report.

The daemon is the command `streamcab listen` in a process of its own; the load generator another process;
the subscriber this one. They share nothing but the loopback, and the machine's monotonic clock.
"""

import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.bench.habits import CODEC, Habits, other_format
from streamcab.bench.probe import Probe
from streamcab.bench.process import child, cpu_s, family, free_port, last_line, resident
from streamcab.bench.report import Report, Spread, judge
from streamcab.bench.traffic import Plan, Traffic
from streamcab.errors import SourceError
from streamcab.feed import Subscriber
from streamcab.message import DaemonStatus

START_S = 120.0
"""How long a daemon may take to load, from a cold disk on a busy machine."""
LEAD_S = 0.5
"""Between the order to start and the first packet."""
LAST_S = 15.0
"""How long the last streams' ends are waited for."""


@dataclass(frozen=True)
class Serving:
    """The daemon's side of a measurement: arguments of `streamcab listen`, and the budget for p99."""

    every_s: float = 0.2
    budget_ms: float = 400.0
    options: Sequence[str] = field(default_factory=tuple)
    workers: int = 1


def measure(traffic: Traffic, serving: Serving, say: Callable[[str], None] = lambda _: None) -> Report:
    """Run one measurement. SourceError when a part of it does not start."""
    plan = Plan(traffic)
    with tempfile.TemporaryDirectory(prefix="streamcab-bench") as folder:
        return Run(traffic, plan, serving, Path(folder), say).run()


def room(traffic: Traffic) -> int:
    """Return `--max-streams`: one for each call, including ended calls that are not yet released."""
    return traffic.streams + ceil(4 * traffic.churn)


class Run:
    """One measurement: `probe` holds its messages, and `start` is its zero, in monotonic time."""

    def __init__(
        self, traffic: Traffic, plan: Plan, serving: Serving, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._traffic, self._plan, self._serving = traffic, plan, serving
        self._logs = folder / "daemon.log", folder / "sender.log"
        self._say = say
        self.probe = Probe(traffic, plan)
        self.start = 0.0
        self.heard_from = np.zeros(plan.calls, np.int64)
        self._rss: list[int] = []
        self._cpu: dict[str, list[float]] = {}

    def run(self) -> Report:
        media = self._traffic.media
        port = free_port(socket.SOCK_STREAM if media else socket.SOCK_DGRAM)
        endpoint = f"tcp://127.0.0.1:{free_port(socket.SOCK_STREAM)}"
        pt = self._traffic.format.pt or (other_format(self._traffic).pt if self._traffic.mixed else "")
        words = ["streamcab", "listen", "--media" if media else "--rtp", f"127.0.0.1:{port}"]
        words += ["--endpoint", endpoint, "--quiet"]
        words += (
            ["--media-per-address", str(2 * room(self._traffic)), "--caller-numbers", "hide"] if media else []
        )
        words += ["--log-level", "info"]
        # A worker has its share of --max-streams, and more than its share of the calls may come to it.
        most = room(self._traffic) * self._serving.workers
        words += ["--workers", str(self._serving.workers)] if self._serving.workers > 1 else []
        words += ["--max-streams", str(most), "--every", f"{self._serving.every_s:g}"]
        words += ["--pt", pt] if pt else []
        words += self._serving.options
        with (
            child(*words, log=self._logs[0]) as daemon,
            child("streamcab.bench.sender", log=self._logs[1], talk=True) as sender,
            Subscriber(endpoint) as feed,
        ):
            assert sender.stdin is not None
            assert sender.stdout is not None
            self._await_daemon(feed, daemon.poll)
            orders = {"traffic": asdict(self._traffic), "host": "127.0.0.1", "port": port}
            print(json.dumps(orders), file=sender.stdin)
            if not sender.stdout.readline():
                raise SourceError(f"the load generator did not start: {last_line(self._logs[1])}")
            self.start = start = time.monotonic() + LEAD_S
            print(json.dumps({"start": start}), file=sender.stdin)
            self._listen(feed, start, {"daemon": daemon.pid, "load generator": sender.pid})
            answer = sender.stdout.readline()
            if not answer:
                raise SourceError(f"the load generator died: {last_line(self._logs[1])}")
            self._hear_the_end(feed)
            if daemon.poll() is not None:
                raise SourceError(f"the daemon died: {last_line(self._logs[0])}")
            return self._report(json.loads(answer), start, feed.missed)

    def _await_daemon(self, feed: Subscriber, died: Callable[[], int | None]) -> None:
        until = time.monotonic() + START_S
        while self.probe.status is None:
            message = feed.recv(0.2)
            if isinstance(message, DaemonStatus):
                self.probe.hear([message], time.monotonic())
            if died() is not None or time.monotonic() > until:
                raise SourceError(f"the daemon did not start: {last_line(self._logs[0])}")

    def _listen(self, feed: Subscriber, start: float, pids: dict[str, int]) -> None:
        """Hear the feed while the calls go on, and look at the processes each second."""
        end = start + self._plan.frames * self._plan.frame_s
        settled = start + self._plan.steady * self._plan.frame_s
        parts = {name: family(pid) for name, pid in pids.items()} | {"subscriber": [os.getpid()]}
        begun = False
        next_look = start
        while (now := time.monotonic()) < end:
            if now >= settled and not begun:
                begun = True
                self._cpu = {name: [cpu_s(*some), now] for name, some in parts.items()}
            if now >= next_look:
                next_look += 1.0
                self._rss.append(resident(pids["daemon"]))
                self._say(f"{now - start:5.0f} s  {self.probe.most_streams} streams")
            self._hear(feed, 0.05)
        now = time.monotonic()
        for name, some in parts.items():
            used, since = self._cpu[name]
            self._cpu[name] = [(cpu_s(*some) - used) / (now - since)]

    def _hear(self, feed: Subscriber, timeout_s: float) -> None:
        first = feed.recv(timeout_s)
        if first is not None:
            self.probe.hear([first], time.monotonic())
            messages = feed.drain()
            self.probe.hear(messages, time.monotonic())

    def _hear_the_end(self, feed: Subscriber) -> None:
        """Read until every call has ended in the feed, and the daemon has counted once more."""
        until = time.monotonic() + LAST_S
        while not self.probe.ended.all() and time.monotonic() < until:
            self._hear(feed, 0.1)
        last = self.probe.status
        twice = 0
        while twice < 2 and time.monotonic() < until:
            self._hear(feed, 0.1)
            if self.probe.status is not last:
                last, twice = self.probe.status, twice + 1

    def _report(self, sender: dict[str, Any], start: float, missed: int) -> Report:
        probe, plan, traffic = self.probe, self._plan, self._traffic
        assert probe.status is not None
        counters, habits = probe.status.counters, Habits(plan, traffic)
        self.heard_from = heard_from = np.array(sender["heard_from"], np.int64)
        appeared = (
            probe.appeared - start - plan.due(np.arange(plan.calls), np.maximum(heard_from, 0))
        ) * 1000
        late = Spread(sender["late_p50_ms"], sender["late_p99_ms"], sender["late_max_ms"])
        report = Report(
            settings={
                **asdict(traffic),
                "every_s": self._serving.every_s,
                "options": [*self._serving.options],
                "workers": self._serving.workers,
            },
            seconds=plan.frames * plan.frame_s,
            packets_due=int((plan.last - plan.first).sum()) - sender["silent"],
            packets_sent=sender["sent"],
            packets_withheld=sender["withheld"],
            packets_received=sum(
                counters.get(fate, 0)
                for fate in ("accepted", "comfort_noise", "duplicate", "late", "media_messages")
            ),
            counters=counters,
            calls=plan.calls,
            streams_seen=int(np.count_nonzero(np.isfinite(probe.appeared))),
            streams_most=probe.most_streams,
            streams_ended=int(np.count_nonzero(probe.ended)),
            lost_audio_ms=round(float(probe.lost_ms.sum()), 1),
            messages=probe.messages,
            messages_missed=missed,
            predictions=probe.predictions,
            rhythm=round(
                probe.rhythm(start + plan.steady * plan.frame_s, start + plan.frames * plan.frame_s), 3
            ),
            latency_ms=_spread(probe.latencies(start, heard_from)),
            lag_ms=_spread(probe.lags()),
            appeared_ms=_spread(appeared[np.isfinite(appeared)]),
            pass_ms=probe.pass_ms,
            sender_late_ms=late,
            cpu={name: round(used[0], 3) for name, used in self._cpu.items()},
            rss=self._rss,
            bytes_per_stream=self._bytes_per_stream(),
            details=probe.details,
            events=habits.counted(),
            codecs_told=len(probe.changed & set(np.flatnonzero(habits.event == CODEC).tolist())),
            budget_ms=self._serving.budget_ms,
        )
        report.failures = judge(report, traffic.damaged)
        return report

    def _bytes_per_stream(self) -> int:
        """Return the memory of a stream, as the daemon states at its start."""
        said = re.search(
            r"(\d+) bytes of memory for each of \d+ streams", self._logs[0].read_text(errors="replace")
        )
        return int(said[1]) if said else 0


def _spread(values: NDArray[np.float64]) -> Spread:
    if not len(values):
        return Spread(float("nan"), float("nan"), float("nan"))
    p50, p99 = np.percentile(values, (50, 99))
    return Spread(round(float(p50), 1), round(float(p99), 1), round(float(values.max()), 1))
