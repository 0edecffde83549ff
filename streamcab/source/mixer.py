"""Many channels into one, or each by itself: what `--channel mix|each|left|right|N` makes of frames as they come.

`mix` weighs. A channel counts for less the more noise it has beside the speech of all, so that hum in one does not
drown another; of two that cancel, as where a cable is crossed, one is heard. Weights are decided once for each block of
a quarter of a second, from the blocks before it, and the first second is kept back until it has been heard: so they
depend on the samples and never on how these arrive. What was done is said in `flaws`. Knows nothing of devices, files
or formats.

A channel has speech where its level rises and falls as a gate wants it; which voice it is, nobody asks here.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.source.channel import channel_number

BLOCKS_PER_S = 4
INTERVALS = 10
"""In a block: 25 ms each."""
HOLD = 4
"""Blocks that are kept back at the beginning."""
NEAR = 8
"""Blocks, two seconds, in which the lowest level is that of the noise."""
ABOVE_FLOOR = 8.0
"""Power ratio, 9 dB, from which on an interval is taken for speech."""
ABOVE_LOWEST = 1.5
"""How far the mean of steady noise lies above its lowest interval, at most."""
AUDIBLE = 1e-8
"""Power, -80 dB of full scale: below this nothing is speech."""
DEAD = 1e-12
"""Power below which a channel carries nothing."""
SPEECH_S, NOISE_S = 30.0, 5.0
"""How long speech and noise are remembered."""
ENOUGH = 8
"""Intervals of speech after which a channel is known to have some."""
HARMLESS = 1e-3
"""Noise of so much of the power of speech, -30 dB, disturbs nothing."""
FAINT = 1e-6
"""Power, -60 dB of full scale, of noise that disturbs nothing, before any speech was heard."""
TOO_NOISY, LEAST = 0.03, 0.1
"""A channel with speech of its own counts in full unless the noise between its words has so much of the power of
speech, -15 dB; and never for less than so much: its words must be heard."""
OPPOSITE, APART = -0.5, -0.3
"""Correlation from which on channels cancel, and from which on they do not any more."""
VOICES = 40
"""Intervals of speech on each of two channels after which they can be told to be unlike."""
TOGETHER = 0.35
"""Of the intervals in which either speaks, in which both do: fewer are two voices by turns."""
NOISY = 1e-2
"""Noise of so much of the power of the speech elsewhere, -20 dB, is said."""
SURE, STANDS = 4, 40
"""Blocks for which a flaw was found before it is said, and for which it is said when it is not found any more."""
MOST = 8
"""Channels that are weighed; more are a device's upper bound, and averaged."""

Floats = NDArray[np.float64]
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
            self._state = _Levels(channels)
            self._block = np.zeros((self._size, channels), np.float32)
            self._filled = 0  # frames of the block that is under way
            self._held: list[Samples] | None = []
            self._weights = np.full(channels, 1 / channels)
            self._seen: dict[str, list[int]] = {}  # of a flaw: the block from which on, and the last

    def of(self, channels: int) -> "Mixer":
        """The same for frames of another number of channels. ConfigError when it has no such channel."""
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


