"""What workers tell of their calls, as if one process had told it: numbers are unique, and models told once.

A worker that dies leaves calls open; they are told as ended. Knows nothing of processes, stores or sinks.
"""

import threading
from collections.abc import Callable
from itertools import count

import msgspec

from streamcab.calls import Entry, Told
from streamcab.message import ModelInfo


class Entries:
    """Hands on to `told` what any worker tells, from any thread."""

    def __init__(self, told: Told) -> None:
        self._told, self._lock = told, threading.Lock()
        self._numbers = count(1)
        self._models: set[str] = set()
        self._open: dict[tuple[int, int], Entry] = {}  # by worker, and its own number of the call

    def of(self, worker: int) -> Callable[[Entry | ModelInfo], None]:
        """Return what takes the entries of one worker."""

        def take(entry: Entry | ModelInfo) -> None:
            with self._lock:
                if isinstance(entry, Entry):
                    self._take(worker, entry)
                elif entry.model not in self._models:
                    self._models.add(entry.model)
                    self._told(entry)

        return take

    def lost(self, worker: int, detail: str) -> None:
        """Tell that the open calls of a worker have ended, and why."""
        with self._lock:
            for key in [key for key in self._open if key[0] == worker]:
                call = self._open.pop(key).call
                call = msgspec.structs.replace(call, state="ended", ended=call.seen, detail=detail)
                self._told(Entry(call, []))

    def _take(self, worker: int, entry: Entry) -> None:
        key = worker, entry.call.number
        before = self._open.pop(key, None)
        number = before.call.number if before else next(self._numbers)
        entry = msgspec.structs.replace(entry, call=msgspec.structs.replace(entry.call, number=number))
        if entry.call.state != "ended":
            self._open[key] = msgspec.structs.replace(entry, pieces=[])
        self._told(entry)
