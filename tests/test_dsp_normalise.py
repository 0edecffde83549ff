"""The gate and the normalisers: what they are said to do, and each property that `running` must have."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples
from speech import (
    NaiveIntervals,
    Samples,
    hum,
    naive_pool,
    naive_running,
    noise,
    silence,
    talk,
    tiny_model,
)

from streamcab.dsp.frontend import Pooled, front_end
from streamcab.dsp.gate import MISSING, SILENT, VOICED
from streamcab.dsp.normalise import RunningNormaliser
from streamcab.dsp.normalise_offline import normalise_clip, normalise_whole
from streamcab.dsp.normalised import NormalisedBatch
from streamcab.nn.cabcnn import CabCnn

INTERVAL_S = 0.025
SLOT = np.zeros(1, np.intp)


def pooled(x: Samples, rate: int = 8000) -> Pooled:
    """All whole intervals of a clip at 8 kHz."""
    front = front_end(rate, 8000, 4000, 100)
    n = int(front.total(np.array([len(x)]))[0])
    start, stop = front.span(0, n)
    return front.pool(np.pad(x, (max(-start, 0), max(stop - len(x), 0)))[None, : stop - start], 0, n)


def cut(p: Pooled, first: int, stop: int) -> Pooled:
    """Some of the intervals."""
    part = slice(first, stop)
    return Pooled(p.maxima[:, part], p.count[part], p.sum[:, part], p.square[:, part], p.missing[:, part])


def heard(x: Samples, rate: int = 8000) -> NormalisedBatch:
    return normalise_whole(pooled(x, rate), INTERVAL_S, "running")


@cache
def net() -> CabCnn:
    return tiny_model(0)


def answers(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """c_t of every interval of normalised samples (1, K * 100)."""
    with torch.inference_mode():
        return net()(torch.from_numpy(x))[0][0].numpy()


def mean(h: NormalisedBatch, first: int, stop: int) -> NDArray[np.floating]:
    """The mean of the voiced c_t of some intervals."""
    reach = max(first - 8, 0)
    c = answers(h.x[:, reach * 100 : (stop + 8) * 100])[first - reach : stop - reach]
    voiced = h.kind[0, first:stop] == VOICED
    assert voiced.any(), "nothing was heard"
    return c[voiced].mean(0)


def window(x: Samples, seconds: float = 30.0) -> NDArray[np.floating]:
    """The answer at the end of a stream."""
    h = heard(x)
    n = h.kind.shape[1]
    return mean(h, max(n - round(seconds / INTERVAL_S), 0), n)


def intervals(x: Samples, first_s: float = 0.0, stop_s: float = 1e9) -> NDArray[np.uint8]:
    """The kinds of the intervals of a stretch of a clip."""
    return heard(x).kind[0, round(first_s / INTERVAL_S) : round(min(stop_s, 1e5) / INTERVAL_S)]


def by_levels(power: NDArray[np.float64], missing: NDArray[np.bool_], seed: int) -> Pooled:
    """Intervals of a level each, with maxima and means that no two share."""
    rng = np.random.default_rng(seed)
    n = len(power)
    mean = rng.standard_normal(n) * 0.01
    maxima = rng.uniform(0, 1, (1, n, 100)).astype(np.float32) * np.sqrt(power)[None, :, None].astype(
        np.float32
    )
    count = np.full(n, 200)
    return Pooled(maxima, count, (200 * mean)[None], (200 * (power + mean * mean))[None], missing[None])


def naive(p: Pooled) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    return naive_running(
        NaiveIntervals(
            p.maxima[0].astype(np.float64), p.count.astype(np.float64), p.sum[0], p.square[0], p.missing[0]
        )
    )


STRETCHES = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3, 5, 20, 39, 40, 41, 85, 300, 1250]),
        st.sampled_from(["zero", "hiss", "hum", "speech", "quiet speech", "loud", "missing", "patchy"]),
    ),
    min_size=1,
    max_size=6,
)


def levels(stretches: list[tuple[int, str]], seed: int) -> Pooled:
    """Levels as streams have them, one stretch after the other."""
    rng = np.random.default_rng(seed)
    power, missing = [], []
    for n, what in stretches:
        talking = 10 ** rng.uniform(-5.5, -1.5, n) * rng.choice([0, 1, 1, 1], n)
        level = {
            "zero": np.zeros(n),
            "hiss": 1e-7 * rng.uniform(0.7, 1.3, n),
            "hum": 1e-4 * rng.uniform(0.9, 1.1, n),
            "loud": 0.5 * rng.uniform(0.9, 1.1, n),
            "quiet speech": 1e-4 * talking,
        }.get(what, talking)
        power.append(level + 1e-8 * rng.uniform(0.9, 1, n) * (what != "zero"))
        missing.append(rng.random(n) < {"missing": 1.0, "patchy": 0.3}.get(what, 0.0))
    return by_levels(np.concatenate(power), np.concatenate(missing), seed)


@examples(6, 12)
@given(stretches=STRETCHES, seed=st.integers(0, 2**20))
def test_does_what_its_description_says(stretches: list[tuple[int, str]], seed: int) -> None:
    p = levels(stretches, seed)
    h = normalise_whole(p, INTERVAL_S, "running")
    x, kind = naive(p)
    np.testing.assert_array_equal(h.kind[0], kind)
    np.testing.assert_allclose(h.x[0], x.ravel(), rtol=1e-4, atol=1e-4)


def test_does_what_its_description_says_of_a_talk_in_noise() -> None:
    hiss = noise(35, rms=1e-3)
    hiss[40_000:] += talk(30, seed=1)
    x = np.concatenate([hiss, silence(40), talk(6, seed=2)])
    x[70_000:71_000] = np.nan
    x_naive, kind = naive_running(naive_pool(x, 8000, 8000))
    h = heard(x)
    assert np.bincount(kind, minlength=3).min() > 3
    np.testing.assert_array_equal(h.kind[0], kind)
    np.testing.assert_allclose(h.x[0], x_naive.ravel(), atol=1e-4)


@examples(6, 12)
@given(stretches=STRETCHES, seed=st.integers(0, 2**20), data=st.data())
def test_chunks_and_other_slots_change_nothing(
    stretches: list[tuple[int, str]], seed: int, data: st.DataObject
) -> None:
    p, other = levels(stretches, seed), levels([(1250, "speech"), (400, "hum")], seed + 1)
    whole = normalise_whole(p, INTERVAL_S, "running")
    n = p.maxima.shape[1]
    state = RunningNormaliser(3, 100, INTERVAL_S, margin=16)
    mine, theirs = np.array([2]), np.array([0])
    x, kind, at, beside = [], [], 0, 0
    sizes = data.draw(st.lists(st.integers(1, 16), min_size=3, max_size=9))
    turn = 0
    while at < n:
        size = min(sizes[turn % len(sizes)], n - at)
        if turn % 2 and beside + size < other.maxima.shape[1]:
            a, b = cut(p, at, at + size), cut(other, beside, beside + size)
            both = Pooled(
                np.concatenate((b.maxima, a.maxima)),
                a.count,
                np.concatenate((b.sum, a.sum)),
                np.concatenate((b.square, a.square)),
                np.concatenate((b.missing, a.missing)),
            )
            state.push(np.array([0, 2]), both)
            beside += size
            state.take(theirs, int(state.ready[0]))
        else:
            state.push(mine, cut(p, at, at + size))
        at, turn = at + size, turn + 1
        if at == n:
            state.finish(mine)
        part = state.take(mine, int(state.ready[2]))
        x.append(part.x)
        kind.append(part.kind)
    np.testing.assert_array_equal(np.concatenate(kind, 1), whole.kind)
    np.testing.assert_array_equal(np.concatenate(x, 1), whole.x)


@pytest.mark.parametrize("now", [17, 200, 1333])
def test_the_future_beyond_a_second_changes_nothing(now: int) -> None:
    x = np.concatenate([silence(3), talk(30, seed=1), silence(3)])
    ends = {
        "silence": silence(4),
        "loud": talk(4, seed=9, rms=0.5),
        "noise": noise(4, rms=0.1),
        "gone": np.full(32_000, np.nan, np.float32),
    }
    results = [heard(np.concatenate([x[: (now + 40) * 200], end])) for end in ends.values()]
    for h in results[1:]:
        np.testing.assert_array_equal(h.kind[0, :now], results[0].kind[0, :now])
        np.testing.assert_array_equal(h.x[0, : now * 100], results[0].x[0, : now * 100])


def test_holds_back_a_second_at_the_start_of_a_talk_and_nothing_else() -> None:
    p = pooled(np.concatenate([silence(2), talk(20, seed=2)]))
    state = RunningNormaliser(1, 100, INTERVAL_S, margin=1)
    lag = []
    for k in range(p.maxima.shape[1]):
        state.push(SLOT, cut(p, k, k + 1))
        lag.append(k + 1 - int(state.ready[0]) - int(state.taken[0]))
    assert max(lag) == 39, "the fortieth interval ends the hold"
    assert np.count_nonzero(lag) == 39
    assert lag[80] == 1


PASTS = {
    "another voice": lambda: talk(40, seed=11),
    "a voice and then silence": lambda: np.concatenate([talk(30, seed=12), silence(10)]),
    "noise": lambda: noise(40, rms=0.05),
    "gone": lambda: np.full(320_000, np.nan, np.float32),
    "a voice three times as loud": lambda: talk(40, seed=13, rms=0.3),
    "a voice ten times quieter": lambda: talk(40, seed=14, rms=0.01),
}


@pytest.mark.parametrize("past", list(PASTS)[1::2])
def test_what_lies_far_back_is_forgotten(past: str) -> None:
    # 30 s of statistics of what was voiced, which 30 s before them and 2 s of floor decided.
    after = talk(66, seed=1) + noise(66, seed=1, rms=1e-3)
    fresh, old = heard(after), heard(np.concatenate([PASTS[past](), after]))
    late = slice(-80, None)
    np.testing.assert_array_equal(old.kind[0, late], fresh.kind[0, late])
    np.testing.assert_allclose(old.x[0, -8000:], fresh.x[0, -8000:], atol=5e-3)
    n, before = len(after) // 200, old.kind.shape[1] - len(after) // 200
    assert np.abs(mean(old, before + n - 80, before + n) - mean(fresh, n - 80, n)).max() < 1e-3


@pytest.mark.parametrize("past", ["another voice", "noise"])
def test_pasts_of_a_like_level_are_forgotten_after_thirty_seconds(past: str) -> None:
    after = talk(36, seed=3) + noise(36, seed=3, rms=1e-3)
    fresh, old = heard(after), heard(np.concatenate([PASTS[past](), after]))
    late = slice(-80, None)
    voiced = fresh.kind[0, late] == VOICED
    np.testing.assert_array_equal(old.kind[0, late], fresh.kind[0, late])
    assert np.abs(answers(old.x)[late] - answers(fresh.x)[late])[voiced].max() < 1e-2


def test_statistics_reach_back_thirty_seconds_and_no_further() -> None:
    # Loud speech, then soft speech over a floor: its statistics are its own once the loud is 31 s old.
    p = by_levels(np.tile([1e-2, 1e-2, 1e-6], 800), np.zeros(2400, bool), 0)
    p.maxima[:] = 1.0
    soft = by_levels(np.tile([1e-4, 1e-4, 1e-9], 800), np.zeros(2400, bool), 1)
    soft.maxima[:] = 0.1
    both = Pooled(
        np.concatenate((p.maxima[:, :1000], soft.maxima[:, 1000:]), 1),
        p.count,
        np.concatenate((p.sum[:, :1000], soft.sum[:, 1000:]), 1),
        np.concatenate((p.square[:, :1000], soft.square[:, 1000:]), 1),
        p.missing,
    )
    x = normalise_whole(both, INTERVAL_S, "running").x[0, ::100]
    alone = normalise_whole(soft, INTERVAL_S, "running").x[0, ::100]
    assert abs(x[1000 + 1150] - alone[1000 + 1150]) > 0.1 * alone[1000 + 1150], "29 s: still there"
    np.testing.assert_allclose(x[1000 + 1240 :], alone[1000 + 1240 :], rtol=0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_speech_at_minus_40_db_gets_the_same_probabilities(seed: int) -> None:
    loud = talk(40, seed=seed)
    a, b = heard(loud), heard((loud * 0.01).astype(np.float32))
    np.testing.assert_array_equal(a.kind, b.kind)
    warm = slice(40, None)
    assert np.abs(answers(a.x) - answers(b.x))[warm][a.kind[0, warm] == VOICED].max() < 1e-2
    assert np.abs(window(loud) - window((loud * 0.01).astype(np.float32))).max() < 1e-2


def test_a_call_that_falls_by_20_db_is_answered_alike_once_the_loud_is_forgotten() -> None:
    words = talk(40, seed=5)
    x = np.concatenate([words, (0.1 * words).astype(np.float32)])
    assert np.abs(window(x, 8) - window(words, 8)).max() < 1e-2


BEFORE = {
    "silence": lambda n, rate: silence(n, rate),
    "white -40 dB": lambda n, rate: noise(n, rate, 1, 1e-3),
    "white -20 dB": lambda n, rate: noise(n, rate, 2, 1e-2),
    "white -10 dB": lambda n, rate: noise(n, rate, 3, 3e-2),
    "pink -30 dB": lambda n, rate: noise(n, rate, 4, 3e-3, pink=True),
    "pink -15 dB": lambda n, rate: noise(n, rate, 5, 1.8e-2, pink=True),
    "hum -30 dB": lambda n, rate: hum(n, rate, 50, 3e-3),
    "hum -15 dB": lambda n, rate: hum(n, rate, 50, 1.8e-2),
}


@pytest.mark.parametrize(("before", "rate"), [*((b, 8000) for b in BEFORE), ("white -20 dB", 44100)])
def test_a_talk_after_minutes_of_steady_sound_is_answered_as_if_just_begun(before: str, rate: int) -> None:
    words = talk(12, rate, seed=6)
    # 12.3 ms off the intervals' grid; the talk alone then begins as far off it.
    off, long, k = round(0.0123 * rate), 125 * rate, 125 * 40
    sound = BEFORE[before](138, rate)
    sound[long + off : long + off + len(words)] += words
    late, alone = heard(sound, rate), heard(sound[long:], rate)
    assert not (late.kind[0, :k] == VOICED).any()
    for n in (3 * 40, 12 * 40):
        assert np.abs(mean(late, k, k + n) - mean(alone, 0, n)).max() < 1e-2


@pytest.mark.parametrize("rms", [3e-4, 0.02, 0.3])
@pytest.mark.parametrize(
    "sound",
    [
        lambda rms: noise(25, rms=rms),
        lambda rms: noise(25, rms=rms, pink=True),
        lambda rms: hum(25, frequency=50, rms=rms),
        lambda rms: hum(25, frequency=60, rms=rms),
        lambda rms: hum(25, frequency=1000, rms=rms),
        lambda rms: np.full(200_000, rms, np.float32),
        lambda rms: np.sign(hum(25, frequency=100.3)) * np.float32(min(1.0, 4 * rms)),
    ],
    ids=["white", "pink", "50 Hz", "60 Hz", "1 kHz", "constant", "square"],
)
def test_steady_sounds_never_vote(sound: object, rms: float) -> None:
    x = sound(rms)
    h = heard(x)
    assert (h.kind == SILENT).all()
    assert not h.x.any()
    assert np.isfinite(answers(h.x)).all()


def test_digital_silence_is_silent_and_zero() -> None:
    h = heard(silence(90))
    assert (h.kind == SILENT).all()
    assert not h.x.any()
    assert (h.power == 0).all()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("late_ms", [0, 0.5, 1, 2, 12, 20, 22, 24, 24.8])
def test_noise_and_tones_that_set_in_after_silence_do_not_vote_wherever_in_an_interval(
    late_ms: float, rate: int
) -> None:
    for sound in (noise(4, rate, rms=0.05), noise(4, rate, rms=0.05, pink=True), hum(4, rate, 440, 0.3)):
        x = np.concatenate([silence(2 + late_ms / 1000, rate), sound, silence(1, rate)])
        assert (heard(x, rate).kind == SILENT).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_line_that_opens_within_an_interval_does_not_make_its_noise_a_voice(seed: int) -> None:
    # The call comes up 0.6 ms before an interval ends, its noise and a voice at once.
    voice = talk(6, seed=seed)
    x = np.concatenate([silence(2 + 0.0244), noise(6, seed=seed, rms=0.01) + voice])
    kind = heard(x).kind[0]
    said = np.concatenate([silence(2 + 0.0244), voice])[: len(kind) * 200].reshape(-1, 200).any(1)
    early = slice(81, 81 + 80)
    assert (~said[early]).sum() > 5
    assert (kind[early][said[early]] == VOICED).sum() > 15
    assert not (kind[~said] == VOICED).any()


def test_a_full_scale_square_is_a_number() -> None:
    x = np.sign(hum(10, frequency=3.3)).astype(np.float32)
    h = heard(x)
    assert np.isfinite(h.x).all()
    assert np.isfinite(answers(h.x)).all()


@pytest.mark.parametrize("floor", [0.0, 1e-3])
def test_clicks_do_not_vote(floor: float) -> None:
    x = noise(60, rms=floor) if floor else silence(60)
    rng = np.random.default_rng(0)
    for at in rng.choice(59, 40, replace=False) * 8000 + rng.integers(0, 8000, 40):
        x[at : at + 8] = rng.uniform(-1, 1, 8)
    assert not (heard(x).kind == VOICED).any()


def test_an_offset_of_half_of_full_scale_does_not_cover_quiet_speech() -> None:
    quiet = talk(30, seed=7, rms=1e-3)
    a, b = heard(quiet), heard(quiet + np.float32(0.5))
    assert (a.kind == VOICED).mean() > 0.4
    assert (a.kind != b.kind).mean() < 0.01
    assert np.abs(window(quiet) - window(quiet + np.float32(0.5))).max() < 1e-2


def test_most_of_a_voice_is_voiced_and_its_pauses_are_not() -> None:
    x = talk(30, seed=8)
    power = np.square(x.reshape(-1, 200)).mean(1)
    kind = intervals(x)
    assert (kind[power > 1e-3] == VOICED).mean() > 0.95
    assert not (kind[power == 0] == VOICED).any()


def test_missing_intervals_never_vote_and_leave_no_trace() -> None:
    x = talk(40, seed=9) + noise(40, seed=9, rms=1e-3)
    p = pooled(x)
    gone = np.zeros(1600, bool)
    gone[np.random.default_rng(9).choice(1600, 300, replace=False)] = True
    calm = Pooled(p.maxima, p.count, p.sum, p.square, gone[None])
    shout = by_levels(np.full(1600, 1e3), gone, 9)
    wild = Pooled(
        np.where(gone[None, :, None], shout.maxima, p.maxima),
        p.count,
        np.where(gone, shout.sum, p.sum),
        np.where(gone, shout.square, p.square),
        gone[None],
    )
    a, b = (normalise_whole(q, INTERVAL_S, "running") for q in (calm, wild))
    np.testing.assert_array_equal(a.kind, b.kind)
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.kind[0] == MISSING, gone)
    assert not a.x.reshape(1600, 100)[gone].any()


# At the start of a block of a second, 30 blocks on: the ring still holds that of 30 s before.
@example(before=[(1200, "speech")], n=50, seed=1)
@settings(deadline=None, max_examples=6)
@given(
    before=STRETCHES,
    n=st.sampled_from([1, 7, 40, 79, 80, 120, 400, 1199, 1200, 1250, 4000]),
    seed=st.integers(0, 99),
)
def test_a_skip_equals_so_many_missing_intervals(before: list[tuple[int, str]], n: int, seed: int) -> None:
    p, after = levels(before, seed), levels([(300, "speech"), (40, "zero"), (1250, "speech")], seed + 1)
    nobody = by_levels(np.zeros(n), np.ones(n, bool), seed)
    pushing, skipping = (RunningNormaliser(1, 100, INTERVAL_S, margin=8000) for _ in range(2))
    results = []
    for state in (pushing, skipping):
        state.push(SLOT, p)
        # `skip` wants all decided: a hold is ended first.
        state.finish(SLOT)
        state.take(SLOT, int(state.ready[0]))
        if state is skipping:
            state.skip(np.array([0]), np.array([n]))
        else:
            state.push(SLOT, nobody)
            assert (state.take(SLOT, n).kind == MISSING).all()
        state.push(SLOT, after)
        state.finish(SLOT)
        results.append(state.take(SLOT, int(state.ready[0])))
    assert pushing.pushed[0] == skipping.pushed[0]
    np.testing.assert_array_equal(results[1].kind, results[0].kind)
    np.testing.assert_allclose(results[1].x, results[0].x, atol=1e-6)


def test_a_reused_slot_is_a_fresh_one() -> None:
    p = pooled(talk(5, seed=1))
    fresh, used = RunningNormaliser(1, 100, INTERVAL_S, 2000), RunningNormaliser(1, 100, INTERVAL_S, 2000)
    used.push(SLOT, pooled(talk(33, seed=2, rms=0.5)))
    used.reset(SLOT)
    results = []
    for state in (fresh, used):
        state.push(SLOT, p)
        state.finish(SLOT)
        results.append(state.take(SLOT, int(state.ready[0])))
    np.testing.assert_array_equal(results[0].x, results[1].x)
    np.testing.assert_array_equal(results[0].kind, results[1].kind)


def test_hours_leave_memory_and_statistics_as_a_minute_does() -> None:
    # Ten hours: forty talks, and 15 minutes between them in which nothing comes.
    sound = pooled(talk(12, seed=3) + noise(12, rms=1e-3))
    state = RunningNormaliser(1, 100, INTERVAL_S, margin=480)
    runs = []
    for _ in range(41):
        state.push(SLOT, sound)
        state.finish(SLOT)
        runs.append((state.take(SLOT, int(state.ready[0])), state.bytes_per_slot))
        # Whole seconds, so that each talk meets the blocks as the first did.
        state.skip(np.array([0]), np.array([900 * 40]))
    assert state.pushed[0] > 10 * 3600 * 40
    (first, size), (last, then) = runs[0], runs[-1]
    assert then == size
    np.testing.assert_array_equal(last.kind, first.kind)
    np.testing.assert_array_equal(last.x, first.x)


def test_clip_normalises_to_mean_zero_and_deviation_one() -> None:
    x = talk(5, seed=4) + np.float32(0.3)
    p = pooled(x)
    h = normalise_whole(p, INTERVAL_S, "clip")
    deviation = x.astype(np.float64).std()
    expected = (p.maxima.reshape(1, -1) - x.mean(dtype=np.float64)) / deviation
    np.testing.assert_allclose(h.x, expected, atol=1e-4)
    np.testing.assert_array_equal(h.kind, normalise_whole(p, INTERVAL_S, "running").kind)


def test_clip_leaves_silence_at_zero() -> None:
    p = pooled(silence(2))
    h = normalise_clip(p, np.zeros((1, 80), np.uint8), np.ones((1, 80), np.bool_))
    assert not h.x.any()
