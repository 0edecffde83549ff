"""Components of a teacher's frames: whitened, blind to the place in a clip, and in step with a copy's intervals."""

import numpy as np
import pytest
from streamcab_train.components import PLACES, at_intervals, fit_components, place_means


def clips(n: int = 60, width: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((4, width))
    ramp = np.linspace(3, -3, 400)[:, None] * np.ones(width)
    return [
        (rng.standard_normal((m, 4)) @ mixing + 0.05 * rng.standard_normal((m, width)) + ramp[:m]).astype(
            np.float32
        )
        for m in rng.integers(50, 300, n)
    ]


def test_they_are_white_and_tell_what_there_is_to_tell() -> None:
    some = clips()
    found = fit_components(some, 4)
    z = np.concatenate([found(frames) for frames in some])
    np.testing.assert_allclose(z.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), np.eye(4), atol=0.02)
    assert found.told > 0.9


def test_the_place_in_a_clip_is_not_told() -> None:
    some = clips(400)
    found = fit_components(some, 4)
    early, late = (np.stack([found(f)[k] for f in some if len(f) > k]).mean(0) for k in (0, 150))
    np.testing.assert_allclose(early, late, atol=0.25)


def test_places_that_no_clip_reaches_count_as_the_last_one() -> None:
    short = [frames[:40] for frames in clips()]
    means = place_means(short)
    assert means.shape[0] == PLACES
    np.testing.assert_allclose(means[50:], np.broadcast_to(means[50], means[50:].shape), atol=1e-6)


def test_without_clips_it_says_so() -> None:
    with pytest.raises(ValueError, match="no clip"):
        place_means([])


def test_a_copy_played_faster_meets_the_frames_sooner() -> None:
    ramp = np.arange(200, dtype=np.float32)[:, None]
    plain = at_intervals(ramp, 50.0, 120, 0.025, 1.0)
    faster = at_intervals(ramp, 50.0, 120, 0.025, 1.05)
    # The middle of interval k lies (k + 0.5) * 25 ms in: frame (k + 0.5) * 1.25.
    np.testing.assert_allclose(plain[:, 0], (np.arange(120) + 0.5) * 1.25, atol=1e-4)
    np.testing.assert_allclose(faster[:, 0], (np.arange(120) + 0.5) * 1.25 * 1.05, atol=1e-4)


def test_beyond_the_last_frame_it_stands() -> None:
    assert at_intervals(np.arange(3, dtype=np.float32)[:, None], 50.0, 10, 0.025, 1.0)[-1, 0] == 2


def test_directions_that_tell_follow_with_variance_1_and_no_direction_twice() -> None:
    some = clips()
    telling = np.random.default_rng(1).standard_normal((12, 2))
    found = fit_components(some, 3, np.column_stack((telling, telling @ [[1.0], [2.0]])))
    assert (found.principal, found.directions.shape) == (3, (12, 5))
    z = np.concatenate([found(frames) for frames in some])
    np.testing.assert_allclose(z.var(0), 1, atol=0.02)
    left = telling - found.directions[:, 3:] @ np.linalg.lstsq(found.directions[:, 3:], telling)[0]
    np.testing.assert_allclose(left, 0, atol=1e-5)
