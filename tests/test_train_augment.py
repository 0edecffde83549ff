"""Augmentation: what comes out is as long, finite and random by the seed alone, and each part does what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech import hum, talk
from streamcab_train.augment import (
    CODECS,
    augment,
    change_speed,
    equalise,
    lose_packets,
    mix,
    noise,
    reverberate,
    through_codec,
)

RATE = 8000
VOICE = talk(2.0, RATE, 1)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1600, 16000))
def test_any_version_is_finite_and_as_long_as_its_speed_says(seed: int, length: int) -> None:
    made = augment(VOICE[:length], RATE, np.random.default_rng(seed), [talk(1.0, RATE, 2)])
    assert made.samples.dtype == np.float32
    assert np.isfinite(made.samples).all()
    assert abs(len(made.samples) * made.speed - length) <= 10


def test_the_seed_says_all() -> None:
    one, other = (augment(VOICE, RATE, np.random.default_rng(3)).samples for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_keeps_length_and_place(codec: str) -> None:
    decoded = through_codec(VOICE, RATE, np.random.default_rng(0), codec)
    assert len(decoded) == len(VOICE)
    correlation = np.correlate(decoded, VOICE, "full")
    assert abs(int(correlation.argmax()) - (len(VOICE) - 1)) <= 2
    assert np.corrcoef(decoded, VOICE)[0, 1] > 0.8


def test_a_tone_is_higher_when_played_faster() -> None:
    faster = change_speed(hum(1.0, RATE, 1000.0), 1.05)
    peak = np.abs(np.fft.rfft(faster)).argmax() * RATE / len(faster)
    assert peak == pytest.approx(1050, abs=2)


def test_mixed_at_so_many_decibels() -> None:
    rng = np.random.default_rng(0)
    x, other = VOICE, noise(len(VOICE), RATE, rng)
    added = mix(x, other, 20.0) - x
    assert 20 * np.log10(np.std(x) / np.std(added)) == pytest.approx(20, abs=0.2)


def test_lost_packets_are_silence_and_the_rest_is_left_alone() -> None:
    lossy = lose_packets(VOICE, RATE, np.random.default_rng(0))
    changed = lossy != VOICE
    assert changed.any()
    assert (lossy[changed] == 0).all()


def test_a_room_and_an_equaliser_begin_with_the_sound_itself() -> None:
    click = np.zeros(4000, np.float32)
    click[100] = 1
    wet = reverberate(click, RATE, np.random.default_rng(0))
    assert wet[:100].max() < 1e-5
    assert wet[100] == pytest.approx(1, abs=1e-5)
    assert np.abs(equalise(click, RATE, np.random.default_rng(0), 6.0)).max() <= 2.1
