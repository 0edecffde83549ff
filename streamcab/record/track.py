"""A stream that is being recorded: its position in its ring, and its file. Knows nothing of threads or of writing."""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamcab.record.flac import FlacFile
from streamcab.source import Line


@dataclass
class Piece:
    """Samples that were copied, because their place in the ring will be reused, and the Unix time of the first."""

    unix: float
    samples: NDArray[np.float32]


@dataclass(eq=False)
class Track:
    """A stream being recorded.

    Attributes:
        position: Index of the next sample to be read from its ring.
        skipped: Samples that its source had lost when its ring was last looked at.
        head: Samples that its ring held when it began, until they have been written.
        file: The open file.
        missing: Samples, of all its files, that never arrived and are silent.
        samples: Samples of all its files.
        dropped: Samples that could not be kept.
        refused: Whether it gets no file.
    """

    name: str
    line: Line
    position: int = 0
    skipped: int = 0
    head: list[Piece] = field(default_factory=list)
    file: FlacFile | None = None
    missing: int = 0
    samples: int = 0
    dropped: int = 0
    refused: bool = False

    @property
    def rate(self) -> int:
        """Hz."""
        return self.line.bank.rate

    @property
    def unix(self) -> float:
        """Return the Unix time at which the next sample was captured."""
        bank, row = self.line.bank, self.line.row
        ago = time.monotonic() - float(bank.stamp[row]) + (int(bank.written[row]) - self.position) / bank.rate
        return time.time() - ago
