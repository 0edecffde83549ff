"""The discriminant: it finds what differs between voices, and says how much is left of what does not."""

import numpy as np
import pytest
from streamcab_train.voice_metric import blocks_of, fit

from streamcab.inference.voices import BLOCK, NEWEST

VOICES, CLIPS, BETWEEN, WITHIN = 200, 3, 9.0, 4.0


def test_blocks_are_means_of_whole_ones() -> None:
    h = np.random.default_rng(0).normal(size=(3 * BLOCK + 5, 2))
    got = blocks_of(h)
    assert got.shape == (3, 2)
    np.testing.assert_allclose(got[1], h[BLOCK : 2 * BLOCK].mean(0))
    assert blocks_of(h[: BLOCK - 1]).shape == (0, 2)


def test_variances_are_those_that_the_data_were_made_with() -> None:
    rng = np.random.default_rng(1)
    # The third direction is loud, and says nothing of voices.
    mix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    clips, groups = [], []
    for who in range(VOICES):
        voice = rng.normal(0, [BETWEEN**0.5, 1, 0])
        for _ in range(CLIPS):
            blocks = voice + rng.normal(0, [WITHIN**0.5, 2, 4], (2 * NEWEST, 3))
            clips.append(blocks @ mix.T)
            groups.append(f"voice {who}")
    found = fit(clips, groups, 2)
    assert found.weight.shape == (2, 3)
    # In units of its own: only ratios are given.
    assert found.between[0] / found.within[0] == pytest.approx(BETWEEN / WITHIN, rel=0.3)
    assert found.between[1] / found.within[1] == pytest.approx(1 / 4, rel=0.5)
    assert (found.drift < 0.2 * found.within).all()
    every = np.concatenate([clip @ found.weight.T + found.bias for clip in clips])
    np.testing.assert_allclose(every.mean(0), 0, atol=0.1)


def test_clips_too_short_for_a_piece_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    clips = [rng.normal(who % 9, 1, (2 * NEWEST, 3)) for who in range(40)]
    groups = [str(i // 2) for i in range(40)]
    plain = fit(clips, groups, 2)
    more = fit([*clips, np.zeros((1, 3)), np.zeros((0, 3))], [*groups, "new", "0"], 2)
    np.testing.assert_allclose(np.abs(more.weight), np.abs(plain.weight))
    np.testing.assert_allclose(more.between, plain.between)
