"""Cost of inference, as ratios to the net's dominating layer timed in the same run: `make bench`.

    python benchmarks/inference.py [--backend torch] [--precision bf16] [--quick]

The reference layer is conv1d 32 -> 32, kernel 10, 64 x 100 outputs, torch float32, one thread. The net needs 0.052
GFLOP per second of a stream, so a machine whose reference layer runs at R GFLOP/s would carry R / 0.052 streams a core
if the whole net ran at that rate: "share" is how much of it is reached. Passes and the reference take turns.
Capacities come from processor time, so that neighbours on a busy machine do not count; latencies come from the clock,
so that they do.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from start_up import start_ups

from streamcab.audio.ring import Bank
from streamcab.dsp.resample import resampler
from streamcab.inference.engine import Engine
from streamcab.inference.window import window_of
from streamcab.nn import checkpoint
from streamcab.nn.backend import BACKENDS, PRECISIONS, Backend, make_backend
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.distiller import FOREVER

REFERENCE_GFLOP = 2 * 64 * 100 * 32 * 32 * 10 / 1e9
CLIPS = Path(__file__).parent.parent / "streamcab" / "clips"


def cost(architecture: Architecture) -> float:
    """Return the GFLOP that the net needs for a second of one stream."""
    channels, rate, total = 1, float(architecture.pooled_rate), 0.0
    for stage in architecture.stages:
        total += rate * channels * stage.kernel * stage.filters
        channels, rate = stage.filters, rate / stage.stride
    answering = (channels, *architecture.hidden, len(architecture.labels))
    weighing = (channels, *architecture.attention, architecture.classifiers)
    total += rate * architecture.classifiers * sum(a * b for a, b in pairwise(answering))
    total += rate * sum(a * b for a, b in pairwise(weighing))
    return 2 * total / 1e9


class Reference:
    """The layer against which all is measured."""

    def __init__(self) -> None:
        self._weight, self._x = torch.randn(32, 32, 10), torch.randn(64, 32, 109)

    def __call__(self) -> None:
        with torch.inference_mode():
            torch.nn.functional.conv1d(self._x, self._weight)

    def seconds(self) -> float:
        """Return the processor time of one run, with its weights and input in the cache."""
        self()
        return processor(self)


def processor(f: Callable[[], object]) -> float:
    """Measure the processor seconds of the whole process for one call."""
    start = time.process_time()
    f()
    return time.process_time() - start


def measure(
    f: Callable[[], object], seconds: float, reference: Reference
) -> tuple[float, float, NDArray[np.float64]]:
    """Measure median processor seconds of f and of the reference, taking turns, and the clock's seconds of each f."""
    for _ in range(5):
        f()
    took, clock, beside = [], [], []
    until = time.perf_counter() + seconds
    while len(took) < 8 or time.perf_counter() < until:
        for _ in range(4):
            start = time.perf_counter()
            took.append(processor(f))
            clock.append(time.perf_counter() - start)
        beside.append(reference.seconds())
    return float(np.median(took)), float(np.median(beside)), np.array(clock)


def model() -> tuple[CabCnn, str]:
    """Return the bundled model, or one of random weights, and which it is. What the weights are costs nothing."""
    if checkpoint.bundled().exists():
        return checkpoint.load(checkpoint.bundled()).model, "the bundled model"
    torch.manual_seed(0)
    return CabCnn(Architecture(labels=("us", "uk", "australia"))).eval(), "random weights"


def speech(rate: int, seconds: float) -> NDArray[np.float32]:
    """Return the project's own clips in a row, at `rate` Hz."""
    parts = []
    for path in sorted(CLIPS.glob("*.ogg")):
        x, own = soundfile.read(path, dtype="float32")
        if own != rate:
            resample = resampler(own, rate)
            n = int(resample.total(np.int64(len(x))))
            ahead, behind = -resample.start(0), resample.stop(n) - len(x)
            x = resample(np.pad(x, (ahead, max(behind, 0)))[None], 0, n)[0]
        parts.append(x)
    x = np.concatenate(parts)
    return np.resize(x, round(rate * seconds))


class Calls:
    """The whole way from the rings to the answers' window, for streams of one rate that all speak."""

    def __init__(self, net: CabCnn, backend: Backend, streams: int, rate: int) -> None:
        arch = net.architecture
        self._engine = Engine(net, streams, backend)
        self._window = window_of(net, streams, arch.intervals(30))
        self._bank = Bank(rate, streams, 3 * rate)
        for row in range(streams):
            self._engine.attach(self._bank, row)
        self._step = round(rate * arch.interval_s)
        self._audio = speech(rate, 20)
        self._heard = 0
        # Past the hold of the normaliser and the start of the streams.
        for _ in range(16):
            self.capture(5)
            self.advance()

    def capture(self, intervals: int) -> None:
        """Write samples as a source does; not part of the cost."""
        n = intervals * self._step
        bank = self._bank
        at = np.arange(self._heard, self._heard + n)
        bank.data[:, at % bank.capacity] = self._audio[at % len(self._audio)]
        self._heard += n
        bank.written[:] = self._heard

    def advance(self) -> None:
        """Run a pass of the daemon, up to what it would publish."""
        for e in self._engine.advance():
            self._window.add(e.slots, e.first, e.c, e.alpha, e.votes(True), e.u)


