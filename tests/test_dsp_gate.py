"""The level above which an interval of speech is voiced."""

import numpy as np
import pytest

from streamcab.dsp.gate import ABOVE_FLOOR, BELOW_SPEECH, NEAR_SPEECH, POWER_FLOOR, threshold


def level(floor: float, speech: float, detected: bool = False) -> float:
    return float(threshold(np.array([floor]), np.array([speech]), detected)[0])


def test_speech_stands_out_of_the_noise_floor() -> None:
    assert level(1e-4, 1e-2) == pytest.approx(ABOVE_FLOOR * 1e-4)


def test_with_a_detector_speech_near_its_mean_level_counts_in_any_noise() -> None:
    assert level(1e-2, 1e-2, detected=True) == pytest.approx(NEAR_SPEECH * 1e-2)
    assert level(1e-6, 1e-2, detected=True) == pytest.approx(BELOW_SPEECH * 1e-2)


@pytest.mark.parametrize("detected", [False, True])
def test_a_floor_of_zero_leaves_what_is_near_speech(detected: bool) -> None:
    assert level(0.0, 1e-2, detected) == pytest.approx(BELOW_SPEECH * 1e-2)


@pytest.mark.parametrize("detected", [False, True])
def test_digital_silence_is_never_speech(detected: bool) -> None:
    assert level(0.0, 0.0, detected) == POWER_FLOOR


@pytest.mark.parametrize("detected", [False, True])
def test_loudness_changes_nothing(detected: bool) -> None:
    assert level(3e-5, 7e-3, detected) * 100 == pytest.approx(level(3e-3, 0.7, detected))
