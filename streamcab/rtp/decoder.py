"""Decoding of G.722 and Opus by `av`, in separate threads: it costs a hundred times as much as receiving.

Takes payloads in order, with their positions, writes their samples there and advances the reader. If a call changes its
codec, its samples are resampled to the rate of its ring. One call is always decoded by the same thread. Knows nothing
of packets, loss or sockets. `av` is an optional extra, imported when first needed.
"""

import logging
import queue
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp import codec
from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.codec import Encoding
from streamcab.rtp.decode_queue import Packet
from streamcab.rtp.rates import Run

log = logging.getLogger("streamcab.rtp")

BACKLOG = 25
"""Packets per call, on average, that may wait for a decoder: half a second. More are dropped and counted, since
an overloaded decoder must lose audio rather than lag.
"""
_AV_NAMES = {"G722": ("g722",), "OPUS": ("libopus", "opus")}

Samples = NDArray[np.float32]


def available() -> bool:
    """Return whether the extra is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Job:
    """The packets that have become due for one call."""

    key: tuple[int, int]
    """Slot and generation: one decoder's state belongs to each."""
    bank: ScatterBank
    row: int
    packets: list[Packet]
    """In order of position."""
    upto: int
    """Position up to which the reader may read when the job is done."""
    stamp: float
    skipped: int | None
    """Samples lost on the way so far; None while that may still change."""
    ended: bool
    channel: int | None = None


class AvDecoder:
    """The state of G.722 or Opus; `channel` of stereo Opus, None for the mix."""

    def __init__(self, name: str, channel: int | None = None) -> None:
        import av

        self._av = av
        for each in _AV_NAMES[name]:
            try:
                context: Any = av.CodecContext.create(each, "r")
            except (av.error.FFmpegError, ValueError):
                continue
            self._channel = channel if name == "OPUS" else None
            context.layout = "stereo" if self._channel else "mono"
            context.sample_rate = 48000 if name == "OPUS" else 16000
            self._context = context
            break
        else:
            raise RuntimeError(f"this build of av has no decoder for {name}")

    def decode(self, payload: bytes) -> Samples:
        """Decode a payload to (n,) float32; empty if the payload is invalid."""
        try:
            frames = self._context.decode(self._av.Packet(payload))
        except self._av.error.FFmpegError:
            return np.zeros(0, np.float32)
        return np.concatenate([np.zeros(0, np.float32), *(self._one(frame) for frame in frames)])

    def _one(self, frame: Any) -> Samples:
        samples, count = frame.to_ndarray(), len(frame.layout.channels)
        if self._channel is None or count == 1:
            return _mono(samples)
        apart = samples if frame.format.is_planar else samples.reshape(-1, count).T
        return _mono(apart[min(self._channel, count) - 1])


def _mono(frame: NDArray[Any]) -> Samples:
    flat = frame.reshape(-1)
    if flat.dtype == np.int16:
        return flat.astype(np.float32) * np.float32(2**-15)
    return flat.astype(np.float32)


class Voice:
    """One call's decoders and resamplers to the rate of its ring; `dropped`: samples dropped for lack of time."""

    def __init__(self, rate: int) -> None:
        self.dropped = 0
        self._rate = rate
        self._av: dict[str, AvDecoder] = {}
        self._run: Run | None = None

    def decode(self, encoding: Encoding, payload: bytes, channel: int | None) -> Samples:
        """Decode a payload to (n,) float32 at the rate of its format."""
        if not encoding.stateful:
            samples: Samples = codec.decode(encoding, np.frombuffer(payload, np.uint8)[None], channel)[0]
            return samples
        if encoding.name not in self._av:
            self._av[encoding.name] = AvDecoder(encoding.name, channel)
        return self._av[encoding.name].decode(payload)

    def at_rate(self, position: int, expected: int, rate: int, samples: Samples) -> list[tuple[int, Samples]]:
        """Resample to the rate of the ring; return the samples that are final, with their positions."""
        if rate == self._rate:
            return [*self.flush(), (position, samples[:expected])]
        done = []
        if self._run is None or not self._run.goes_on(position, rate):
            done, self._run = self.flush(), Run(position, rate, self._rate)
        return [*done, self._run.push(samples)]

    def flush(self) -> list[tuple[int, Samples]]:
        """Return the last samples of a run that nothing follows."""
        run, self._run = self._run, None
        return [] if run is None else [run.finish()]

    def ready(self, upto: int) -> int:
        """Return the position before `upto` up to which no sample waits for later ones."""
        return upto if self._run is None else min(upto, self._run.ready)


