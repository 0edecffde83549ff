"""Writes streams to files: a second reader of the rings, in a thread of its own.

Inference never waits for it: audio that a slow disk made it miss is dropped and counted. Where samples never arrived,
a recording is silent, and the log gives the duration. Owns that thread and the open files. Knows nothing of models or
of the feed.
"""

import logging
import resource
import threading
import time
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.errors import AudioError
from streamcab.record.flac import FlacFile
from streamcab.record.retention import Retention
from streamcab.record.track import Piece, Track
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
"""Bytes of streams that have just begun or ended that may wait to be written."""
TIDY_S = 10.0
OTHER_FILES = 256
"""Descriptors that are left to the rest of the program."""


class Recorder:
    """Writes every stream that it is told of to `retention`.

    `begins`, `ends` and `counters` are called by the inference thread, and take microseconds there.
    """

    def __init__(self, retention: Retention) -> None:
        self.retention = retention
        self._tracks: dict[Line, Track] = {}
        self._tails: list[tuple[Track, Piece]] = []
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
        """Record a stream under this name, from the oldest sample that its ring holds: it may have waited."""
        track = Track(name, line)
        with self._lock:
            self._tracks[line] = track
            self._catch_up(track)
            n = int(line.bank.written[line.row]) - track.position
            if n and self._waiting + 4 * n <= TAILS:
                track.head.append(self._copy(track, n))  # before the writer reuses its place

    def ends(self, line: Line) -> None:
        """End a stream's recording: its last sample is in the ring, and its row may be reused when this returns."""
        with self._lock:
            track = self._tracks.pop(line, None)
            if track is None:
                return
            self._catch_up(track)
            n = int(line.bank.written[line.row]) - track.position
            if self._waiting + 4 * n > TAILS:
                self._drop(track, n)
                n = 0
            self._tails.append((track, self._copy(track, n)))

    def counters(self) -> dict[str, int]:
        """Return `record-dropped-ms` that came too fast or found no room, `record-missing-ms` that never arrived and
        are silent, `record-refused` streams, `record-failed` files, `record-deleted` old ones."""
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
            tails, self._tails = self._tails, []
            pieces = [(track, [*self._head(track), tail]) for track, tail in tails]
            self._waiting -= sum(tail.samples.nbytes for _, tail in tails)
        for track, copied in pieces:
            for piece in copied:
                self._write(track, piece.samples, piece.unix)
            self._finish(track)
            if track.samples:
                log.info(
                    "%s was recorded: %.1f s, of which %.1f s never arrived and are silent%s",
                    track.name,
                    track.samples / track.rate,
                    track.missing / track.rate,
                    f"; {track.dropped / track.rate:.2f} s could not be kept" if track.dropped else "",
                )

    def _some(self, bank: Bank, tracks: list[Track]) -> list[Track]:
        """Write the next TURN_S of each of `tracks` that has as much; return those that may have more."""
        n = round(TURN_S * bank.rate)
        with self._lock:
            tracks = [t for t in tracks if t.line in self._tracks]
            rows = np.array([t.line.row for t in tracks], np.intp)
            heads = [self._head(track) for track in tracks]
            gaps = [self._catch_up(track) for track in tracks]
            ready = [k for k, t in enumerate(tracks) if bank.written[t.line.row] - t.position >= n]
            start = np.array([tracks[k].position for k in ready], np.int64)
            samples = bank.read(rows[ready], start, n) if ready else np.zeros((0, n), np.float32)
            begun = [tracks[k].unix for k in ready]
            for k in ready:
                tracks[k].position += n
        for track, head, gap in zip(tracks, heads, gaps, strict=True):
            for copied in head:
                self._write(track, copied.samples, copied.unix)
            if gap > SILENCE_S * track.rate:
                self._finish(track)
            elif gap and track.file is not None:
                self._write(track, np.full(gap, np.nan, np.float32), 0.0)
        for k, unix, piece in zip(ready, begun, samples, strict=True):
            self._write(tracks[k], piece, unix)
        return [tracks[k] for k in ready]

    def _catch_up(self, track: Track) -> int:
        """Return how many samples of a track are gone: lost by its source, which says so, or because we were too
        slow."""
        bank, row = track.line.bank, track.line.row
        gap = max(int(bank.oldest(np.array([row]))[0]) - track.position, 0)
        known = int(bank.skipped[row])
        self._drop(track, max(gap - (known - track.skipped), 0))
        track.skipped = known
        track.position += gap
        return gap

    def _drop(self, track: Track, samples: int) -> None:
        track.dropped += samples
        self._counts["record-dropped-ms"] += round(samples / track.rate * 1000)

    def _copy(self, track: Track, n: int) -> Piece:
        """Return the next n samples of a track."""
        rows, start = np.array([track.line.row]), np.array([track.position])
        samples = track.line.bank.read(rows, start, n)[0] if n else np.zeros(0, np.float32)
        piece = Piece(track.unix, samples)
        track.position += n
        self._waiting += samples.nbytes
        return piece

    def _head(self, track: Track) -> list[Piece]:
        """Return, once, the samples that were copied when the track began."""
        head, track.head = track.head, []
        self._waiting -= sum(piece.samples.nbytes for piece in head)
        return head

    def _write(self, track: Track, samples: NDArray[np.float32], unix: float) -> None:
        """Write into the track's file, a new one if need be, which begins at Unix time `unix`."""
        if not len(samples):
            return
        if self.retention.room < 2 * len(samples) and not self._paused:
            self._tidy()
        if self._paused or not self._opened(track, unix):
            self._drop(track, len(samples))
            return
        assert track.file is not None
        missing = int(np.count_nonzero(np.isnan(samples)))
        try:
            track.file.write(samples)
        except OSError as error:
            self._counts["record-failed"] += 1
            self._drop(track, len(samples))
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
            self._drop(track, lost)
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
