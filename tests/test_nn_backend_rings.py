"""The newest intervals of a block's input: what is read is what was written last, whatever the steps."""

import numpy as np
import pytest

from streamcab.nn.backend.rings import Rings

CONTEXTS, FEATURES, MOST = (2, 6, 11), 3, 4


def read(rings: Rings, slots: list[int]) -> list[np.ndarray]:
    found = rings.buffers(len(slots))
    rings.read(np.array(slots), found)
    return found


@pytest.mark.parametrize(
    ("contexts", "steps"), [(CONTEXTS, [1, 2, 3, 4]), ((4, 6, 12), [4]), ((4, 6, 12), [2, 4])]
)
def test_a_ring_hands_out_the_newest_intervals_of_its_slot_alone(
    contexts: tuple[int, ...], steps: list[int]
) -> None:
    rings, rng = Rings(3, contexts, FEATURES, MOST), np.random.default_rng(0)
    written = {slot: np.zeros((len(contexts), 20, FEATURES), np.float32) for slot in range(3)}
    for _ in range(40):
        slots, h = rng.permutation(3)[: rng.integers(1, 4)].tolist(), int(rng.choice(steps))
        news = [rng.standard_normal((len(slots), h, FEATURES)).astype(np.float32) for _ in contexts]
        rings.write(np.array(slots), news)
        for row, slot in enumerate(slots):
            new = np.stack([part[row] for part in news])
            written[slot] = np.concatenate((written[slot], new), 1)
        order = rng.permutation(3).tolist()
        for part, context, i in zip(read(rings, order), contexts, range(3), strict=True):
            wanted = np.stack([written[slot][i, -context:] for slot in order])
            np.testing.assert_array_equal(part, wanted)


def test_a_slot_that_was_reset_is_as_new() -> None:
    rings = Rings(2, CONTEXTS, FEATURES, MOST)
    rings.write(np.array([0, 1]), [np.ones((2, MOST, FEATURES), np.float32)] * 3)
    rings.reset(np.array([1]))
    for part in read(rings, [0, 1]):
        assert part[0].any()
        assert not part[1].any()
