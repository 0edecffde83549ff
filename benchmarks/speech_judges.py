"""Speech detectors side by side: ours, silero-vad, webrtcvad and ten-vad, as scores of intervals at 8 kHz.

Wants `pip install --no-deps silero-vad onnxruntime webrtcvad-wheels ten-vad`; what is missing is left out.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.classifier import Classifier
from streamcab.dsp import bands
from streamcab.dsp.detector import AHEAD, Detector
from streamcab.nn.weights import detector_of

RATE, INTERVAL = bands.RATE, bands.INTERVAL
Scores = NDArray[np.float64]


@dataclass
class Judge:
    """One detector: the score of each interval of a clip; at which score it says speech."""

    name: str
    scores: Callable[[NDArray[np.float32]], Scores]
    threshold: float


def ours(classifier: Classifier) -> Judge:
    """Return the bundled model's detector, by itself."""
    weights = detector_of(classifier.checkpoint.model)
    if weights is None:
        raise SystemExit("this model has no detector")

    def scores(x: NDArray[np.float32]) -> Scores:
        levels = bands.levels(x.reshape(-1, INTERVAL))
        levels = np.concatenate((levels, np.full((AHEAD, bands.BANDS), bands.FLOOR, np.int16)))
        return (
            Detector(weights, 1, len(levels))
            .push(np.zeros(1, np.intp), levels[None])[0, AHEAD:]
            .astype(float)
        )

    return Judge("streamcab", scores, 0.0)


def silero() -> Judge:
    """Return Silero's net for 8 kHz."""
    from streamcab_train.silero import Silero

    net = Silero()
    return Judge("silero-vad", lambda x: net.intervals(x[None])[0].astype(float), 0.5)


def webrtc() -> Judge:
    """Return WebRTC's: the score is how many of its four modes say speech, of the 10 ms frames in an interval."""
    import webrtcvad

    def scores(x: NDArray[np.float32]) -> Scores:
        pcm = (np.clip(x, -1, 1) * 32767).astype("<i2")
        frames = len(pcm) // 80
        said = np.zeros(frames)
        for mode in range(4):
            vad = webrtcvad.Vad(mode)
            said += [vad.is_speech(pcm[k * 80 : k * 80 + 80].tobytes(), RATE) for k in range(frames)]
        middle = (np.arange(len(x) // INTERVAL) * INTERVAL + INTERVAL // 2) // 80
        return said[np.minimum(middle, frames - 1)]

    # Three of four: mode 2.
    return Judge("webrtcvad", scores, 2.5)


def ten() -> Judge:
    """Return TEN's, at its only rate of 16 kHz."""
    from scipy.signal import resample_poly
    from ten_vad import TenVad

    TenVad(256, 0.5)  # fails where its library, or Debian's libc++1 that it wants, is missing

    def scores(x: NDArray[np.float32]) -> Scores:
        wide = (np.clip(resample_poly(x, 2, 1), -1, 1) * 32767).astype(np.int16)
        vad, frames = TenVad(256, 0.5), len(wide) // 256
        said = np.array([vad.process(wide[k * 256 : k * 256 + 256])[0] for k in range(frames)])
        middle = (np.arange(len(x) // INTERVAL) * INTERVAL + INTERVAL // 2) * 2 // 256
        return said[np.minimum(middle, frames - 1)]

    return Judge("ten-vad", scores, 0.5)


def judges(classifier: Classifier) -> list[Judge]:
    """Return ours and those of the others that are installed."""
    found = [ours(classifier)]
    for make in (silero, webrtc, ten):
        try:
            found.append(make())
        except Exception as error:  # a baseline that is not there, or does not load
            print(f"left out: {make.__name__}: {error}", file=sys.stderr)
    return found
