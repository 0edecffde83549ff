"""One reader of the feed for all browsers: fills the wall in its own thread, and makes each tick's JSON once.

Owns the lock around the wall. A browser that is behind gets everything anew, so nothing queues up for it.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from streamcab.feed import Subscriber
from streamcab.web.wall import Wall, encode

TICK_S = 0.5
DRAIN_S = 0.05
"""Between two readings of the feed: messages are taken in batches, which costs less than one at a time."""
COMMENT_S = 15.0
"""After which something is said, so that a proxy keeps the connection."""


class Hub:
    """The wall, and the ticks that browsers wait for."""

    def __init__(self) -> None:
        self.wall = Wall()
        self.browsers = 0
        self.over = False
        self._lock = threading.Lock()
        self._feed: Subscriber | None = None
        self._number = 0
        self._changes = b""
        self._whole: tuple[int, bytes] = (-1, b"")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Event()

    def run(self, feed: Subscriber, stop: threading.Event) -> None:
        """Read `feed` until `stop`; FeedError: it refuses this reader."""
        self._feed = feed
        due = time.monotonic()
        while not stop.wait(DRAIN_S):
            messages, now = feed.drain(), time.monotonic()
            with self._lock:
                self.wall.take(messages, now)
            if now >= due:
                due = max(due + TICK_S, now)
                self.tick()

    def tick(self) -> None:
        """Tell every browser what has changed."""
        with self._lock:
            changes = self.wall.tick(time.monotonic(), time.time())
            self._changes = self._event(changes) if self.browsers else b""
            self._number = self.wall.number
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._awake)

    def close(self) -> None:
        """End every stream of events."""
        self.over = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._awake)

    def call(self, id: int) -> dict[str, Any] | None:
        """Return all that is known of one call."""
        with self._lock:
            return self.wall.call(id)

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events of one browser: everything first, then what changes."""
        self._loop = asyncio.get_running_loop()
        self.browsers += 1
        seen = -1
        try:
            yield b"retry: 1000\n\n"
            while not self.over:
                turn = self._turn
                if self._number == seen:
                    try:
                        await asyncio.wait_for(turn.wait(), COMMENT_S)
                    except TimeoutError:
                        yield b":\n\n"
                    continue
                seen, event = self._next(seen)
                yield event
        finally:
            self.browsers -= 1

    def _next(self, seen: int) -> tuple[int, bytes]:
        with self._lock:
            if seen == self._number - 1 and self._changes:
                return self._number, self._changes
            if self._whole[0] != self._number:
                self._whole = self._number, self._event(self.wall.whole(time.time()))
            return self._whole

    def _event(self, data: dict[str, Any]) -> bytes:
        feed = self._feed
        told = (
            None
            if feed is None
            else [feed.endpoint, round(min(feed.age, 1e6), 1), feed.missed, feed.restarts]
        )
        return b"id: %d\ndata: %b\n\n" % (data["n"], encode(data | {"feed": told}))

    def _awake(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()
