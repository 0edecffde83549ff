"""The resampler: a low pass equal to scipy's, without aliases, a function of absolute position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speech import naive_resample, talk

from streamcab.dsp.resample import TILE, Resampler

PAIRS = [(11025, 8000), (16000, 8000), (22050, 8000), (44100, 8000), (48000, 8000), (8000, 16000)]
ODD = [(8001, 8000), (7350, 8000), (12345, 8000), (44100, 16000), (6000, 8000)]
RATES = st.one_of(st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]), st.integers(4000, 50_000))


def whole(resampler: Resampler, x: NDArray[np.floating]) -> NDArray[np.float32]:
    """All outputs of a clip, zeros around it."""
    count = int(resampler.total(np.array([len(x)]))[0])
    return outputs(resampler, x, 0, count)


def outputs(resampler: Resampler, x: NDArray[np.floating], first: int, count: int) -> NDArray[np.float32]:
    """Outputs first .. first + count - 1, given just what they say that they need."""
    start, stop = resampler.start(first), resampler.stop(first + count)
    index = np.arange(start, stop)
    inside = (index >= 0) & (index < len(x))
    piece = np.where(inside, x[np.clip(index, 0, len(x) - 1)], 0).astype(np.float32)
    return resampler(piece[None], first, count)[0]


def sine(hz: float, seconds: float, rate: int) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS + ODD)
def test_equals_scipys_polyphase_filter(rate_in: int, rate_out: int) -> None:
    x = np.random.default_rng(0).standard_normal(rate_in // 2).astype(np.float32)
    expected = naive_resample(x, rate_in, rate_out)
    got = whole(Resampler(rate_in, rate_out), x)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS + ODD)
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.75])
def test_a_tone_in_the_passband_is_the_same_tone(rate_in: int, rate_out: int, share: float) -> None:
    hz = share * min(rate_in, rate_out) / 2
    got = whole(Resampler(rate_in, rate_out), sine(hz, 0.3, rate_in))
    ideal = np.sin(2 * np.pi * hz * np.arange(len(got)) / rate_out)
    inner = slice(len(got) // 4, -len(got) // 4)
    assert np.abs(got - ideal)[inner].max() < 1e-3


@pytest.mark.parametrize(("rate_in", "rate_out"), [p for p in PAIRS + ODD if p[0] > 1.3 * p[1]])
@pytest.mark.parametrize("share", [1.1, 1.25])
def test_what_would_alias_is_gone(rate_in: int, rate_out: int, share: float) -> None:
    hz = share * rate_out / 2
    got = whole(Resampler(rate_in, rate_out), sine(hz, 0.3, rate_in))
    inner = got[len(got) // 4 : -len(got) // 4]
    assert np.sqrt(np.mean(inner**2)) < 10 ** (-70 / 20)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS + ODD)
def test_a_constant_stays_constant(rate_in: int, rate_out: int) -> None:
    got = whole(Resampler(rate_in, rate_out), np.ones(rate_in // 2))
    inner = got[len(got) // 4 : -len(got) // 4]
    assert np.abs(inner - 1).max() < 1e-4


def test_rates_that_are_far_apart_do_not_alias() -> None:
    got = whole(Resampler(48000, 8000), sine(20_000, 0.3, 48000))
    assert np.abs(got[200:-200]).max() < 1e-4


def test_silence_is_exactly_silence() -> None:
    assert not whole(Resampler(44100, 8000), np.zeros(9000)).any()


@settings(deadline=None, max_examples=25)
@given(rate_in=RATES, rate_out=st.sampled_from([8000, 16000]), data=st.data())
def test_an_output_does_not_depend_on_where_the_stream_is_cut(
    rate_in: int, rate_out: int, data: st.DataObject
) -> None:
    resampler = Resampler(rate_in, rate_out)
    x = talk(0.2, rate_in, seed=1, rms=0.3)
    total = int(resampler.total(np.array([len(x)]))[0])
    expected = naive_resample(x, rate_in, rate_out)
    first = data.draw(st.integers(0, total - 1))
    count = data.draw(st.integers(1, min(total - first, 5 * TILE)))
    got = outputs(resampler, x, first, count)
    np.testing.assert_allclose(got, expected[first : first + count], atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=60)
@given(rate_in=RATES, rate_out=RATES, samples=st.integers(0, 200_000))
def test_what_is_ready_needs_no_sample_that_has_not_come(rate_in: int, rate_out: int, samples: int) -> None:
    resampler = Resampler(rate_in, rate_out)
    ready = int(resampler.ready(np.array([samples]))[0])
    total = int(resampler.total(np.array([samples]))[0])
    assert total >= ready >= 0
    if ready:
        assert resampler.stop(ready) <= samples
    assert resampler.stop(ready + 1) > samples, "and one more would need one"
    # Those whose position n * rate_in / rate_out lies inside.
    assert (total - 1) * rate_in < samples * rate_out <= total * rate_in or samples == total == 0


def test_samples_beyond_the_reach_change_nothing() -> None:
    resampler = Resampler(44100, 8000)
    x = np.random.default_rng(1).standard_normal(9000).astype(np.float32)
    n = int(resampler.ready(np.array([5000]))[0])
    other = x.copy()
    other[5000:] = 7
    assert np.array_equal(outputs(resampler, x, 0, n), outputs(resampler, other, 0, n))
    assert not np.array_equal(outputs(resampler, x, n, 5), outputs(resampler, other, n, 5))


def test_streams_of_a_product_do_not_touch() -> None:
    resampler = Resampler(48000, 8000)
    x = np.random.default_rng(2).standard_normal((3, 4000)).astype(np.float32)
    together = resampler(x, 100, 200)
    for row in range(3):
        np.testing.assert_allclose(together[row], resampler(x[row : row + 1], 100, 200)[0], atol=1e-6)
