"""A source of one stream: one thread, one bank of one row, one line. Microphones, files and pipes.

Owns the life of the thread, the rim where samples are checked, and the two ways to write: at once (the world
sets the pace, the oldest is overwritten) and with back-pressure (the reader sets it, nothing is lost). Knows
nothing of where the samples come from.
"""

import logging
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import NO_SAMPLE, Bank
from streamcab.errors import AudioError, SourceLost, StreamcabError
from streamcab.source import Line

log = logging.getLogger("streamcab.source")

RING_SECONDS = 10
SLOWEST, FASTEST = 1000, 1_000_000
"""Hz. A ring is as long as the rate says, and the rate comes from outside."""
CLOSE_SECONDS = 0.9
"""`close` promises to return within a second: a thread that hangs in a driver is left behind, a daemon."""
LOUDEST = 2.0**32
"""No sample of any scale is beyond this, int32 as float included: garbage, which would poison a mean."""
STALL_S = 1.0
"""Without samples for so long, and nothing said why, a source has stalled."""
ROOM_WAIT = 0.002
"""Seconds between looks at a full ring; so short against the ring that the reader never runs dry."""


def valid(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which samples are numbers that a converter can have put out: neither NaN, nor infinite, nor absurd."""
    return np.abs(samples) <= LOUDEST


def stream_name(text: str) -> str:
    """Any text as the name of a stream, fit for a topic of the feed: letters, digits and . _ - only."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-._")[:128] or "stream"


class SingleStream(ABC):
    """Implements `Source` but for `start` and `live`: subclasses call `_begin` and give `_capture`."""

    def __init__(self) -> None:
        self._line: Line | None = None
        self.failure: StreamcabError | None = None
        """What ended the stream, if that was not its end: SourceLost where something had been heard."""
        self._told = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stall_s = STALL_S
        self._heard = 0.0  # monotonic time of the newest samples

    @abstractmethod
    def _capture(self) -> None:
        """The thread's body: write until the end or until `_stop` is set. StreamcabErrors end the stream."""

    def _begin(
        self, name: str, rate: int, description: str, labels: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Make the ring and start the thread. AudioError for a rate that no audio has."""
        assert self._line is None, f"{name}: started twice"
        if not SLOWEST <= rate <= FASTEST:
            raise AudioError(f"{name}: {rate} Hz is not the rate of audio: {SLOWEST} to {FASTEST} Hz are")
        bank = Bank(rate, 1, RING_SECONDS * rate)
        self._line = Line(name, bank, 0, description, "starting", labels=dict(labels))
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        line = self.line
        try:
            self._capture()
            line.move("ended", line.detail)
        except StreamcabError as error:
            self._fail(error)
            line.move("ended", str(error), level=logging.ERROR)
        except Exception as error:  # a defect of ours must end one stream, not leave it silent for ever
            log.exception("%s: an error inside streamcab", line.name, extra={"line": line})
            why = f"{type(error).__name__}: {error}"
            self._fail(AudioError(f"{line.name}: an error inside streamcab: {why}"))
            line.move("ended", why, level=logging.ERROR)
        finally:
            line.bank.finish(line.row)

    def _fail(self, error: StreamcabError) -> None:
        heard = bool(self.line.bank.written[self.line.row])
        self.failure = SourceLost(str(error), secrets=error.secrets) if heard else error

    @property
    def line(self) -> Line:
        """The one stream. Only after `start`."""
        assert self._line is not None, "not started"
        return self._line

    def _checked(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples with what is no number marked as missing, and counted."""
        fine = valid(samples)
        if fine.all():
            return samples
        self.line.refused += int(len(fine) - np.count_nonzero(fine))
        return np.where(fine, samples, np.float32(NO_SAMPLE))

    def _write(self, samples: NDArray[np.float32], stamp: float) -> None:
        """Samples (n,) into the ring at once; the last of them was captured at `stamp`."""
        self.line.bank.write(self.line.row, self._checked(samples), stamp)
        self._flows()

    def _pour(self, samples: NDArray[np.float32], stamp: float) -> None:
        """Samples (n,) into the ring as the reader makes room; returns early when the source is closed."""
        bank, row = self.line.bank, self.line.row
        samples = self._checked(samples)
        while len(samples) and not self._stop.is_set():
            self._flows()
            room = bank.room(row)
            if room <= 0:
                self._stop.wait(ROOM_WAIT)
                continue
            bank.write(row, samples[:room], stamp)
            samples = samples[room:]

    def _flows(self) -> None:
        """Samples came, or wait for the reader."""
        self._heard = time.monotonic()
        if self.line.state in ("starting", "stalled"):
            self.line.move("live")

    def streams(self) -> list[Line]:
        """The stream, once. Notices, too, that nothing comes any more."""
        line = self._line
        if line is not None and line.state in ("live", "silent"):
            nothing = time.monotonic() - self._heard
            if nothing > self._stall_s and not line.bank.ended[line.row]:
                line.move("stalled", f"nothing has come for {nothing:.1f} s")
        if self._told or self._line is None:
            return []
        self._told = True
        return [self._line]

    def release(self, line: Line) -> None:
        """The row is not used again: the bank goes with the source."""
        assert line is self._line, f"{line.name} is not of this source"

    def counters(self) -> dict[str, int]:
        """`overflows` (times), `skipped` (samples lost before the ring), `not_a_number` (samples refused)."""
        if self._line is None:
            return {}
        bank, row = self._line.bank, self._line.row
        return {
            "overflows": int(bank.overflows[row]),
            "skipped": int(bank.skipped[row]),
            "not_a_number": self._line.refused,
        }

    def close(self) -> None:
        """Stop capturing and end the thread; within a second, also when the thread hangs in a driver."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    @property
    def done(self) -> bool:
        """The stream has been told and has ended, or the source was closed."""
        if self._stop.is_set():
            return True
        return self._told and self._line is not None and bool(self._line.bank.ended[self._line.row])
