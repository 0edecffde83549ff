"""Joins the reports of workers on their calls as if from one process: numbers are unique, and models reported once.

A worker that dies leaves calls open; they are reported as ended. Knows nothing of processes, stores or sinks.
"""

import threading
from collections.abc import Callable, Iterable
from itertools import count

from msgspec.structs import replace

from streamcab.calls import Entry, Tally, Told
from streamcab.message import AnyMessage, ModelInfo


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

    def lost(self, worker: int, farewells: Iterable[AnyMessage]) -> None:
        """Tell that the calls of a worker have ended, given its last messages; see farewell.py."""
        ended: dict[str, Entry] = {}

        def take(entry: Entry | ModelInfo) -> None:
            if isinstance(entry, Entry):
                before = ended.get(entry.call.name)
                ended[entry.call.name] = Entry(
                    entry.call, [*(before.pieces if before else []), *entry.pieces]
                )

        tally = Tally(take)
        for message in farewells:
            tally(message)
        with self._lock:
            known = {entry.call.name: self._open.pop(key).call for key, entry in self._of(worker)}
            for entry in ended.values():
                before = known.pop(entry.call.name, None)
                number = before.number if before else next(self._numbers)
                began = before.began if before else entry.call.began
                pieces = [] if before else entry.pieces
                self._told(Entry(replace(entry.call, number=number, began=began), pieces))
            for call in known.values():  # they ended in the feed, and it died before it told so
                self._told(Entry(replace(call, state="ended", ended=call.seen), []))

    def _of(self, worker: int) -> list[tuple[tuple[int, int], Entry]]:
        return [(key, entry) for key, entry in self._open.items() if key[0] == worker]

    def _take(self, worker: int, entry: Entry) -> None:
        key = worker, entry.call.number
        before = self._open.pop(key, None)
        number = before.call.number if before else next(self._numbers)
        entry = replace(entry, call=replace(entry.call, number=number))
        if entry.call.state != "ended":
            self._open[key] = replace(entry, pieces=[])
        self._told(entry)
