"""The speech detector on channels of any rate: what is speech at 8 kHz is speech at the others, and a tone is none."""

import numpy as np
import pytest
import sounds
from scipy.signal import resample_poly

from streamcab.source.speech import AHEAD, ChannelSpeech, default_detector

INTERVALS = 10


def heard(channels: np.ndarray, rate: int) -> np.ndarray:
    """Whether each interval of channels (n, channels) is speech."""
    detector = default_detector()
    assert detector is not None
    speech = ChannelSpeech(detector, channels.shape[1], INTERVALS)
    n = round(rate / 40)
    blocks = channels[: len(channels) // (n * INTERVALS) * n * INTERVALS].reshape(
        -1, INTERVALS, n, channels.shape[1]
    )
    return np.concatenate([speech.hear(block) for block in blocks])


def test_speech_is_told_from_tones_and_music_beside_it() -> None:
    talk = sounds.level(sounds.speech("us-2 uk-3"), -23)
    busy = sounds.cadence([((480, 620), 0.5), ((), 0.5)], len(talk) / 8000)
    music = sounds.level(sounds.music(len(talk) / 8000, 1), -13)
    n = min(map(len, (talk, busy, music)))
    share = heard(np.stack([talk[:n], busy[:n], music[:n]], 1), 8000).mean(0)
    assert share[0] > 0.5
    assert share[1:].max() < 0.02


@pytest.mark.parametrize("rate", [11_025, 16_000, 44_100, 48_000])
def test_the_rate_changes_little(rate: int) -> None:
    talk = sounds.level(sounds.clip("us-2"), -23)
    same = heard(talk[:, None], 8000)
    other = heard(resample_poly(talk, rate // 25, 8000 // 25)[:, None], rate)
    k = min(len(same), len(other))
    assert (same[:k] == other[:k]).mean() > (0.9 if rate == 11_025 else 0.97)  # whose intervals are 25.03 ms


def test_what_is_heard_is_late_by_what_the_detector_hears_ahead() -> None:
    talk = sounds.level(sounds.clip("us-2"), -23)
    later = np.concatenate([np.zeros(40 * 200), talk])[:, None]
    first = int(np.argmax(heard(later, 8000)[:, 0]))
    assert 40 <= first - AHEAD <= 60
