"""Samples as users have them: integers, half precision, frames of channels."""

import numpy as np
import pytest

from streamcab.audio.samples import as_samples
from streamcab.errors import AudioError


def test_full_scale_of_integers_is_one() -> None:
    np.testing.assert_array_equal(as_samples(np.array([-32768, 16384, 0], np.int16), 8000), [-1, 0.5, 0])
    np.testing.assert_array_equal(as_samples(np.array([-128, 64], np.int8), 8000), [-1, 0.5])
    np.testing.assert_array_equal(as_samples(np.array([[-32768, 16384]], np.int16), 8000), [-0.25])
    np.testing.assert_array_equal(as_samples(np.array([0, 128, 192], np.uint8), 8000), [-1, 0, 0.5])
    assert as_samples([0.5], 8000).dtype == np.float32


def test_half_precision_is_heard_as_it_is() -> None:
    x = np.linspace(-1, 1, 50).astype(np.float16)
    np.testing.assert_array_equal(as_samples(x, 8000), x.astype(np.float32))
    with pytest.raises(AudioError, match="number 1"):
        as_samples(np.array([0, np.inf], np.float16), 8000)


def test_a_frame_of_some_channels_stays_a_frame() -> None:
    assert as_samples(np.array([[0.25, 0.75]]), 8000).tolist() == [0.5]
