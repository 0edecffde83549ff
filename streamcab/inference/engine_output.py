"""The output of a step of the net: c_t and what belongs to it, of some intervals of some streams, and which vote.

Knows nothing of how it was computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.gate import MISSING, SOUND, VOICED


def voting(kind: NDArray[np.uint8], gate: bool) -> NDArray[np.bool_]:
    """Return which intervals count, in the shape of `kind`: voiced ones, or without a gate all that were heard."""
    votes: NDArray[np.bool_] = kind == VOICED if gate else kind != MISSING
    return votes


def no_evidence(kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which intervals are excluded from evidence: missing ones, and music and the like."""
    left_out: NDArray[np.bool_] = (kind == MISSING) | (kind == SOUND)
    return left_out


@dataclass(frozen=True)
class EngineOutput:
    """H intervals of B streams, answered.

    slots (B,)    first (B,) index of the first; a negative index is no interval
    c (B, H, labels), with `other` one more    alpha (B, H, classifiers)    u (B, H, summary)
    kind (B, H) as in `NormalisedBatch`    power (B, H)    wide (B, H) as in `NormalisedBatch`
    """

    slots: NDArray[np.intp]
    first: NDArray[np.int64]
    c: NDArray[np.float32]
    alpha: NDArray[np.float32]
    u: NDArray[np.float32]
    kind: NDArray[np.uint8]
    power: NDArray[np.float64]
    wide: NDArray[np.bool_]

    def votes(self, gate: bool) -> NDArray[np.bool_]:
        """Return which intervals count, (B, H)."""
        return voting(self.kind, gate)

    @property
    def heard(self) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
        """Return kind, power and `wide`, as `Window.add` takes them."""
        return self.kind, self.power, self.wide

    def of(self, keep: NDArray[np.bool_]) -> "EngineOutput":
        """Return the same of some of the streams: keep (B,)."""
        return EngineOutput(*(getattr(self, field.name)[keep] for field in fields(self)))

    def part(self, row: int, start: int, stop: int) -> "EngineOutput":
        """Return intervals start .. stop - 1 of one stream: B = 1."""
        one, here = slice(row, row + 1), (slice(row, row + 1), slice(start, stop))
        return EngineOutput(
            self.slots[one],
            self.first[one] + start,
            self.c[here],
            self.alpha[here],
            self.u[here],
            self.kind[here],
            self.power[here],
            self.wide[here],
        )


@dataclass(eq=False)
class Begun:
    """A step of the net that has begun: `answer` waits for c, alpha and u. The rest as in `EngineOutput`.

    left_out  streams (B,) that have been detached since
    """

    answer: Callable[[], tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]
    slots: NDArray[np.intp]
    first: NDArray[np.int64]
    kind: NDArray[np.uint8]
    power: NDArray[np.float64]
    wide: NDArray[np.bool_]
    left_out: NDArray[np.bool_] | None = None

    @property
    def attached(self) -> NDArray[np.intp]:
        """Slots of the streams whose intervals are wanted."""
        return self.slots if self.left_out is None else self.slots[~self.left_out]

    def forget(self, slots: NDArray[np.intp]) -> None:
        """Leave out the intervals of these streams."""
        these = np.isin(self.slots, slots)
        if these.any():
            self.left_out = these if self.left_out is None else self.left_out | these

    def output(self) -> EngineOutput:
        """Wait for the step; raises whatever its computation raised, also when called again."""
        c, alpha, u = self.answer()
        untold = no_evidence(self.kind)
        if untold.any():
            u = np.where(untold[..., None], np.float32(np.nan), u)
        output = EngineOutput(self.slots, self.first, c, alpha, u, self.kind, self.power, self.wide)
        return output if self.left_out is None else output.of(~self.left_out)
