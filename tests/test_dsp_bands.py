"""Band levels: where a sine shows, loudness in whole steps, and the same to the bit in any company."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcab.dsp.bands import BANDS, FLOOR, INTERVAL, RATE, STEP, edges, filters, high_bands, levels


def sine(hz: float, amplitude: float = 1.0, phase: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(INTERVAL) / RATE + phase)).astype(np.float32)[None]


def test_a_sine_is_loudest_in_its_own_band() -> None:
    limits = edges()
    for hz in (75, 240, 600, 930, 1300, 2000, 2900, 3800):
        band = int(levels(sine(hz))[0].argmax())
        assert limits[band] - 30 <= hz <= limits[band + 1] + 30


def test_a_sine_of_full_scale_is_about_0_and_each_halving_16_steps_below() -> None:
    loud = levels(sine(600))[0].max()
    assert abs(loud) <= STEP
    for k in range(1, 14):
        assert levels(sine(600, 0.5**k))[0].max() == loud - 2 * STEP * k


def test_silence_and_what_is_less_than_a_bit_of_16_is_the_floor() -> None:
    for amplitude in (0.0, 1e-30, 1e-38, 1e-7):
        assert (levels(sine(600, amplitude)) == FLOOR).all()
    assert levels(sine(600, 2.0**32)).max() > 8 * 60


def test_a_constant_is_heard_in_no_band() -> None:
    assert levels(np.full((1, INTERVAL), 0.5, np.float32)).max() < -8 * STEP


def test_high_bands_are_those_that_narrow_audio_lacks() -> None:
    high = high_bands()
    assert high.shape == (BANDS,)
    assert 3 <= high.sum() < BANDS // 2
    assert levels(sine(1800))[0][high].max() < levels(sine(1800))[0].max() - 30 * STEP // 3
    assert levels(sine(3000))[0].argmax() in np.flatnonzero(high)


def test_every_sum_is_exact_in_float32() -> None:
    assert np.array_equal(filters(), np.rint(filters()))
    q = np.rint(np.random.default_rng(0).normal(0, 1100, (50, INTERVAL)))
    assert np.sqrt((q**2).sum(1)).max() < 2**14.2
    for bank in filters():
        np.testing.assert_array_equal(q.astype(np.float32) @ bank, q @ bank.astype(np.float64))


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 200), which=st.integers(0, 10**6), scale=st.floats(-30, 5))
def test_an_interval_is_the_same_in_any_company(n: int, which: int, scale: float) -> None:
    x = np.random.default_rng(which).normal(0, 2.0**scale, (n, INTERVAL)).astype(np.float32)
    k = which % n
    np.testing.assert_array_equal(levels(x)[k], levels(x[k : k + 1])[0])
