"""Reads intervals of streams from their rings into the normaliser, and counts what was overwritten before it was read.

Knows nothing of the net, or of which intervals are wanted when.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import NO_SAMPLE, Bank
from streamcab.dsp.frontend import FrontEnd, front_end
from streamcab.dsp.normalise import RunningNormaliser
from streamcab.inference.slots import SlotTable
from streamcab.nn.architecture import FOREVER, Architecture


class Reader:
    """The reader of the streams of a table; advances its columns `heard` and `dropped`.

    Attributes:
        resumed: Position in samples after the last skip, (slots,): what lies before it is missing, though the ring may
            still hold it.
    """

    def __init__(self, arch: Architecture, table: SlotTable, normaliser: RunningNormaliser) -> None:
        self._arch, self._normaliser = arch, normaliser
        self._heard, self._dropped = table.heard, table.dropped
        self.resumed = table.column(np.int64, -FOREVER)

    def front(self, bank: Bank) -> FrontEnd:
        """Return the front end of a bank's streams."""
        arch = self._arch
        return front_end(bank.rate, arch.rate, arch.pooled_rate, arch.interval, arch.detector > 0)

    def read(self, bank: Bank, every: NDArray[np.intp], all_rows: NDArray[np.intp], h: int) -> None:
        """Read the next h intervals of streams (B,) of a bank, which are in its rows (B,)."""
        front = self.front(bank)
        phase = self._heard[every] % front.period
        for p in np.unique(phase) if front.period > 1 else (0,):
            slots, rows = every[phase == p], all_rows[phase == p]
            k = self._heard[slots]
            start, stop = front.span(int(k[0]), h)
            # Whole periods lie between these streams: their spans are equally long.
            starts = start + front.heard(k - k[0])
            x = bank.read(rows, starts, stop - start)
            resumed = self.resumed[slots]
            if (starts < resumed).any():
                x[starts[:, None] + np.arange(stop - start) < resumed[:, None]] = NO_SAMPLE
            self._normaliser.push(slots, front.pool(x, int(k[0]), h))
            self._heard[slots] += h
            own, after = front.heard(k), front.heard(k + h)
            overtaken = np.clip(bank.oldest(rows), own, after)
            if (overtaken > own).any():
                # An interval that reaches into announced silence does not count as heard either.
                silence = bank.silence_from[rows] - int(front.heard(np.array(1)))
                silent = np.minimum(overtaken, bank.silence_to[rows]) - np.maximum(own, silence)
                self._dropped[slots] += overtaken - own - np.maximum(silent, 0)
            bank.consumed[rows] = np.maximum(starts + after - own, 0)