def training(net: CabCnn, seconds: float, reference: Reference) -> None:
    """Measure whole steps of streamcab_train on random samples: forward, backward, Adam."""
    from streamcab_train.step import forward, loss_of

    from streamcab.nn.cabcnn import mean_of_votes

    arch = net.architecture
    learner = CabCnn(arch).train()
    adam = torch.optim.Adam(learner.parameters())
    clips, clip_s = 32, 10.0
    x = torch.randn(clips, round(clip_s * arch.pooled_rate))
    y = torch.randint(len(arch.labels), (clips,))

    def step() -> None:
        adam.zero_grad()
        c = forward(learner, x)
        loss_of(mean_of_votes(c, torch.ones(c.shape[:2])), y).mean().backward()
        adam.step()

    took, beside = [], []
    until = time.perf_counter() + 4 * seconds
    while len(took) < 3 or time.perf_counter() < until:
        took.append(processor(step))
        beside.append(reference.seconds())
    step_s, beside_s = float(np.median(took)), float(np.median(beside))
    per_s, layers = clips * clip_s / step_s, step_s / beside_s
    share = 3 * cost(arch) * per_s * beside_s / REFERENCE_GFLOP
    print(f"\ntraining, {clips} clips of {clip_s:.0f} s a step: {per_s:.0f} seconds of audio per second")
    print(f"  {layers:.0f} reference layers a step; {share:.0%} of its rate, at three times inference's cost")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What inference costs, as ratios to the dominating layer.")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    parser.add_argument("--quick", action="store_true", help="a quarter of the time, and only batches to 64")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 0.5 if args.quick else 2.0
    batches = (1, 4, 16, 64) if args.quick else (1, 4, 16, 64, 256, 1024)
    net, whose = model()
    gflop = cost(net.architecture)
    reference = Reference()
    alone = float(np.median([reference.seconds() for _ in range(200)]))
    kind = type(make_backend(args.backend, net, 1, precision=args.precision)).__name__
    print(f"{kind} in {args.precision}, {whose}, {gflop:.4f} GFLOP per stream and second, one thread")
    print(f"reference layer: {REFERENCE_GFLOP / alone:.0f} GFLOP/s, {alone * 1e3:.3f} ms")

    training(net, seconds, reference)

    interval = net.architecture.interval
    rng = np.random.default_rng(0)
    print("\none stream through the engine, an interval a pass: front end, gate, net, window")
    print(" rate   p50 ms   p99 ms   processor ms   / reference layer")
    for rate in (8000, 16000, 44100, 48000):
        calls = Calls(net, make_backend(args.backend, net, 1, precision=args.precision), 1, rate)

        def one(calls: Calls = calls) -> None:
            calls.advance()

        took, clock, beside = [], [], []
        until = time.perf_counter() + 2 * seconds
        while time.perf_counter() < until:
            for _ in range(8):
                calls.capture(1)
                start = time.perf_counter()
                took.append(processor(one))
                clock.append(time.perf_counter() - start)
            beside.append(reference.seconds())
        ms = np.median(took) * 1e3
        p50, p99 = np.percentile(clock, (50, 99)) * 1e3
        print(f"{rate:5} {p50:8.3f} {p99:8.3f} {ms:14.3f} {ms / np.median(beside) / 1e3:19.2f}")

    print("\nstreams per core                net alone                     whole engine (8 kHz)")
    print("  batch    H      ms a pass   streams   share       ms a pass   streams   share")
    for b in batches:
        for h in (1, 4, 8):
            backend = make_backend(args.backend, net, b, precision=args.precision)
            x = rng.standard_normal((b, h * interval)).astype(np.float32)
            slots, first, end = np.arange(b), np.full(b, 100), np.full(b, FOREVER)
            line = f"{b:7} {h:4}"
            calls = Calls(net, backend, b, 8000)

            def whole(calls: Calls = calls, h: int = h) -> None:
                calls.advance()

            def alone_(backend: Backend = backend, x: NDArray[np.float32] = x) -> None:
                backend.step(slots, x, first, end)  # noqa: B023 - called before they change

            for f in (alone_, whole):
                took, beside = [], []
                for _ in range(3):
                    if f is whole:
                        calls.capture(h)
                    f()
                until = time.perf_counter() + seconds
                while len(took) < 8 or time.perf_counter() < until:
                    for _ in range(2):
                        if f is whole:
                            calls.capture(h)
                        took.append(processor(f))
                    beside.append(reference.seconds())
                pass_s, rate_s = float(np.median(took)), float(np.median(beside))
                streams = b * h * net.architecture.interval_s / pass_s
                share = streams * gflop * rate_s / REFERENCE_GFLOP
                line += f" {pass_s * 1e3:14.3f} {streams:9.0f} {share:6.0%}"
            print(line, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        start_ups(lambda n: Calls(net, make_backend(args.backend, net, n, precision=args.precision), 1, 8000))


if __name__ == "__main__":
    main()
