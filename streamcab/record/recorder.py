"""Writes streams to files: a second reader of the rings, in a thread of its own.

Inference never waits for it: audio that a slow disk made it miss is dropped and counted. Where samples never arrived,
a recording is silent, and the log gives the duration. Owns that thread and the open
files. Knows nothing of models or of the feed.
"""

import logging
import resource
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.errors import AudioError
from streamcab.record.flac import FlacFile
from streamcab.record.retention import Retention
from streamcab.source import Line

log = logging.getLogger("streamcab.recorder")

TURN_S = 1.0
"""Audio of one stream that is written at once; rings hold at least twice that."""
SEGMENT_S = 600.0
"""Seconds of one file: recordings that are too old or too large are deleted in pieces of this length."""
SILENCE_S = 30.0
"""A longer gap ends the file, and another begins after it."""
TOGETHER = 64
"""Streams whose samples are copied under one lock: about a millisecond."""
TAILS = 64 << 20
"""Bytes of ended streams that may wait to be written."""
TIDY_S = 10.0
OTHER_FILES = 256
"""Descriptors that are left to the rest of the program."""


@dataclass(eq=False)
class Track:
    """A stream being recorded: its position and its file. `missing` and `samples` cover all its files."""

    name: str
    line: Line
    position: int = 0
    skipped: int = 0
    file: FlacFile | None = None
    missing: int = 0
    samples: int = 0
    refused: bool = False

    @property
    def rate(self) -> int:
        """Hz."""
        return self.line.bank.rate


@dataclass
class Tail:
    """The rest of an ended stream, copied because its row will be reused."""

    track: Track
    unix: float
    samples: NDArray[np.float32]


