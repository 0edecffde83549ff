"""The level of each channel of a source, its speech and noise, and its weight in a mix.

A channel has speech where the speech detector finds some; until it has found any on any channel, where its level rises
and falls. Voices are not distinguished here. All of it depends on the samples, block by block, and never on how these
arrive. Knows nothing of sources, or of the use of the weights.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.source.speech import AHEAD, ChannelSpeech, default_detector

BLOCKS_PER_S = 4
INTERVALS = 10
"""In a block: 25 ms each."""
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
DOUBT = (32, 20)
"""Intervals that stand out, up to which a channel is heard before it is known to have speech: while the detector has
heard some, and while it has heard none."""
MOSTLY = 0.25
"""Least share of speech in the intervals of a channel that stand out: music and tones are taken for speech at times."""
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
BY_DETECTOR = 1
"""Index of the way in which the detector judges; 0 is by level."""

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]


class Levels:
    """Levels of each channel, and which intervals are speech, block by block; older sums fade.

    Speech is judged in two ways, which are the first axis of the sums: by level, and by the detector. By level, an
    interval is speech if it stands out of the lowest level of the two seconds before and of those after it: hum that
    begins or ends stands out of one of them only. Until it is two seconds old it is judged by what is known.
    """

    def __init__(self, channels: int) -> None:
        self.blocks = 0
        detector = default_detector()
        self._detector = ChannelSpeech(detector, channels, INTERVALS) if detector is not None else None
        self._power = np.full((NEAR, INTERVALS, channels), np.inf)
        # By the detector, AHEAD intervals later.
        self._heard = np.zeros((NEAR, INTERVALS, channels), np.bool_)
        self._floor = np.full((NEAR, channels), np.inf)  # lowest before
        self._spoken = np.zeros((2, 2, channels))  # of each way: intervals, sum of power
        self._rest = np.zeros((2, 2, channels))
        self._lively = np.zeros(channels)  # intervals that are speech in either way
        self._both = np.zeros((2, channels, channels))
        self._either = np.zeros((2, channels, channels))
        self._cross = np.zeros((channels, channels))
        self._cancels: dict[int, int] = {}

    def hear(self, block: Samples) -> None:
        """Measure one more block of frames, (INTERVALS * n, channels)."""
        x = block.astype(np.float64)
        x[~(np.abs(x) <= 2.0**32)] = 0.0  # missing samples and NaN
        cut = x.reshape(INTERVALS, -1, x.shape[1])
        cut = cut - cut.mean(1, keepdims=True)
        at = self.blocks % NEAR
        if self.blocks >= NEAR:
            self._judge(self._power[at], self._floor[at], self._heard[at])
        self._power[at] = np.einsum("knc,knc->kc", cut, cut) / cut.shape[1]
        self._floor[at] = self._power.min((0, 1))
        if self._detector is not None:
            places = self.blocks * INTERVALS - AHEAD + np.arange(INTERVALS)
            self._heard.reshape(-1, x.shape[1])[places % (NEAR * INTERVALS)] = self._detector.hear(cut)
        self._cross = self._cross * _fade(SPEECH_S) + np.einsum("knc,knd->cd", cut, cut)
        self.blocks += 1

    def _judge(self, power: Floats, floor: Floats, heard: NDArray[np.bool_]) -> None:
        """Judge the oldest block, which is about to be overwritten, for good."""
        voiced = _voiced(power, np.maximum(floor, self._power.min((0, 1))), heard)
        told = voiced.astype(np.float64)
        self._spoken = self._spoken * _fade(SPEECH_S) + _counted(voiced, power)
        self._rest = self._rest * _fade(NOISE_S) + _counted(~voiced, power)
        self._lively = self._lively * _fade(SPEECH_S) + voiced.any(0).sum(0)
        # Of two channels that have both spoken before: one that was silent for long is not another voice.
        known = self._spoken[:, 0] >= ENOUGH
        pairs = known[:, :, None] & known[:, None]
        both = np.einsum("wkc,wkd->wcd", told, told)
        either = told.sum(1)[:, :, None] + told.sum(1)[:, None] - both
        self._both = self._both * _fade(SPEECH_S) + pairs * both
        self._either = self._either * _fade(SPEECH_S) + pairs * either

    def _known(self) -> tuple[Floats, Floats, Floats]:
        """Return sums of speech, of the rest and of lively intervals, including intervals whose verdict may change."""
        channels, n = self._power.shape[2], min(self.blocks, NEAR) * INTERVALS
        places = (self.blocks * INTERVALS - n + np.arange(n - AHEAD)) % (NEAR * INTERVALS)
        near = self._power.reshape(-1, channels)[places]
        voiced = _voiced(near, near.min(0), self._heard.reshape(-1, channels)[places])
        spoken, rest = self._spoken + _counted(voiced, near), self._rest + _counted(~voiced, near)
        return spoken, rest, self._lively + voiced.any(0).sum(0)

    def decided(self) -> tuple[Floats, dict[str, str]]:
        """Return the weights (channels,), equal ones if nothing is wrong, and in words what is."""
        spoken, rest, lively = self._known()
        count, energy = spoken[:, 0], spoken[:, 1]
        speech = energy / np.maximum(count, 1e-9)
        total = np.diag(self._cross)
        alive = total > DEAD
        enough = count >= np.stack([np.full_like(lively, ENOUGH), np.maximum(ENOUGH, MOSTLY * lively)])
        way = int(enough[BY_DETECTOR].any())
        loudest = float(speech[way][enough[way]].max(initial=0.0))
        speaks = alive & enough[way] & (speech[way] >= HARMLESS * loudest)
        noise = rest[way, 1] / np.maximum(rest[way, 0], 1e-9)
        doubtful = (lively > 0) & (lively < np.where(count[BY_DETECTOR] > 0, *DOUBT))
        bearable = HARMLESS * loudest if speaks.any() else FAINT
        # The noise is the lowest level between words. A silent channel adds none.
        between = np.minimum(noise, ABOVE_LOWEST * self._power.min((0, 1)))
        weights = np.where(
            speaks | doubtful,
            np.clip(TOO_NOISY * loudest / np.maximum(between, 1e-30), LEAST, 1.0),
            np.minimum(bearable / np.maximum(noise, 1e-30), 1.0),
        )
        flaws: dict[str, str] = {}
        self._find_cancelling(alive, total, speaks, flaws)
        for dropped in self._cancels:
            weights[dropped] = 0.0
        if speaks.any():
            self._find_unlike(way, speaks, alive, noise, loudest, flaws)
        return weights / (weights.max() * len(weights)), flaws

    def _find_cancelling(
        self, alive: NDArray[np.bool_], total: Floats, speaks: NDArray[np.bool_], flaws: dict[str, str]
    ) -> None:
        """Find channels that are another one turned over: the weaker of the two is left out."""
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
        way: int,
        speaks: NDArray[np.bool_],
        alive: NDArray[np.bool_],
        noise: Floats,
        loudest: float,
        flaws: dict[str, str],
    ) -> None:
        """Find channels with voices of their own, and those with noise in place of speech."""
        both, either = self._both[way], self._either[way]
        count = np.diag(both)
        voices = np.flatnonzero(speaks & (count >= VOICES))
        for i, a in enumerate(voices.tolist()):
            for b in voices[i + 1 :].tolist():
                if both[a, b] < TOGETHER * either[a, b]:
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


def _voiced(power: Floats, floor: Floats, heard: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which intervals are speech, by level and by the detector: (2, intervals, channels)."""
    return np.stack([power > ABOVE_FLOOR * floor, heard]) & (power > AUDIBLE)


def _counted(which: NDArray[np.bool_], power: Floats) -> Floats:
    """Return the number of intervals of each way and channel, and their power: (2, 2, channels)."""
    return np.stack([which.sum(1), (which * power).sum(1)], 1)
