"""The examples, run as a user runs them: as processes, against a real feed."""

import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from streamcab.feed import Publisher
from streamcab.message import Prediction

SUBSCRIBE = Path(__file__).parents[1] / "examples" / "subscribe.py"
PATIENCE_S = 30.0


def prediction(stream: str, top: str | None) -> Prediction:
    probs = {} if top is None else {top: 0.75, "other": 0.25}
    return Prediction(
        stream=stream,
        time=time.time(),
        sample=8_000,
        rate=8_000,
        labels=["us", "uk", "other"],
        probs=probs,
        now=probs,
        top=top,
        confidence=None if top is None else 0.75,
        state="silent" if top is None else "live",
        window_s=30.0,
        voiced_s=0.0 if top is None else 12.5,
        heard_s=12.5,
        level_db=-30.0,
        lag_ms=71.4,
        lost_ms=0.0,
        overflows=0,
        model="5f0c",
    )


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(SUBSCRIBE), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # so that select sees every line that has not been read
    )


def next_line(publisher: Publisher, process: subprocess.Popen[bytes]) -> str:
    """The next line that `process` prints while the publisher's loop runs."""
    assert process.stdout is not None
    deadline = time.monotonic() + PATIENCE_S
    while not select.select([process.stdout], [], [], 0.01)[0]:
        assert time.monotonic() < deadline, "nothing was printed"
        publisher.poll()
    return process.stdout.readline().decode()


def stop(process: subprocess.Popen[bytes]) -> bytes:
    """Ctrl-C, and what else it has printed."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert b"Traceback" not in err
    return out


def test_subscribe_prints_a_line_per_prediction_and_ends_with_ctrl_c() -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.publish(prediction("mic", "uk"))
        process = start(publisher.endpoint)
        try:
            line = next_line(publisher, process)
            assert line.split()[1:4] == ["mic", "uk", "75%"]
            assert line.endswith("live, 12.5 s of speech, 71 ms behind\n")
            publisher.publish(prediction("mic", None))
            assert "nobody speaks" in next_line(publisher, process)
            # Somebody else joins: what is repeated for him is not printed again.
            other = start(publisher.endpoint, "mic")
            try:
                assert "nobody speaks" in next_line(publisher, other)
                publisher.publish(prediction("mic2", "us"))
                publisher.publish(prediction("mic", "us"))
                assert "mic2" in next_line(publisher, process)
                assert next_line(publisher, process).split()[1:4] == ["mic", "us", "75%"]
                assert next_line(publisher, other).split()[1:4] == ["mic", "us", "75%"]
            finally:
                assert stop(other) == b""
        finally:
            assert stop(process) == b""


def test_subscribe_needs_nothing_of_streamcab() -> None:
    imports = [
        line
        for line in SUBSCRIBE.read_text(encoding="utf-8").splitlines()
        if line.startswith(("import ", "from "))
    ]
    assert imports == ["import argparse", "import json", "import sys", "import time", "import zmq"]
    done = subprocess.run([sys.executable, "-I", str(SUBSCRIBE), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "one line per prediction" in done.stdout