class Recorder:
    """Writes every stream that it is told of to `retention`.

    `begins`, `ends` and `counters` are called by the inference thread, and take microseconds there.
    """

    def __init__(self, retention: Retention) -> None:
        self.retention = retention
        self._tracks: dict[Line, Track] = {}
        self._tails: list[Tail] = []
        self._waiting = 0  # bytes of them
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._open: dict[str, Track] = {}  # by the name of the file
        self._most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES, 1)
        self._paused = self._doubt = ""
        self._next_tidy = time.monotonic() + TIDY_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def begins(self, name: str, line: Line) -> None:
        """A stream that is recorded from its first sample on, under this name."""
        with self._lock:
            self._tracks[line] = Track(name, line)

    def ends(self, line: Line) -> None:
        """The stream has ended: its last sample is in the ring, and its row may be reused when this returns."""
        with self._lock:
            track = self._tracks.pop(line, None)
            if track is None:
                return
            bank, row = line.bank, line.row
            self._catch_up(track, int(bank.oldest(np.array([row]))[0]))
            n = int(bank.written[row]) - track.position
            if self._waiting + 4 * n > TAILS:
                self._counts["record-dropped-ms"] += round(n / track.rate * 1000)
                n = 0
            rows, start = np.array([row]), np.array([track.position])
            samples = bank.read(rows, start, n)[0] if n else np.zeros(0, np.float32)
            self._tails.append(Tail(track, _unix(track, track.position), samples))
            self._waiting += samples.nbytes

    def counters(self) -> dict[str, int]:
        """`record-dropped-ms` that came too fast or found no room, `record-missing-ms` that never arrived and
        are silent, `record-refused` streams, `record-failed` files, `record-deleted` old ones.
        """
        return dict(self._counts) | {"record-deleted": self.retention.deleted}

    def close(self, patience_s: float = 2.0) -> None:
        """Write the remaining audio and close the files; give up after `patience_s`."""
        self._stop.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            log.warning(
                "%s: not everything was written in %g s: the newest audio is lost",
                self.retention.folder,
                patience_s,
            )

    def _run(self) -> None:
        while True:
            stopping = self._stop.wait(TURN_S / 2)
            try:
                self._turn()
                if stopping:
                    with self._lock:
                        left = [track.line for track in self._tracks.values()]
                    for line in left:
                        self.ends(line)
                    self._turn()
            except Exception:  # a defect of ours must cost recordings, not the daemon
                log.exception("recordings were lost to an error inside streamcab")
            if stopping:
                return

    def _turn(self) -> None:
        """Write the audio that has arrived."""
        now = time.monotonic()
        if now >= self._next_tidy:
            self._next_tidy = now + TIDY_S
            self._tidy()
        banks: defaultdict[Bank, list[Track]] = defaultdict(list)
        with self._lock:
            for track in self._tracks.values():
                banks[track.line.bank].append(track)
        for bank, tracks in banks.items():
            while tracks:
                tracks = [
                    track
                    for k in range(0, len(tracks), TOGETHER)
                    for track in self._some(bank, tracks[k : k + TOGETHER])
                ]
        with self._lock:
            tails, self._tails, self._waiting = self._tails, [], 0
        for tail in tails:
            self._write(tail.track, tail.samples, tail.unix)
            self._finish(tail.track)
            if tail.track.samples:
                track = tail.track
                log.info(
                    "%s was recorded: %.1f s, of which %.1f s never arrived and are silent",
                    track.name,
                    track.samples / track.rate,
                    track.missing / track.rate,
                )

    def _some(self, bank: Bank, tracks: list[Track]) -> list[Track]:
        """Write the next TURN_S of each of `tracks` that has as much; return those that may have more."""
        n = round(TURN_S * bank.rate)
        with self._lock:
            tracks = [t for t in tracks if t.line in self._tracks]
            rows = np.array([t.line.row for t in tracks], np.intp)
            gaps = [
                self._catch_up(t, int(oldest)) for t, oldest in zip(tracks, bank.oldest(rows), strict=True)
            ]
            ready = [k for k, t in enumerate(tracks) if bank.written[t.line.row] - t.position >= n]
            start = np.array([tracks[k].position for k in ready], np.int64)
            samples = bank.read(rows[ready], start, n) if ready else np.zeros((0, n), np.float32)
            begun = [_unix(tracks[k], tracks[k].position) for k in ready]
            for k in ready:
                tracks[k].position += n
        for track, gap in zip(tracks, gaps, strict=True):
            if gap > SILENCE_S * track.rate:
                self._finish(track)
            elif gap and track.file is not None:
                self._write(track, np.full(gap, np.nan, np.float32), 0.0)
        for k, unix, piece in zip(ready, begun, samples, strict=True):
            self._write(tracks[k], piece, unix)
        return [tracks[k] for k in ready]

    def _catch_up(self, track: Track, oldest: int) -> int:
        """Samples of a track that are gone: lost by its source, which says so, or because we were too slow."""
        gap = max(oldest - track.position, 0)
        known = int(track.line.bank.skipped[track.line.row])
        ours = max(gap - (known - track.skipped), 0)
        self._counts["record-dropped-ms"] += round(ours / track.rate * 1000)
        track.skipped = known
        track.position += gap
        return gap

    def _write(self, track: Track, samples: NDArray[np.float32], unix: float) -> None:
        """Into the track's file, a new one if need be, which begins at Unix time `unix`."""
        if not len(samples):
            return
        ms = len(samples) / track.rate * 1000
        if self.retention.room < 2 * len(samples) and not self._paused:
            self._tidy()
        if self._paused or not self._opened(track, unix):
            self._counts["record-dropped-ms"] += round(ms)
            return
        assert track.file is not None
        missing = int(np.count_nonzero(np.isnan(samples)))
        try:
            track.file.write(samples)
        except OSError as error:
            self._counts["record-failed"] += 1
            self._counts["record-dropped-ms"] += round(ms)
            self._finish(track)
            self._pause(_words(error))
            return
        self.retention.room -= 2 * len(samples)
        self._counts["record-missing-ms"] += round(missing / track.rate * 1000)
        track.missing += missing
        track.samples += len(samples)
        if track.file.samples >= SEGMENT_S * track.rate:
            self._finish(track)

    def _opened(self, track: Track, unix: float) -> bool:
        """Open the track's file if necessary; False if that is not possible."""
        if track.file is not None:
            return True
        if track.refused:
            return False
        if len(self._open) >= self._most:
            return self._refuse(track, f"{self._most} files are open, and more are not allowed (LimitNOFILE)")
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
        try:
            track.file = FlacFile(
                self.retention.path(track.name, unix), track.rate, f"{track.name}, {started}"
            )
        except AudioError as error:
            return self._refuse(track, str(error))
        except OSError as error:
            self._counts["record-failed"] += 1
            self._pause(_words(error))
            return False
        self._open[track.file.path.name] = track
        return True

    def _refuse(self, track: Track, why: str) -> bool:
        track.refused = True
        self._counts["record-refused"] += 1
        log.warning("%s is not recorded: %s", track.name, why)
        return False

    def _finish(self, track: Track) -> None:
        """Close its file."""
        if track.file is None:
            return
        del self._open[track.file.path.name]
        had = track.file.samples
        try:
            track.file.close()
        except OSError as error:
            lost = had - track.file.samples
            track.samples -= lost
            self._counts["record-failed"] += 1
            self._counts["record-dropped-ms"] += round(lost / track.rate * 1000)
            log.warning("%s; its last %.1f s are missing", _words(error), lost / track.rate)
        track.file = None

    def _tidy(self) -> None:
        try:
            self.retention.tidy(self._open)
        except OSError as error:
            self._pause(f"{self.retention.folder}: {error.strerror}")
            return
        if bool(self.retention.doubt) != bool(self._doubt):
            self._doubt = self.retention.doubt
            log.warning("%s", self._doubt or "the clock is trusted: old recordings are deleted again")
        if self.retention.why:
            self._pause(self.retention.why)
        elif self._paused:
            self._paused = ""
            log.warning("recording goes on")

    def _pause(self, why: str) -> None:
        """Stop writing until there is room again."""
        if not self._paused:
            log.warning("recording pauses: %s", why)
        self._paused = why
        for track in list(self._open.values()):
            self._finish(track)


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def _unix(track: Track, position: int) -> float:
    """Return the Unix time at which a sample was captured."""
    bank, row = track.line.bank, track.line.row
    ago = time.monotonic() - float(bank.stamp[row]) + (int(bank.written[row]) - position) / bank.rate
    return time.time() - ago
