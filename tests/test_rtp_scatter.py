"""Payloads of a batch to rings: however many sizes there are, each sample is where one packet alone would put it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.codec import TABLES, Encoding
from streamcab.rtp.scatter import MANY_SIZES, place

STRIDE = 400
PCMU, PCMA, L16, STEREO = (
    Encoding("PCMU", 8000),
    Encoding("PCMA", 8000),
    Encoding("L16", 16000),
    Encoding("L16", 44100, 2),
)


def batch(sizes, encoding, seed=0):
    """Random payloads of so many samples, somewhere in rows of a batch: data, and where each begins."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (len(sizes), STRIDE), np.uint8)
    offset = rng.integers(12, 20, len(sizes))
    return data, np.arange(len(sizes)) * STRIDE + offset


def plain(encoding, octets, channel):
    """One payload, sample by sample."""
    if encoding.name in TABLES:
        values = [TABLES[encoding.name][o] / 32768 for o in octets]
    else:
        values = [
            int.from_bytes(bytes(octets[k : k + 2]), "big", signed=True) / 32768
            for k in range(0, len(octets), 2)
        ]
    frames = np.array(values, np.float64).reshape(-1, encoding.channels)
    return frames.mean(1) if channel is None else frames[:, min(channel, encoding.channels) - 1]


@pytest.mark.parametrize("encoding", [PCMU, PCMA, L16, STEREO], ids=str)
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=12), channel=st.sampled_from([None, 1, 2]))
def test_each_sample_is_where_one_packet_alone_would_put_it(encoding, sizes, channel):
    if encoding.channels == 1:
        channel = None
    bank = ScatterBank(encoding.rate, len(sizes), 0.1, encoding.compact, touch=True)
    rows = np.arange(len(sizes))
    bank.take(rows)
    data, start = batch(sizes, encoding)
    samples, position = np.array(sizes), 3 * rows
    place(bank, encoding, channel, data, start, rows, position, samples)
    bank.written[:] = position + samples
    for row, n in enumerate(sizes):
        octets = data.reshape(-1)[start[row] : start[row] + n * encoding.frame]
        found = bank.read(rows[[row]], position[[row]], n)[0]
        assert found == pytest.approx(plain(encoding, octets, channel), abs=1e-7)
        assert np.isnan(bank.read(rows[[row]], np.zeros(1, np.int64), int(position[row]))).all()


def test_a_hundred_sizes_and_one_size_are_placed_alike():
    """By powers of two, size by size, and all at once: the same rings."""
    sizes = np.array([*range(40, 40 + 2 * MANY_SIZES), 160])
    data, start = batch(sizes, PCMU)
    rows, position = np.arange(len(sizes)), np.full(len(sizes), 8)
    together, alone = (ScatterBank(8000, len(sizes), 0.1, True, touch=True) for _ in range(2))
    for bank in (together, alone):
        bank.take(rows)
    place(together, PCMU, None, data, start, rows, position, sizes)
    for k in range(len(sizes)):
        one = slice(k, k + 1)
        place(alone, PCMU, None, data, start[one], rows[one], position[one], sizes[one])
    assert np.array_equal(together.data, alone.data)


def test_what_a_batch_itself_has_pushed_out_is_not_written_into_the_future():
    bank = ScatterBank(8000, 1, 0.1, True, touch=True)
    bank.take(np.zeros(1, np.intp))
    data, start = batch([80, 80], PCMU)
    rows, position = np.zeros(2, np.intp), np.array([0, bank.capacity + 400])
    place(bank, PCMU, None, data, start, rows, position, np.array([80, 80]))
    bank.written[0] = bank.capacity + 480
    # The old packet's place in the ring is that of samples that are still to come, and missing.
    assert np.isnan(bank.read(rows[:1], np.array([bank.capacity]), 80)).all()
    assert not np.isnan(bank.read(rows[:1], position[1:], 80)).any()


def test_a_batch_that_is_all_too_old_changes_nothing():
    bank = ScatterBank(8000, 1, 0.1, True, touch=True)
    row = np.zeros(1, np.intp)
    bank.take(row)
    bank.prepare(row, np.array([5000]))
    before = bank.data.copy()
    data, start = batch([80], PCMU)
    place(bank, PCMU, None, data, start, row, np.array([0]), np.array([80]))
    assert np.array_equal(bank.data, before)
