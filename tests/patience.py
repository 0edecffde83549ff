"""How long tests wait for what must happen."""

import time
from collections.abc import Callable
from threading import Event

PATIENCE_S = 120.0
"""A deadline for what comes in milliseconds on an idle machine: it tells a hang from a machine that is very busy."""


def until_true(condition: Callable[[], bool], timeout: float = 2 * PATIENCE_S) -> None:
    """Wait until a condition holds."""
    deadline, pause = time.monotonic() + timeout, Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s"
        pause.wait(0.02)
