"""Defects of the samples, found once a second in the newest fifth of a second of each stream.

   silence        every sample is 0: muted, or a cable that carries nothing
   stuck          every sample is the same, and not 0
   clipping       a value near full scale is held for several samples
   offset         the mean is far from 0
   not-a-number   samples were refused since the last look: NaN, infinite or absurd

A defect stays until it has not been seen for a while, and silence begins only after a while, so that neither flutters.
Reads rings; knows nothing of sources, answers or clocks.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import Bank

LOOK_S = 0.2
"""A thousand streams cost 2 ms a second so."""
SILENT_S = 5.0
"""Digital silence for so long is said."""
HOLD_S = 5.0
"""For so long a flaw is still said when it is not seen any more."""
FULL = 0.98
"""From here on a sample is at full scale: the loudest code of mu-law is 0.980."""
FLAT = 4
"""Equal consecutive samples near full scale, which speech has only if it was clipped."""
OFFSET = 0.02
"""A mean of so much of full scale, and of half the deviation, is one."""

NAMES = ("silence", "stuck", "clipping", "offset", "not-a-number")
SILENCE, STUCK, CLIPPING, OFF, GARBAGE = range(len(NAMES))


class Flaws:
    """The flaws of `slots` streams."""

    def __init__(self, slots: int) -> None:
        # Monotonic times: when each flaw was last seen; since when there is silence.
        self._seen = np.full((slots, len(NAMES)), -np.inf)
        self._silent_since = np.full(slots, np.inf)
        self._said = np.zeros((slots, len(NAMES) - STUCK), np.bool_)
        self._looked = np.zeros(slots, np.int64)
        self._refused = np.zeros(slots, np.int64)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        return sum(a.nbytes // len(a) for a in vars(self).values())

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams."""
        self._seen[slots] = -np.inf
        self._silent_since[slots] = np.inf
        self._said[slots] = False
        self._looked[slots] = self._refused[slots] = 0

    def look(
        self,
        slots: NDArray[np.intp],
        bank: Bank,
        rows: NDArray[np.intp],
        refused: NDArray[np.int64],
        now: float,
    ) -> None:
        """Examine the newest samples of some streams.

        Args:
            slots: The streams, (m,).
            bank: Their bank.
            rows: Their rows in it, (m,).
            refused: Samples of each that were not numbers, (m,).
            now: Seconds of the monotonic clock.
        """
        self._seen[slots[refused > self._refused[slots]], GARBAGE] = now
        self._refused[slots] = refused
        n = max(round(LOOK_S * bank.rate), FLAT)
        written = bank.written[rows]
        fresh = written - self._looked[slots] >= n
        slots, rows, written = slots[fresh], rows[fresh], written[fresh]
        if not len(slots):
            return
        self._looked[slots] = written
        x = bank.read(rows, written - n, n)
        if np.isnan(x.sum()):
            # A stretch with missing samples is not judged.
            whole = ~np.isnan(x).any(1)
            slots, x = slots[whole], x[whole]
            if not len(slots):
                return
        top, bottom = x.max(1), x.min(1)
        same = top == bottom
        silent = same & (top == 0)
        self._seen[slots[silent], SILENCE] = now
        self._silent_since[slots] = np.where(silent, np.minimum(self._silent_since[slots], now), np.inf)
        self._seen[slots[same & ~silent], STUCK] = now
        mean = x.mean(1, dtype=np.float64)
        off = (np.abs(mean) > OFFSET) & ~same
        if off.any():
            far = np.flatnonzero(off)
            off[far] = np.abs(mean[far]) > 0.5 * x[far].std(1)
        self._seen[slots[off], OFF] = now
        loud = np.flatnonzero((np.maximum(top, -bottom) >= FULL) & ~same)
        if len(loud):
            near = x[loud]
            equal = (near[:, 1:] == near[:, :-1]) & (np.abs(near[:, 1:]) >= FULL)
            runs = equal.shape[1] - FLAT + 2
            held = np.logical_and.reduce([equal[:, k : k + runs] for k in range(FLAT - 1)])
            self._seen[slots[loud[held.any(1)]], CLIPPING] = now

    def silent(self, slots: NDArray[np.intp], now: float) -> NDArray[np.bool_]:
        """Return which streams have been digitally silent for a while, (m,)."""
        silent: NDArray[np.bool_] = now - self._silent_since[slots] >= SILENT_S
        return silent

    def changed(self, slots: NDArray[np.intp], now: float) -> list[tuple[int, list[str]]]:
        """Return the streams among `slots` whose flaws have changed since the last call, with their flaws.

        Silence is not among them: it is a state of the source.
        """
        here = now - self._seen[slots, STUCK:] < HOLD_S
        other = np.flatnonzero((here != self._said[slots]).any(1))
        self._said[slots[other]] = here[other]
        return [
            (int(slots[i]), [name for name, one in zip(NAMES[STUCK:], here[i].tolist(), strict=True) if one])
            for i in other.tolist()
        ]