def _joined(packets: list[Packet]) -> list[Packet]:
    """Join adjacent packets of G.722: decoding them together halves the cost."""
    joined: list[Packet] = []
    for packet in packets:
        position, samples, encoding, payload = packet
        before = joined[-1] if joined else None
        if (
            encoding.name == "G722"
            and before is not None
            and before[2] == encoding
            and sum(before[:2]) == position
        ):
            joined[-1] = (before[0], before[1] + samples, encoding, before[3] + payload)
        else:
            joined.append(packet)
    return joined


class Decoders:
    """A pool of `threads` workers for at most `calls` calls."""

    def __init__(self, calls: int, threads: int = 1) -> None:
        self._limit = BACKLOG * max(calls, 8)
        self._queues: list[queue.SimpleQueue[Job | None]] = [queue.SimpleQueue() for _ in range(threads)]
        self._lock = threading.Lock()
        self._waiting = 0
        self.failed = 0
        """Number of payloads that could not be decoded."""
        self._threads = [
            threading.Thread(target=self._work, args=(q,), name=f"rtp decoder {k}", daemon=True)
            for k, q in enumerate(self._queues)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> int:
        """Queue a job; return the number of its packets that had to be dropped."""
        refused = 0
        with self._lock:
            if self._waiting + len(job.packets) > self._limit:
                refused = len(job.packets)
                job.packets[:] = [(position, n, encoding, b"") for position, n, encoding, _ in job.packets]
            else:
                self._waiting += len(job.packets)
        self._queues[job.row % len(self._queues)].put(job)
        return refused

    def close(self, seconds: float) -> None:
        """Let the threads finish their queued work, and end them; abandon a thread that hangs."""
        for q in self._queues:
            q.put(None)
        for thread in self._threads:
            thread.join(seconds / len(self._threads))

    def _work(self, jobs: "queue.SimpleQueue[Job | None]") -> None:
        voices: dict[tuple[int, int], Voice] = {}
        while (job := jobs.get()) is not None:
            voice = voices.get(job.key)
            if voice is None:
                voice = voices[job.key] = Voice(job.bank.rate)
            try:
                self._do(job, voice)
            except Exception:  # a defect here or in av must cost one job, not all calls of this thread
                self.failed += 1
                log.exception("a job of the RTP decoder failed")
                job.bank.written[job.row] = max(int(job.bank.written[job.row]), job.upto)
                if job.ended:
                    job.bank.finish(job.row)
            if job.ended:
                del voices[job.key]

    def _do(self, job: Job, voice: Voice) -> None:
        bank = job.bank
        kept = [packet for packet in job.packets if packet[3]]
        voice.dropped += sum(packet[1] for packet in job.packets if not packet[3])
        bank.prepare(np.array([job.row]), np.array([job.upto]))
        for position, expected, encoding, payload in _joined(kept):
            samples = voice.decode(encoding, payload, job.channel)
            if not len(samples):
                self.failed += 1
                continue
            for start, piece in voice.at_rate(position, expected, encoding.rate, samples):
                _write(bank, job.row, start, piece)
        if job.ended:
            for start, piece in voice.flush():
                _write(bank, job.row, start, piece[: max(job.upto - start, 0)])
        with self._lock:
            self._waiting -= len(kept)
        if job.skipped is not None:
            bank.skipped[job.row] = job.skipped + voice.dropped
        upto = voice.ready(job.upto)
        bank.stamp[job.row] = job.stamp - (job.upto - upto) / bank.rate
        bank.written[job.row] = max(int(bank.written[job.row]), upto)
        if job.ended:
            bank.finish(job.row)
        bank.arrived.set()


def _write(bank: ScatterBank, row: int, position: int, samples: Samples) -> None:
    if not len(samples):
        return
    rows, at = np.array([row]), np.array([position])
    bank.prepare(rows, at + len(samples))
    if position >= bank.claimed[row] - bank.capacity:
        bank.place(rows, at, bank.stored(samples)[None])
