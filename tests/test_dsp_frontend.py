"""The front end: the specification's sub-intervals, at any rate, wherever the stream is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speech import naive_pool, talk

from streamcab.dsp.frontend import FrontEnd, Pooled

RATES = [8000, 11025, 16000, 22050, 44100, 48000]
ODD = [8001, 7350, 12345]
ANY_RATE = st.one_of(st.sampled_from(RATES + ODD), st.integers(4000, 50_000))


def pool(front: FrontEnd, x: NDArray[np.float32], k: int, h: int) -> Pooled:
    """Intervals k .. k + h - 1 of a clip, given just the samples that `span` names."""
    start, stop = front.span(k, h)
    index = np.arange(start, stop)
    inside = (index >= 0) & (index < len(x))
    piece = np.where(inside, x[np.clip(index, 0, len(x) - 1)], np.float32(0))
    return front.pool(piece[None], k, h)


def total(front: FrontEnd, samples: int) -> int:
    return int(front.total(np.array([samples]))[0])


def ready(front: FrontEnd, samples: int) -> int:
    return int(front.ready(np.array([samples]))[0])


@pytest.mark.parametrize("model_rate", [8000, 16000, 11025, 22050, 4000, 5000])
def test_sub_intervals_begin_at_the_floor_of_their_position(model_rate: int) -> None:
    # Each sample is its own index, so a maximum tells the last sample of its sub-interval.
    front = FrontEnd(model_rate, model_rate, 4000, 100)
    x = np.arange(model_rate * 3, dtype=np.float32)
    pooled = pool(front, x, 0, total(front, len(x)))
    i = np.arange(pooled.maxima.size)
    np.testing.assert_array_equal(pooled.maxima.ravel(), ((i + 1) * model_rate) // 4000 - 1)
    k = np.arange(len(pooled.count))
    np.testing.assert_array_equal(
        pooled.count, (k + 1) * 100 * model_rate // 4000 - k * 100 * model_rate // 4000
    )


@pytest.mark.parametrize("rate_in", RATES + ODD)
@pytest.mark.parametrize("model_rate", [8000, 11025])
def test_equals_the_naive_front_end(rate_in: int, model_rate: int) -> None:
    x = talk(0.83, rate_in, seed=2, rms=0.2)
    front = FrontEnd(rate_in, model_rate, 4000, 100)
    naive = naive_pool(x, rate_in, model_rate)
    assert total(front, len(x)) == len(naive.count)
    got = pool(front, x, 0, len(naive.count))
    np.testing.assert_allclose(got.maxima[0], naive.maxima, atol=5e-6)
    np.testing.assert_array_equal(got.count, naive.count)
    np.testing.assert_allclose(got.sum[0], naive.sum, atol=1e-3)
    np.testing.assert_allclose(got.square[0], naive.square, atol=1e-3, rtol=1e-5)
    variance = naive.square / naive.count - (naive.sum / naive.count) ** 2
    np.testing.assert_allclose(got.power[0], variance, atol=1e-6)
    assert not got.missing.any()


def test_normalising_commutes_with_the_maximum() -> None:
    x = talk(0.5, 8000, seed=3)
    front = FrontEnd(8000, 8000, 4000, 100)
    mean, deviation = np.float32(0.013), np.float32(0.21)
    before = pool(front, (x - mean) / deviation, 0, 20)
    after = (pool(front, x, 0, 20).maxima - mean) / deviation
    np.testing.assert_allclose(before.maxima, after, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(rate_in=ANY_RATE, model_rate=st.sampled_from([8000, 11025, 16000]), data=st.data())
def test_an_interval_does_not_depend_on_where_the_stream_is_cut(
    rate_in: int, model_rate: int, data: st.DataObject
) -> None:
    front = FrontEnd(rate_in, model_rate, 4000, 100)
    x = talk(0.6, rate_in, seed=4)
    n = total(front, len(x))
    whole = pool(front, x, 0, n)
    k = data.draw(st.integers(0, n - 1))
    h = data.draw(st.integers(1, n - k))
    part, cut = pool(front, x, k, h), slice(k, k + h)
    np.testing.assert_allclose(part.maxima, whole.maxima[:, cut], atol=1e-6)
    np.testing.assert_array_equal(part.count, whole.count[cut])
    np.testing.assert_allclose(part.sum, whole.sum[:, cut], atol=1e-4)
    np.testing.assert_allclose(part.square, whole.square[:, cut], atol=1e-4)


@pytest.mark.parametrize("rate_in", RATES + ODD)
@pytest.mark.parametrize("model_rate", [8000, 11025])
def test_streams_a_period_apart_share_a_call(rate_in: int, model_rate: int) -> None:
    front = FrontEnd(rate_in, model_rate, 4000, 100)
    for k in (0, 3, 11):
        far = k + 4 * front.period
        (a, b), (c, d) = front.span(k, 8), front.span(far, 8)
        assert b - a == d - c
        assert c - a == int(front.heard(np.array(far))) - int(front.heard(np.array(k)))
    x = np.random.default_rng(5).standard_normal((1, b - a)).astype(np.float32)
    one, other = front.pool(x, 11, 8), front.pool(x, far, 8)
    np.testing.assert_array_equal(one.maxima, other.maxima)
    np.testing.assert_array_equal(one.count, other.count)
    np.testing.assert_array_equal(one.sum, other.sum)


@settings(deadline=None, max_examples=60)
@given(
    rate_in=ANY_RATE,
    model_rate=st.sampled_from([8000, 11025, 16000]),
    interval=st.sampled_from([100, 37, 64]),
    samples=st.integers(0, 300_000),
)
def test_what_is_ready_needs_no_sample_that_has_not_come(
    rate_in: int, model_rate: int, interval: int, samples: int
) -> None:
    front = FrontEnd(rate_in, model_rate, 4000, interval)
    now = ready(front, samples)
    if now:
        assert front.span(0, now)[1] <= samples
    assert front.span(0, now + 1)[1] > samples, "one more interval could be computed"
    assert total(front, samples) >= now
    assert ready(front, samples + 1) >= now


@settings(deadline=None, max_examples=40)
@given(rate_in=ANY_RATE, k=st.integers(0, 5000), h=st.integers(1, 9))
def test_spans_cover_the_samples_that_are_heard(rate_in: int, k: int, h: int) -> None:
    front = FrontEnd(rate_in, 8000, 4000, 100)
    start, stop = front.span(k, h)
    first, last = front.heard(np.array([k, k + h]))
    assert start <= first
    assert last <= stop or rate_in == 8000
    assert first == k * 100 * rate_in // 4000


@pytest.mark.parametrize("rate_in", RATES + ODD)
def test_total_is_the_whole_intervals_of_the_clip_and_no_more(rate_in: int) -> None:
    front = FrontEnd(rate_in, 8000, 4000, 100)
    for seconds in (0.0, 0.01, 0.024, 0.0251, 0.5, 0.9999, 1.0, 12.34):
        n = round(seconds * rate_in)
        assert abs(total(front, n) - n / rate_in * 40) <= 1
        # Every whole interval of a clip as long as k intervals is heard.
    for k in (1, 2, 7, 40, 400):
        assert total(front, -(-k * 100 * rate_in // 4000)) >= k


def test_a_missing_sample_spoils_its_own_interval_only() -> None:
    for rate_in in RATES + ODD:
        front = FrontEnd(rate_in, 8000, 4000, 100)
        x = talk(0.5, rate_in, seed=6)
        for k in (0, 7, 19):
            first, last = front.heard(np.array([k, k + 1]))
            for sample in (first, (first + last) // 2, last - 1):
                broken = x.copy()
                broken[sample] = np.nan
                pooled = pool(front, broken, 0, 20)
                assert np.flatnonzero(pooled.missing[0]).tolist() == [k], (rate_in, k, sample)
                for part in (pooled.maxima, pooled.sum, pooled.square, pooled.power):
                    assert np.isfinite(part).all()


def test_missing_samples_count_as_zeros_to_their_neighbours() -> None:
    front = FrontEnd(44100, 8000, 4000, 100)
    x = talk(0.5, 44100, seed=7)
    gone, zero = x.copy(), x.copy()
    gone[5000:7000], zero[5000:7000] = np.nan, 0
    np.testing.assert_array_equal(pool(front, gone, 0, 20).maxima, pool(front, zero, 0, 20).maxima)


def test_power_does_not_hear_an_offset() -> None:
    front = FrontEnd(8000, 8000, 4000, 100)
    quiet = talk(0.5, 8000, seed=8, rms=1e-3)
    plain, offset = pool(front, quiet, 0, 20).power, pool(front, quiet + np.float32(0.5), 0, 20).power
    # Samples beside 0.5 are rounded to 6e-8: a level of 1e-15, and of that times theirs.
    np.testing.assert_allclose(offset, plain, rtol=1e-3, atol=1e-13)
