"""The interface of an open audio file: frames of all its channels, one after the other, whatever format it has.

Knows nothing of formats, of models or of the rate that they want; `formats.py` chooses the decoder.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray


class Decoder(ABC):
    """An open file.

    rate      Hz
    channels  in each frame
    frames    how many there are, as far as the header can be trusted; None where only decoding tells
    floats    samples are stored as floats, so that they can be no number
    notes     what was wrong and heard all the same, in words; complete when `read` has come to the end
    """

    rate: int
    channels: int
    frames: int | None = None
    floats = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []

    @abstractmethod
    def read(self, size: int) -> NDArray[np.float32]:
        """Read the next frames, (n, channels): fewer than `size` only at the end. Raises AudioError when it cannot go
        on."""

    @abstractmethod
    def close(self) -> None:
        """Close all open files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Parts:
    """Frames that come in parts of any size, taken by as many as are wanted."""

    def __init__(self, parts: Iterator[NDArray[np.float32]], first: NDArray[np.float32]) -> None:
        """`first`: the first part, which may be empty but has the channels of all."""
        self._parts, self._rest = parts, first

    def take(self, size: int) -> NDArray[np.float32]:
        """Return the next frames, (n, channels): fewer than `size` only at the end."""
        parts, have = [self._rest], len(self._rest)
        while have < size and (part := next(self._parts, None)) is not None:
            parts.append(part)
            have += len(part)
        whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._rest = whole[size:]
        return whole[:size]
