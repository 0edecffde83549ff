"""The post: entries of a tally become events, wait in the spool, and go to each sink in a thread of its own.

Owns when something is sent, and when it is tried again. What the daemon hands over costs it an append. Knows nothing of
how a sink sends.
"""

import logging
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from streamcab.calls import Entry
from streamcab.message import ModelInfo
from streamcab.sinks.parcel import Delivered, Event, Later, Parcel, Refused, Sink
from streamcab.sinks.spool import Spool

log = logging.getLogger("streamcab.sinks")

TURN_S = 0.5
QUEUE = 20_000
"""Entries that wait to be written to the spool."""
FIRST_S, LONGEST_S = 1.0, 900.0
"""Between tries of one parcel."""
REST_S = 30.0
"""At most, of a sink that fails."""
DEAD_S = 86_400.0
"""Tries end then."""
GOODBYE_S = 5.0
TIDY_S = 600.0


class Post:
    """Takes entries of a tally, and sends an event when a call ends and, if `every_s`, while it goes on.

    StoreError: the queue at `path` cannot be used.
    """

    def __init__(self, sinks: Sequence[Sink], path: Path, run: str, every_s: float = 0.0) -> None:
        self._sinks, self._path, self._run, self._every_s = list(sinks), path, run, every_s
        self._queue: deque[Entry] = deque()
        self._sent: dict[int, float] = {}  # call: up to when it was sent
        self._numbers: dict[int, int] = {}
        self.delivered = self.dropped = self.waiting = self.dead = 0
        self._told: dict[str, str] = {}  # the fault of each sink, as it was logged
        self._spool = Spool(path, alone=True)  # from now on of the thread that sorts
        self._stop = threading.Event()
        self._news = {sink.name: threading.Event() for sink in self._sinks}
        self._count()
        self._threads = [threading.Thread(target=self._sort, name="post", daemon=True)]
        self._threads += [
            threading.Thread(target=self._carry, args=(sink,), name=sink.name, daemon=True)
            for sink in self._sinks
        ]
        for thread in self._threads:
            thread.start()

    def __call__(self, entry: Entry | ModelInfo) -> None:
        """Take an entry; never blocks, never raises."""
        if isinstance(entry, ModelInfo):
            return
        if len(self._queue) < QUEUE:
            self._queue.append(entry)
        else:
            self.dropped += 1

    def counters(self) -> Mapping[str, int]:
        """Return `sink-waiting`: on their way; `sink-dead`: given up, kept for a week; `sink-dropped`: there was no
        room."""
        found = {
            "sink-delivered": self.delivered,
            "sink-waiting": self.waiting,
            "sink-dead": self.dead,
            "sink-dropped": self.dropped,
        }
        return {name: n for name, n in found.items() if n}

    def close(self) -> None:
        """Queue the remaining events; those that cannot be sent within some seconds are sent at the next start."""
        self._stop.set()
        for event in self._news.values():
            event.set()
        for thread in self._threads:
            thread.join(GOODBYE_S)

    def __enter__(self) -> "Post":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sort(self) -> None:
        """Write due events to the spool, and count the parcels in it."""
        tidied = time.monotonic()
        try:
            while True:
                last = self._stop.wait(TURN_S)
                try:
                    while self._queue:
                        self._enqueue(self._queue[0])
                        self._queue.popleft()
                    if time.monotonic() - tidied > TIDY_S:
                        tidied = time.monotonic()
                        self._spool.forget(time.time())
                    self._count()
                    self._say("queue", "")
                except sqlite3.Error as error:
                    self._say("queue", f"the queue {self._path}: {error}")
                if last:
                    return
        finally:
            self.dropped += len(self._queue)
            self._spool.close()

    def _enqueue(self, entry: Entry) -> None:
        call, ended = entry.call, entry.call.state == "ended"
        last = self._sent.setdefault(call.number, call.began)
        if not ended and (not self._every_s or call.seen - last < self._every_s):
            return
        n = self._numbers.get(call.number, 0) + 1
        kind = "call.ended" if ended else "call.update"
        event = Event(f"{self._run}-{call.number}-{n}", kind, self._run, call)
        body = msgspec.json.encode(event)
        self.dropped += self._spool.put(self._news, event.id, kind, body, time.time())
        if ended:
            self._sent.pop(call.number, None)
            self._numbers.pop(call.number, None)
        else:
            self._sent[call.number], self._numbers[call.number] = call.seen, n
        for news in self._news.values():
            news.set()

    def _count(self) -> None:
        self.waiting, self.dead = self._spool.counts(self._news)

    def _carry(self, sink: Sink) -> None:
        """Deliver the spool's parcels for one sink, until the end."""
        spool, news, failures = Spool(self._path), self._news[sink.name], 0
        give_up = 0.0  # monotonic
        try:
            while True:
                news.clear()
                rest = TURN_S
                # Before the look into the spool, so that a later entry is still found.
                sorting = self._threads[0].is_alive()
                try:
                    parcel = spool.next(sink.name, time.time())
                except sqlite3.Error as error:
                    self._say(sink.name, f"{sink.name}: the queue {self._path}: {error}")
                    parcel = None
                if parcel is not None:
                    failures = self._try(sink, spool, parcel, failures)
                    rest = min(FIRST_S * 2 ** (failures - 1), REST_S) if failures else 0.0
                if self._stop.is_set():
                    give_up = give_up or time.monotonic() + GOODBYE_S / 2
                    if parcel is None and not sorting:
                        return
                    if failures or time.monotonic() > give_up:
                        return
                    rest = min(rest, 0.05)
                if rest and not (parcel is None and news.is_set()):
                    (self._stop if failures else news).wait(rest)
        finally:
            spool.close()
            sink.close()

    def _try(self, sink: Sink, spool: Spool, parcel: Parcel, failures: int) -> int:
        """Try one parcel; return how many tries have failed since one worked."""
        outcome = sink.deliver(parcel)
        now = time.time()
        try:
            match outcome:
                case Delivered():
                    spool.done(parcel)
                    self.delivered += 1
                    self._say(sink.name, "")
                    return 0
                case Refused(why):
                    log.warning("%s refuses %s for good: %s", sink.name, parcel.uid, why)
                    spool.bury(parcel, why)
                    return 0
                case Later(why, after_s):
                    self._say(sink.name, f"{sink.name}: {why}")
                    if now - parcel.born > DEAD_S:
                        spool.bury(parcel, why)
                    else:
                        spool.again(parcel, now + max(_pause(parcel.tries), after_s), why)
        except sqlite3.Error as error:  # it will be sent once more: its id stays the same
            self._say(sink.name, f"{sink.name}: the queue {self._path}: {error}")
        return failures + 1

    def _say(self, what: str, why: str) -> None:
        """Say once that something is wrong, and once that it is right again."""
        if bool(why) != bool(self._told.get(what, "")):
            if why:
                log.warning("%s; it is tried again", why)
            else:
                log.warning("%s works again", what)
        self._told[what] = why


def queue_of(environment: Mapping[str, str]) -> Path:
    """Return where the queue lies unless told otherwise."""
    if state := environment.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0], "sinks.db")
    home = environment.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(home, "streamcab", "sinks.db")


def _pause(tries: int) -> float:
    """Return the seconds until the next try; not the same for all, so that they do not come together."""
    return float(min(FIRST_S * 2**tries, LONGEST_S) * random.uniform(0.75, 1.25))
