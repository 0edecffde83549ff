"""The speech detector: the same to the bit for any chunks and any company, after gaps, and as it was trained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples

from streamcab.dsp.bands import BANDS, FLOOR
from streamcab.dsp.detector import AHEAD, CHANNELS, FORM, FORMS, Detector, Weights, shapes, weights


def random_weights(seed: int = 0, form: int = FORM) -> Weights:
    rng, sizes = np.random.default_rng(seed), shapes(form=form)
    return weights(
        {k: (np.rint(rng.normal(0, 12, s)) / 64).clip(-2, 2).astype(np.float32) for k, s in sizes.items()},
        form,
    )


REACH = FORMS[FORM].reach


def scene(n: int, seed: int) -> NDArray[np.int16]:
    """Levels of anything: silence, steps, noise."""
    rng = np.random.default_rng(seed)
    x = rng.integers(FLOOR, 0, (n, BANDS)) * rng.choice([0.3, 1.0], (n, 1))
    x[rng.random(n) < 0.3] = FLOOR
    return x.astype(np.int16)


def whole(w: Weights, x: NDArray[np.int16]) -> NDArray[np.float32]:
    return Detector(w, 1, len(x)).push(np.zeros(1, np.intp), x[None])[0]


@examples(15, 40)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=60),
    seed=st.integers(0, 2**20),
    form=st.sampled_from(sorted(FORMS)),
)
def test_any_chunks_among_any_streams_are_the_whole(sizes: list[int], seed: int, form: int) -> None:
    w, rng = random_weights(seed, form), np.random.default_rng(seed)
    x = scene(sum(sizes), seed)
    detector, found, at = Detector(w, 5, 8), [], 0
    for h in sizes:
        others = rng.choice([0, 1, 3, 4], int(rng.integers(0, 4)), replace=False)
        slots = np.append(others, 2)
        levels = np.stack([*(scene(h, seed + k) for k in range(len(others))), x[at : at + h]])
        found.append(detector.push(slots, levels)[-1])
        at += h
    np.testing.assert_array_equal(np.concatenate(found), whole(w, x))


@examples(12, 30)
@given(seed=st.integers(0, 2**20), form=st.sampled_from(sorted(FORMS)))
def test_skips_of_many_streams_together_are_silence_to_each(seed: int, form: int) -> None:
    w, rng, slots = random_weights(seed, form), np.random.default_rng(seed), np.arange(4)
    detector = Detector(w, 4, 8)
    heard: list[list[NDArray[np.int16]]] = [[] for _ in slots]
    for _ in range(8):
        n = rng.choice([0, 1, 7, 40, FORMS[form].reach + 1, 300], 4)
        detector.skip(slots, n)
        some = np.flatnonzero(rng.random(4) < 0.7)
        said = np.stack([scene(3, seed + k) for k in range(4)])
        if len(some):
            found = detector.push(some, said[some])
        for slot in slots:
            heard[slot].append(np.full((n[slot], BANDS), FLOOR, np.int16))
        for k, slot in enumerate(some):
            heard[slot].append(said[slot])
            # What lies further back than the reach is forgotten: see the next test.
            near = np.concatenate(heard[slot])[-FORMS[form].reach - 10 :]
            np.testing.assert_array_equal(found[k], whole(w, near)[-3:])


@pytest.mark.parametrize("form", FORMS)
def test_what_lies_further_back_than_its_reach_is_forgotten(form: int) -> None:
    w, x, reach = random_weights(1, form), scene(400, 1), FORMS[form].reach
    other = x.copy()
    other[:100] = scene(100, 2)
    a, b = whole(w, x), whole(w, other)
    assert (a[:100] != b[:100]).any()
    np.testing.assert_array_equal(a[100 + reach :], b[100 + reach :])


def test_before_the_start_there_was_silence() -> None:
    w, x = random_weights(2), scene(50, 3)
    silence = np.full((300, BANDS), FLOOR, np.int16)
    np.testing.assert_array_equal(whole(w, x), whole(w, np.concatenate((silence, x)))[300:])


@pytest.mark.parametrize("gap", [1, 7, 8, 50, REACH - 1, REACH, REACH + 1, 1000, 10**9])
def test_a_skip_is_silence(gap: int) -> None:
    w, x, one = random_weights(3), scene(150, 4), np.zeros(1, np.intp)
    detector = Detector(w, 1, 100)
    detector.push(one, x[None, :100])
    detector.skip(one, np.array([gap]))
    silence = np.full((min(gap, 2 * REACH), BANDS), FLOOR, np.int16)
    expected = whole(w, np.concatenate((x[:100], silence, x[100:])))[-50:]
    np.testing.assert_array_equal(detector.push(one, x[None, 100:])[0], expected)


def test_loudness_changes_nothing_above_what_is_quiet() -> None:
    w, rng = random_weights(4), np.random.default_rng(5)
    x = rng.integers(-160, -40, (200, BANDS)).astype(np.int16)
    np.testing.assert_array_equal(whole(w, x)[REACH:], whole(w, x + np.int16(40))[REACH:])


def test_a_reset_slot_is_fresh_and_its_neighbour_keeps_what_it_has() -> None:
    w, x = random_weights(6), scene(60, 6)
    detector = Detector(w, 2, 60)
    both = np.arange(2)
    detector.push(both, np.stack((scene(60, 7), x)))
    detector.reset(both[:1])
    found = detector.push(both, np.stack((x, x)))
    np.testing.assert_array_equal(found[0], whole(w, x))
    np.testing.assert_array_equal(found[1], whole(w, np.concatenate((x, x)))[60:])


def test_it_is_the_net_that_was_trained() -> None:
    torch = pytest.importorskip("torch")
    from streamcab_train.detector_net import Net, inputs

    torch.manual_seed(0)
    net = Net()
    x = scene(300, 8)
    with torch.no_grad():
        trained = net(*inputs(x[None]))[0].numpy()
    assert {k: v.shape for k, v in net.tensors().items()} == shapes()
    w = weights(net.tensors())
    np.testing.assert_allclose(whole(w, x)[REACH:], trained[REACH:], atol=1e-5)


def test_state_is_a_few_kilobytes_and_the_net_small() -> None:
    detector = Detector(random_weights(), 3, 8)
    assert detector.bytes_per_slot < 10_000
    assert sum(int(np.prod(s)) for s in shapes(CHANNELS).values()) < 30_000
    assert AHEAD <= 8
