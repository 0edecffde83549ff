"""Processor time of the daemon for a second of a call, against the reference layer timed in the same run.

    python benchmarks/daemon_cost.py [--calls 256] [--churn 0] [--seconds 6] [--model FILE] [--precision f32]
                                     [--against FOLDER]

The real daemon, from rings to published messages, on a simulated clock: each tick writes 20 ms of speech into the rings
of all calls, as RTP would, and a subscriber reads the feed. Only what the daemon computes counts, on any core, so a
busy machine disturbs little. Receiving packets is left out: benchmarks/rtp_intake.py. With `--against` another source
tree is measured in turns with this one, by its own copy of this file. The last figure is how many calls a machine
carries per GFLOP/s of its reference layer if it does nothing else and wastes nothing: a bound for `bench calls`. With
`--churn` so many calls a second end and others begin.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import zmq

from streamcab.bench.speech import babble, bundled_clips
from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.nn import checkpoint
from streamcab.nn.backend import make_backend
from streamcab.rtp.bank import ScatterBank
from streamcab.soak.clock import RehearsalClock
from streamcab.source import Line

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).resolve().relative_to(ROOT)
TICK_S, WARM_S, RATE = 0.02, 4.0, 8000
EVERY_S = 0.2
"""As `bench calls` asks for answers."""
SECOND = round(1 / TICK_S)
REFERENCE_GFLOP = 2 * 64 * 100 * 32 * 32 * 10 / 1e9
LAYERS = 10
"""Runs of the reference layer on end, after one that warms the cache."""


class SpokenCalls:
    """A source of calls that all speak: rows of one bank of int16, as RTP fills them.

    Those of `churn` rows a second end, the oldest first; a new call begins in a row as soon as it is released.
    """

    live, done = True, False

    def __init__(self, n: int, churn: float = 0.0) -> None:
        voice = np.clip(np.rint(babble(bundled_clips(), RATE) * 32768), -32767, 32767).astype(np.int16)
        self._packet, self._round = round(TICK_S * RATE), len(voice)
        joined = np.concatenate((voice, voice[: self._packet]))
        self._said = np.lib.stride_tricks.sliding_window_view(joined, self._packet)
        self._at = np.random.default_rng(3).integers(0, len(voice), n)
        self._bank = ScatterBank(RATE, n, 4.0, compact=True, touch=True)
        self._first = np.zeros(n, np.int64)  # tick
        self._lines = [self._line(i) for i in range(n)]
        self._free: list[int] = []
        self._churn, self._ends, self._oldest = churn * TICK_S, 0.0, 0

    def _line(self, row: int) -> Line:
        return Line(f"call-{row}", self._bank, row, "a call")

    def tick(self, number: int, now: float) -> None:
        bank, rows = self._bank, np.array(self._free, np.intp)
        self._free.clear()
        bank.take(rows)
        self._first[rows] = number
        self._lines += [self._line(row) for row in rows.tolist()]
        self._ends += self._churn
        while self._ends >= 1:
            self._ends -= 1
            bank.ended[self._oldest] = True
            self._oldest = (self._oldest + 1) % bank.rows
        rows = np.flatnonzero(~bank.ended)
        end = (number + 1 - self._first[rows]) * self._packet
        bank.prepare(rows, end)
        said = self._said[(self._at[rows] + number * self._packet) % self._round]
        bank.place(rows, end - self._packet, said)
        bank.stamp[rows], bank.written[rows] = now, end

    def start(self) -> None:
        pass

    def streams(self) -> list[Line]:
        lines, self._lines = self._lines, []
        return lines

    def release(self, line: Line) -> None:
        self._free.append(line.row)

    def counters(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self._bank.ended[:] = True


def reference_s(weight: torch.Tensor, x: torch.Tensor) -> float:
    """Return the processor seconds of one run of the reference layer."""
    with torch.inference_mode():
        torch.nn.functional.conv1d(x, weight)
        start = time.thread_time()
        for _ in range(LAYERS):
            torch.nn.functional.conv1d(x, weight)
    return (time.thread_time() - start) / LAYERS


def measure(
    calls: int, churn: float, seconds: float, model: Path, precision: str, threads: int
) -> dict[str, float]:
    """Measure milliseconds of a processor per second of a call, GFLOP/s of the reference layer, and calls per
    GFLOP/s."""
    torch.set_num_threads(1)
    weight, x = torch.randn(32, 32, 10), torch.randn(64, 32, 109)
    loaded = checkpoint.load(model)
    backend = make_backend("auto", loaded.net, calls, precision=precision, threads=threads)
    source, stop = SpokenCalls(calls, churn), threading.Event()
    beside_s, layers, spent = 0.0, [], []

    def due(number: int, now: float) -> None:
        """Do what is not part of the cost: speech, reading the feed, the reference layer."""
        nonlocal beside_s
        start = time.process_time()
        source.tick(number, now)
        while feed.poll(0):
            feed.recv_multipart()
        at_s = (number + 1) * TICK_S
        if (number + 1) % (SECOND // 2) == 0 and at_s >= WARM_S:
            layers.append(reference_s(weight, x))
        if at_s >= WARM_S + seconds:
            stop.set()
        end = time.process_time()
        beside_s += end - start
        if (number + 1) % SECOND == 0 and at_s >= WARM_S:
            spent.append(end - beside_s)

    settings = Settings("tcp://127.0.0.1:*", every_s=EVERY_S, max_streams=calls)
    daemon = Daemon(loaded, [source], settings, backend, clock=RehearsalClock(due, tick_s=TICK_S))
    with zmq.Context() as context, context.socket(zmq.SUB) as feed:
        feed.setsockopt(zmq.RCVHWM, 100_000)
        feed.setsockopt(zmq.SUBSCRIBE, b"")
        feed.connect(daemon.endpoint)
        daemon.run(stop, await_subscriber_s=2.0)
    ms = float(np.median(np.diff(spent))) / calls * 1000
    gflops = REFERENCE_GFLOP / median(layers)
    return {"ms": ms, "gflops": gflops, "calls": 1000 / ms / gflops}


def in_words(one: dict[str, float]) -> str:
    return (
        f"{one['ms']:.3f} ms of a processor for a second of a call; reference layer {one['gflops']:.0f} GFLOP/s; "
        f"{one['calls']:.2f} calls per GFLOP/s"
    )


def alternate(against: Path, rounds: int, words: list[str]) -> None:
    """Measure another tree and this one in turns."""
    trees = {"before": against.resolve(), "after": ROOT}
    found: dict[str, list[float]] = {name: [] for name in trees}
    for _ in range(rounds):
        for name, tree in trees.items():
            command = [sys.executable, str(tree / FILE), "--json", *words]
            environment = os.environ | {"PYTHONPATH": str(tree)}
            out = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, cwd=tree
            ).stdout
            one = json.loads(out.splitlines()[-1])
            found[name].append(one["calls"])
            print(f"{name:7} {in_words(one)}", flush=True)
    before, after = median(found["before"]), median(found["after"])
    print(f"calls per GFLOP/s: {before:.2f} -> {after:.2f}, x {after / before:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Processor time of the daemon for a second of a call.")
    parser.add_argument("--calls", type=int, default=256)
    parser.add_argument("--churn", type=float, default=0, help="calls a second that end and begin")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--model", type=Path, default=checkpoint.bundled())
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--against", type=Path, help="another source tree, measured in turns with this one")
    parser.add_argument("--rounds", type=int, default=3)
    o = parser.parse_args()
    if o.against is not None:
        given = {
            "calls": o.calls,
            "churn": o.churn,
            "seconds": o.seconds,
            "precision": o.precision,
            "threads": o.threads,
        }
        alternate(o.against, o.rounds, [f"--{name}={value}" for name, value in given.items()])
        return
    one = measure(o.calls, o.churn, o.seconds, o.model, o.precision, o.threads)
    print(json.dumps(one) if o.json else in_words(one))


if __name__ == "__main__":
    main()
