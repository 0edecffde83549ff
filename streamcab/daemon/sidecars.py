"""The work of `listen` beside serving: reloads its settings, and writes audio and the feed to files.

Owns the threads that wait for SIGHUP and that write the feed to a file. Knows nothing of serving or of the view.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcab.feed import Subscriber

if TYPE_CHECKING:
    from streamcab.calls import Told
    from streamcab.daemon.loop import Daemon
    from streamcab.daemon.reload import Reload
    from streamcab.feed.curve import ClientKeys
    from streamcab.health.feed_log import Thinning
    from streamcab.health.jsonl import JsonLinesFile
    from streamcab.message import AnyMessage
    from streamcab.ops.notify import Supervisor
    from streamcab.record.recorder import Recorder
    from streamcab.record.retention import Retention
    from streamcab.shards.pool import ShardPool
    from streamcab.sinks.post import Post
    from streamcab.source import Source
    from streamcab.store.writer import Writer
    from streamcab.web.child import Page
    from streamcab.workers.pool import WorkerPool

log = logging.getLogger("streamcab.beside")


@dataclass
class Extras:
    """The optional parts beside the daemon: reloading, recordings, JSON lines, a store, a page.

    `told` takes what becomes of calls; `run` is what it calls this run of the daemon.
    """

    again: threading.Event
    reload: "Reload"
    retention: "Retention | None" = None
    lines: "JsonLinesFile | None" = None
    page: "Page | None" = None
    thinning: "Thinning | None" = None
    store: "Writer | None" = None
    post: "Post | None" = None
    told: "Told | None" = None
    run: str | None = None

    def taps(self) -> "list[Callable[[AnyMessage], None]]":
        """Return what takes the messages of the feed as they are made."""
        from streamcab.calls import Tally

        return [Tally(self.told)] if self.told is not None else []

    def counters(self) -> "list[Callable[[], Mapping[str, int]]]":
        """Return the counters of the files."""
        parts = [part for part in (self.lines, self.store, self.post) if part is not None]
        return [self.reload.journal.counters, *(part.counters for part in parts)]


@contextmanager
def beside(
    daemon: "Daemon | WorkerPool | ShardPool",
    sources: "Sequence[Source]",
    extras: Extras,
    recorder: "Recorder | None",
    supervisor: "Supervisor | None",
    keys: "ClientKeys | None",
) -> Iterator[None]:
    """Run the threads that wait for SIGHUP and that write the feed to a file, for as long as the context."""
    from streamcab.daemon.reload import Parts
    from streamcab.health.feed_log import record

    over = threading.Event()
    pass_on = getattr(daemon, "retune", None)
    parts = Parts(daemon, sources, recorder, extras.lines, extras.store, pass_on=pass_on)

    def reload() -> None:
        while True:
            extras.again.wait()
            if over.is_set():
                return
            extras.again.clear()
            if supervisor is not None:
                supervisor.reloading()
            try:
                extras.reload(parts)
            finally:
                if supervisor is not None:
                    supervisor.reloaded()

    def write(lines: "JsonLinesFile") -> None:
        with Subscriber(daemon.endpoint, keys=keys) as feed:
            record(feed, lines, over, parts.reopen, log.warning, thinning=extras.thinning)
        lines.close()

    threads = [threading.Thread(target=reload, name="reload", daemon=True)]
    if extras.lines is not None:
        threads.append(threading.Thread(target=write, args=(extras.lines,), name="jsonl"))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        extras.again.set()
        for thread in threads:
            thread.join()
