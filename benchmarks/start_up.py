"""How long commands take to start: a part of benchmarks/inference.py."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from streamcab.feed import Publisher
from streamcab.message import Prediction

CLI = [sys.executable, "-c", "from streamcab.cli import main; main()"]


def timed(command: list[str]) -> float:
    """Measure the median seconds of a command from start to end."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def connected() -> float:
    """Measure the seconds from starting `streamcab watch` until it has shown a first message."""
    publisher = Publisher("tcp://127.0.0.1:0")
    words = dict.fromkeys(("run", "stream", "model"), "bench") | {"labels": ["us"], "probs": {}, "now": {}}
    numbers = dict.fromkeys(("time", "window_s", "voiced_s", "heard_s", "lag_ms", "lost_ms"), 0.0)
    counts = {"seq": 1, "sample": 0, "rate": 8000, "overflows": 0}
    nothing = dict.fromkeys(("top", "confidence", "level_db", "attention"))
    message = Prediction(**words, **numbers, **counts, **nothing, state="silent")
    done = threading.Event()

    def publish() -> None:
        while not done.wait(0.01):
            publisher.publish(message)
            publisher.poll()

    thread = threading.Thread(target=publish)
    thread.start()
    start = time.perf_counter()
    command = [*CLI, "watch", publisher.endpoint, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watch:
        assert watch.stdout is not None
        line = watch.stdout.readline()
        took = time.perf_counter() - start
        watch.terminate()
    done.set()
    thread.join()
    publisher.close()
    if not line:
        raise RuntimeError("watch said nothing")
    return took


def start_ups(first: Callable[[int], object]) -> None:
    """Print how long start-up takes.

    Args:
        first: Prepares a backend for so many streams, and computes with it.
    """
    print("\nstart-up                                     seconds")
    python = [sys.executable, "-c"]
    for name, f in (
        ("python itself", lambda: timed([*python, "pass"])),
        ("streamcab --help", lambda: timed([*CLI, "--help"])),
        ("streamcab watch, until a message is shown", connected),
        ("import streamcab and its engine", lambda: timed([*python, "import streamcab.inference.engine"])),
    ):
        try:
            print(f"{name:44} {f():7.2f}")
        except Exception as error:  # the other rows are worth having
            print(f"{name:44}    left out: {error}")
    for slots in (1, 1024):
        start = time.perf_counter()
        first(slots)
        print(f"{f'backend for {slots} streams, and 2 s of audio':44} {time.perf_counter() - start:7.2f}")
