"""The two ends of a feed on one thread, as tests of it drive them: by hand, until what must happen has happened."""

import time
from collections.abc import Callable
from typing import Any

from patience import PATIENCE_S

from streamcab.feed import Publisher, Subscriber
from streamcab.message import AnyMessage, Status


def status(stream: str = "mic", **fields: Any) -> Status:
    """Some status: `fields` are those that matter."""
    given = {"time": 1.0, "state": "live", "source": "test", "rate": 8_000, "captured_s": 1.0}
    given |= {"classified_s": 1.0, "lag_ms": 70.0, "lost_ms": 0.0, "overflows": 0}
    return Status(stream=stream, **{**given, **fields})


def until(happened: Callable[[], bool]) -> None:
    """Calls `happened`, which waits a little each time, until it says yes."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"


def hear(publisher: Publisher, subscriber: Subscriber, count: int = 1) -> list[AnyMessage]:
    """The next `count` messages that `subscriber` gets while the publisher's loop runs."""
    heard: list[AnyMessage] = []

    def more() -> bool:
        publisher.poll()
        message = subscriber.recv(0.01)
        if message is not None:
            heard.append(message)
        return len(heard) >= count

    until(more)
    return heard
