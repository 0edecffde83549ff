"""How well speech is heard: the ratio to noise, a band that is half, and what an answer is worth then."""

import numpy as np
import pytest
from numpy.typing import NDArray

from streamcab.dsp.gate import MISSING, SILENT, VOICED
from streamcab.inference.acoustics import LEAST, SOFTEST, Acoustics, Quality

ONE = np.zeros(1, np.intp)


def told(kind: NDArray, power: NDArray, wide: NDArray, length: int = 1200, first: int = 0) -> Acoustics:
    acoustics, since = Acoustics(1, length, 40), 1000
    for k in range(len(kind)):
        since = 0 if kind[k] == VOICED else since + 1
        one = [x[None, k : k + 1] for x in (kind, power, wide)]
        acoustics.add(ONE, np.ones((1, 1), np.bool_), np.array([[first + k]]), np.array([[since]]), *one)
    return acoustics


def read(acoustics: Acoustics, talk: int = 400) -> Quality:
    return acoustics.read(ONE, np.array([talk]))


def words(n: int, speech: float, noise: float) -> tuple[NDArray, NDArray, NDArray]:
    """Words of half a second and pauses of as much: kind, power, wide."""
    kind = np.where(np.arange(n) % 40 < 20, VOICED, SILENT).astype(np.uint8)
    # The softest interval of a second is so much softer than the mean.
    power = np.where(np.arange(n) % 40 == 39, noise / SOFTEST, noise)
    return kind, np.where(kind == VOICED, speech + noise, power), np.arange(n) % 40 == 3


@pytest.mark.parametrize("snr", [-3, 0, 3, 10, 20, 40])
def test_the_ratio_is_that_of_speech_to_the_noise_under_it(snr: float) -> None:
    quality = read(told(*words(400, 1e-3, 1e-3 * 10 ** (-snr / 10))))
    assert quality.snr_db[0] == pytest.approx(snr, abs=0.3)
    assert quality.noisy[0] == (snr < 15)
    assert quality.voiced_s[0] == 5


def test_nothing_is_said_of_what_was_not_heard() -> None:
    for acoustics in (Acoustics(1, 40, 40), told(*words(19, 1e-3, 1e-6))):
        quality = read(acoustics, 19)
        assert np.isnan(quality.snr_db[0])
        assert not quality.noisy[0]
    assert not read(Acoustics(1, 40, 40), 0).narrow[0]


def test_without_pauses_noise_is_judged_by_what_is_softest() -> None:
    rng, kind = np.random.default_rng(0), np.full(400, VOICED, np.uint8)
    power = np.where(np.arange(400) % 20 < 15, 1e-3, 0.0) + 1e-4 * rng.normal(1, 0.12, 400)
    assert read(told(kind, power, kind == VOICED)).snr_db[0] == pytest.approx(8.75, abs=1.5)


@pytest.mark.parametrize("more", [1, 5, 19])
def test_a_loud_interval_that_begins_a_second_is_no_noise(more: int) -> None:
    """As loud as speech: of a second that has just begun, nothing is known of its softest interval."""
    both = [words(400, 1e-3, 1e-6), words(400 + more, 1e-3, 1e-6)]
    before, after = (read(told(*some), len(some[0])).snr_db[0] for some in both)
    assert after == pytest.approx(before, abs=0.5)


def test_what_comes_long_after_words_is_no_noise_of_theirs() -> None:
    kind, power, wide = words(400, 1e-3, 1e-6)
    music = np.full(400, SILENT, np.uint8), np.full(400, 1e-2), np.ones(400, np.bool_)
    both = [np.concatenate(pair) for pair in zip((kind, power, wide), music, strict=True)]
    # Of the music the first half second counts, no more.
    some, all_ = told(*(x[:430] for x in both)), told(*both)
    assert read(some, 430).snr_db[0] == read(all_, 800).snr_db[0] > 5


def test_speech_with_nothing_high_in_it_is_narrow() -> None:
    kind, power, wide = words(400, 1e-3, 1e-6)
    assert not read(told(kind, power, wide)).narrow[0]
    assert read(told(kind, power, np.zeros_like(wide))).narrow[0]
    # What is high in pauses is hiss, and says nothing of the speech.
    assert read(told(kind, power, kind == SILENT)).narrow[0]


def test_missing_intervals_are_neither_speech_nor_noise() -> None:
    kind, power, wide = words(400, 1e-3, 1e-6)
    kind[20:30], power[20:30] = MISSING, 5.0
    assert read(told(kind, power, wide)).snr_db[0] == pytest.approx(30, abs=0.3)


def test_a_window_forgets_by_whole_blocks_and_a_jump_empties_what_it_passes() -> None:
    acoustics = told(*words(400, 1e-3, 1e-6), length=80)
    assert read(acoustics).voiced_s[0] == 1
    acoustics.jump(0, 400, 440)
    assert read(acoustics, 440).voiced_s[0] == 0.5
    acoustics.jump(0, 440, 520)
    assert read(acoustics, 520).voiced_s[0] == 0
    acoustics.reset(ONE)
    assert read(acoustics, 0).voiced_s[0] == 0


def quality(snr: float = 30, narrow: bool = False, voiced_s: float = 25, paused: bool = True) -> Quality:
    return Quality(np.array([snr]), np.array([narrow]), np.array([float(voiced_s)]), np.array([paused]))


def test_an_answer_is_worth_all_when_it_is_clean_and_long() -> None:
    assert quality().weight[0] == 1
    assert quality(snr=np.nan).weight[0] == 1


def test_and_less_in_noise_in_half_a_band_or_after_a_word() -> None:
    weights = [quality(snr=snr).weight[0] for snr in (20, 15, 10, 5, 3, -5)]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] == quality(narrow=True).weight[0] == quality(voiced_s=0.25).weight[0] == LEAST
    # Of three labels none reaches a half, whatever the net says.
    assert 1 / 3 + LEAST * 2 / 3 < 0.5


def test_noise_is_reported_once_a_pause_or_seconds_of_speech_were_heard() -> None:
    assert quality(snr=5, voiced_s=1).noisy[0]
    assert not quality(snr=5, voiced_s=1, paused=False).noisy[0]
    assert quality(snr=5, voiced_s=3, paused=False).noisy[0]
