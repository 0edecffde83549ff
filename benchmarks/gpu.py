"""Streams that the net carries on a GPU: synthetic samples, passes of 25 and of 200 ms.

    python benchmarks/gpu.py                        the table, for CUDA if available, else for the CPU
    python benchmarks/gpu.py --precision bf16 --most 500000

A pass is what the engine asks of a backend: samples of all streams from the host's memory in, c_t and attention out,
each copy counted. The device's own limit is a large matrix product, timed in turns with the passes. Front end, gate
and feed run on the CPU and are not included.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from inference import cost, model

from streamcab.nn.backend import PRECISIONS, make_backend
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.distiller import FOREVER

STREAMS = (1, 100, 10_000, 100_000)
SQUARE = {"cuda": 8_192, "cpu": 1_024}
"""Rows of the matrices whose product stands for the device's limit."""


def seconds(work: Callable[[], object], least: int = 8, for_s: float = 1.0) -> float:
    """Return the median time of some work that waits for its own result."""
    took: list[float] = []
    for _ in range(3):
        work()
    until = time.perf_counter() + for_s
    while len(took) < least or time.perf_counter() < until:
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def limit(device: str, precision: str) -> float:
    """Measure FLOP/s of a large product in this precision."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    n = SQUARE[torch.device(device).type]
    a, b = (torch.randn(n, n, device=device, dtype=kind) for _ in range(2))

    def product() -> None:
        (a @ b)[0, 0].item()

    return 2 * n**3 / seconds(product)


class Passes:
    """Passes of h intervals for so many streams in mid-course."""

    def __init__(self, net: CabCnn, device: str, precision: str, streams: int, h: int) -> None:
        self._backend = make_backend("torch", net, streams, device, precision)
        self._slots = np.arange(streams)
        shape = (streams, h * net.architecture.interval)
        self._x = np.random.default_rng(0).standard_normal(shape, np.float32)
        self._first, self._end = np.full(streams, 1_000), np.full(streams, FOREVER)
        self._backend.reset(self._slots)

    def one(self) -> None:
        """Run the next pass."""
        self._backend.step(self._slots, self._x, self._first, self._end)


def main() -> None:
    """Print the table, and the largest number of streams that holds."""
    parser = argparse.ArgumentParser(description="Streams that the net carries on a GPU.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    parser.add_argument("--streams", type=int, nargs="+", default=list(STREAMS))
    parser.add_argument("--most", type=int, default=500_000, help="where the search for the largest ends")
    args = parser.parse_args()
    net, whose = model()
    gflop, interval_s = cost(net.architecture), net.architecture.interval_s
    device = args.device if args.device == "cpu" else torch.cuda.get_device_name(args.device)
    flops = limit(args.device, args.precision)
    print(f"{device}, {args.precision}, {whose}: {flops / 1e12:.2f} TFLOP/s in a product of matrices")
    print(f"{'pass':>7}{'streams':>10}{'us a pass':>14}{'of its time':>14}{'of the limit':>14}")

    def load(streams: int, h: int) -> float:
        """Print a row; return which part of a pass' own duration it takes."""
        took = seconds(Passes(net, args.device, args.precision, streams, h).one)
        done = streams * h * interval_s * gflop * 1e9 / took
        part = took / (h * interval_s)
        ms = h * interval_s * 1e3
        print(f"{ms:4.0f} ms{streams:10}{took * 1e6:14.0f}{part:14.1%}{done / flops:14.1%}", flush=True)
        return part

    for h in (1, 8):
        part = 0.0
        for streams in args.streams:
            part = load(streams, h) if part < 1 else part
        holds, fails = 0, args.most + 1
        at = min(args.streams[-1], args.most)
        while fails - holds > max(holds // 16, 1):
            if load(at, h) <= 1:
                holds = at
                at = min(2 * at, args.most) if fails > args.most else (holds + fails) // 2
            else:
                fails, at = at, (holds + at) // 2
            if holds == args.most:
                break
        print(f"{h * interval_s * 1e3:4.0f} ms: {holds} streams hold, net alone", flush=True)


if __name__ == "__main__":
    main()