class _Levels:
    """Levels of each channel, block by block; older sums fade.

    An interval is speech if it stands out of the lowest level of the two seconds before and of those after it: hum that
    begins or ends stands out of one of them only. Until it is two seconds old it is judged by what is known.
    """

    def __init__(self, channels: int) -> None:
        self.blocks = 0
        self._power = np.full((NEAR, INTERVALS, channels), np.inf)
        self._floor = np.full((NEAR, channels), np.inf)  # lowest before
        self._spoken = np.zeros((2, channels))  # intervals, sum of power
        self._rest = np.zeros((2, channels))
        self._both = np.zeros((channels, channels))
        self._either = np.zeros((channels, channels))
        self._cross = np.zeros((channels, channels))
        self._cancels: dict[int, int] = {}

    def hear(self, block: Samples) -> None:
        """One more block of frames, (INTERVALS * n, channels)."""
        x = block.astype(np.float64)
        x[~(np.abs(x) <= 2.0**32)] = 0.0  # what is missing, or no number
        cut = x.reshape(INTERVALS, -1, x.shape[1])
        cut = cut - cut.mean(1, keepdims=True)
        at = self.blocks % NEAR
        if self.blocks >= NEAR:
            self._judge(self._power[at], self._floor[at])
        self._power[at] = np.einsum("knc,knc->kc", cut, cut) / cut.shape[1]
        self._floor[at] = self._power.min((0, 1))
        self._cross = self._cross * _fade(SPEECH_S) + np.einsum("knc,knd->cd", cut, cut)
        self.blocks += 1

    def _judge(self, power: Floats, floor: Floats) -> None:
        """For good: the oldest block, which is about to be overwritten."""
        voiced = _stands_out(power, np.maximum(floor, self._power.min((0, 1))))
        told = voiced.astype(np.float64)
        self._spoken = self._spoken * _fade(SPEECH_S) + _counted(voiced, power)
        self._rest = self._rest * _fade(NOISE_S) + _counted(~voiced, power)
        # Of two channels that have both spoken before: one that was silent for long is not another voice.
        known = self._spoken[0] >= ENOUGH
        pairs = np.outer(known, known)
        either = told.sum(0)[:, None] + told.sum(0) - told.T @ told
        self._both = self._both * _fade(SPEECH_S) + pairs * (told.T @ told)
        self._either = self._either * _fade(SPEECH_S) + pairs * either

    def _known(self) -> tuple[Floats, Floats]:
        """Return intervals and power of speech and of the rest, including intervals whose verdict may change."""
        near = self._power[: min(self.blocks, NEAR)].reshape(-1, self._power.shape[2])
        voiced = _stands_out(near, near.min(0))
        return self._spoken + _counted(voiced, near), self._rest + _counted(~voiced, near)

    def decided(self) -> tuple[Floats, dict[str, str]]:
        """Return the weights (channels,), equal ones if nothing is wrong, and in words what is."""
        (count, energy), (quiet, left) = self._known()
        speech = energy / np.maximum(count, 1e-9)
        noise = left / np.maximum(quiet, 1e-9)
        total = np.diag(self._cross)
        alive = total > DEAD
        loudest = float(speech[count >= ENOUGH].max(initial=0.0))
        speaks = alive & (count >= ENOUGH) & (speech >= HARMLESS * loudest)
        bearable = HARMLESS * loudest if speaks.any() else FAINT
        # What is left between words is no noise: the lowest of it is. Who is silent disturbs nobody.
        between = np.minimum(noise, ABOVE_LOWEST * self._power.min((0, 1)))
        weights = np.where(
            speaks,
            np.clip(TOO_NOISY * loudest / np.maximum(between, 1e-30), LEAST, 1.0),
            np.minimum(bearable / np.maximum(noise, 1e-30), 1.0),
        )
        flaws: dict[str, str] = {}
        self._find_cancelling(alive, total, speaks, flaws)
        for dropped in self._cancels:
            weights[dropped] = 0.0
        if speaks.any():
            self._find_unlike(speaks, alive, noise, loudest, flaws)
        return weights / (weights.max() * len(weights)), flaws

    def _find_cancelling(
        self, alive: NDArray[np.bool_], total: Floats, speaks: NDArray[np.bool_], flaws: dict[str, str]
    ) -> None:
        """Channels that are another one turned over: the weaker of the two is left out."""
        order = np.argsort(-np.where(speaks, 2.0, 1.0) * total, kind="stable")
        was, self._cancels = self._cancels, {}
        for i, a in enumerate(order.tolist()):
            for b in order[i + 1 :].tolist():
                if not (alive[a] and alive[b]) or a in self._cancels or b in self._cancels:
                    continue
                together = self._cross[a, b] / np.sqrt(total[a] * total[b])
                known = was.get(b) == a or was.get(a) == b
                if together <= (APART if known else OPPOSITE):
                    self._cancels[b] = a
                    flaws[f"channels-cancel-{min(a, b) + 1}-{max(a, b) + 1}"] = (
                        f"channel {b + 1} is channel {a + 1} turned over, and they cancel: channel {a + 1} is heard"
                    )

    def _find_unlike(
        self,
        speaks: NDArray[np.bool_],
        alive: NDArray[np.bool_],
        noise: Floats,
        loudest: float,
        flaws: dict[str, str],
    ) -> None:
        """Channels with voices of their own, and those with noise in place of speech."""
        count = np.diag(self._both)
        voices = np.flatnonzero(speaks & (count >= VOICES))
        for i, a in enumerate(voices.tolist()):
            for b in voices[i + 1 :].tolist():
                if self._both[a, b] < TOGETHER * self._either[a, b]:
                    flaws[f"unlike-channels-{a + 1}-{b + 1}"] = (
                        f"channels {a + 1} and {b + 1} have voices of their own and are mixed: "
                        "--channel each answers each"
                    )
        for c in np.flatnonzero(alive & ~speaks & (noise > NOISY * loudest)).tolist():
            level = 10 * np.log10(noise[c])
            flaws[f"noisy-channel-{c + 1}"] = (
                f"channel {c + 1} has noise at {level:.0f} dB of full scale and no speech: it is left out of the mix"
            )


def _fade(seconds: float) -> float:
    return float(np.exp(-1 / (BLOCKS_PER_S * seconds)))


def _stands_out(power: Floats, floor: Floats) -> NDArray[np.bool_]:
    return (power > ABOVE_FLOOR * floor) & (power > AUDIBLE)


def _counted(which: NDArray[np.bool_], power: Floats) -> Floats:
    """Return the number of intervals of each channel, and their power: (2, channels)."""
    return np.stack([which.sum(0), (which * power).sum(0)])


def _joined(parts: list[Samples]) -> Samples:
    if not parts:
        return np.zeros((0, 1), np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def mixed(frames: Samples, channel: str, rate: int) -> Samples:
    """Whole frames (n, channels) as samples (n,) of one channel. ConfigError for `each`, which are several."""
    mixer = Mixer(channel, frames.shape[1], rate)
    assert mixer.rows == 1, "each channel by itself is not one"
    return _joined([mixer.push(frames), mixer.finish()])[:, 0]
