"""Answers by a stream's own time: when they fall due, and what they say, is the same for any cut of its intervals."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from searches import examples

from streamcab.dsp.gate import VOICED
from streamcab.inference.cadence import Due, add_by_own_time
from streamcab.inference.engine_output import EngineOutput
from streamcab.inference.window import Window

N, DELAY = 150, 3


def stream(seed):
    """N intervals of one stream, DELAY before its first, as one output."""
    rng = np.random.default_rng(seed)
    n = N + DELAY
    c, alpha = rng.random((1, n, 3), np.float32), rng.random((1, n, 4), np.float32)
    kind = rng.integers(0, 3, (1, n)).astype(np.uint8)
    return EngineOutput(
        np.array([1]),
        np.array([-DELAY]),
        c,
        alpha,
        np.zeros((1, n, 0), np.float32),
        kind,
        rng.random((1, n)),
        rng.random((1, n)) < 0.5,
    )


def fresh():
    return Window(3, 3, 4, 40, 20)


def one_by_one(whole, every):
    """What falls due if each interval is added by itself and looked at."""
    window, found = fresh(), []
    for j in range(N + DELAY):
        one = whole.part(0, j, j + 1)
        window.add(one.slots, one.first, one.c, one.alpha, one.kind == VOICED, one.u, one.heard)
        if j + 1 > DELAY and (j + 1 - DELAY) % every == 0:
            found.append(Due(window.read(one.slots, attention=True), one.power[:, 0]))
    return found


@examples(15, 40)
@given(
    every=st.integers(1, 60),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=9),
    seed=st.integers(0, 99),
)
def test_cuts_change_neither_when_an_answer_falls_due_nor_what_it_says(every, cuts, seed):
    whole, window, due, at, turn = stream(seed), fresh(), [], 0, 0
    while at < N + DELAY:
        stop = min(at + cuts[turn % len(cuts)], N + DELAY)
        due += add_by_own_time(window, whole.part(0, at, stop), 0, every, gate=True, attention=True)
        at, turn = stop, turn + 1
    wanted = one_by_one(whole, every)
    assert len(due) == len(wanted) == N // every
    for ours, theirs in zip(due, wanted, strict=True):
        np.testing.assert_array_equal(ours.power, theirs.power)
        for name, value in vars(theirs.reading).items():
            if name == "quality":
                for part, of in vars(value).items():
                    np.testing.assert_array_equal(getattr(ours.reading.quality, part), of, err_msg=part)
                continue
            np.testing.assert_array_equal(getattr(ours.reading, name), value, err_msg=name)


def test_what_was_due_stays_as_it_was_said():
    whole, window = stream(1), fresh()
    due = add_by_own_time(window, whole, 0, 50, gate=True, attention=False)
    assert [one.reading.seen[0] for one in due] == [50, 100, 150]
    assert all(one.reading.attention is None for one in due)
    assert len({float(one.reading.mean[0, 0]) for one in due}) == 3


def test_without_a_gate_all_that_was_heard_votes():
    whole = stream(2)
    (due,) = add_by_own_time(fresh(), whole.part(0, 0, DELAY + 40), 0, 40, gate=False, attention=False)
    assert due.reading.votes[0] == np.count_nonzero(whole.kind[0, DELAY : DELAY + 40] != 2)
