"""A real daemon with a net that is too slow: it says so, lets newcomers wait, loses the oldest, recovers by itself."""

import threading
import time

import numpy as np
from backends import Around
from patience import PATIENCE_S
from serving import ANYWHERE, Hand, until
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.feed import Subscriber
from streamcab.message import DaemonStatus
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import AudioFile


class Slow(Around):
    """A backend that takes a long time for each step while `slow`."""

    def __init__(self, inside):
        super().__init__(inside)
        self._never = threading.Event()
        self.slow = True

    def start(self, *args):
        if self.slow:
            self._never.wait(0.12)
        return self.inside.start(*args)


def overloaded(message):
    return isinstance(message, DaemonStatus) and message.detail.startswith("overloaded")


def test_overload_is_a_state_that_is_said_and_left_again(tmp_path):
    checkpoint = Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"})
    settings = Settings(ANYWHERE, max_lag_s=1.0, max_streams=8)
    backend = Slow(TorchBackend(checkpoint.model, settings.max_streams))
    file = write_wav(tmp_path / "talk.wav", talk(20), 8000)
    newcomers = Hand(rows=2, seconds=10)
    calls = [AudioFile(file, "live", name=f"call-{i}", loop=True) for i in range(3)]
    daemon = Daemon(checkpoint, [*calls, newcomers], settings, backend)
    stop = threading.Event()
    thread = threading.Thread(target=daemon.run, args=(stop, 20))
    with Subscriber(daemon.endpoint) as feed:
        thread.start()
        try:
            until(feed, overloaded)
            newcomers.begin("in-vain", 0)
            waiting = until(feed, lambda m: isinstance(m, DaemonStatus) and "1 stream waits" in m.detail)[-1]
            assert "refused-overload" not in waiting.counters
            assert newcomers.released == []
            newcomers.bank.finish(0)
            refused = until(feed, lambda m: isinstance(m, DaemonStatus) and "refused-overload" in m.counters)
            assert refused[-1].counters["refused-overload"] == 1
            assert newcomers.released == ["in-vain"]
            newcomers.begin("patient", 1)
            newcomers.bank.write(1, np.zeros(800, np.float32), time.monotonic())
            first = until(feed, lambda m: isinstance(m, DaemonStatus) and m.lost_ms > 0)[-1]
            assert first.counters["skips"] > 0
            assert first.streams == 3

            backend.slow = False

            def patient(message):
                """It is let in while it brings audio."""
                newcomers.bank.write(1, np.zeros(80, np.float32), time.monotonic())
                return message.stream == "patient"

            heard = until(feed, patient)
            assert not any(m.stream == "in-vain" for m in heard)
            until(feed, lambda m: isinstance(m, DaemonStatus) and not m.detail)
        finally:
            stop.set()
            thread.join(PATIENCE_S)
    assert not thread.is_alive()
