"""G.722 and Opus by `av`, in threads of their own: decoding costs a hundred times what receiving does.

Gets payloads in order, with their places; writes samples there and tells the reader. One call is always
decoded by the same thread. Knows nothing of packets, loss or sockets. `av` is an optional extra, imported
when first needed.
"""

import logging
import queue
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.bank import ScatterBank

log = logging.getLogger("streamcab.rtp")

BACKLOG = 25
"""Packets per call, on average, that may wait for a decoder: half a second. Beyond it they are dropped and
counted: an overloaded decoder must lose, not lag.
"""
_AV_NAMES = {"G722": ("g722",), "OPUS": ("libopus", "opus")}


def available() -> bool:
    """Whether the extra is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Job:
    """What has become due for one call."""

    key: tuple[int, int]
    """Slot and generation: one decoder's state belongs to each."""
    codec: str
    bank: ScatterBank
    row: int
    packets: list[tuple[int, int, bytes]]
    """Position, samples expected and payload, in order of position."""
    upto: int
    """Position that the reader may have when this is done."""
    stamp: float
    skipped: int | None
    """Samples lost on the way so far; None while that may still change."""
    ended: bool


class _Decoder:
    """One call's state."""

    def __init__(self, codec: str) -> None:
        import av

        self._av = av
        self._joins = codec == "G722"
        for name in _AV_NAMES[codec]:
            try:
                context: Any = av.CodecContext.create(name, "r")
            except (av.error.FFmpegError, ValueError):
                continue
            context.layout = "mono"
            context.sample_rate = 48000 if codec == "OPUS" else 16000
            self._context = context
            break
        else:
            raise RuntimeError(f"this build of av has no decoder for {codec}")
        self.dropped = 0

    def decode(self, payload: bytes) -> NDArray[np.float32]:
        """Payload -> (n,) float32; empty when the payload is garbage."""
        try:
            frames = self._context.decode(self._av.Packet(payload))
        except self._av.error.FFmpegError:
            return np.zeros(0, np.float32)
        return np.concatenate([np.zeros(0, np.float32), *(_mono(frame.to_ndarray()) for frame in frames)])

    def runs(self, packets: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        """Packets whose samples adjoin, joined where the codec allows: half the cost of one by one."""
        if not self._joins:
            return packets
        joined: list[tuple[int, int, bytes]] = []
        for position, samples, payload in packets:
            if joined and joined[-1][0] + joined[-1][1] == position:
                before = joined.pop()
                joined.append((before[0], before[1] + samples, before[2] + payload))
            else:
                joined.append((position, samples, payload))
        return joined


def _mono(frame: NDArray[Any]) -> NDArray[np.float32]:
    flat = frame.reshape(-1)
    if flat.dtype == np.int16:
        return flat.astype(np.float32) * np.float32(2**-15)
    return flat.astype(np.float32)


class Decoders:
    """`threads` workers for at most `calls` calls."""

    def __init__(self, calls: int, threads: int = 1) -> None:
        self._limit = BACKLOG * max(calls, 8)
        self._queues: list[queue.SimpleQueue[Job | None]] = [queue.SimpleQueue() for _ in range(threads)]
        self._lock = threading.Lock()
        self._waiting = 0
        self.failed = 0
        """Payloads that did not decode."""
        self._threads = [
            threading.Thread(target=self._run, args=(q,), name=f"rtp decoder {k}", daemon=True)
            for k, q in enumerate(self._queues)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> int:
        """Hand over a job; returns how many of its packets had to be dropped."""
        refused = 0
        with self._lock:
            if self._waiting + len(job.packets) > self._limit:
                refused = len(job.packets)
                job.packets[:] = [(position, samples, b"") for position, samples, _ in job.packets]
            else:
                self._waiting += len(job.packets)
        self._queues[job.row % len(self._queues)].put(job)
        return refused

    def close(self, seconds: float) -> None:
        """End the threads when they have done what is waiting, or leave them behind."""
        for q in self._queues:
            q.put(None)
        for thread in self._threads:
            thread.join(seconds / len(self._threads))

    def _run(self, jobs: "queue.SimpleQueue[Job | None]") -> None:
        decoders: dict[tuple[int, int], _Decoder] = {}
        while (job := jobs.get()) is not None:
            decoder = decoders.get(job.key)
            if decoder is None:
                decoder = decoders[job.key] = _Decoder(job.codec)
            try:
                self._do(job, decoder)
            except Exception:  # a defect of ours or of av's must cost one job, not all calls of this thread
                self.failed += 1
                log.exception("a job of the RTP decoder failed")
                job.bank.written[job.row] = max(int(job.bank.written[job.row]), job.upto)
                job.bank.ended[job.row] |= job.ended
            if job.ended:
                del decoders[job.key]

    def _do(self, job: Job, decoder: _Decoder) -> None:
        bank, row = job.bank, np.array([job.row])
        kept = [packet for packet in job.packets if packet[2]]
        decoder.dropped += sum(samples for _, samples, payload in job.packets if not payload)
        bank.prepare(row, np.array([job.upto]))
        for position, expected, payload in decoder.runs(kept):
            samples = decoder.decode(payload)[:expected]
            if not len(samples):
                self.failed += 1
                continue
            at = np.array([position])
            bank.prepare(row, at + len(samples))
            if position >= bank.claimed[job.row] - bank.capacity:
                bank.place(row, at, samples[None])
        with self._lock:
            self._waiting -= len(kept)
        if job.skipped is not None:
            bank.skipped[job.row] = job.skipped + decoder.dropped
        bank.stamp[job.row] = job.stamp
        bank.written[job.row] = max(int(bank.written[job.row]), job.upto)
        if job.ended:
            bank.ended[job.row] = True
        bank.arrived.set()
