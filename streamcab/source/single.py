"""A source of one stream, or of one for each channel: one thread, one bank. Microphones, files and pipes.

Owns the life of the thread, the rim where samples are checked, and the two ways to write: at once (the world
sets the pace, the oldest is overwritten) and with back-pressure (the reader sets it, nothing is lost). Knows
nothing of where the samples come from.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import NO_SAMPLE, Bank
from streamcab.errors import AudioError, SourceLost, StreamcabError
from streamcab.message import SourceState
from streamcab.source import Line
from streamcab.source.mixer import Mixer
from streamcab.text import LONGEST, stream_name

__all__ = ["SingleStream", "stream_name", "valid"]

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
ROOM = 4
"""A ring that was full is filled again when a part of this many has room: hundreds of files would else only look."""
ROOM_WAIT, LONGEST_WAIT = 0.002, 0.064
"""Seconds between looks at a full ring, twice as many after each in vain; the reader never runs dry: a ring is long."""


def valid(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which samples a converter can have produced: neither NaN, nor infinite, nor absurd."""
    return np.abs(samples) <= LOUDEST


class SingleStream(ABC):
    """Implements `Source` but for `start` and `live`: subclasses call `_begin` and give `_capture`.

    What comes are frames of one or more channels: mixed, or picked, into one stream, or each a stream of its own.
    """

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self.failure: StreamcabError | None = None
        """What ended the stream, if that was not its end: SourceLost where something had been heard."""
        self._told = False
        self._notes: list[str] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stall_s = STALL_S
        self._heard = 0.0  # monotonic time of the newest samples

    @abstractmethod
    def _capture(self) -> None:
        """Run the thread: write until the end or until `_stop` is set. StreamcabErrors end the stream."""

    def _begin(
        self,
        name: str,
        rate: int,
        description: str,
        labels: Mapping[str, str] = MappingProxyType({}),
        *,
        channel: str = "mix",
        channels: int = 1,
    ) -> None:
        """Make the ring and start the thread. AudioError for a rate that no audio has, ConfigError for a channel."""
        assert not self._lines, f"{name}: started twice"
        if not SLOWEST <= rate <= FASTEST:
            raise AudioError(
                f"{name}: {rate} Hz is not a rate of audio; it must be {SLOWEST} to {FASTEST} Hz"
            )
        self._mixer = Mixer(channel, channels, rate)
        rows = self._mixer.rows
        self._bank = Bank(rate, rows, RING_SECONDS * rate)
        self._refused = [False] * rows
        for row in range(rows):
            which = (name, description)
            if rows > 1:
                which = (f"{name[: LONGEST - 8]}-{row + 1}", f"{description} {row + 1}")
            self._lines.append(Line(which[0], self._bank, row, which[1], "starting", labels=dict(labels)))
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        line = self.line
        try:
            self._capture()
            if self._notes:
                self._move("ended", "; ".join(self._notes), level=logging.WARNING)
            else:
                self._move("ended", line.detail)
        except StreamcabError as error:
            self._fail(error)
            self._move("ended", str(error), level=logging.ERROR)
        except Exception as error:  # a defect of ours must end one stream, not leave it silent for ever
            log.exception("%s: an error inside streamcab", line.name, extra={"line": line})
            why = f"{type(error).__name__}: {error}"
            self._fail(AudioError(f"{line.name}: an error inside streamcab: {why}"))
            self._move("ended", why, level=logging.ERROR)
        finally:
            for row in range(self._bank.rows):
                self._bank.finish(row)

    def _move(self, to: SourceState, why: str = "", *, level: int | None = None) -> None:
        """Change the state of all streams of the source, and report it once."""
        for line in self._lines:
            line.move(to, why, level=level if line is self._lines[0] else logging.DEBUG)

    def _note(self, notes: Iterable[str]) -> None:
        """Report notes on defects that did not stop the audio, when the stream ends."""
        self._notes += [note for note in notes if note not in self._notes]

    def _fail(self, error: StreamcabError) -> None:
        heard = bool(self._bank.written[0])
        self.failure = SourceLost(str(error), secrets=error.secrets) if heard else error

    @property
    def line(self) -> Line:
        """The stream, or the first of several. Only after `start`."""
        assert self._lines, "not started"
        return self._lines[0]

    def _mixed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mix frames (n, channels) to samples (m, rows); say what the mix has come upon."""
        if frames.shape[1] != self._mixer.channels:  # another device under the same name
            self._mixer = self._mixer.of(frames.shape[1])
        samples = self._fitting(self._mixer.push(frames))
        flaws, line = self._mixer.flaws, self.line
        for name in [name for name in line.flaws if name not in flaws]:
            line.flaw(name, "")
        for name, words in flaws.items():
            if name not in line.flaws:
                line.flaw(name, words)
        return samples

    def _fitting(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return samples for every stream there is: of a device that returns with fewer channels, some are missing."""
        rows, have = self._bank.rows, samples.shape[1]
        if have == rows:
            return samples
        fitting = np.full((len(samples), rows), NO_SAMPLE, np.float32)
        fitting[:, : min(have, rows)] = samples[:, :rows]
        return fitting

    def _checked(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return samples in which invalid numbers are marked as missing; they are counted."""
        fine = valid(samples)
        if fine.all():
            return samples
        for line, wrong in zip(self._lines, (~fine).sum(0).tolist(), strict=True):
            line.refused += wrong
        return np.where(fine, samples, np.float32(NO_SAMPLE))

    def _write(self, samples: NDArray[np.float32], stamp: float) -> None:
        """Write samples (n, rows) into the rings at once; the last of them was captured at `stamp`."""
        samples = self._checked(samples)
        for row in range(self._bank.rows):
            self._bank.write(row, samples[:, row], stamp)
        self._flows()

    def _pour(self, samples: NDArray[np.float32], stamp: float) -> None:
        """Write samples (n, rows) into the rings as the reader makes room; return early when the source is closed."""
        bank, rows = self._bank, range(self._bank.rows)
        samples = self._checked(samples)
        wait = ROOM_WAIT
        while len(samples) and not self._stop.is_set():
            self._flows()
            # A stream that the daemon refused has no reader.
            room = min((bank.room(row) for row in rows if not self._refused[row]), default=len(samples))
            if room < min(len(samples), bank.capacity // ROOM):
                self._stop.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            for row in rows:
                bank.write(row, samples[:room, row], stamp)
            samples, wait = samples[room:], ROOM_WAIT

    def _flows(self) -> None:
        """Note that samples came, or wait for the reader."""
        self._heard = time.monotonic()
        for line in self._lines:
            if line.state in ("starting", "stalled"):
                line.move("live")

    def streams(self) -> list[Line]:
        """Return the streams, once. Notices, too, that nothing comes any more."""
        for line in self._lines:
            if line.state in ("live", "silent"):
                nothing = time.monotonic() - self._heard
                if nothing > self._stall_s and not line.bank.ended[line.row]:
                    line.move("stalled", f"nothing has come for {nothing:.1f} s")
        if self._told or not self._lines:
            return []
        self._told = True
        return list(self._lines)

    def release(self, line: Line) -> None:
        """Do nothing: the row is not used again, and the bank goes with the source."""
        assert line in self._lines, f"{line.name} is not of this source"
        self._refused[line.row] = True

    def counters(self) -> dict[str, int]:
        """Return `overflows` (times), `skipped` (samples lost before the ring), `not_a_number` (samples refused)."""
        if not self._lines:
            return {}
        return {
            "overflows": int(self._bank.overflows[0]),
            "skipped": int(self._bank.skipped[0]),
            "not_a_number": sum(line.refused for line in self._lines),
        }

    def close(self) -> None:
        """Stop capturing and end the thread; within a second, also when the thread hangs in a driver."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    @property
    def done(self) -> bool:
        """The streams have been told and have ended, or the source was closed."""
        if self._stop.is_set():
            return True
        return self._told and bool(self._lines) and bool(self._bank.ended.all())
