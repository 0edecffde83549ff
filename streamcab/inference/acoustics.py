"""Acoustic quality of the speech in a window: its ratio to the noise in the pauses, and its bandwidth.

Sums in blocks of a second of talk, begun afresh, so nothing drifts. Noise is what is heard soon after words: what comes
long after them (music on hold, a dial tone) was never mixed with speech. Knows nothing of the net or of labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.gate import MISSING, POWER_FLOOR, SILENT, VOICED
from streamcab.inference.seconds import added, in_seconds

AFTER_S, UNTIL_S = 0.125, 0.5
"""Seconds after a word in which noise is measured in its pause; before, the word decays."""
ENOUGH_S = 0.5
"""Seconds of speech needed for a measurement, and half as many of pauses."""
SOFTEST = 1.5
"""Approximate ratio of the mean power of noise to that of the softest interval in a second of it."""
SURE_S = 3.0
"""Seconds of speech after which noise is reported even if there was no pause to measure it in."""
CLEAN_DB, NOISY_DB, DEAF_DB = 20.0, 15.0, 3.0
"""Ratios in dB: noise does not matter; noise is reported; answers have the least weight."""
NARROW_SHARE = 0.02
"""Share of speech intervals with high frequencies (s, f, t) above which the band is complete."""
LEAST = 0.22
"""Least weight of an answer against the uniform answer: with three labels none then reaches 0.5."""
BRIEF_S, LONG_S = 0.6, 1.5
"""Seconds of speech up to which answers have the least weight, and from which they have full weight."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Quality:
    """snr_db (B,): NaN where not enough was heard. narrow (B,): nothing high in the band. voiced_s (B,) of speech.

    paused (B,): whether enough of pauses was heard.
    """

    snr_db: Floats
    narrow: Flags
    voiced_s: Floats
    paused: Flags

    @property
    def noisy(self) -> Flags:
        """Which clips are reported as noisy."""
        # The softest interval of the first words may be as loud as the others, without any noise.
        with np.errstate(invalid="ignore"):
            return np.asarray((self.snr_db < NOISY_DB) & (self.paused | (self.voiced_s >= SURE_S)))

    @property
    def weight(self) -> Floats:
        """Weight of an answer, `LEAST` to 1: low in noise, in a narrow band, or after a word or two."""
        snr = np.where(np.isnan(self.snr_db), CLEAN_DB, self.snr_db)
        worth = np.minimum(
            (snr - DEAF_DB) / (CLEAN_DB - DEAF_DB), (self.voiced_s - BRIEF_S) / (LONG_S - BRIEF_S)
        )
        worth = np.where(self.narrow, 0.0, np.clip(worth, 0.0, 1.0))
        found: Floats = LEAST + (1 - LEAST) * worth
        return found


