"""What a step of the net has answered, cut into single streams and single intervals without loss."""

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamcab.dsp.gate import MISSING, SILENT, VOICED
from streamcab.inference.engine_output import EngineOutput


def emitted(b, h, seed=0):
    rng = np.random.default_rng(seed)
    return EngineOutput(
        slots=rng.permutation(100)[:b],
        first=rng.integers(-8, 1000, b),
        c=rng.random((b, h, 3), np.float32),
        alpha=rng.random((b, h, 4), np.float32),
        u=rng.random((b, h, 2), np.float32),
        kind=rng.integers(0, 3, (b, h)).astype(np.uint8),
        power=rng.random((b, h)),
        wide=rng.random((b, h)) < 0.5,
    )


def same(a, b):
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(EngineOutput))


@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 99))
def test_parts_of_a_stream_are_the_whole(b, h, seed):
    e = emitted(b, h, seed)
    for i in range(b):
        for start, stop in ((0, h), (0, 1), (h - 1, h), (h // 2, h)):
            part = e.part(i, start, stop)
            assert (part.slots[0], part.first[0]) == (e.slots[i], e.first[i] + start)
            for name in ("c", "alpha", "u", "kind", "power"):
                mine = getattr(part, name)
                assert mine.shape[:2] == (1, stop - start)
                assert np.array_equal(mine[0], getattr(e, name)[i, start:stop])


@given(st.data())
def test_some_streams_keep_all_that_is_theirs_and_their_order(data):
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=6)))
    e = emitted(len(keep), 4)
    rest = e.of(keep)
    assert rest.slots.tolist() == e.slots[keep].tolist()
    for k, i in enumerate(np.flatnonzero(keep)):
        assert same(rest.part(k, 1, 3), e.part(int(i), 1, 3))
    assert same(e.of(np.ones(len(keep), np.bool_)), e)


def test_with_a_gate_the_voiced_vote_and_without_one_all_that_was_heard():
    e = emitted(1, 3)
    e.kind[:] = (SILENT, VOICED, MISSING)
    assert e.votes(gate=True).tolist() == [[False, True, False]]
    assert e.votes(gate=False).tolist() == [[True, True, False]]
