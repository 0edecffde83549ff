"""Delay from a captured sample to its received prediction, on the tests' virtual microphone.

    python benchmarks/microphone.py

A prediction answers an interval whose audio ended three intervals (75 ms) before the newest sample that it used: the
look-ahead of the stack. To that is added the time between the capture of that newest sample, as the microphone's thread
stamped it, and this subscriber's receipt of the message. PulseAudio delivers audio in fragments; their queue is part of
the figure.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from serving import running
from signals import write_wav
from speech import talk
from virtual_microphone import VirtualMicrophone

from streamcab.feed import Subscriber
from streamcab.message import Prediction

SECONDS = 20
LOOK_AHEAD_MS = 75
ENDPOINT = "tcp://127.0.0.1:47719"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mic") as home:
        microphone = VirtualMicrophone(Path(home))
        microphone.start()
        try:
            words = (
                "listen",
                "--device",
                "pulse",
                "--no-view",
                "--every",
                "0.025",
                "--endpoint",
                ENDPOINT,
                *sys.argv[1:],
            )
            with running(*words, env=microphone.env) as daemon, Subscriber(ENDPOINT) as feed:
                # Its output has no reader: the pipe must not fill.
                threading.Thread(target=daemon.stdout.read, daemon=True).start()
                microphone.play(write_wav(Path(home) / "talk.wav", talk(SECONDS + 8, 48000, rms=0.2), 48000))
                report(feed)
        finally:
            microphone.kill()


def report(feed: Subscriber) -> None:
    lags, until = [], time.monotonic() + SECONDS + 5
    while time.monotonic() < until and len(lags) < SECONDS * 40:
        message = feed.recv(5)
        # The start-up hold of a second is said by its state.
        if isinstance(message, Prediction) and message.state == "live":
            lags.append((time.time() - message.time) * 1000)
    total = np.array(lags) + LOOK_AHEAD_MS
    print(f"predictions           {len(lags)} in {SECONDS} s at --every 0.025")
    for name, q in (("p50", 50), ("p99", 99), ("max", 100)):
        print(
            f"capture to message    {name} {np.percentile(total, q):6.1f} ms  (of which look-ahead {LOOK_AHEAD_MS} ms)"
        )


if __name__ == "__main__":
    main()
