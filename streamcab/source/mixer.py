"""Many channels into one, or each by itself: what `--channel mix|each|left|right|N` makes of frames as they come.

`mix` weighs. A channel counts for less the more noise it has beside the speech of all, so that hum in one does not
drown another; of two that cancel, as where a cable is crossed, one is heard. Weights are decided once for each block of
a quarter of a second, from the blocks before it, and the first second is kept back until it has been heard: so they
depend on the samples and never on how these arrive. What was done is said in `flaws`. Knows nothing of devices, files
or formats.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.source.channel import channel_number
from streamcab.source.channel_levels import BLOCKS_PER_S, INTERVALS, Levels

HOLD = 4
"""Blocks that are kept back at the beginning."""
SURE, STANDS = 4, 40
"""Blocks for which a flaw was found before it is said, and for which it is said when it is not found any more."""
MOST = 8
"""Channels that are weighed; more are a device's upper bound, and averaged."""

Samples = NDArray[np.float32]


class Mixer:
    """Frames of one source, (n, channels), into samples, (m, rows).

    rows   1, or with `each` as many as there are channels
    flaws  what is wrong with the channels now, in words, by names that end in their numbers
    told   all that ever was
    """

    def __init__(self, channel: str, channels: int, rate: int) -> None:
        """ConfigError when there is no such channel."""
        self._number = None if channel == "each" else channel_number(channel, channels)
        self._each = channel == "each"
        self.rows = channels if self._each else 1
        self.flaws: dict[str, str] = {}
        self.told: dict[str, str] = {}
        self.channels = channels
        self._channel, self._rate = channel, rate
        self._weighs = self._number is None and not self._each and 1 < channels <= MOST
        if self._weighs:
            self._interval = max(1, round(rate / (BLOCKS_PER_S * INTERVALS)))
            self._size = self._interval * INTERVALS
            self._state = Levels(channels)
            self._block = np.zeros((self._size, channels), np.float32)
            self._filled = 0  # frames of the block that is under way
            self._held: list[Samples] | None = []
            self._weights = np.full(channels, 1 / channels)
            self._seen: dict[str, list[int]] = {}  # of a flaw: the block from which on, and the last

    def of(self, channels: int) -> "Mixer":
        """Return the same for frames of another number of channels; raise ConfigError when it has no such channel."""
        return Mixer(self._channel, channels, self._rate)

    def push(self, frames: Samples) -> Samples:
        """Take in frames; return those that can be mixed now, of these and earlier ones."""
        if self._each:
            return np.ascontiguousarray(frames)
        if self._number is not None:
            return np.ascontiguousarray(frames[:, self._number - 1 : self._number])
        if not self._weighs:
            plain = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)
            return np.ascontiguousarray(plain)[:, None]
        out, at = [], 0
        while at < len(frames):
            n = min(len(frames) - at, self._size - self._filled)
            part = frames[at : at + n]
            self._block[self._filled : self._filled + n] = part
            self._filled += n
            at += n
            if self._held is None:
                out.append(self._mixed(part))
            else:
                self._held.append(part.copy())
            if self._filled == self._size:
                self._decide()
                self._filled = 0
                if self._held is not None and self._state.blocks == HOLD:
                    out += self._let_go()
        return _joined(out)

    def finish(self) -> Samples:
        """Return the frames that are still held back, at the end of the source."""
        return _joined(self._let_go() if self._weighs and self._held is not None else [])

    def _let_go(self) -> list[Samples]:
        held, self._held = self._held or [], None
        return [self._mixed(part) for part in held]

    def _mixed(self, frames: Samples) -> Samples:
        # One by one: a product of matrices may round otherwise for other lengths.
        weights = self._weights.astype(np.float32)
        mixed: Samples = frames[:, 0] * weights[0]
        for c in range(1, self.channels):
            if weights[c] or np.isnan(frames[:, c]).any():
                mixed = mixed + frames[:, c] * weights[c]
        alone: Samples = mixed[:, None]
        return alone

    def _decide(self) -> None:
        self._state.hear(self._block)
        if self._state.blocks >= HOLD:
            self._weights, found = self._state.decided()
            now = self._state.blocks
            for name in found:
                since = self._seen.setdefault(name, [now, now])
                since[1] = now
            self._seen = {name: when for name, when in self._seen.items() if now - when[1] < STANDS}
            sure = {name for name, (first, last) in self._seen.items() if last - first >= SURE}
            self.flaws = {name: found.get(name) or self.told[name] for name in sure}
            self.told |= self.flaws


def _joined(parts: list[Samples]) -> Samples:
    if not parts:
        return np.zeros((0, 1), np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def mixed(frames: Samples, channel: str, rate: int) -> Samples:
    """Mix whole frames (n, channels) to samples (n,) of one channel; raise ConfigError for `each`, which are
    several."""
    mixer = Mixer(channel, frames.shape[1], rate)
    assert mixer.rows == 1, "each channel by itself is not one"
    return _joined([mixer.push(frames), mixer.finish()])[:, 0]
