"""How long tests wait for what must happen."""

import time
from collections.abc import Callable
from threading import Event

PATIENCE_S = 120.0
"""A deadline for what comes in milliseconds on an idle machine: it tells a hang from a machine that is very busy."""


def until(happens: Callable[[], object], what: str = "it", seconds: float = PATIENCE_S) -> None:
    """Wait until something has happened; `what` goes into the message of the AssertionError."""
    deadline, pause = time.monotonic() + seconds, Event()
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        pause.wait(0.005)