class Acoustics:
    """Sums over the last `length` intervals of speech of `slots` streams, `second` of which make up a second."""

    def __init__(self, slots: int, length: int, second: int) -> None:
        self._second = second
        self._after, self._until = round(AFTER_S * second), round(UNTIL_S * second)
        # Voiced intervals, their power, those of them that are wide; intervals of pauses, the logarithms of their
        # power, so that music which begins within one does not drown what was there before.
        self._sums = np.zeros((slots, -(-length // second), 5))
        self._least = np.full(self._sums.shape[:2], np.inf)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        return (self._sums.nbytes + self._least.nbytes) // len(self._sums)

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        self._sums[slots], self._least[slots] = 0, np.inf

    def add(
        self,
        slots: Ints,
        talk: Flags,
        index: NDArray[np.int64],
        since: NDArray[np.int64],
        kind: NDArray[np.uint8],
        power: Floats,
        wide: Flags,
    ) -> None:
        """Add the intervals of `talk` among at most a second of intervals of each stream, (B, H).

        Args:
            slots: The streams.
            talk: Which intervals are added.
            index: Position of each in its talk, >= 0.
            since: Intervals since the newest voiced one before it.
            kind: Kinds of the intervals (gate.py).
            power: Mean square of the intervals.
            wide: Whether the high half of the band holds sound.
        """
        columns = _columns(kind, power, wide, since, self._after, self._until)
        soft = np.where(kind == MISSING, np.inf, power)
        for some, block, fresh, here in in_seconds(talk, index, self._second, self._sums.shape[1]):
            place, new = (slots[some], block), (slots[some[fresh]], block[fresh])
            self._sums[new], self._least[new] = 0, np.inf
            self._sums[place] = added(self._sums[place], columns[some], here)
            least = np.where(here, soft[some], np.inf).min(1)
            self._least[place] = np.minimum(self._least[place], least)

    def jump(self, slot: int, old: int, new: int) -> None:
        """Advance from interval `old` to `new` without audio."""
        begun = np.arange(-(-old // self._second), -(-new // self._second)) % self._sums.shape[1]
        self._sums[slot, begun], self._least[slot, begun] = 0, np.inf

    def move(self, old: int, new: int, here: Ints, there: Ints) -> None:
        """Give blocks `here` of a window to another, as `there`."""
        self._sums[new, there], self._least[new, there] = self._sums[old, here], self._least[old, here]
        self.clear(old, here)

    def clear(self, slot: int, blocks: Ints) -> None:
        """Empty some blocks."""
        self._sums[slot, blocks], self._least[slot, blocks] = 0, np.inf

    def read(self, slots: Ints, talk: NDArray[np.int64]) -> Quality:
        """Return the acoustic quality of the speech in the window; `talk` (B,): one past the newest index added."""
        sums = self._sums[slots]
        # Pauses hold weak speech too, and in loud noise there may be none: the softest of each second counts as much.
        least = self._least[slots]
        heard = np.isfinite(least) & (sums[..., 0] > 0)
        # The softest of a second that has just begun may be as loud as any: it counts when it is over, or alone.
        blocks = heard.shape[1]
        begun = np.where(talk % self._second > 0, talk // self._second % blocks, blocks)
        over = heard & (np.arange(blocks) != begun[:, None])
        heard = np.where(over.any(1, keepdims=True), over, heard)
        return _quality(sums.sum(1), np.where(heard, least, 0).sum(1), heard.sum(1), self._second)


class Totals:
    """The same of whole clips, in constant memory: a second of talk that is over is added to what was before.

    `add` takes a block of intervals at a time, at most a second of them.
    """

    def __init__(self, slots: int, second: int) -> None:
        self._second = second
        self._after, self._until = round(AFTER_S * second), round(UNTIL_S * second)
        # As in Acoustics; of the seconds that are over: the sums, of the softest intervals the sum, and their number.
        self._sums, self._least = np.zeros((slots, 5)), np.full(slots, np.inf)
        self._over, self._soft = np.zeros((slots, 5)), np.zeros((slots, 2))

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new clips."""
        self._sums[slots] = self._over[slots] = 0
        self._soft[slots], self._least[slots] = 0, np.inf

    def add(
        self,
        slots: Ints,
        talk: Flags,
        index: NDArray[np.int64],
        since: NDArray[np.int64],
        heard: tuple[NDArray[np.uint8], Floats, Flags],
    ) -> None:
        """Add a block (B, H) of intervals, of which those of `talk` count; the rest as in `Acoustics.add`."""
        kind, power, wide = heard
        columns = _columns(kind, power, wide, since, self._after, self._until)
        soft = np.where(kind == MISSING, np.inf, power)
        block = index // self._second
        first = (index[:, 0] + 1 - talk[:, 0]) // self._second
        for later in (False, True):
            here = talk & ((block > first[:, None]) == later)
            if later:
                # The second of talk that was under way is over, and another one has begun.
                over = slots[here.any(1)]
                self._fold(over)
            self._sums[slots] += (columns * here[..., None]).sum(1)
            least = np.where(here, soft, np.inf).min(1, initial=np.inf)
            self._least[slots] = np.minimum(self._least[slots], least)
        self._fold(slots[(index[:, -1] + 1) % self._second == 0])

    def _fold(self, slots: Ints) -> None:
        sums, soft = self._over[slots] + self._sums[slots], self._soft[slots] + self._softest(slots)
        self._over[slots], self._soft[slots] = sums, soft
        self._sums[slots], self._least[slots] = 0, np.inf

    def _softest(self, slots: Ints) -> Floats:
        """Return the softest interval of the current second, and 1, (B, 2); zeros if nobody has spoken."""
        least = self._least[slots]
        heard = np.isfinite(least) & (self._sums[slots, 0] > 0)
        return np.stack((np.where(heard, least, 0.0), heard), 1)

    def read(self, slots: Ints) -> Quality:
        """Return the acoustic quality of the speech in the clips."""
        over = self._soft[slots]
        soft = np.where(over[:, 1:] > 0, over, self._softest(slots))
        return _quality(self._over[slots] + self._sums[slots], soft[:, 0], soft[:, 1], self._second)


def _columns(
    kind: NDArray[np.uint8], power: Floats, wide: Flags, since: NDArray[np.int64], after: int, until: int
) -> Floats:
    """Return what intervals (B, H) add to the sums, (B, H, 5)."""
    voiced = kind == VOICED
    quiet = np.log(np.maximum(power, POWER_FLOOR))
    pause = (kind == SILENT) & (since >= after) & (since <= until)
    return np.stack((voiced, power * voiced, wide & voiced, pause, quiet * pause), 2)


def _quality(sums: Floats, softest: Floats, seconds: Floats, second: int) -> Quality:
    """Compute the quality from the sums (B, 5) of Acoustics, and the sums of the softest interval of each second,
    (B,)."""
    voiced, speech, wide, pauses, noise = sums.T
    speech = speech / np.maximum(voiced, 1)
    soft = SOFTEST * softest / np.maximum(seconds, 1)
    paused = pauses >= ENOUGH_S * second / 2
    noise = np.where(paused, np.sqrt(np.exp(noise / np.maximum(pauses, 1)) * soft), soft)
    noise = np.maximum(noise, POWER_FLOOR)
    snr = 10 * np.log10(np.maximum(speech - noise, 0.1 * noise) / noise)
    enough = voiced >= ENOUGH_S * second
    narrow = enough & (wide < NARROW_SHARE * voiced)
    return Quality(np.where(enough, snr, np.nan), narrow, voiced / second, paused)
