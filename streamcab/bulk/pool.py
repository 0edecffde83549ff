"""Workers in processes of their own on this machine. One that dies is replaced, and its parts are given out again.

Knows nothing of audio or of tables.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from streamcab.bulk.parts import Part, Store
from streamcab.bulk.worker import Done, Job, OnProgress, PartWorker
from streamcab.errors import ComputeError, StreamcabError

AHEAD = 2
"""Parts that a worker has in hand: while it ends one it begins another."""
USELESS = 3
"""Workers that may die before they are ready."""


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    parts: list[Part] = field(default_factory=list)
    ready: bool = False


def in_processes(
    job: Job,
    store: Store,
    parts: Sequence[Part],
    jobs: int,
    done: Callable[[Done], object],
    heard: OnProgress,
) -> None:
    """Work off all parts in worker processes.

    Args:
        job: The work.
        store: Where finished parts are kept.
        parts: The parts.
        jobs: Number of processes.
        done: Called with each finished part.
        heard: Called with the progress: files and seconds of audio.

    Raises:
        ComputeError: No process starts.
    """
    todo = deque(parts)
    workers = [_start(job, store) for _ in range(min(jobs, len(todo)))]
    useless = 0
    try:
        while todo or any(worker.parts for worker in workers):
            for worker in workers:
                _give(worker, todo)
            for pipe in wait([worker.pipe for worker in workers]):
                worker = next(w for w in workers if w.pipe is pipe)
                try:
                    _take(worker, done, heard)
                except (EOFError, ConnectionError):
                    worker.process.join()
                    useless += not worker.ready
                    if useless == USELESS:
                        code = worker.process.exitcode
                        raise ComputeError(
                            f"{USELESS} workers ended before they were ready, code {code}"
                        ) from None
                    todo.extendleft(reversed(worker.parts))
                    worker.pipe.close()
                    workers[workers.index(worker)] = _start(job, store)
    finally:
        for worker in workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _start(job: Job, store: Store) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Not a daemon: it may need a process of its own.
    process = context.Process(target=_work, args=(theirs, job, store))
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, todo: deque[Part]) -> None:
    with suppress(ConnectionError):  # it is dead, as `wait` will say
        while todo and len(worker.parts) < AHEAD:
            worker.parts.append(todo.popleft())
            worker.pipe.send(worker.parts[-1])


def _take(worker: _Worker, done: Callable[[Done], object], heard: OnProgress) -> None:
    told = worker.pipe.recv()
    worker.ready = True
    if isinstance(told, Exception):
        raise told
    if isinstance(told, Done):
        worker.parts = [part for part in worker.parts if part.name != told.name]
        done(told)
    elif told is not None:
        heard(*told)


def _work(pipe: Connection, job: Job, store: Store) -> None:
    """Run the worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    in_hand = 0

    def parts() -> Iterator[Part | None]:
        nonlocal in_hand
        while True:
            if in_hand and not pipe.poll():
                yield None
                continue
            part = pipe.recv()
            in_hand += 1
            yield part

    def done(part: Done) -> None:
        nonlocal in_hand
        in_hand -= 1
        pipe.send(part)

    # An orphan has no use for its work.
    with suppress(EOFError, ConnectionError):
        try:
            worker = PartWorker(job, store)
            pipe.send(None)
            worker.run(parts(), done, lambda files, seconds: pipe.send((files, seconds)))
        except (StreamcabError, OSError) as error:
            if isinstance(error, ConnectionError):
                raise
            pipe.send(error)
