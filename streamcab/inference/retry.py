"""Passes that may fail: memory that is not there, a defect of ours, a GPU that is gone.

A failed pass costs its streams a gap of a few hundred milliseconds, which is counted as lost, and nobody else
anything. The next passes take half as many streams, and half again, until they succeed; after a calm while twice as
many, up to all. What fails even alone, and again, while others succeed, is hopeless. If nothing succeeds for long, the
net itself is broken, and a fresh process may do better: ComputeError.

Knows nothing of sockets, sources or answers.
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ComputeError
from streamcab.inference.engine import Engine
from streamcab.inference.engine_output import Begun, EngineOutput

log = logging.getLogger("streamcab.daemon")

STRIKES = 3
"""Passes of a single stream that fail before it is hopeless."""
CALM_S = 5.0
"""Without a failure for so long, twice as many streams are tried together."""
BROKEN_S = 10.0
"""Failures only, for so long: the net is broken."""
TELL_S = 10.0
"""For so long a failure is what an operator should know; and between two lines of the log about them."""


class Retry:
    """The passes of an engine. Times are monotonic seconds, handed in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.failures = 0
        self.hopeless: dict[int, str] = {}
        """Slots that must be given up, and why: the reader empties it."""
        self._most = engine.slots
        self._calm_since = 0.0
        self._failing_since: float | None = None
        self._strikes = engine.table.column(np.int64)
        self._told = -np.inf
        self._words = ""

    def advance(self, slots: NDArray[np.intp] | None, now: float) -> list[EngineOutput]:
        """Do as `Engine.advance`; raises only ComputeError."""
        return self.collect(self.begin(slots, now), now)

    def begin(self, slots: NDArray[np.intp] | None, now: float) -> list[Begun]:
        """Do as `Engine.begin`; raises only ComputeError."""
        if self._most >= self._engine.slots and not self._strikes.any():
            return self._begin(slots, now)
        if now - self._calm_since > CALM_S:
            self._calm_since, self._most = now, self._most * 2
            self._strikes[:] = 0
        wanted = np.arange(self._engine.slots) if slots is None else slots
        begun: list[Begun] = []
        for i in range(0, len(wanted), self._most):
            # One after the other: a failure is then known to be of these.
            steps = self._begin(wanted[i : i + self._most], now)
            if self.collect(steps, now):
                begun += steps
        return begun

    def collect(self, begun: Sequence[Begun], now: float) -> list[EngineOutput]:
        """Do as `Steps.collect`; raises only ComputeError."""
        if not begun:
            return []
        slots = np.unique(np.concatenate([step.slots for step in begun]))
        try:
            outputs = self._engine.steps.collect(begun)
        except Exception as error:
            self._failed(slots, error, now)
            return []
        if outputs:
            self._failing_since = None
            if len(slots) == 1:
                self._strikes[slots] = 0
        return outputs

    def skip(self, slots: NDArray[np.intp], samples: NDArray[np.int64], now: float) -> NDArray[np.int64]:
        """Do as `Engine.skip`; raises only ComputeError."""
        try:
            return self._engine.skip(slots, samples)
        except Exception as error:
            self._failed(slots, error, now)
            return np.zeros(len(slots), np.int64)

    def pause(self, slots: NDArray[np.intp], samples: NDArray[np.int64], now: float) -> None:
        """Do as `Engine.pause`; raises only ComputeError."""
        try:
            self._engine.pause(slots, samples)
        except Exception as error:
            self._failed(slots, error, now)

    def in_words(self, now: float) -> str:
        """Return what an operator should know; empty if all is well."""
        return self._words if now - self._told < TELL_S else ""

    def _begin(self, slots: NDArray[np.intp] | None, now: float) -> list[Begun]:
        try:
            return self._engine.begin(slots)
        except Exception as error:  # whatever it is, it must cost a pass and not a thousand streams
            self._failed(self._engine.table.slots if slots is None else slots, error, now)
            return []

    def _failed(self, slots: NDArray[np.intp], error: Exception, now: float) -> None:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        lost_ms = self._engine.abandon(slots)
        self.failures += 1
        self._calm_since = now
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since > BROKEN_S:
            raise ComputeError(
                f"every pass has failed for {BROKEN_S:g} s; ending, so that a fresh process can take over ({what})"
            ) from error
        self._most = max(min(self._most, len(slots)) // 2, 1)
        if len(slots) == 1:
            slot = int(slots[0])
            self._strikes[slot] += 1
            if self._strikes[slot] >= STRIKES and len(self._engine.table) > 1:
                self._strikes[slot] = 0
                self.hopeless[slot] = what
        several = (
            f"{np.count_nonzero(lost_ms)} of {len(slots)} streams lost up to {lost_ms.max(initial=0):.0f} ms"
        )
        self._words = f"a pass failed ({what}): {several}; now {self._most} at a time"
        if now - self._told > TELL_S:
            log.error("%s", self._words, exc_info=error)
        self._told = now
