"""A worker: parts in, files of answers out. One code for this process, for others on this machine, and for Ray.

A part that ended its process twice is heard file by file in a process of its own; a file that ends that one too is said
to have done so, and is answered no more. Knows nothing of where parts come from.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from streamcab.bulk.answering import AT_ONCE, Answered, How, answered, failed
from streamcab.bulk.listing import Entry
from streamcab.bulk.parts import TRIES, Part, Store
from streamcab.classifier import Classifier
from streamcab.errors import CheckpointError
from streamcab.nn import checkpoint
from streamcab.nn.device import device_for


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know, wherever it runs; `hash` is the model's."""

    model: Path | None
    hash: str
    compute: str
    threads: int
    how: How

    def classifier(self) -> Classifier:
        """Return the model, loaded; raise CheckpointError where it is another one here."""
        found = checkpoint.load(checkpoint.find(self.model))
        if found.hash != self.hash:
            raise CheckpointError(
                f"the model is {found.hash} here, and {self.hash} where the work was given out"
            )
        device = device_for(self.compute)
        return Classifier(found, device, threads=self.threads)


@dataclass(frozen=True)
class Done:
    """A part that is whole, by its name: its files, rows, files with errors, and seconds of audio."""

    name: str
    files: int
    rows: int
    errors: int
    seconds: float


OnProgress = Callable[[int, float], object]
"""Called with the number of finished files, and their seconds of audio."""


def nobody(files: int, seconds: float) -> None:
    """Ignore the progress."""


class PartWorker:
    """Hears parts with one classifier and keeps their answers."""

    def __init__(self, job: Job, store: Store, at_once: int = AT_ONCE) -> None:
        self._job, self._store, self._at_once = job, store, at_once
        self._classifier = job.classifier()

    def run(
        self, parts: Iterable[Part | None], done: Callable[[Done], object], heard: OnProgress = nobody
    ) -> None:
        """Work off all parts.

        Args:
            parts: The parts; None means that there is none yet.
            done: Called with each finished part.
            heard: Called with the progress: files and seconds of audio.
        """
        begun: deque[tuple[Part, list[Answered]]] = deque()

        def entries() -> Iterator[Entry | None]:
            for part in parts:
                if part is None:
                    yield None
                elif (tries := self._store.began(part)) < TRIES:
                    begun.append((part, []))
                    yield from part.entries
                elif tries < 2 * TRIES:
                    done(self._keep(part, list(one_by_one(self._job, part.entries, heard))))
                else:
                    why = f"given up: {tries} processes have ended in its part of the list"
                    rows = [failed(entry, f"{entry.path}: {why}") for entry in part.entries]
                    done(self._keep(part, [Answered(part.entries[0], rows)]))

        for one in answered(self._classifier, entries(), self._job.how, self._at_once, heard):
            part, answers = begun[0]
            answers.append(one)
            if len(answers) == len(part.entries):
                begun.popleft()
                done(self._keep(part, answers))

    def _keep(self, part: Part, answers: Sequence[Answered]) -> Done:
        rows = [row for one in answers for row in one.rows]
        self._store.write(part, rows)
        errors = len({row.number for row in rows if row.error})
        return Done(part.name, len(part.entries), len(rows), errors, sum(one.seconds for one in answers))


def one_by_one(job: Job, entries: Sequence[Entry], heard: OnProgress = nobody) -> Iterator[Answered]:
    """Answer entries one after another in a process of its own, and in another one after each that ended it."""
    context = multiprocessing.get_context("spawn")
    at = 0
    while at < len(entries):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_hear_one_by_one, args=(theirs, job, entries[at:]), daemon=False)
        process.start()
        theirs.close()
        before = at
        with ours, suppress(EOFError):
            while at < len(entries):
                one: Answered = ours.recv()
                heard(1, one.seconds)
                yield one
                at += 1
        process.join()
        if at < len(entries) and (process.exitcode or at > before):
            why = _why(process.exitcode or 0)
            yield Answered(entries[at], [failed(entries[at], f"{entries[at].path}: hearing it {why}")])
            heard(1, 0.0)
            at += 1


def _why(code: int) -> str:
    if code >= 0:
        return f"ended its process with code {code}"
    with suppress(ValueError):
        return f"ended its process by {signal.Signals(-code).name}"
    return f"ended its process by signal {-code}"


def _hear_one_by_one(pipe: Connection, job: Job, entries: Sequence[Entry]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    classifier = job.classifier()
    for entry in entries:
        for one in answered(classifier, [entry], job.how, 1):
            pipe.send(one)
